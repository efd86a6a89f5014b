package maintain_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// read returns all files of a replica.
func read(t testing.TB, client replica.Client) bucket {
	t.Helper()
	b := bucket{}
	for level := range view.Levels {
		itr, err := client.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		for itr.Next() {
			info := *itr.Item()
			r, err := client.OpenLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			var buf bytes.Buffer
			_, err = buf.ReadFrom(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			b[view.KeyOf(&info)] = buf.Bytes()
		}
		if err := itr.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b bucket) equal(other bucket) bool { return maps.EqualFunc(b, other, bytes.Equal) }

// A copy has every file byte for byte, and a second one copies what is new.
func TestCopy(t *testing.T) {
	b, _ := large(t)
	all := maps.Clone(b)
	newest := view.Key{MinTXID: 10, MaxTXID: 10}
	delete(b, newest)
	to := file.NewReplicaClient(filepath.Join(t.TempDir(), "replica"))
	r, err := maintain.Copy(t.Context(), b, to, maintain.CopyOptions{})
	if err != nil || r.Files != 3 || r.There != 0 || r.Newest != 9 || !read(t, to).equal(b) {
		t.Fatalf("copied %+v, error %v", r, err)
	}
	b[newest] = all[newest]
	var last maintain.Progress
	r, err = maintain.Copy(t.Context(), b, to, maintain.CopyOptions{Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }}})
	if err != nil || r.Files != 1 || r.There != 3 || r.Newest != 10 || !read(t, to).equal(all) {
		t.Errorf("copied %+v, error %v", r, err)
	}
	if last.Bytes != last.AllBytes || last.Files != 1 {
		t.Errorf("progress ends with %+v", last)
	}
}

// A failure of any request on either side ends a copy with an error or not at all.
// The next copy adds what is missing. What is there at any time gives only states
// of the replica.
func TestCopy_Faults(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/compacted")
	sums := b.states()
	for side := range 2 {
		for k := 1; ; k++ {
			store := memory.NewReplicaClient()
			clients := []replica.Client{b, store}
			faults := decorate.NewFault(clients[side])
			faults.FailCall(k, fs.ErrPermission)
			clients[side] = faults
			_, err := maintain.Copy(t.Context(), clients[0], clients[1], maintain.CopyOptions{})
			if faults.Faults() == 0 {
				if err != nil || k < 6 {
					t.Fatalf("%d calls, error %v", k-1, err)
				}
				break
			}
			if !errors.Is(err, fs.ErrPermission) {
				t.Fatalf("call %d: error %v", k, err)
			}
			for txid, sum := range read(t, store).states() {
				if sums[txid] != sum {
					t.Fatalf("call %d: transaction %s is another state", k, txid)
				}
			}
			if _, err := maintain.Copy(t.Context(), b, store, maintain.CopyOptions{}); err != nil || !read(t, store).equal(b) {
				t.Fatalf("call %d: the next copy: %v", k, err)
			}
		}
	}
}

// A copy that cannot read what tells the history of either place does not go on.
func TestCopy_FaultsThere(t *testing.T) {
	b := layered(t)
	for side := range 2 {
		for k := 1; ; k++ {
			there := maps.Clone(b)
			maps.DeleteFunc(there, func(k view.Key, _ []byte) bool { return k.MaxTXID > 14 })
			store := there.stored(t)
			clients := []replica.Client{b, store}
			faults := decorate.NewFault(clients[side])
			faults.FailCall(k, fs.ErrPermission)
			clients[side] = faults
			_, err := maintain.Copy(t.Context(), clients[0], clients[1], maintain.CopyOptions{Requests: maintain.Requests{Concurrency: 1}})
			if faults.Faults() == 0 {
				if err != nil || k < 6 || !read(t, store).equal(b) {
					t.Fatalf("%d calls, error %v", k-1, err)
				}
				break
			}
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("side %d, call %d: error %v", side, k, err)
			}
		}
	}
}

// A small file is copied with one read.
func TestCopy_Reads(t *testing.T) {
	b := layered(t)
	from := decorate.NewFault(b)
	var reads atomic.Int64
	from.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Before: func(decorate.Call) { reads.Add(1) }})
	r, err := maintain.Copy(t.Context(), from, memory.NewReplicaClient(), maintain.CopyOptions{})
	if err != nil || r.Files != len(b) || reads.Load() != int64(len(b)) {
		t.Errorf("%+v with %d reads, error %v", r, reads.Load(), err)
	}
}

// A primary that compacts the source meanwhile is no problem: Copy looks again.
func TestCopy_Compacted(t *testing.T) {
	b := readBucket(t, "../testdata/replicas/broken/base")
	keys := slices.SortedFunc(maps.Keys(b), func(x, y view.Key) int { return cmp.Compare(x.MinTXID, y.MinTXID) })
	faults := decorate.NewFault(b)
	faults.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) { b.compact(t, 1, keys...) }})
	store := memory.NewReplicaClient()
	r, err := maintain.Copy(t.Context(), faults, store, maintain.CopyOptions{Requests: maintain.Requests{Concurrency: 1}})
	if err != nil || r.Files != 1 || !read(t, store).equal(b) {
		t.Errorf("copied %+v, error %v", r, err)
	}
}

// A store that refuses a large file ends the reads of it.
func TestCopy_RefusedFile(t *testing.T) {
	b, _ := large(t)
	from, to := newCopying(b.stored(t), nil), decorate.NewFault(memory.NewReplicaClient())
	to.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate), At: decorate.InBody, N: 1 << 20, Err: fs.ErrPermission})
	_, err := maintain.Copy(t.Context(), from, to, maintain.CopyOptions{Requests: maintain.Requests{Concurrency: 1}})
	if read := int(from.read.Load()); !errors.Is(err, fs.ErrPermission) || read > len(b[snapshot])*3/4 {
		t.Errorf("read %d bytes of a file of %d, error %v", read, len(b[snapshot]), err)
	}
}

// Copies at the same time do not disturb each other.
func TestCopy_Twice(t *testing.T) {
	b, _ := large(t)
	to := file.NewReplicaClient(filepath.Join(t.TempDir(), "replica"))
	var g errgroup.Group
	for range 3 {
		g.Go(func() error {
			_, err := maintain.Copy(t.Context(), b, to, maintain.CopyOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil || !read(t, to).equal(b) {
		t.Errorf("error %v", err)
	}
}

// What another copy adds while a copy looks, before or after it has listed the other
// place, is no other history.
func TestCopy_Meanwhile(t *testing.T) {
	all, _ := large(t)
	for _, before := range []bool{true, false} {
		b := maps.Clone(all)
		delete(b, only10)
		store := b.stored(t)
		to := decorate.NewFault(store)
		other := func() {
			b[only10] = all[only10]
			if _, err := maintain.Copy(t.Context(), b, store, maintain.CopyOptions{}); err != nil {
				t.Error(err)
			}
		}
		rule := decorate.Rule{Match: decorate.Ops(decorate.OpListAll), Times: 1}
		if before {
			rule.Before = func(decorate.Call) { other() }
		} else {
			rule.After = func(decorate.Call, error) { other() }
		}
		to.Add(rule)
		r, err := maintain.Copy(t.Context(), b, to, maintain.CopyOptions{})
		if err != nil || r.Newest != 10 || !read(t, store).equal(all) {
			t.Errorf("the other one copies before the listing %t: copied %+v, error %v", before, r, err)
		}
	}
}

// merging is a replica whose newest files are merged while it is listed for the first time:
// level 1 is listed before, and level 0 after that.
type merging struct {
	bucket
	listed *atomic.Bool
	before bucket // level 1
}

func (m merging) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if level == 1 && !m.listed.Swap(true) {
		return m.before.LTXFiles(ctx, level, seek, useMetadata)
	}
	return m.bucket.LTXFiles(ctx, level, seek, useMetadata)
}

// A listing of the source that lacks the newest transaction, because its file was merged
// meanwhile, shows no other history.
func TestCopy_MergedMeanwhile(t *testing.T) {
	all, _ := large(t)
	b := maps.Clone(all)
	merged := b.compact(t, 1, only9, only10)
	to := all.stored(t)
	all[merged] = b[merged]
	r, err := maintain.Copy(t.Context(), merging{b, new(atomic.Bool), bucket{upTo8: b[upTo8]}}, to, maintain.CopyOptions{})
	if err != nil || r.Files != 1 || !read(t, to).equal(all) {
		t.Errorf("copied %+v, error %v", r, err)
	}
}

// A copy that is cancelled leaves whole files.
func TestCopy_Cancelled(t *testing.T) {
	b, _ := large(t)
	store := memory.NewReplicaClient()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := maintain.Copy(ctx, b, store, maintain.CopyOptions{Requests: maintain.Requests{Concurrency: 1, Progress: func(p maintain.Progress) {
		if p.Bytes > p.AllBytes/2 {
			cancel()
		}
	}}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	for key, body := range read(t, store) {
		if !bytes.Equal(body, b[key]) {
			t.Errorf("%s is not whole", key)
		}
	}
}

// A damaged file is not copied, and one of another history is not replaced.
func TestCopy_Refuses(t *testing.T) {
	b, _ := large(t)
	for key := range b {
		damaged := maps.Clone(b)
		damaged[key] = bytes.Clone(b[key])
		damaged[key][len(b[key])/2] ^= 1
		store := memory.NewReplicaClient()
		_, err := maintain.Copy(t.Context(), damaged, store, maintain.CopyOptions{})
		if _, there := read(t, store)[key]; !errors.Is(err, errs.ErrCorrupt) || there {
			t.Errorf("%s is damaged: error %v, copied %t", key, err, there)
		}
		if _, err := maintain.Copy(t.Context(), b, store, maintain.CopyOptions{}); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	other := maps.Clone(b)
	key := view.Key{MinTXID: 10, MaxTXID: 10}
	other[key] = bytes.Clone(b[key])
	other[key][len(b[key])-1] ^= 1
	delete(other, view.Key{MinTXID: 9, MaxTXID: 9})
	before := maps.Clone(other)
	if _, err := maintain.Copy(t.Context(), b, other, maintain.CopyOptions{}); !errors.Is(err, errs.ErrConflict) || !other.equal(before) {
		t.Errorf("another history: error %v, want ErrConflict", err)
	}
	for name, from := range map[string]string{"sandwiches": "compacted", "compacted": "sandwiches"} {
		other := readBucket(t, "../testdata/replicas/"+name)
		before := maps.Clone(other)
		if _, err := maintain.Copy(t.Context(), readBucket(t, "../testdata/replicas/"+from), other, maintain.CopyOptions{}); !errors.Is(err, errs.ErrConflict) || !other.equal(before) {
			t.Errorf("%s to %s: error %v, want ErrConflict", from, name, err)
		}
	}
	if _, err := maintain.Copy(t.Context(), b, file.NewReplicaClient(parent(t)), maintain.CopyOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the folder of a replica: error %v, want fs.ErrExist", err)
	}
	if _, err := maintain.Copy(t.Context(), bucket{}, memory.NewReplicaClient(), maintain.CopyOptions{}); !errors.Is(err, errs.ErrNoDatabase) {
		t.Errorf("nothing: error %v, want ErrNoDatabase", err)
	}
}
