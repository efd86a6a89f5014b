package nats

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// maxUnacknowledged is the number of chunks that an upload has sent and that the
// server has not stored.
const maxUnacknowledged = 16

// write stores a file and returns its size. First it stores the chunks, which
// belong to nothing until the description is there, and then the description.
func (s *session) write(ctx context.Context, file clientio.Upload) (int64, error) {
	key := s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	before, err := s.before(ctx, key)
	if err != nil {
		return 0, err
	}
	if file.Create && before.exists() {
		return 0, fmt.Errorf("object %s in bucket %s: %w", key, s.bucket, fs.ErrExist)
	}
	up := &upload{session: s, subject: s.chunkSubject(nuid.Next()), hash: sha256.New()}
	defer up.close()
	if err := up.sendAll(ctx, file); err != nil {
		if !errors.Is(err, fs.ErrPermission) {
			up.abort(ctx) // otherwise nothing was stored
		}
		return 0, clientio.WithCause(ctx, err)
	}
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{
			Name:    key,
			Headers: natsgo.Header{HeaderKeyTimestamp: {file.Timestamp.Format(time.RFC3339Nano)}},
			Opts:    &jetstream.ObjectMetaOptions{ChunkSize: uint32(s.chunkSize)},
		},
		Bucket: s.bucket, NUID: up.subject[len(s.chunkSubject("")):],
		Size: uint64(up.size), Chunks: up.chunks, Digest: jetstream.GetObjectDigestValue(up.hash),
	}
	for {
		err := s.publish(ctx, info, before.sequence)
		if err == nil {
			break
		}
		if !isConflict(err) {
			// The description may have been stored, so the chunks stay.
			return 0, err
		}
		now, err := s.before(ctx, key)
		if err == nil && now.nuid == info.NUID {
			break // an earlier request has stored it, and its answer was lost
		}
		// Another writer has stored or deleted the object meanwhile.
		if before = now; err == nil && file.Create && before.exists() {
			err = fmt.Errorf("object %s in bucket %s: %w", key, s.bucket, fs.ErrExist)
		}
		if err != nil {
			up.abort(ctx)
			return 0, err
		}
	}
	s.objects.forget(key)
	if before.exists() {
		_ = s.purge(ctx, s.chunkSubject(before.nuid), 0) // they are only garbage
	}
	return up.size, nil
}

// previous is what an upload replaces.
type previous struct {
	sequence uint64 // of the description, or of the mark that a deletion left; 0: none
	nuid     string // empty: the object does not exist
}

func (p previous) exists() bool { return p.nuid != "" }

// before returns what an upload replaces.
func (s *session) before(ctx context.Context, key string) (previous, error) {
	d, err := s.describe(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return previous{}, nil
	case err != nil:
		return previous{}, err
	case d.Deleted:
		return previous{sequence: d.sequence}, nil
	}
	return previous{d.sequence, d.NUID}, nil
}

// publish stores a description, if the one before has the given sequence number.
func (s *session) publish(ctx context.Context, info jetstream.ObjectInfo, before uint64) error {
	data, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode description: %w", err)
	}
	msg := natsgo.NewMsg(s.metaSubject(info.Name))
	msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	msg.Data = data
	return s.call(ctx, s.metaPrefix(), func(ctx context.Context) error {
		ack, err := s.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(s.streamName()), jetstream.WithExpectLastSequencePerSubject(before))
		if err != nil {
			return err
		}
		for old := s.written.Load(); old < ack.Sequence && !s.written.CompareAndSwap(old, ack.Sequence); old = s.written.Load() {
		}
		return nil
	})
}

// isConflict reports whether another description was stored since the last look.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

// upload sends the chunks of a file. It waits for the answers itself: the library's
// own way leaves a goroutine behind when the connection is closed.
type upload struct {
	session *session
	subject string
	hash    hash.Hash

	size     int64
	chunks   uint32
	answers  *natsgo.Subscription // of the server to the chunks
	inbox    string               // what answers is subscribed to
	unacked  int                  // chunks that are on their way
	sequence uint64               // of the last chunk that was stored
}

// sendAll sends all chunks, and waits until they are stored.
func (u *upload) sendAll(ctx context.Context, file clientio.Upload) error {
	return u.session.call(ctx, "$O."+u.session.bucket+".C.", func(ctx context.Context) error {
		var err error
		u.inbox = u.session.nc.NewInbox()
		if u.answers, err = u.session.nc.SubscribeSync(u.inbox); err != nil {
			return err
		}
		for more := true; more; {
			var data []byte
			if data, more, err = clientio.ReadPart(file.Body, u.session.chunkSize); err != nil {
				return err
			}
			if len(data) > 0 {
				if err := u.send(ctx, data); err != nil {
					return err
				}
			}
			for u.unacked > 0 && (!more || u.unacked >= maxUnacknowledged) {
				if err := u.wait(ctx); err != nil {
					return err
				}
			}
		}
		return ctx.Err() // the body may have ended just as the context did
	})
}

func (u *upload) send(ctx context.Context, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	msg := natsgo.NewMsg(u.subject)
	msg.Reply, msg.Data = u.inbox, data
	msg.Header.Set(jetstream.ExpectedStreamHeader, u.session.streamName())
	if err := u.session.nc.PublishMsg(msg); err != nil {
		return err
	}
	_, _ = u.hash.Write(data) // a hash does not fail
	u.size += int64(len(data))
	u.chunks++
	u.unacked++
	return nil
}

// wait waits until a chunk that is on its way is stored.
func (u *upload) wait(ctx context.Context) error {
	msg, err := u.answers.NextMsgWithContext(ctx)
	if err != nil {
		return err
	}
	u.unacked--
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		return natsgo.ErrNoResponders
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(msg.Data, &ack); {
	case err != nil:
		return errors.New("answer to a chunk is no json")
	case ack.Error != nil:
		return ack.Error
	case ack.Sequence <= u.sequence:
		return errors.New("server stored the chunks in another order")
	}
	u.sequence = ack.Sequence
	return nil
}

// close ends the upload.
func (u *upload) close() {
	if u.answers != nil {
		_ = u.answers.Unsubscribe() // it fails if the connection is closed, which has the same effect
	}
}

// abort deletes the chunks. If that fails, they stay in the bucket.
func (u *upload) abort(ctx context.Context) {
	if u.chunks == 0 || u.session.problem.lost() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
	defer cancel()
	for u.unacked > 0 {
		if err := u.wait(ctx); err != nil && ctx.Err() != nil {
			break
		}
	}
	_ = u.session.purge(ctx, u.subject, 0) // nothing refers to them
}

// purge deletes the messages of a subject, those before a sequence number if that
// is not 0.
func (s *session) purge(ctx context.Context, subject string, before uint64) error {
	return s.call(ctx, "$JS.API.STREAM.PURGE.", func(ctx context.Context) error {
		opts := []jetstream.StreamPurgeOpt{jetstream.WithPurgeSubject(subject)}
		if before > 0 {
			opts = append(opts, jetstream.WithPurgeSequence(before))
		}
		return s.stream.Purge(ctx, opts...)
	})
}

// deletions is the number of objects that are deleted at the same time.
const deletions = 16

// DeleteLTXFiles implements replica.Client. It deletes 16 files at the same time,
// with three requests for each, and stops after the first failure. Nothing is left
// of a file: upstream leaves a mark for each, which all later listings read.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return clientio.Delete(ctx, a, deletions, c.connect, (*session).delete)
}

// delete deletes an object, if it exists. A version that another writer stores
// meanwhile stays.
func (s *session) delete(ctx context.Context, file clientio.File) error {
	key := s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	before, err := s.before(ctx, key)
	if err != nil || !before.exists() {
		return err
	}
	s.objects.forget(key)
	if err := s.purge(ctx, s.metaSubject(key), before.sequence+1); err != nil {
		return err
	}
	return s.purge(ctx, s.chunkSubject(before.nuid), 0)
}
