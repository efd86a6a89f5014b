package replicatest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

var contextMutants = []mutant{
	{
		name: "ignores the context",
		killed: []string{
			"Context/LTXFiles returns the error of its context",
			"Context/LTXFiles with useMetadata returns the error of its context",
			"Context/OpenLTXFile returns the error of its context",
			"Context/WriteLTXFile returns the error of its context",
			"Context/CreateLTXFile returns the error of its context",
			"Context/DeleteLTXFiles returns the error of its context",
			"Context/AllLTXFiles returns the error of its context",
			"Context/Survey returns the error of its context",
			"Context/WriteLTXFile returns when its context is done in the middle of r",
			"Context/CreateLTXFile returns when its context is done in the middle of r",
		},
		mutate: func(f *fake) {
			s := f.ReplicaClient
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				return s.LTXFiles(context.WithoutCancel(ctx), level, seek, useMetadata)
			}
			f.listAll = func(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
				return s.AllLTXFiles(context.WithoutCancel(ctx), useMetadata)
			}
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				return s.OpenLTXFile(context.WithoutCancel(ctx), level, minTXID, maxTXID, offset, size)
			}
			f.delete = func(ctx context.Context, a []*ltx.FileInfo) error {
				return s.DeleteLTXFiles(context.WithoutCancel(ctx), a)
			}
			f.survey = func(ctx context.Context, dir string) (replica.Survey, error) {
				return s.Survey(context.WithoutCancel(ctx), dir)
			}
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					return inner(context.WithoutCancel(ctx), level, minTXID, maxTXID, r)
				}
			})
		},
	},
	{
		name: "has an error of its own for a context that is done",
		killed: []string{
			"Context/LTXFiles returns the error of its context",
			"Context/OpenLTXFile returns the error of its context",
		},
		mutate: func(f *fake) {
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				if ctx.Err() != nil {
					return nil, errMutant
				}
				return f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
			}
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				if ctx.Err() != nil {
					return nil, context.Canceled // also when it is the deadline
				}
				return f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
			}
		},
	},
	{
		name: "leaves half a file when the context is done in the middle",
		killed: []string{
			"Context/WriteLTXFile returns when its context is done in the middle of r",
			"Context/CreateLTXFile returns when its context is done in the middle of r",
		},
		mutate: func(f *fake) {
			f.editPut(func(inner put) put {
				return func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
					var buf bytes.Buffer
					info, err := inner(ctx, level, minTXID, maxTXID, io.TeeReader(r, &buf))
					if errors.Is(err, context.Canceled) {
						_, _ = inner(context.WithoutCancel(ctx), level, minTXID, maxTXID, &buf)
					}
					return info, err
				}
			})
		},
	},
}

var concurrencyMutants = []mutant{
	{
		name:   "drops a write that overlaps another",
		killed: []string{"Concurrency/writers and readers at once"},
		mutate: func(f *fake) {
			f.write = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				if f.meeting.attend() == 1 {
					return nil, nil
				}
				return f.ReplicaClient.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
			}
		},
	},
	{
		name:   "mixes reads that overlap",
		killed: []string{"Concurrency/readers of one file at once"},
		mutate: func(f *fake) {
			f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
				if f.meeting.attend() <= 2 {
					offset = 0
				}
				return f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
			}
		},
	},
	{
		name:   "mixes writes of one file that overlap",
		killed: []string{"Concurrency/writers of one file at once leave one of them"},
		mutate: func(f *fake) {
			var bodies [][]byte // guarded by f.mu
			f.write = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				body, err := io.ReadAll(r)
				if err != nil {
					return nil, err
				}
				f.mu.Lock()
				bodies = append(bodies, body)
				f.mu.Unlock()
				f.meeting.attend()

				f.mu.Lock()
				other := bodies[slices.IndexFunc(bodies, func(b []byte) bool { return &b[0] != &body[0] })]
				f.mu.Unlock()
				body = append(slices.Clone(body[:len(body)/2]), other[len(other)/2:]...)
				return f.ReplicaClient.WriteLTXFile(ctx, level, minTXID, maxTXID, bytes.NewReader(body))
			}
		},
	},
	{
		name:   "fails deletions that overlap",
		killed: []string{"Concurrency/deletions at once"},
		mutate: func(f *fake) {
			f.delete = func(ctx context.Context, a []*ltx.FileInfo) error {
				if f.meeting.attend() == 1 {
					return errMutant
				}
				return f.ReplicaClient.DeleteLTXFiles(ctx, a)
			}
		},
	},
}

var optionalMutants = []mutant{
	{
		name:   "Init works once",
		killed: []string{"Init/may be called more than once", "Init/may be called concurrently"},
		mutate: func(f *fake) {
			var done atomic.Bool
			f.init = func(context.Context) error {
				if done.Swap(true) {
					return errMutant
				}
				return nil
			}
		},
	},
	{
		name:   "Init empties the replica",
		killed: []string{"Init/may be called more than once"},
		mutate: func(f *fake) {
			f.init = func(ctx context.Context) error {
				infos, err := list(ctx, f.ReplicaClient, 0, 0, false)
				return errors.Join(err, f.ReplicaClient.DeleteLTXFiles(ctx, infos))
			}
		},
	},
	{
		name:   "Init does not wait for another",
		killed: []string{"Init/may be called concurrently"},
		mutate: func(f *fake) {
			var started, ready atomic.Bool
			f.init = func(context.Context) error {
				if !started.Swap(true) {
					f.meeting.attend() // with a listing of another caller
					ready.Store(true)
				}
				return nil
			}
			f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
				if !ready.Load() {
					f.meeting.attend()
					return nil, errMutant
				}
				return f.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
			}
		},
	},
	{
		name:   "create replaces",
		killed: []string{"CreateLTXFile/an existing file is fs.ErrExist and does not change"},
		mutate: func(f *fake) { f.create = f.ReplicaClient.WriteLTXFile },
	},
	{
		name:   "create says nothing of an existing file",
		killed: []string{"CreateLTXFile/an existing file is fs.ErrExist and does not change"},
		mutate: func(f *fake) {
			f.create = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				info, err := f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
				if errors.Is(err, fs.ErrExist) {
					return &ltx.FileInfo{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, nil
				}
				return info, err
			}
		},
	},
	{
		name:   "create refuses a common MinTXID",
		killed: []string{"CreateLTXFile/files of other names do not matter"},
		mutate: func(f *fake) {
			f.create = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				infos, err := list(ctx, f.ReplicaClient, level, minTXID, false)
				if err != nil {
					return nil, err
				}
				if len(infos) > 0 && infos[0].MinTXID == minTXID {
					return nil, fs.ErrExist
				}
				return f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
			}
		},
	},
	{
		name:   "create looks, then writes",
		killed: []string{"CreateLTXFile/of concurrent calls exactly one succeeds"},
		mutate: func(f *fake) { f.create = f.lookThenWrite },
	},
	{
		name:   "create looks, then writes, one call of a client at a time",
		killed: []string{"CreateLTXFile/of concurrent calls by several clients exactly one succeeds"},
		mutate: func(f *fake) {
			var mu sync.Mutex
			f.create = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				mu.Lock()
				defer mu.Unlock()
				return f.lookThenWrite(ctx, level, minTXID, maxTXID, r)
			}
		},
	},
	{
		name:   "says it cannot create, and does",
		killed: []string{"CreateLTXFile/a client that cannot create returns errors.ErrUnsupported and stores nothing"},
		props:  func(p *Properties) { p.NoCreate = true },
		mutate: func(*fake) {},
	},
	{
		name:   "says it cannot create, and stores",
		killed: []string{"CreateLTXFile/a client that cannot create returns errors.ErrUnsupported and stores nothing"},
		props:  func(p *Properties) { p.NoCreate = true },
		mutate: func(f *fake) {
			f.create = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				_, err := f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
				return nil, errors.Join(errors.ErrUnsupported, err)
			}
		},
	},
	{
		name:   "lists all in no order of levels",
		killed: []string{"AllLTXFiles/lists the files of every level in order"},
		mutate: func(f *fake) {
			f.editList(func(level int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				if level < 0 {
					slices.SortStableFunc(infos, func(a, b *ltx.FileInfo) int { return cmp.Compare(b.Level, a.Level) })
				}
				return infos
			})
		},
	},
	{
		name:   "lists all without sizes",
		killed: []string{"AllLTXFiles/lists the files of every level in order"},
		mutate: func(f *fake) {
			f.editList(func(level int, infos []*ltx.FileInfo) []*ltx.FileInfo {
				for _, info := range infos {
					if level < 0 {
						info.Size = 0
					}
				}
				return infos
			})
		},
	},
	{
		name:   "says it cannot list all, and does",
		killed: []string{"AllLTXFiles/a client that cannot list all returns errors.ErrUnsupported"},
		props:  func(p *Properties) { p.NoListAll = true },
		mutate: func(*fake) {},
	},
}

// lookThenWrite is a CreateLTXFile with a gap.
func (f *fake) lookThenWrite(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	body, err := f.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, 0, 1)
	if err == nil {
		return nil, errors.Join(fs.ErrExist, body.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f.meeting.attend()
	return f.ReplicaClient.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}
