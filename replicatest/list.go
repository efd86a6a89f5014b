package replicatest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/replica"
)

// parallelism is the number of calls that a case with many calls makes at the
// same time.
const parallelism = 16

var listCases = []testCase{
	{name: "lists the files of one level", run: func(e *env) {
		var want []file
		for level := range replica.SnapshotLevel + 1 {
			want = append(want, file{level, 1, ltx.TXID(level + 1)})
		}
		e.write(want...)
		for level, f := range want {
			e.wantList(level, 0, f)
		}
	}},

	{name: "lists files with MinTXID from seek on", run: func(e *env) {
		a, b, c := file{0, 2, 2}, file{0, 0x1e, 0x20}, file{0, 0x100, 0x100}
		e.write(a, b, c)
		e.wantList(0, 0, a, b, c)
		e.wantList(0, 1, a, b, c)
		e.wantList(0, 2, a, b, c)
		e.wantList(0, 3, b, c)
		e.wantList(0, 0x1e, b, c)
		e.wantList(0, 0x1f, c) // between the TXIDs of b
		e.wantList(0, 0x100, c)
		e.wantList(0, 0x101)
		e.wantList(0, math.MaxUint64)
	}},

	{name: "lists in order of MinTXID then MaxTXID", run: func(e *env) {
		want := []file{
			{0, 1, 1}, {0, 1, 2}, {0, 1, 0x10}, {0, 2, 2}, {0, 9, 9}, {0, 0xa, 0xff},
			{0, 0x10, 0x10}, {0, 0x10, 0x11}, {0, 0x100, 0x100}, {0, math.MaxUint64, math.MaxUint64},
		}
		shuffled := slices.Clone(want)
		for i := range shuffled { // a fixed permutation: 3 and 10 have no common factor
			shuffled[i] = want[i*3%len(want)]
		}
		e.write(shuffled...)
		e.wantList(0, 0, want...)
	}},

	{name: "a level without files is an empty listing", run: func(e *env) {
		e.write(file{0, 1, 1}, file{2, 1, 1})
		e.wantList(1, 0)
		e.wantList(replica.SnapshotLevel, 0)
	}},

	{name: "a replica that does not exist is an empty listing", run: func(e *env) {
		for level := range replica.SnapshotLevel + 1 {
			e.wantList(level, 0)
			e.wantList(level, 1)
		}
	}},

	{name: "leaves out names that are not LTX files", skip: noForeign, run: func(e *env) {
		f := file{0, 5, 5}
		e.write(f)
		name := ltx.FormatFilename(7, 7)
		for _, foreign := range []string{
			"README", "7-7.ltx", "x" + name, "." + name, name + ".tmp", "old/" + name,
			"0000000000000007.ltx", "000000000000000A-000000000000000A.ltx", "0000000000000007-000000000000000g.ltx",
		} {
			e.props.PlaceForeign(e.T, e.client, f.level, foreign, file{0, 7, 7}.body())
		}
		e.wantList(0, 0, f)
		if got := e.list(0, 0, true); len(got) != 1 {
			e.Fatalf("with useMetadata: got %s, want %s", formatFiles(filesOf(got)), f)
		}
	}},

	{name: "items have level and TXIDs and size", run: func(e *env) {
		for i, f := range []file{{0, 1, 1}, {3, 2, 0xabc}, {replica.SnapshotLevel, 1, 0xdef}} {
			body := f.sized(0, i+1)
			e.writeBody(f, body)
			for _, useMetadata := range []bool{false, true} {
				infos := e.list(f.level, 0, useMetadata)
				e.wantFiles("LTXFiles", filesOf(infos), []file{f})
				if got, want := infos[0].Size, int64(len(body)); got != want {
					e.Errorf("%s: Size is %d, want %d", f, got, want)
				}
			}
		}
	}},

	{name: "CreatedAt is a hint", run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)
		for _, info := range e.list(0, 0, false) {
			if info.CreatedAt.IsZero() {
				e.Errorf("%s: CreatedAt is zero", f)
			}
		}
	}},

	{name: "CreatedAt is the header timestamp with useMetadata", skip: noTimes, run: func(e *env) {
		e.write(file{0, 1, 1}, file{0, 2, 2}, file{0, 3, 0x55})
		for _, info := range e.list(0, 0, true) {
			f := file{info.Level, info.MinTXID, info.MaxTXID}
			e.wantTime(f, info.CreatedAt, e.props.TimestampPrecision)
		}
	}},

	{name: "includes every file whose write has returned", run: func(e *env) {
		var want []file
		for txid := ltx.TXID(1); txid <= 10; txid++ {
			want = append(want, file{0, txid, txid})
			e.write(want[len(want)-1])
			e.wantList(0, 0, want...)
		}
	}},

	{name: "is complete", skip: noMany, run: func(e *env) {
		files := e.writeMany()
		e.wantList(0, 0, files...)
		e.wantList(0, files[len(files)/2].minTXID, files[len(files)/2:]...)
	}},

	{name: "holds what is neither written nor deleted meanwhile", run: func(e *env) {
		gone := []file{{0, 1, 1}, {0, 7, 7}}
		stay := []file{{0, 2, 2}, {0, 4, 4}, {0, 6, 6}, {0, 8, 8}}
		e.write(stay...)
		e.write(gone...)

		itr, err := e.client.LTXFiles(e.ctx, 0, 0, true)
		if err != nil {
			e.Fatal(err)
		}
		var infos []*ltx.FileInfo
		next := func() {
			if itr.Next() {
				infos = append(infos, itr.Item())
			}
		}
		next()
		e.deleteFiles(gone...) // a file that was listed and a file that was not
		next()
		e.write(file{0, 1, 2}, file{0, 3, 3}, file{0, 9, 9})
		rest, err := drain(itr)
		if err != nil {
			e.Fatal(err)
		}
		got := filesOf(append(infos, rest...))
		if !slices.IsSortedFunc(got, compareFiles) || len(slices.Compact(slices.Clone(got))) != len(got) {
			e.Errorf("listing is not in order: %s", formatFiles(got))
		}
		got = slices.DeleteFunc(got, func(f file) bool { return !slices.Contains(stay, f) })
		e.wantFiles("files that stayed", got, stay)
	}},

	{name: "can be closed before its end", run: func(e *env) {
		e.write(file{0, 1, 1}, file{0, 2, 2})
		itr, err := e.client.LTXFiles(e.ctx, 0, 0, false)
		if err != nil {
			e.Fatal(err)
		}
		if !itr.Next() {
			e.Errorf("listing is empty: %v", itr.Err())
		}
		if err := itr.Close(); err != nil {
			e.Errorf("Close: %v", err)
		}
	}},
}

// wantTime checks a timestamp against the timestamp in the header of f.
func (e *env) wantTime(f file, got time.Time, precision time.Duration) {
	e.Helper()
	if d := got.Sub(f.timestamp()).Abs(); d > precision {
		e.Errorf("%s: CreatedAt is %s, want %s within %s", f, got, f.timestamp(), precision)
	}
}

// writeMany stores Properties.ManyFiles files at level 0, and returns them in
// order.
func (e *env) writeMany() []file {
	e.Helper()
	files := make([]file, e.props.ManyFiles)
	group, ctx := errgroup.WithContext(e.ctx)
	group.SetLimit(parallelism)
	for i := range files {
		f := file{0, ltx.TXID(i + 1), ltx.TXID(i + 1)}
		files[i] = f
		group.Go(func() error {
			_, err := e.client.WriteLTXFile(ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body()))
			if err != nil {
				return fmt.Errorf("WriteLTXFile %s: %w", f, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		e.Fatal(err)
	}
	return files
}
