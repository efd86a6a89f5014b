package dashboard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// pageData is what the page asks for again and again. Times are in milliseconds since
// the Unix epoch, 0 for none.
type pageData struct {
	Time      int64          `json:"time"`
	Every     int64          `json:"every"` // milliseconds until the page asks again
	Databases []databaseData `json:"databases"`
	Detail    *detailData    `json:"detail"` // of the database that was asked for; nil: it is not there
}

// databaseData is a database in the list.
type databaseData struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Place    string    `json:"place"`
	State    state     `json:"state"`
	Words    string    `json:"words"` // what the state means
	TXID     string    `json:"txid"`
	Time     int64     `json:"time"`  // of that transaction
	Lag      int64     `json:"lag"`   // milliseconds since the last poll that succeeded; -1: none has
	Size     int64     `json:"size"`  // of the newest state, bytes
	Local    float64   `json:"local"` // percent in the local file; -1: hydration is off
	Unsynced int64     `json:"queue"` // bytes of commits that are not uploaded
	Month    float64   `json:"month"` // dollars
	Problems []problem `json:"problems"`
}

// state is how a database is doing.
type state string

const (
	stateGood    state = "good"
	stateAsleep  state = "asleep"  // nothing uses it, so nothing is known of its replica
	stateWarning state = "warning" // it works, and somebody should look
	stateBad     state = "bad"     // something does not work
)

// detailData is what the page shows of one database.
type detailData struct {
	databaseData
	Pages    int64 `json:"pages"`
	PageSize int64 `json:"page_size"`

	Reads []readSample `json:"reads"` // over the last minutes
	Tiers tierReads    `json:"tiers"` // since the database was opened

	Requests litestream.RequestStats `json:"requests"`
	Bytes    byteData                `json:"bytes"`
	Retries  int64                   `json:"retries"`

	Hydration litestream.HydrationProgress `json:"hydration"`
	Map       mapData                      `json:"map"`
	Write     litestream.WriteStats        `json:"write"`
	Uploads   outcomeData                  `json:"uploads"`
	Events    []outcomeData                `json:"events"` // the newest failure of each operation
}

// byteData is what was read from storage, in bytes.
type byteData struct {
	Pages     int64 `json:"pages"`
	Ahead     int64 `json:"ahead"`
	Indexes   int64 `json:"indexes"`
	Hydration int64 `json:"hydration"`
	Polls     int64 `json:"polls"`
}

// outcomeData is how the last attempts of an operation ended.
type outcomeData struct {
	What    string `json:"what"`
	Success int64  `json:"success"`
	Failure int64  `json:"failure"`
	Error   string `json:"error"`
	Failing bool   `json:"failing"` // the newest attempt failed
	Todo    string `json:"todo"`
}

// Intervals between two requests of a page.
const (
	pageEvery     = 2 * time.Second
	pageEverySlow = 5 * time.Second // with so many databases that the answer is large

	manyDatabases = 200
)

// opened is an open database.
type opened struct {
	id    string
	vfs   *litestream.VFS
	stats litestream.Stats
}

// name returns the name by which the VFS knows this database and no other. Databases
// of a VFS may have been opened under one file name, or be at one place as far as it is
// shown.
func (o *opened) name() string { return o.stats.ID }

// title returns the name that people see. Databases that were opened by their URLs can
// have one name, and then the number of the ID tells them apart.
func (o *opened) title() string {
	if strings.HasPrefix(o.stats.ID, o.stats.Name) {
		return o.stats.ID
	}
	return o.stats.Name
}

// opened returns the open databases with names that stay the same from request to
// request.
func (p *page) opened() (all []opened) {
	for i, v := range p.vfs {
		for _, s := range v.Stats() {
			all = append(all, opened{idOf(fmt.Sprint(i), s.ID), v, s})
		}
	}
	return all
}

// idOf returns a short name without special characters.
func idOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// find returns the open database with an id.
func (p *page) find(id string) (opened, bool) {
	for _, o := range p.opened() {
		if o.id == id {
			return o, true
		}
	}
	return opened{}, false
}

// data returns what the page shows, with the details of the database with an id.
func (p *page) data(ctx context.Context, id string) pageData {
	now := time.Now()
	d := pageData{Time: now.UnixMilli(), Every: pageEvery.Milliseconds(), Databases: []databaseData{}}
	if p.opts.KeepFresh {
		for _, o := range p.opened() {
			_ = o.vfs.KeepFresh(o.name()) // it may have been closed just now
		}
	}
	all := p.opened()
	if len(all) > manyDatabases {
		d.Every = pageEverySlow.Milliseconds()
	}
	p.reads.note(now, all)
	for i := range all {
		o := &all[i]
		one := o.data(ctx, now)
		d.Databases = append(d.Databases, one)
		if o.id == id {
			d.Detail = p.detail(ctx, now, o, one)
		}
	}
	if p.opts.Unopened != nil {
		same := make(map[string]int) // databases of a name so far
		for _, u := range p.opts.Unopened() {
			same[u.Name]++
			d.Databases = append(d.Databases, databaseData{
				ID: idOf("unopened", u.Name, fmt.Sprint(same[u.Name])), Name: u.Name, State: stateBad, Words: "It could not be opened.", Local: -1, Lag: -1,
				Problems: []problem{problemOf(u.Err)},
			})
		}
	}
	return d
}

// data returns what the list shows of a database.
func (o *opened) data(ctx context.Context, now time.Time) databaseData {
	s := &o.stats
	d := databaseData{
		ID: o.id, Name: o.title(), Place: s.Place, TXID: txidText(s.TXID), Time: millis(s.Time), Lag: -1,
		Size: int64(s.Pages) * int64(s.PageSize), Local: -1,
		Unsynced: s.Write.Unsynced, Month: s.Requests.DollarsPerMonth, Problems: o.problems(ctx),
	}
	if !s.LastPoll.Success.IsZero() {
		d.Lag = max(0, now.Sub(s.LastPoll.Success).Milliseconds())
	}
	if s.Hydration.Enabled {
		d.Local = s.Hydration.Progress
	}
	d.State, d.Words = describe(s, d.Problems)
	return d
}

// describe says how a database is doing.
func describe(s *litestream.Stats, problems []problem) (state, string) {
	switch {
	case len(problems) > 0:
		return stateBad, "Something does not work."
	case s.Offline:
		return stateWarning, "It was opened with the local copy, because storage did not answer. It is tried again."
	case s.Write.Compaction != "":
		return stateWarning, "It works, but files are not merged: " + s.Write.Compaction
	case s.Hydration.Enabled && s.Hydration.Error != "":
		return stateWarning, "It works, but the local copy pauses: " + s.Hydration.Error
	case s.Write.Enabled && s.Write.Unsynced > 0:
		return stateGood, "It works. New commits are being uploaded."
	case s.Write.Enabled:
		return stateGood, "It works. Every commit is on the replica."
	case s.Poller != "running":
		return stateAsleep, "No query runs, so it sleeps and makes no requests. The next query wakes it."
	}
	return stateGood, "It works, and follows the replica."
}

// detail returns what the page shows of one database.
func (p *page) detail(ctx context.Context, now time.Time, o *opened, one databaseData) *detailData {
	s := &o.stats
	uploads := outcomeOf("uploads", s.LastSync)
	d := &detailData{
		databaseData: one, Pages: int64(s.Pages), PageSize: int64(s.PageSize),
		Reads: p.reads.of(o.id), Tiers: tiersOf(s), Requests: s.Requests, Retries: s.Retries,
		Bytes:     byteData{s.PageReadBytes, s.AheadReadBytes, s.LoadReadBytes, s.HydrationReadBytes, s.PollReadBytes},
		Hydration: s.Hydration, Map: p.mapOf(ctx, now, o), Write: s.Write, Uploads: uploads, Events: []outcomeData{},
	}
	for _, e := range []outcomeData{outcomeOf("polls for news", s.LastPoll), outcomeOf("reads of pages", s.LastRead), uploads} {
		if e.Failure != 0 {
			d.Events = append(d.Events, e)
		}
	}
	return d
}

func outcomeOf(what string, o litestream.Outcome) outcomeData {
	d := outcomeData{What: what, Success: millis(o.Success), Failure: millis(o.Failure), Error: o.Error}
	d.Failing = !o.Failure.IsZero() && !o.Success.After(o.Failure)
	d.Todo = "Nothing: it works again."
	if d.Failing {
		d.Todo = "See what is said above about what does not work."
	}
	return d
}

// txidText returns a transaction as the program and PRAGMAs write it.
func txidText(txid ltx.TXID) string { return txid.String() }

// millis returns a time in milliseconds since the Unix epoch, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
