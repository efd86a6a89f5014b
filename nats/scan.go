package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// scanBatch is the number of messages that are asked for at once. The server
	// sends them without waiting, so it is bounded.
	scanBatch = 4096

	// consumerTimeout is how long the server keeps a consumer that nobody uses, if
	// it could not be deleted.
	consumerTimeout = 30 * time.Second

	// cleanUpTimeout limits what is done after a failure.
	cleanUpTimeout = 5 * time.Second
)

// scan calls fn with the messages that are selected by a consumer's configuration
// and stored at present.
func (s *session) scan(ctx context.Context, config jetstream.ConsumerConfig, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) error {
	config.AckPolicy = jetstream.AckNonePolicy
	config.MemoryStorage = true
	config.Replicas = 1
	config.InactiveThreshold = consumerTimeout
	return s.call(ctx, "$JS.API.CONSUMER.", func(ctx context.Context) error {
		consumer, err := s.stream.CreateConsumer(ctx, config)
		if err != nil {
			return err
		}
		defer s.deleteConsumer(ctx, consumer)
		for left := consumer.CachedInfo().NumPending; left > 0; {
			n, err := fetch(ctx, consumer, int(min(left, scanBatch)), fn)
			if err != nil {
				return err
			}
			// Messages that were deleted meanwhile do not come.
			left = min(left-uint64(n.got), n.pending)
		}
		return nil
	})
}

type fetched struct {
	got     int
	pending uint64 // messages that are left, as the last message says
}

func fetch(ctx context.Context, consumer jetstream.Consumer, size int, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) (fetched, error) {
	batch, err := consumer.Fetch(size, jetstream.FetchContext(ctx))
	if err != nil {
		return fetched{}, err
	}
	var out fetched
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return out, fmt.Errorf("message of a consumer: %w", err)
		}
		if err := fn(msg, meta); err != nil {
			return out, err
		}
		out.got++
		if out.pending = meta.NumPending; out.pending == 0 {
			return out, nil
		}
	}
	switch err := batch.Error(); {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case err != nil:
		return out, err
	case out.got == 0:
		return out, errors.New("consumer sends no messages")
	}
	return out, nil
}

// deleteConsumer deletes a consumer. If that fails, the server does so by itself.
func (s *session) deleteConsumer(ctx context.Context, consumer jetstream.Consumer) {
	if ctx.Err() != nil || s.problem.lost() != nil {
		return // it would keep the caller waiting
	}
	// Nothing waits for the answer.
	_ = s.nc.Publish("$JS.API.CONSUMER.DELETE."+s.streamName()+"."+consumer.CachedInfo().Name, nil)
}
