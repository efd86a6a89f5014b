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
// and stored at present, in the order of their numbers. If a message is replaced
// meanwhile, fn gets the new one, possibly after the old one.
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
		// A message that replaces another one meanwhile comes after all others. The
		// scan is complete when none is left, and not when as many have come as there
		// were: one that comes twice would stand for one that has not come.
		for left := consumer.CachedInfo().NumPending; left > 0; {
			if left, err = fetch(ctx, consumer, int(min(left, scanBatch)), fn); err != nil {
				return err
			}
		}
		return nil
	})
}

// fetch calls fn with the next messages, up to size. It returns how many were left when
// the last of them was sent.
func fetch(ctx context.Context, consumer jetstream.Consumer, size int, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) (left uint64, err error) {
	batch, err := consumer.Fetch(size, jetstream.FetchContext(ctx))
	if err != nil {
		return 0, err
	}
	got := false
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return 0, fmt.Errorf("message of a consumer: %w", err)
		}
		if err := fn(msg, meta); err != nil {
			return 0, err
		}
		got = true
		if left = meta.NumPending; left == 0 {
			return 0, nil // messages that were deleted meanwhile do not come
		}
	}
	switch err := batch.Error(); {
	case ctx.Err() != nil:
		return left, context.Cause(ctx)
	case err != nil:
		return left, err
	case !got:
		return left, errors.New("consumer sends no messages")
	}
	return left, nil
}

// deleteConsumer deletes a consumer. If that fails, the server does so by itself.
func (s *session) deleteConsumer(ctx context.Context, consumer jetstream.Consumer) {
	if ctx.Err() != nil || s.problem.lost() != nil {
		return // it would keep the caller waiting
	}
	// Nothing waits for the answer.
	_ = s.nc.Publish("$JS.API.CONSUMER.DELETE."+s.streamName()+"."+consumer.CachedInfo().Name, nil)
}
