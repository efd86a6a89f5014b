package nats

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// description is the description of an object, as it is stored in the bucket.
type description struct {
	jetstream.ObjectInfo
	sequence uint64 // of its message
}

// nuids matches the ids of versions, which are parts of subjects.
var nuids = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func encodeName(name string) string { return base64.URLEncoding.EncodeToString([]byte(name)) }

// parseDescription parses the message of a description. It accepts descriptions of
// objects, and the marks that deletions leave.
func parseDescription(data []byte, sequence uint64, at time.Time) (*description, error) {
	d := &description{sequence: sequence}
	if err := json.Unmarshal(data, &d.ObjectInfo); err != nil {
		return nil, errors.New("description of the object is no json")
	}
	d.ModTime = at
	switch {
	case d.Deleted:
		return d, nil
	case d.Opts != nil && d.Opts.Link != nil:
		return nil, clientio.Permanent(errors.New("object is a link"))
	case !nuids.MatchString(d.NUID):
		return nil, clientio.Permanent(errors.New("description of the object has no id"))
	case d.Size > math.MaxInt64 || (d.Size == 0) != (d.Chunks == 0) || uint64(d.Chunks) > d.Size:
		return nil, clientio.Permanent(fmt.Errorf("description of the object has an impossible size, of %d bytes in %d chunks", d.Size, d.Chunks))
	}
	return d, nil
}

// timestamp returns the timestamp of the LTX header, or the time at which the
// object was stored if a tool that copies has lost the header.
func (d *description) timestamp() time.Time {
	if t, err := time.Parse(time.RFC3339Nano, d.Headers.Get(HeaderKeyTimestamp)); err == nil {
		return t
	}
	return d.ModTime
}

// describe reads the description of an object. It returns the mark that a deletion
// left, or fs.ErrNotExist if there is none either.
func (s *session) describe(ctx context.Context, key string) (*description, error) {
	msg, err := s.lastMessage(ctx, s.metaSubject(key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fmt.Errorf("object %s in bucket %s: %w", key, s.bucket, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return parseDescription(msg.Data, msg.Sequence, msg.Time)
}

// lastMessage returns the last message of a subject. If the stream has replicas, one
// that lags may answer that there is none, so the leader is asked as well.
func (s *session) lastMessage(ctx context.Context, subject string) (msg *jetstream.RawStreamMsg, err error) {
	err = s.call(ctx, readSubject, func(ctx context.Context) error {
		msg, err = s.stream.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) && s.replicas > 1 && s.stream.CachedInfo().Config.AllowDirect {
			msg, err = s.askLeader(ctx, map[string]any{"last_by_subj": subject})
		}
		return err
	})
	return msg, err
}

// readSubject is what the subjects of reads begin with: $JS.API.DIRECT.GET, or
// $JS.API.STREAM.MSG.GET where the stream allows no direct reads.
const readSubject = "$JS.API."

// askLeader reads a message by way of the leader of the stream.
func (s *session) askLeader(ctx context.Context, request any) (*jetstream.RawStreamMsg, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	answer, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.streamName(), body)
	if err != nil {
		return nil, err
	}
	var parsed struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &parsed); err != nil {
		return nil, errors.New("answer is no json")
	}
	switch {
	case parsed.Error != nil && parsed.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case parsed.Error != nil:
		return nil, parsed.Error
	case parsed.Message == nil:
		return nil, errors.New("answer has no message")
	}
	m := parsed.Message
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Time: m.Time}, nil
}

// placement says where the chunks of a version of an object are. It does not
// change.
type placement struct {
	nuid   string
	size   int64
	chunks int

	// The chunks are one after the other in the stream from first on, unless
	// sequences has the number of each.
	first     uint64
	sequences []uint64

	// Each chunk but the last has chunkSize bytes, unless ends is set.
	chunkSize int64
	ends      *ends
}

// find returns the index of the chunk that holds the byte at an offset, and the
// offset at which the chunk begins.
func (p *placement) find(offset int64) (index int, begin int64) {
	if p.ends != nil {
		index = sort.Search(p.chunks, func(i int) bool { return p.ends.at(i) > offset })
		return index, p.ends.at(index - 1)
	}
	index = int(offset / p.chunkSize)
	return index, int64(index) * p.chunkSize
}

// length returns the number of bytes of a chunk.
func (p *placement) length(index int) int64 {
	if p.ends != nil {
		return p.ends.at(index) - p.ends.at(index-1)
	}
	return min(p.chunkSize, p.size-int64(index)*p.chunkSize)
}

// ends are the offsets at which the chunks of an object end, in a little more than
// four bytes for each chunk.
type ends struct {
	bases []int64  // offset at which each block of chunks begins
	ends  []uint32 // from the begin of the block on
}

// endsBlock is the number of chunks in a block, whose bytes a uint32 counts:
// maxChunkSize is 64 MiB.
const endsBlock = 32

// add adds a chunk that ends at an offset.
func (e *ends) add(end int64) {
	n := len(e.ends)
	if n%endsBlock == 0 {
		e.bases = append(e.bases, e.at(n-1))
	}
	e.ends = append(e.ends, uint32(end-e.bases[n/endsBlock]))
}

// at returns the offset at which a chunk ends. Chunk -1 ends at 0.
func (e *ends) at(index int) int64 {
	if index < 0 {
		return 0
	}
	return e.bases[index/endsBlock] + int64(e.ends[index])
}

// sequence returns the sequence number of a chunk.
func (p *placement) sequence(index int) uint64 {
	if p.sequences == nil {
		return p.first + uint64(index)
	}
	return p.sequences[index]
}

// maxObjects is the number of objects whose placement is kept.
const maxObjects = 4096

// objects has the placements of the versions of objects that were read last, by
// name. It is safe for concurrent use.
type objects struct {
	lru *lru.Cache[string, *located]
}

// located is a version of an object whose placement is known, or can be found
// without another look at the description.
type located struct {
	description *description
	flight      clientio.Flight[*placement] // what finds the placement
	placement   atomic.Pointer[placement]   // nil before it is known
}

func newObjects() objects {
	cache, err := lru.New[string, *located](maxObjects)
	if err != nil {
		panic(err) // it fails for a size of 0 only
	}
	return objects{cache}
}

// note keeps a description, and returns the entry of its version.
func (o objects) note(key string, d *description) *located {
	if l, ok := o.lru.Get(key); ok && l.description.NUID == d.NUID {
		return l
	}
	l := &located{description: d}
	o.lru.Add(key, l)
	return l
}

// forget is called when an object is replaced or deleted.
func (o objects) forget(key string) { o.lru.Remove(key) }

// locate returns where the chunks of an object are. If the read has to return a
// version that this session has seen, locate does not look at the description
// again.
func (s *session) locate(ctx context.Context, key string) (*placement, error) {
	l, ok := s.objects.lru.Get(key)
	if version := clientio.Version(ctx); !ok || version == "" || !clientio.IsSameVersion(l.description.NUID, version) {
		d, err := s.describe(ctx, key)
		if err == nil && d.Deleted {
			err = fmt.Errorf("object %s in bucket %s was deleted: %w", key, s.bucket, fs.ErrNotExist)
		}
		if err != nil {
			return nil, err
		}
		l = s.objects.note(key, d)
	}
	if err := clientio.CheckVersion(ctx, l.description.NUID); err != nil {
		return nil, err
	}
	if p := l.placement.Load(); p != nil {
		return p, nil
	}
	return l.flight.Do(ctx, func(ctx context.Context) (*placement, error) {
		p, err := s.place(ctx, l.description)
		if err == nil {
			l.placement.Store(p)
		}
		return p, err
	})
}

// place finds the chunks of an object, in one round trip in the usual case.
//
// A writer sends chunks of the size that the description says, and nothing between
// them: then the first and the last chunk tell where all are. Upstream sends what
// it gets from its encoder at once, so its chunks may have any size up to that one.
// Two writers at once mix their chunks.
func (s *session) place(ctx context.Context, d *description) (*placement, error) {
	p := &placement{nuid: d.NUID, size: int64(d.Size), chunks: int(d.Chunks)}
	if d.Opts != nil {
		p.chunkSize = int64(d.Opts.ChunkSize)
	}
	if p.chunks == 0 {
		p.chunkSize = 1
		return p, nil
	}
	var first, last *chunk
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		first, err = s.endChunk(groupCtx, d.NUID, false)
		return err
	})
	if p.chunks > 1 {
		group.Go(func() (err error) {
			last, err = s.endChunk(groupCtx, d.NUID, true)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, clientio.WithCause(ctx, err)
	}
	last = cmp.Or(last, first)
	if p.first = first.sequence; p.chunks == 1 {
		p.chunkSize = int64(len(first.data))
	}
	contiguous := last.sequence-first.sequence == uint64(p.chunks-1)
	if contiguous && (p.chunks == 1 || int64(len(first.data)) == p.chunkSize) && p.isRegular(int64(len(last.data))) {
		return p, nil
	}
	return p, s.measure(ctx, p)
}

// isRegular reports whether all chunks but the last have chunkSize bytes, if the last
// one has some.
func (p *placement) isRegular(last int64) bool {
	if p.chunkSize <= 0 || last <= 0 || last > p.chunkSize || last > p.size {
		return false
	}
	before := p.size - last // of the last chunk
	return before%p.chunkSize == 0 && before/p.chunkSize == int64(p.chunks-1)
}

// endChunk reads the first or the last chunk of a version of an object. It is kept
// for reads of its bytes.
func (s *session) endChunk(ctx context.Context, nuid string, last bool) (*chunk, error) {
	var c *chunk
	subject := s.chunkSubject(nuid)
	err := s.call(ctx, readSubject, func(ctx context.Context) error {
		var msg *jetstream.RawStreamMsg
		var err error
		if last {
			msg, err = s.stream.GetLastMsgForSubject(ctx, subject)
		} else {
			msg, err = s.stream.GetMsg(ctx, 0, jetstream.WithGetMsgSubject(subject))
		}
		if err != nil {
			return err
		}
		if msg.Subject != subject {
			return errors.New("answer is another message than the one that was asked for")
		}
		c = &chunk{chunkID{nuid, msg.Sequence}, msg.Data}
		return nil
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, errGone
	}
	if err == nil {
		s.chunks.add(c)
	}
	return c, err
}

// measure finds the size and the sequence number of every chunk of an object, from
// the headers of their messages.
func (s *session) measure(ctx context.Context, p *placement) error {
	p.ends = new(ends)
	var end int64
	n := 0
	contiguous := true
	var sequences []uint64
	err := s.scan(ctx, jetstream.ConsumerConfig{FilterSubject: s.chunkSubject(p.nuid), HeadersOnly: true, DeliverPolicy: jetstream.DeliverAllPolicy},
		func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
			size, err := parseSize(msg.Headers().Get(natsgo.MsgSize))
			if err != nil {
				return err
			}
			end += size
			if n == p.chunks || end > p.size {
				return errors.New("object has more chunks than its description says")
			}
			contiguous = contiguous && meta.Sequence.Stream == p.first+uint64(n)
			p.ends.add(end)
			n++
			sequences = append(sequences, meta.Sequence.Stream)
			return nil
		})
	switch {
	case err != nil:
		return fmt.Errorf("find the chunks of the object: %w", err)
	case n != p.chunks || end != p.size:
		return fmt.Errorf("object has %d bytes in %d chunks, and its description says %d bytes in %d", end, n, p.size, p.chunks)
	}
	if !contiguous {
		p.sequences = sequences
	}
	return nil
}

// parseSize parses the header with the size of a message.
func parseSize(text string) (int64, error) {
	var n int64
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || n <= 0 || n > maxChunkSize || strings.TrimLeft(text, "0123456789") != "" {
		return 0, fmt.Errorf("size of a chunk is %.20q", text)
	}
	return n, nil
}
