package replicatest

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/replica"
)

var initCases = []testCase{
	{name: "may be called more than once", skip: noInit, raw: true, run: func(e *env) {
		c := e.initializer()
		for range 3 {
			if err := c.Init(e.ctx); err != nil {
				e.Fatal(err)
			}
		}
		f := file{0, 1, 1}
		e.write(f)
		e.init(e.client)
		e.wantList(0, 0, f)
		e.wantBody(f, f.body())
	}},

	{name: "may be called concurrently", skip: noInit, raw: true, run: func(e *env) {
		c := e.initializer()
		var group errgroup.Group
		for i := range parallelism {
			group.Go(func() error {
				if err := c.Init(e.ctx); err != nil {
					return err
				}
				// A caller that returns from Init can use the client.
				_, err := list(e.ctx, e.client, i%(replica.SnapshotLevel+1), 0, false)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			e.Fatal(err)
		}
	}},
}

// initializer returns the client's Init.
func (e *env) initializer() replica.Initializer {
	e.Helper()
	c, ok := e.client.(replica.Initializer)
	if !ok {
		e.Fatal("client does not implement replica.Initializer, and Properties.NoInit is false")
	}
	return c
}

var createCases = append(putCases((*env).creator, noCreate),
	testCase{name: "an existing file is fs.ErrExist and does not change", skip: noCreate, run: func(e *env) {
		for level, f := range []file{{0, 1, 1}, {1, 1, 1}} {
			if level == 0 {
				e.write(f)
			} else if _, err := e.creator()(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body())); err != nil {
				e.Fatal(err)
			}
			for _, body := range [][]byte{f.variant(1), f.body()} {
				_, err := e.creator()(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body))
				if !errors.Is(err, fs.ErrExist) {
					e.Errorf("CreateLTXFile %s over an existing file: got error %v, want fs.ErrExist", f, err)
				}
				e.wantBody(f, f.body())
				e.wantList(level, 0, f)
			}
		}
	}},

	testCase{name: "files of other names do not matter", skip: noCreate, run: func(e *env) {
		for _, f := range []file{{0, 2, 2}, {0, 2, 3}, {0, 1, 2}, {1, 2, 2}} {
			if _, err := e.creator()(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body())); err != nil {
				e.Errorf("%s: %v", f, err)
			}
		}
	}},

	testCase{name: "a deleted file can be created again", skip: noCreate, run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)
		e.deleteFiles(f)
		if _, err := e.creator()(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.variant(1))); err != nil {
			e.Fatal(err)
		}
		e.wantBody(f, f.variant(1))
	}},

	testCase{name: "of concurrent calls exactly one succeeds", skip: noCreate, run: func(e *env) {
		e.creator() // checks that there is one
		e.race(2, func(int) replica.Client { return e.client })
	}},

	testCase{name: "of concurrent calls by several clients exactly one succeeds", skip: noClients, run: func(e *env) {
		e.creator()
		clients := e.clients()
		e.race(100, func(i int) replica.Client { return clients[i] })
	}},

	testCase{name: "the calls that do not succeed leave nothing behind", skip: func(p Properties) string {
		return cmp.Or(noClients(p), noUnfinished(p))
	}, run: func(e *env) {
		e.creator()
		clients := e.clients()
		f := file{0, 1, 1}
		e.raceFor(f, 2, func(i int) replica.Client { return clients[i] })
		// A store may carry out deletions after it has answered.
		for left := e.props.Unfinished(e.T, e.client); len(left) > 0; left = e.props.Unfinished(e.T, e.client) {
			if e.ctx.Err() != nil {
				e.Fatalf("left behind: %q", left)
			}
			time.Sleep(time.Millisecond)
		}
	}},

	testCase{name: "a client that cannot create returns errors.ErrUnsupported and stores nothing", skip: canCreate, run: func(e *env) {
		c, ok := e.client.(replica.LTXFileCreator)
		if !ok {
			return
		}
		f := file{0, 1, 1}
		_, err := c.CreateLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(f.body()))
		if !errors.Is(err, errors.ErrUnsupported) {
			e.Errorf("got error %v, want errors.ErrUnsupported", err)
		}
		e.wantMissing(f)
	}},
)

// creators is the number of calls that create one file at the same time.
const creators = 16

// noClients skips cases in which several clients create.
func noClients(p Properties) string { return cmp.Or(noCreate(p), noReopen(p)) }

// clients returns as many clients of the replica as there are creators.
func (e *env) clients() []replica.Client {
	e.Helper()
	clients := []replica.Client{e.client}
	for len(clients) < creators {
		clients = append(clients, e.reopen())
	}
	return clients
}

// race makes callers create the same files at the same time, for several files.
// The i-th caller uses client(i), and has a content of its own, of a number of
// pages.
func (e *env) race(pages int, client func(i int) replica.Client) {
	e.Helper()
	const rounds = 5
	for txid := ltx.TXID(1); txid <= rounds; txid++ {
		e.raceFor(file{0, txid, txid}, pages, client)
	}
}

// raceFor is race for one file.
func (e *env) raceFor(f file, pages int, client func(i int) replica.Client) {
	e.Helper()
	var bodies [creators][]byte
	var errs [creators]error
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range creators {
		bodies[i] = f.sized(uint64(i), pages)
		c := client(i).(replica.LTXFileCreator)
		wg.Go(func() {
			<-start
			_, errs[i] = c.CreateLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(bodies[i]))
		})
	}
	close(start)
	wg.Wait()

	winner := slices.Index(errs[:], nil)
	if winner < 0 {
		e.Fatalf("%s: none of %d calls succeeded; the first error is %v", f, creators, errs[0])
	}
	for i, err := range errs {
		if i != winner && !errors.Is(err, fs.ErrExist) {
			e.Fatalf("%s: call %d succeeded, and call %d got error %v, want fs.ErrExist", f, winner, i, err)
		}
	}
	e.wantBody(f, bodies[winner])
}

var listAllCases = []testCase{
	{name: "lists the files of every level in order", skip: noListAll, run: func(e *env) {
		for level := replica.SnapshotLevel; level >= 0; level-- {
			e.write(file{level, 0x10, 0x11}, file{level, 2, 2}, file{level, 1, 9}, file{level, 1, 2})
		}
		for _, useMetadata := range []bool{false, true} {
			var want []*ltx.FileInfo
			for level := range replica.SnapshotLevel + 1 {
				want = append(want, e.list(level, 0, useMetadata)...)
			}
			got := e.listAll(useMetadata)
			e.wantFiles("AllLTXFiles", filesOf(got), filesOf(want))
			for i, info := range got {
				if f := filesOf(got)[i]; info.Size != want[i].Size || !info.CreatedAt.Equal(want[i].CreatedAt) {
					e.Errorf("%s: got %+v, want %+v as LTXFiles gives", f, *info, *want[i])
				}
			}
		}
	}},

	{name: "a replica that does not exist is an empty listing", skip: noListAll, run: func(e *env) {
		e.wantFiles("AllLTXFiles", filesOf(e.listAll(false)), []file{})
	}},

	{name: "leaves out names that are not LTX files", skip: func(p Properties) string {
		if p.NoListAll {
			return noListAll(p)
		}
		return noForeign(p)
	}, run: func(e *env) {
		f := file{2, 5, 5}
		e.write(f)
		for _, foreign := range []string{"README", "old/" + ltx.FormatFilename(7, 7), ltx.FormatFilename(7, 7) + ".tmp"} {
			e.props.PlaceForeign(e.T, e.client, f.level, foreign, file{2, 7, 7}.body())
		}
		e.wantFiles("AllLTXFiles", filesOf(e.listAll(true)), []file{f})
	}},

	{name: "is complete", skip: func(p Properties) string {
		if p.NoListAll {
			return noListAll(p)
		}
		return noMany(p)
	}, run: func(e *env) {
		files := e.writeMany()
		last := file{replica.SnapshotLevel, 1, 1}
		e.write(last)
		e.wantFiles("AllLTXFiles", filesOf(e.listAll(false)), append(files, last))
	}},

	{name: "a client that cannot list all returns errors.ErrUnsupported", skip: canListAll, run: func(e *env) {
		c, ok := e.client.(replica.AllLTXFilesLister)
		if !ok {
			return
		}
		itr, err := c.AllLTXFiles(e.ctx, false)
		if err == nil {
			_ = itr.Close()
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			e.Errorf("got error %v, want errors.ErrUnsupported", err)
		}
	}},
}

// allLister returns the client's AllLTXFiles.
func (e *env) allLister() replica.AllLTXFilesLister {
	e.Helper()
	c, ok := e.client.(replica.AllLTXFilesLister)
	if !ok {
		e.Fatal("client does not implement replica.AllLTXFilesLister, and Properties.NoListAll is false")
	}
	return c
}

func (e *env) listAll(useMetadata bool) []*ltx.FileInfo {
	e.Helper()
	itr, err := e.allLister().AllLTXFiles(e.ctx, useMetadata)
	if err != nil {
		e.Fatalf("AllLTXFiles: %v", err)
	}
	infos, err := drain(itr)
	if err != nil {
		e.Fatalf("AllLTXFiles: %v", err)
	}
	return infos
}
