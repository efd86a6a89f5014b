package maintain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
)

// restoreTask is what a process restores before it kills itself.
type restoreTask struct {
	Replica string        // folder
	Path    string        // of the database
	Read    int           // the read before which it dies; 0: none
	After   time.Duration // it dies after so long; 0: never
}

const restoreVariable = "LITESTREAM_RESTORE_TASK"

// restoreInChild restores and ends the process, if the process was started for that.
func restoreInChild() {
	text := os.Getenv(restoreVariable)
	if text == "" {
		return
	}
	var task restoreTask
	if err := json.Unmarshal([]byte(text), &task); err != nil {
		panic(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	die := func() { _ = self.Kill() } // there is nobody to tell
	client := decorate.NewFault(file.NewReplicaClient(task.Replica))
	if task.Read > 0 {
		client.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Skip: task.Read - 1, Hang: true, Before: func(decorate.Call) { die() }})
	}
	if task.After > 0 {
		time.AfterFunc(task.After, die)
	}
	maintain.SetRecordEvery(0)
	if _, err := maintain.Restore(context.Background(), client, task.Path, maintain.RestoreOptions{Requests: maintain.Requests{Concurrency: 2}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run runs the task, and reports whether the process was killed.
func (task restoreTask) run(t testing.TB) (killed bool) {
	t.Helper()
	text, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), restoreVariable+"="+string(text))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() < 0 {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

// A restore that is killed at any moment, and continued after the replica was
// compacted, written to or rolled back, restores the database that the replica has
// then.
func TestRestore_Killed(t *testing.T) {
	testscale.NeedsNoRace(t, "it is about what killed processes leave")
	all, _ := large(t)
	kills := testscale.Repeats(50)
	rng := rand.New(rand.NewPCG(1, 2))
	resumed := 0
	took := 200 * time.Millisecond
	for round := 0; kills > 0; round++ {
		b, dir := maps.Clone(all), t.TempDir()
		path := filepath.Join(t.TempDir(), "app.db")
		client := file.NewReplicaClient(dir)
		b.store(t, client)
		var did []string
		for range 1 + rng.IntN(2) {
			task := restoreTask{Replica: dir, Path: path}
			if rng.IntN(2) == 0 {
				task.Read = 1 + rng.IntN(14)
			} else {
				task.After = time.Duration(rng.Int64N(int64(took)))
			}
			start := time.Now()
			if task.run(t) {
				kills--
			} else {
				took = (took + time.Since(start)) / 2
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // it was complete
				t.Fatal(err)
			}
			did = append(did, b.change(t, rng))
			for key := range read(t, client) {
				if b[key] == nil {
					if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.store(t, client)
		}
		reachable := b.reachable()
		want, err := b.image(reachable[len(reachable)-1])
		if err != nil {
			t.Fatal(err)
		}
		r, err := maintain.Restore(t.Context(), client, path, maintain.RestoreOptions{})
		if err != nil {
			t.Fatalf("round %d, %q: %v", round, did, err)
		}
		if r.Resumed > 0 {
			resumed++
		}
		if !bytes.Equal(readFile(t, path), want) {
			t.Fatalf("round %d, %q: restored another database, with %d bytes resumed", round, did, r.Resumed)
		}
		isAlone(t, path)
	}
	if resumed == 0 {
		t.Error("nothing was ever resumed")
	}
}

// change changes a replica at random, and says how.
func (b bucket) change(t testing.TB, rng *rand.Rand) string {
	t.Helper()
	var chain []view.Key // the files after the snapshot
	for key := range b {
		if key.Level != 9 {
			chain = append(chain, key)
		}
	}
	slices.SortFunc(chain, func(a, b view.Key) int { return int(a.MinTXID) - int(b.MinTXID) })
	last := chain[len(chain)-1]
	write := func(txid ltx.TXID) {
		from := []view.Key{only9, only10}[rng.IntN(2)]
		all, _ := large(t)
		b[view.Key{MinTXID: txid, MaxTXID: txid}] = reencode(t, all[from], func(h *ltx.Header) {
			h.MinTXID, h.MaxTXID, h.Timestamp = txid, txid, h.Timestamp+rng.Int64N(100000)
		})
	}
	switch n := rng.IntN(4); {
	case n == 0:
		write(last.MaxTXID + 1)
		return "written to"
	case n == 1 && len(chain) > 1: // and other pages are written instead
		delete(b, last)
		write(chain[len(chain)-2].MaxTXID + 1)
		return "rolled back"
	case n < 3 && len(chain) > 1:
		i := rng.IntN(len(chain) - 1)
		b.compact(t, min(chain[i].Level+1+rng.IntN(3), 8), chain[i:i+2+rng.IntN(len(chain)-i-1)]...)
		return "compacted"
	}
	return "nothing"
}
