package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replicatest"
)

var publishKills = flag.Int("publish-kills", 0, "how often to kill ltxvfs publish --follow; 0: as the gate does")

// published matches what publish prints, with the newest transaction.
var published = regexp.MustCompile(`^published .*, transaction ([0-9a-f]{16})$`)

// site is a replica in a folder that ltxvfs publishes.
type site struct {
	t      *testing.T
	client *file.ReplicaClient
	last   ltx.TXID
	sizes  map[string]int64 // of all files that there have been, by their names
	there  map[string]int64 // of those that there are
}

func name(txid ltx.TXID) string { return "ltx/0/" + ltx.FormatFilename(txid, txid) }

// change writes a transaction, and sometimes deletes the oldest one.
func (s *site) change(rng *rand.Rand) {
	s.t.Helper()
	s.last++
	body, err := replicatest.FileSpec{MinTXID: s.last, MaxTXID: s.last, Pages: 1 + rng.IntN(5), Timestamp: time.UnixMilli(int64(s.last))}.Encode()
	if err == nil {
		_, err = s.client.WriteLTXFile(s.t.Context(), 0, s.last, s.last, bytes.NewReader(body))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.sizes[name(s.last)], s.there[name(s.last)] = int64(len(body)), int64(len(body))
	if oldest := s.last - 5; rng.IntN(3) == 0 && s.there[name(oldest)] > 0 {
		if err := s.client.DeleteLTXFiles(s.t.Context(), []*ltx.FileInfo{{MinTXID: oldest, MaxTXID: oldest}}); err != nil {
			s.t.Fatal(err)
		}
		delete(s.there, name(oldest))
	}
}

// check reads index.json, which has to be whole and to have only files that there have
// been, up to a transaction or a later one. It returns the sizes of the files.
func (s *site) check(newest ltx.TXID) map[string]int64 {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.client.Path(), webindex.Name))
	if errors.Is(err, fs.ErrNotExist) && newest == 0 {
		return nil
	} else if err != nil {
		s.t.Fatal(err)
	}
	index, err := webindex.Decode(b)
	if err != nil {
		s.t.Fatalf("index.json of %d bytes: %v", len(b), err)
	}
	sizes := map[string]int64{}
	for _, f := range index.Files {
		if f.Size != s.sizes[f.Name] {
			s.t.Errorf("index.json says that %s has %d bytes, not %d", f.Name, f.Size, s.sizes[f.Name])
		}
		sizes[f.Name] = f.Size
	}
	if n := len(index.Files); newest > 0 && (n == 0 || index.Files[n-1].Name < name(newest)) {
		s.t.Errorf("index.json has %d files, and not transaction %s, which was published", n, newest)
	}
	return sizes
}

// While files come and go, publish --follow is killed again and again. At each moment
// index.json is whole, and has what publish has said that it has. In the end one more
// publish makes it right.
func TestPublish_Killed(t *testing.T) {
	p := newProgram(t, nil)
	s := &site{t: t, client: file.NewReplicaClient(filepath.Join(p.dir, "replica")), sizes: map[string]int64{}, there: map[string]int64{}}
	kills := *publishKills
	if kills == 0 {
		kills = testscale.Repeats(24)
	}
	rng := rand.New(rand.NewPCG(uint64(kills), 5))
	var newest ltx.TXID // that was published
	for range kills {
		cmd := p.command("publish", "replica", "--follow", "--interval", "1ms")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		s.change(rng) // so that there is a folder
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		n, later := rng.IntN(4), 4*time.Millisecond
		if n == 0 {
			later = 80 * time.Millisecond // the process begins
		}
		for range n {
			s.change(rng)
			if !lines.Scan() {
				t.Fatalf("publish has ended: %v: %s", cmd.Wait(), stderr.String())
			}
			m := published.FindStringSubmatch(lines.Text())
			if m == nil {
				t.Fatalf("publish prints %q", lines.Text())
			}
			if newest, err = ltx.ParseTXID(m[1]); err != nil {
				t.Fatal(err)
			}
			s.check(newest)
		}
		s.change(rng)
		time.Sleep(time.Duration(rng.Int64N(int64(later)))) // somewhere in what it does next
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s.check(newest)
	}
	p.run("publish", "replica")
	if got := s.check(s.last); !maps.Equal(got, s.there) {
		t.Errorf("index.json has %v, and there are %v", got, s.there)
	}
}
