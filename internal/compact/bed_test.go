package compact

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
)

// notes is a Notes of a test.
type notes struct {
	look, outgrown bool
	saw            []string
}

func (*notes) Made(*ltx.FileInfo)   {}
func (n *notes) IsLookDue() bool    { return n.look }
func (n *notes) TakeOutgrown() bool { return n.outgrown }

func (n *notes) Saw(v *view.View, files []*ltx.FileInfo) {
	n.saw = append(n.saw, fmt.Sprintf("%d: %s", v.TXID, names(files)))
}

// names prints files like "0/1-2 1/1-2".
func names(files []*ltx.FileInfo) string {
	var all []string
	for _, f := range files {
		all = append(all, fmt.Sprintf("%d/%d-%d", f.Level, f.MinTXID, f.MaxTXID))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// bed is a compactor of a replica in memory, whose view is of its newest transaction
// and needs none of its files.
type bed struct {
	*compactor
	t      *testing.T
	client *memory.ReplicaClient
	notes  *notes
}

// inBed runs a test with a compactor, and a clock of its own. The files are given
// like "0/1-2", and were all made at the beginning.
func inBed(t *testing.T, txid ltx.TXID, files string, test func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tasks := task.NewGroup()
		defer tasks.Wait()
		defer tasks.Close(errs.ErrClosed)
		b := &bed{t: t, client: memory.NewReplicaClient(), notes: new(notes)}
		views := new(view.Views)
		views.Current.Store(&view.View{TXID: txid})
		log := slog.New(slog.DiscardHandler)
		b.compactor = newCompactor(&Deps{
			Store: &remote.Store{Client: b.client, Log: log, Tasks: tasks},
			Views: views, Tasks: tasks, Log: log, Notes: b.notes,
			Pinned:  func() []*view.View { return nil },
			Suspect: func() {},
			PointTo: func(*remote.Loaded, *view.View) error { return nil },
			Opts: Options{
				Levels: []time.Duration{time.Minute, time.Hour}, L0Retention: time.Minute,
				SnapshotInterval: 24 * time.Hour, SnapshotRetention: 48 * time.Hour,
				ReadTimeout: time.Minute, Now: time.Now,
			},
		}, func(string) {})
		b.add(files, 0)
		test(b)
	})
}

// add adds files that are made now. Each holds a page, and as many bytes as given
// that do not compress.
func (b *bed) add(files string, size int) {
	b.t.Helper()
	for field := range strings.FieldsSeq(files) {
		var level int
		var first, last ltx.TXID
		if _, err := fmt.Sscanf(field, "%d/%d-%d", &level, &first, &last); err != nil {
			b.t.Fatal(field, err)
		}
		pages := map[uint32][]byte{1: bytes.Repeat([]byte{1}, 4096)}
		noise := ltxtest.Noise(size)
		for pgno := uint32(2); len(noise) >= 4096; pgno++ {
			pages[pgno], noise = noise[:4096], noise[4096:]
		}
		h := ltx.Header{PageSize: 4096, Commit: uint32(len(pages)), MinTXID: first, MaxTXID: last, Timestamp: time.Now().UnixMilli()}
		if _, err := b.client.WriteLTXFile(b.t.Context(), level, first, last, bytes.NewReader(ltxtest.EncodeLTX(h, pages, false))); err != nil {
			b.t.Fatal(err)
		}
	}
}

// want compares the files of the replica.
func (b *bed) want(files string) {
	b.t.Helper()
	all, err := b.Store.ListAll(b.t.Context(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := names(all); got != files {
		b.t.Errorf("there are %s, want %s", got, files)
	}
}
