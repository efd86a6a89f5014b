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

	// scanRounds is the number of rounds of a scan at most. Each round after the first
	// one takes the messages that were stored in the round before.
	scanRounds = 2

	// consumerTimeout is how long the server keeps a consumer that nobody uses, if
	// it could not be deleted.
	consumerTimeout = 30 * time.Second

	// cleanUpTimeout limits what is done after a failure.
	cleanUpTimeout = 5 * time.Second
)

// scan calls fn with the messages that are selected by a consumer's configuration
// and stored at present, in the order of their numbers. If a message is replaced
// meanwhile, fn gets the new one, possibly after the old one; it may get neither if the
// new one is replaced as well. fn gets some of the other messages that are stored
// meanwhile.
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
		// A message that replaces another one meanwhile comes after all others. So when
		// as many messages have come as there were, each of them has come, or what
		// replaced it is among those that are left then. The scan does not wait until
		// none is left, because messages may be stored faster than they come.
		left := consumer.CachedInfo().NumPending
		for round := 0; left > 0 && round < scanRounds; round++ {
			var after uint64 // messages that are left, with those that were stored meanwhile
			for left > 0 {
				got, pending, err := fetch(ctx, consumer, int(min(left, scanBatch)), fn)
				if err != nil {
					return err
				}
				left, after = min(left-got, pending), pending
			}
			left = after
		}
		return nil
	})
}

// fetch calls fn with the next messages, up to size. It returns how many came, and how
// many were left when the last of them was sent.
func fetch(ctx context.Context, consumer jetstream.Consumer, size int, fn func(jetstream.Msg, *jetstream.MsgMetadata) error) (got, left uint64, err error) {
	batch, err := consumer.Fetch(size, jetstream.FetchContext(ctx))
	if err != nil {
		return 0, 0, err
	}
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return got, left, fmt.Errorf("message of a consumer: %w", err)
		}
		if err := fn(msg, meta); err != nil {
			return got, left, err
		}
		got++
		if left = meta.NumPending; left == 0 {
			return got, 0, nil // messages that were deleted meanwhile do not come
		}
	}
	switch err := batch.Error(); {
	case ctx.Err() != nil:
		return got, left, context.Cause(ctx)
	case err != nil:
		return got, left, err
	case got == 0:
		return got, left, errors.New("consumer sends no messages")
	}
	return got, left, nil
}

// deleteConsumer deletes a consumer. If that fails, the server does so by itself.
func (s *session) deleteConsumer(ctx context.Context, consumer jetstream.Consumer) {
	if ctx.Err() != nil || s.problem.lost() != nil {
		return // it would keep the caller waiting
	}
	// Nothing waits for the answer.
	_ = s.nc.Publish("$JS.API.CONSUMER.DELETE."+s.streamName()+"."+consumer.CachedInfo().Name, nil)
}
