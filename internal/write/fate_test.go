package write

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
)

// failUploads lets every upload fail from now on.
func (b *bed) failUploads() {
	b.client.refuse(func(request string) error {
		if strings.HasPrefix(request, "create") {
			return fs.ErrPermission
		}
		return nil
	})
}

// forbid lets requests of one kind fail from now on.
func (b *bed) forbid(forbidden string) {
	b.client.refuse(func(request string) error {
		if request == forbidden {
			return fs.ErrPermission
		}
		return nil
	})
}

// leave leaves the given number of segments in the write buffer, which are not on the
// replica. Each has one commit of page 2.
func (b *bed) leave(segments int) {
	b.t.Helper()
	b.failUploads()
	for n := range segments {
		b.commit(2)
		b.rotate()
		if got := len(b.Writer.queue.mu.segments); got != n+1 {
			b.t.Fatalf("there are %d segments", got)
		}
	}
	b.stop()
	b.client.refuse(nil)
}

// rotate ends the active segment.
func (b *bed) rotate() {
	b.Writer.queue.mu.buffer.rotate(func(*segment) bool { return true })
}

// next begins the next process, and turns write mode on for a replica that change has
// changed after the process has read it.
func (b *bed) next(change func()) error {
	b.t.Helper()
	b.start()
	if change != nil {
		change()
	}
	return b.Enable(b.t.Context(), false)
}

// TestRecovery_Follows says which replicas the commits of an earlier process follow:
// two commits on transaction 1.
func TestRecovery_Follows(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(b *bed)
		why    string // empty: they are replayed
	}{
		{"nothing has changed", func(*bed) {}, ""},
		{"the same state in a merged file", func(b *bed) { b.merge("1/1-1"); b.remove("0/1-1") }, ""},
		{"a snapshot of it beside the file", func(b *bed) { b.put("9/1-1", time.Now().UnixMilli(), 2, 1, 2) }, ""},
		{"a later snapshot, and the file is gone", func(b *bed) { b.put("9/1-1", time.Now().UnixMilli(), 2, 1, 2); b.remove("0/1-1") }, ""},
		{"a snapshot from before the file", func(b *bed) { b.put("9/1-1", 1000, 2, 1, 2); b.remove("0/1-1") }, "another time"},
		{"a snapshot beside another file", func(b *bed) {
			at := b.newest()
			b.put("9/1-1", time.Now().UnixMilli(), 2, 1, 2)
			b.put("0/1-1", at, 2, 1, 2)
		}, "has another checksum"},
		{"another file of the same time", func(b *bed) { b.put("0/1-1", b.newest(), 2, 1, 2) }, "another checksum"},
		{"a merged file of another time", func(b *bed) { b.put("1/1-1", 1000, 2, 1, 2); b.remove("0/1-1") }, "another time"},
		{"a database of another size", func(b *bed) { b.put("0/1-1", b.newest(), 3, 1, 2, 3) }, "of another database"},
		{"another page size", func(b *bed) {
			page := make([]byte, 1024)
			copy(page, "SQLite format 3\x00\x04\x00")
			b.write("0/1-1", ltx.Header{PageSize: 1024, Commit: 2, Timestamp: b.newest()}, map[uint32][]byte{1: page, 2: page})
		}, "of another database"},
		{"another writer's commit", func(b *bed) { b.put("0/2-2", time.Now().UnixMilli(), 2, 2) }, "the replica is at transaction"},
	} {
		inBed(t, func(b *bed) {
			time.Sleep(time.Hour)
			b.commit(1, 2)
			b.sync()
			b.leave(2)
			time.Sleep(time.Minute)
			tt.change(b)
			if err := b.next(nil); err != nil {
				b.t.Errorf("%s: %v", tt.name, err)
				return
			}
			if n, log := b.Status().Counts.Recovered, b.log.String(); (n == 2) != (tt.why == "") || n == 1 || tt.why != "" && !strings.Contains(log, tt.why) {
				b.t.Errorf("%s: %d commits are replayed: %s", tt.name, n, log)
			}
			if kept := strings.Count(b.local(), ".kept-"); kept != 2 && tt.why != "" || kept > 0 && tt.why == "" {
				b.t.Errorf("%s: %s is there", tt.name, b.local())
			}
			if tt.why == "" {
				b.sync()
				if files := names(b.files()); !strings.Contains(files, "0/2-2 0/3-3") {
					b.t.Errorf("%s: the replica has %s", tt.name, files)
				}
			}
		})
	}
}

// A segment that is missing takes those after it along: they do not follow the replica.
func TestRecovery_Gap(t *testing.T) {
	for n, why := range []string{"the replica is at transaction", "does not follow the segment before", ""} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.sync()
			b.leave(3)
			if err := os.Remove(b.path + []string{"-00000002", "-00000003", "-00000004"}[n]); err != nil {
				b.t.Fatal(err)
			}
			if err := b.next(nil); err != nil || b.Status().Counts.Recovered != int64(n) {
				b.t.Errorf("without segment %d: %v, %+v", n, err, b.Status())
			}
			if log := b.log.String(); !strings.Contains(log, why) || strings.Count(b.local(), ".kept-") != 2-n {
				b.t.Errorf("without segment %d: %s, %s", n, b.local(), log)
			}
		})
	}
}

// TestRecovery_Uploaded says how a process recognises commits that the one before has
// uploaded, but not removed from the write buffer: those of transaction 2.
func TestRecovery_Uploaded(t *testing.T) {
	damage := func(b *bed, name string, at int64) { // a byte, counted from the end if it is negative
		k := b.keyOf(name)
		r, err := b.client.ReplicaClient.OpenLTXFile(b.t.Context(), k.Level, k.MinTXID, k.MaxTXID, 0, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			b.t.Fatal(err)
		}
		if at < 0 {
			at += int64(len(body))
		}
		body[at] ^= 0xff
		if _, err := b.client.ReplicaClient.WriteLTXFile(b.t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(body)); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		before  func(b *bed) // changes the replica before the next process reads it
		after   func(b *bed) // and then
		kept    bool         // the commits are kept aside, otherwise they are known to be on the replica
		err     error
		atMost2 bool // it reads the merged file's header only
	}{
		{name: "its file is there"},
		{name: "another file", before: func(b *bed) { b.put("0/2-2", b.newest(), 2, 2) }, kept: true},
		{name: "merged", before: func(b *bed) { b.merge("1/1-2"); b.remove("0/1-1", "0/2-2") }},
		{name: "merged with the next", before: func(b *bed) {
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
			b.merge("1/1-3")
		}, kept: true}, // of which file it was made cannot be known
		{name: "merged, and followed by the next", before: func(b *bed) {
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
			b.merge("1/1-2")
		}},
		{name: "followed by the next", before: func(b *bed) { b.put("0/3-3", time.Now().UnixMilli(), 2, 2) }},
		{name: "followed by the next, with another file that was merged", before: func(b *bed) {
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
			b.merge("1/1-1")
		}},
		{name: "followed by the next, with a merged file of another writer", before: func(b *bed) {
			b.put("1/1-2", b.newest(), 2, 1, 2)
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
		}, kept: true},
		{name: "followed by the next, with a merged file that is not to be read", before: func(b *bed) {
			b.merge("1/1-2")
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
		}, after: func(b *bed) { b.forbid("read 1/1-2") }, err: fs.ErrPermission},
		{name: "followed by the next, and not to be listed", before: func(b *bed) {
			b.put("0/3-3", time.Now().UnixMilli(), 2, 2)
		}, after: func(b *bed) { b.forbid("list") }, err: fs.ErrPermission},
		{name: "merged file of another writer", before: func(b *bed) {
			b.put("1/1-2", b.newest(), 2, 1, 2)
			b.remove("0/1-1", "0/2-2")
		}, kept: true},
		{name: "merged file without its page", before: func(b *bed) {
			b.put("2/1-1", 1000, 3, 1, 2, 3)
			b.put("1/2-2", b.newest(), 2, 1)
			b.remove("0/1-1", "0/2-2")
		}, kept: true},
		{name: "merged file with more pages", before: func(b *bed) {
			b.merge("1/2-2")
			b.remove("0/2-2")
		}},
		{name: "merged file of another time", before: func(b *bed) {
			b.put("1/1-2", b.newest()+1, 2, 1, 2)
			b.remove("0/1-1", "0/2-2")
		}, kept: true, atMost2: true},
		{name: "merged file of another size", before: func(b *bed) {
			b.put("1/1-2", b.newest(), 3, 1, 2, 3)
			b.remove("0/1-1", "0/2-2")
		}, kept: true, atMost2: true},
		{name: "merged file of another page size", before: func(b *bed) {
			page := make([]byte, 1024)
			copy(page, "SQLite format 3\x00\x04\x00")
			b.write("1/1-2", ltx.Header{PageSize: 1024, Commit: 2, Timestamp: b.newest()}, map[uint32][]byte{1: page, 2: page})
			b.remove("0/1-1", "0/2-2")
		}, kept: true, atMost2: true},
		{name: "merged, and damaged", before: func(b *bed) { b.merge("1/1-2"); b.remove("0/1-1", "0/2-2") },
			after: func(b *bed) { damage(b, "1/1-2", ltx.HeaderSize+20) }, kept: true},
		{name: "merged, with another checksum", before: func(b *bed) { b.merge("1/1-2"); b.remove("0/1-1", "0/2-2") },
			after: func(b *bed) { damage(b, "1/1-2", -1) }, kept: true},
		{name: "merged, and deleted since", before: func(b *bed) { b.merge("1/1-2"); b.remove("0/1-1", "0/2-2") },
			after: func(b *bed) { b.remove("1/1-2") }, kept: true},
		{name: "merged, and not to be read", before: func(b *bed) { b.merge("1/1-2"); b.remove("0/1-1", "0/2-2") },
			after: func(b *bed) { b.forbid("read 1/1-2") }, err: fs.ErrPermission},
		{name: "its file is not to be read", before: func(b *bed) { b.put("0/3-3", time.Now().UnixMilli(), 2, 2) },
			after: func(b *bed) { b.forbid("read 0/2-2") }, err: fs.ErrPermission},
	} {
		inBed(t, func(b *bed) {
			time.Sleep(time.Hour)
			b.commit(1, 2)
			b.sync()
			b.event = func(event string) error {
				if event == "before: remove segment" {
					return fs.ErrPermission
				}
				return nil
			}
			b.commit(2)
			b.sync()
			b.event = nil
			b.stop()
			if got := b.local(); got != "-00000002" && got != " -00000002" {
				b.t.Fatalf("the write buffer has %q", got)
			}
			if tt.before != nil {
				tt.before(b)
			}
			err := b.next(func() {
				if tt.after != nil {
					tt.after(b)
				}
				b.client.take()
			})
			if !errors.Is(err, tt.err) || err != nil && tt.err == nil {
				b.t.Errorf("%s: %v", tt.name, err)
			}
			if n := b.Status().Counts.Recovered; n != 0 {
				b.t.Errorf("%s: %d commits are replayed", tt.name, n)
			}
			if got := strings.Contains(b.local(), ".kept-"); got != tt.kept {
				b.t.Errorf("%s: commits are kept aside: %v; %s", tt.name, got, b.log)
			}
			if got := strings.Contains(b.local(), "-00000002"); got != (tt.kept || tt.err != nil) {
				b.t.Errorf("%s: %s is left", tt.name, b.local())
			}
			if got := b.client.take(); tt.atMost2 && got != "read 1/1-2" {
				b.t.Errorf("%s: it takes %s", tt.name, got)
			}
		})
	}
}

// A segment whose header is damaged is kept aside, and those after it are, too: they
// follow its commits, although the replica is empty.
func TestRecovery_DamagedHeader(t *testing.T) {
	for _, synced := range []bool{false, true} {
		inBed(t, func(b *bed) {
			first, last := "-00000001", "-00000002"
			if synced {
				b.commit(1, 2)
				b.sync()
				first, last = "-00000002", "-00000003"
			}
			b.leave(2)
			f := b.open(first)
			if _, err := f.WriteAt([]byte{0xff}, 20); err != nil {
				b.t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				b.t.Fatal(err)
			}
			if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 0 {
				b.t.Errorf("%v, %+v", err, b.Status())
			}
			got := b.local()
			if !strings.Contains(got, first) || !strings.Contains(got, last) || strings.Count(got, ".kept-") != 2 || strings.Contains(" "+got, " "+first) {
				b.t.Errorf("%s: %s", got, b.log)
			}
		})
	}
}

// A commit that was acknowledged and is cut off takes those after it along, although the
// replica is empty as it was before all of them.
func TestRecovery_CutOff(t *testing.T) {
	inBed(t, func(b *bed) {
		b.leave(2)
		info, err := os.Stat(b.path + "-00000001")
		if err == nil {
			err = os.Truncate(b.path+"-00000001", info.Size()-10)
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 0 || strings.Count(b.local(), ".kept-") != 2 {
			b.t.Errorf("%v, %+v, %s", err, b.Status(), b.local())
		}
		if !strings.Contains(b.log.String(), "its last commit was not written whole") {
			b.t.Error(b.log)
		}
	})
}

// If the replica is behind the commits of an earlier process, it is the listing that is
// wrong, the replica that is lost, or another writer that has gone back.
func TestRecovery_Behind(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		b.commit(2)
		b.sync()
		b.leave(1)
		b.remove("0/2-2")
		b.start()
		b.put("0/2-2", 1000, 2, 2) // it was not listed
		if err := b.Enable(b.t.Context(), false); !errors.Is(err, ErrWrongListing) {
			b.t.Errorf("the file of the state exists: %v", err)
		}
		b.remove("0/2-2", "0/1-1")
		b.stop()
		if err := b.next(nil); !errors.Is(err, errs.ErrNoDatabase) {
			b.t.Errorf("the replica is empty: %v", err)
		}
		b.put("0/1-1", 1000, 2, 1, 2)
		b.stop()
		if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 0 || !strings.Contains(b.local(), ".kept-") {
			b.t.Errorf("the replica is at an earlier state: %v, %s", err, b.local())
		}
	})
}

// TestRecovery_BehindInQueue is TestRecovery_Behind for a segment that was begun while
// the one before it was not uploaded yet, and which does not say what file that became.
func TestRecovery_BehindInQueue(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.sync()
		b.leave(2)
		if err := os.Remove(b.path + "-00000002"); err != nil { // it was uploaded
			b.t.Fatal(err)
		}
		b.start()
		b.put("0/2-2", 1000, 2, 2) // it was not listed
		if err := b.Enable(b.t.Context(), false); !errors.Is(err, ErrWrongListing) || strings.Contains(b.local(), ".kept-") {
			b.t.Errorf("the file before the segment exists: %v, %s", err, b.local())
		}
		b.remove("0/2-2", "0/1-1")
		b.stop()
		b.start()
		b.put("0/2-2", 1000, 2, 2)
		if err := b.Enable(b.t.Context(), false); !errors.Is(err, ErrWrongListing) || strings.Contains(b.local(), ".kept-") {
			b.t.Errorf("the listing is empty, and the file before the segment exists: %v, %s", err, b.local())
		}
	})
}
