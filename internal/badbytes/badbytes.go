// Package badbytes damages replicas for tests. A plan, which follows from a seed,
// has a few steps: flipped bits, cuts, files under names of others, headers and page
// indexes that lie, bombs of compressed data, pages of b-trees that lead in circles.
//
//	plan := badbytes.NewPlan(seed)
//	damaged := replica.Clone()
//	d := plan.Apply(damaged)
//	client := badbytes.NewClient(damaged)
//
// Some steps leave checksums wrong. Others compute them anew, so that the damage
// gets past the checksums to what parses the rest: then the replica is forged, and
// any content is right, but reading it must be safe.
package badbytes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// Replica is the LTX files of a replica by their names. A body is not changed in
// place, so that copies share it.
type Replica map[view.Key][]byte

// Clone returns a copy that can be damaged.
func (r Replica) Clone() Replica { return maps.Clone(r) }

// Keys returns the names of the files in order.
func (r Replica) Keys() []view.Key { return slices.SortedFunc(maps.Keys(r), view.Key.Compare) }

// Read reads the files of a store.
func Read(ctx context.Context, client replica.Client) (Replica, error) {
	r := Replica{}
	for level := range view.Levels {
		itr, err := client.LTXFiles(ctx, level, 0, false)
		if err != nil {
			return nil, err
		}
		for itr.Next() {
			key := view.KeyOf(itr.Item())
			body, err := client.OpenLTXFile(ctx, key.Level, key.MinTXID, key.MaxTXID, 0, 0)
			if err != nil {
				return nil, errors.Join(err, itr.Close())
			}
			r[key], err = io.ReadAll(body)
			if err = errors.Join(err, body.Close()); err != nil {
				return nil, errors.Join(err, itr.Close())
			}
		}
		if err := itr.Close(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ReadDir reads the files of a replica in a folder, with the names that Litestream
// gives them there.
func ReadDir(dir string) (Replica, error) {
	r := Replica{}
	for level := range view.Levels {
		folder := filepath.Join(dir, "ltx", fmt.Sprint(level))
		entries, err := os.ReadDir(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		for _, e := range entries {
			key := view.Key{Level: level}
			if key.MinTXID, key.MaxTXID, err = ltx.ParseFilename(e.Name()); err != nil {
				return nil, err
			}
			if r[key], err = os.ReadFile(filepath.Join(folder, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// WriteDir writes the files to a folder, with the same names.
func (r Replica) WriteDir(dir string) error {
	for key, body := range r {
		folder := filepath.Join(dir, "ltx", fmt.Sprint(key.Level))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, ltx.FormatFilename(key.MinTXID, key.MaxTXID)), body, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Images returns the database file of each state that an intact replica has.
func (r Replica) Images() (map[ltx.TXID][]byte, error) {
	images := map[ltx.TXID][]byte{0: nil}
	keys := r.Keys()
	slices.SortStableFunc(keys, func(a, b view.Key) int { return int(a.MaxTXID) - int(b.MaxTXID) })
	for _, key := range keys { // what a file is put on has a smaller transaction
		for txid, image := range images {
			if key.MinTXID > txid+1 || key.MaxTXID <= txid {
				continue
			}
			next, err := apply(image, r[key])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			if had, ok := images[key.MaxTXID]; ok && !bytes.Equal(had, next) {
				return nil, fmt.Errorf("%s: it gives another state than other files", key)
			}
			images[key.MaxTXID] = next
			break
		}
	}
	delete(images, 0)
	return images, nil
}

// apply returns a database file after the transactions of an LTX file.
func apply(image, body []byte) ([]byte, error) {
	dec := ltx.NewDecoder(bytes.NewReader(body))
	if err := dec.DecodeHeader(); err != nil {
		return nil, err
	}
	size := int(dec.Header().PageSize)
	next := make([]byte, size*int(dec.Header().Commit))
	copy(next, image)
	page := make([]byte, size)
	for {
		var hdr ltx.PageHeader
		if err := dec.DecodePage(&hdr, page); err == io.EOF {
			return next, dec.Close()
		} else if err != nil {
			return nil, err
		}
		copy(next[size*int(hdr.Pgno-1):], page)
	}
}

// parse returns an LTX file with its pages, nil if it is not intact any more.
func parse(key view.Key, body []byte) *file {
	p, err := ltxio.ParseFile(body, key.MinTXID, key.MaxTXID)
	if err != nil {
		return nil
	}
	f := &file{header: p.Header}
	if err := p.Verify(func(pgno uint32, page []byte) {
		f.frames = append(f.frames, frame{pgno: pgno, page: bytes.Clone(page)})
	}); err != nil {
		return nil
	}
	f.sized = len(f.frames) == 0 || ltxio.IsSized(body[ltx.HeaderSize:])
	return f
}
