package badbytes

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// replicas are small replicas of a real primary, in both formats of frames.
func replicas(t *testing.T) (all []Replica) {
	t.Helper()
	for _, name := range []string{"pagesize-512", "old-frames", "broken/base"} {
		r, err := ReadDir(filepath.Join("../../testdata/replicas", name))
		if err != nil {
			t.Fatal(err)
		}
		if len(r) == 0 {
			t.Fatalf("%s has no files", name)
		}
		all = append(all, r)
	}
	return all
}

// A file that is taken apart and put together again is accepted, and has the same
// pages.
func TestEncode(t *testing.T) {
	for _, r := range replicas(t) {
		for key, body := range r {
			f := parse(key, body)
			if f == nil {
				t.Fatalf("%s cannot be parsed", key)
			}
			again, err := ltxio.ParseFile(f.encode(), key.MinTXID, key.MaxTXID)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			n := 0
			if err := again.Verify(func(pgno uint32, page []byte) {
				if f.frames[n].pgno != pgno || !bytes.Equal(f.frames[n].page, page) {
					t.Errorf("%s: page %d differs", key, pgno)
				}
				n++
			}); err != nil || n != len(f.frames) {
				t.Errorf("%s: %d of %d pages, %v", key, n, len(f.frames), err)
			}
		}
	}
}

// Every kind of damage does something, and leaves the bodies of the replica that it
// was copied from alone. Files with lies in their pages have right checksums.
func TestMutations(t *testing.T) {
	most := map[string]int{} // seeds that do something in one replica
	for i, r := range replicas(t) {
		before := map[string]string{}
		for key, body := range r {
			before[key.String()] = string(body)
		}
		for name, m := range mutations {
			done, accepted, wrong := 0, 0, 0
			for seed := range uint64(16) {
				damaged := r.Clone()
				note := m.apply(rand.New(rand.NewPCG(seed, 1)), damaged)
				if note == "" {
					if !reflect.DeepEqual(damaged, r) {
						t.Fatalf("%s changes replica %d and does not say so", name, i)
					}
					continue
				}
				done++
				ok := true
				for key, body := range damaged {
					ok = ok && (bytes.Equal(body, r[key]) || parse(key, body) != nil)
				}
				switch {
				case !ok:
					wrong++
				case !reflect.DeepEqual(damaged, r):
					accepted++
				}
			}
			most[name] = max(most[name], done)
			switch name {
			case "dbheader", "cells", "children", "freelist", "schema", "pagebytes", "pageswap", "structures":
				if wrong > 0 || accepted < done/2 {
					t.Errorf("%s: of %d damages %d have wrong checksums, and %d change something", name, done, wrong, accepted)
				}
			}
		}
		for key, body := range r {
			if before[key.String()] != string(body) {
				t.Errorf("%s was changed in place", key)
			}
		}
	}
	for name := range mutations {
		if most[name] < 5 {
			t.Errorf("%s does something for %d of 16 seeds at most", name, most[name])
		}
	}
}

// A plan does the same each time.
func TestPlan_Same(t *testing.T) {
	for i, r := range replicas(t) {
		for seed := range uint64(100) {
			a, b := r.Clone(), r.Clone()
			da, db := NewPlan(seed).Apply(a), NewPlan(seed).Apply(b)
			if !reflect.DeepEqual(a, b) || !reflect.DeepEqual(da, db) {
				t.Fatalf("replica %d, seed %d: %v and %v", i, seed, da.Notes, db.Notes)
			}
		}
	}
}

func TestImages(t *testing.T) {
	for _, r := range replicas(t) {
		images, err := r.Images()
		if err != nil || len(images) == 0 {
			t.Errorf("%d images, %v", len(images), err)
		}
		for txid, image := range images {
			if len(image) == 0 || txid == 0 || string(image[:6]) != "SQLite" {
				t.Errorf("the image of %s is no database", ltx.TXID(txid))
			}
		}
	}
}
