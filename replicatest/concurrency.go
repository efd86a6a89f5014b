package replicatest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

var concurrencyCases = []testCase{
	{name: "writers and readers at once", run: func(e *env) {
		const writers, filesEach, readers, rounds = 8, 6, 4, 12
		bodies := map[file][]byte{} // complete before another goroutine reads it
		var shares [writers][]file
		for w := range shares {
			for i := range filesEach {
				txid := ltx.TXID(w*filesEach + i + 1)
				f := file{0, txid, txid}
				shares[w] = append(shares[w], f)
				bodies[f] = f.body()
			}
		}
		var group errgroup.Group
		for _, share := range shares {
			group.Go(func() error { return e.writeAndCheck(share, bodies) })
		}
		for range readers {
			group.Go(func() error {
				for range rounds {
					if err := e.readAllOf(0, bodies); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			e.Fatal(err)
		}
		if got := e.list(0, 0, false); len(got) != writers*filesEach {
			e.Errorf("%d files are listed in the end, want %d", len(got), writers*filesEach)
		}
	}},

	{name: "readers of one file at once", run: func(e *env) {
		f, body := e.writeSample()
		var group errgroup.Group
		for i := range parallelism {
			group.Go(func() error {
				got, err := read(e.ctx, e.client, f, int64(i), 0)
				return errors.Join(err, compareBytes(f, got, body[i:]))
			})
		}
		if err := group.Wait(); err != nil {
			e.Fatal(err)
		}
	}},

	{name: "writers of one file at once leave one of them", run: func(e *env) {
		f := file{0, 1, 1}
		bodies := make([][]byte, parallelism)
		var group errgroup.Group
		for i := range bodies {
			bodies[i] = f.sized(uint64(i), i+1)
			group.Go(func() error {
				_, err := e.client.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(bodies[i]))
				return err
			})
		}
		if err := group.Wait(); err != nil {
			e.Fatal(err)
		}
		e.wantList(0, 0, f)
		got := e.read(f, 0, 0)
		if !slices.ContainsFunc(bodies, func(b []byte) bool { return bytes.Equal(b, got) }) {
			e.Errorf("%s is none of the bodies that were written", f)
		}
	}},

	{name: "deletions at once", run: func(e *env) {
		var files []file
		var infos []*ltx.FileInfo
		for txid := ltx.TXID(1); txid <= 20; txid++ {
			files = append(files, file{0, txid, txid})
			infos = append(infos, file{0, txid, txid}.info())
		}
		e.write(files...)
		var group errgroup.Group
		for range 4 { // of the same files
			group.Go(func() error { return e.client.DeleteLTXFiles(e.ctx, infos[1:]) })
		}
		if err := group.Wait(); err != nil {
			e.Fatal(err)
		}
		e.wantList(0, 0, files[0])
	}},
}

// writeAndCheck writes files that no other goroutine writes, and checks each of
// them at once.
func (e *env) writeAndCheck(files []file, bodies map[file][]byte) error {
	for _, f := range files {
		if _, err := e.client.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(bodies[f])); err != nil {
			return fmt.Errorf("WriteLTXFile %s: %w", f, err)
		}
		infos, err := list(e.ctx, e.client, f.level, f.minTXID, true)
		if err != nil {
			return err
		}
		if !slices.Contains(filesOf(infos), f) {
			return fmt.Errorf("%s is not listed after it was written", f)
		}
		got, err := read(e.ctx, e.client, f, 0, 0)
		if err := errors.Join(err, compareBytes(f, got, bodies[f])); err != nil {
			return err
		}
	}
	return nil
}

// readAllOf reads every file in a listing of a level.
func (e *env) readAllOf(level int, bodies map[file][]byte) error {
	infos, err := list(e.ctx, e.client, level, 0, false)
	if err != nil {
		return err
	}
	files := filesOf(infos)
	if !slices.IsSortedFunc(files, compareFiles) {
		return fmt.Errorf("listing is not in order: %s", formatFiles(files))
	}
	for _, f := range files {
		got, err := read(e.ctx, e.client, f, 0, 0)
		if err := errors.Join(err, compareBytes(f, got, bodies[f])); err != nil {
			return err
		}
	}
	return nil
}
