package dashboard

import (
	"context"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// filesData is what the page shows of the LTX files of a database.
type filesData struct {
	Error string `json:"error"`
	At    int64  `json:"at"` // when they were listed
	Files int    `json:"files"`
	Bytes int64  `json:"bytes"`

	Columns int         `json:"columns"` // width of the time line
	Levels  []levelData `json:"levels"`  // those with files, from the snapshots down to single transactions
	Marks   []markData  `json:"marks"`   // the moments, from the oldest to the newest

	Moments int        `json:"moments"` // number of states that can be travelled to
	Oldest  momentData `json:"oldest"`
	Newest  momentData `json:"newest"`
	Last    []stepData `json:"last"` // the newest transactions, the newest first
}

// momentData is a state that can be travelled to.
type momentData struct {
	TXID string `json:"txid"`
	Time int64  `json:"time"`
}

// stepData leads from one state to the next.
type stepData struct {
	From string `json:"from"`
	momentData
}

// levelData is a level of a replica.
type levelData struct {
	Level int       `json:"level"`
	Files int       `json:"files"`
	Bytes int64     `json:"bytes"`
	Bars  []barData `json:"bars"`
}

// barData is files that lie next to each other, from one column to another.
type barData struct {
	From    int    `json:"from"`
	To      int    `json:"to"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	MinTXID string `json:"min_txid"`
	MaxTXID string `json:"max_txid"`
	Time    int64  `json:"time"` // of the newest of them
}

// markData is moments in one column.
type markData struct {
	At      int `json:"at"`
	Moments int `json:"moments"`
	momentData
}

const (
	maxColumns = 240
	lastShown  = 8

	// filesAge is how old a listing may be that is shown.
	filesAge = 30 * time.Second

	// workTime is how long a request of the page may use storage.
	workTime = 30 * time.Second
)

// startWork waits until a request may use storage. The caller calls the function that
// it returns at the end.
func (p *page) startWork(ctx context.Context) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	select {
	case p.work <- struct{}{}:
		return ctx, func() { <-p.work; cancel() }, nil
	case <-ctx.Done():
		defer cancel()
		return ctx, nil, context.Cause(ctx)
	}
}

// filesOf returns the files of the database with an id.
func (p *page) filesOf(ctx context.Context, id string) filesData {
	o, ok := p.find(id)
	if !ok {
		return filesData{Error: "the database is not open"}
	}
	if d, ok := p.files.get(id, time.Now().Add(-filesAge)); ok {
		return d
	}
	ctx, end, err := p.startWork(ctx)
	if err != nil {
		return filesData{Error: err.Error()}
	}
	defer end()
	now := time.Now()
	if d, ok := p.files.get(id, now.Add(-filesAge)); ok {
		return d // another request has listed them meanwhile
	}
	files, err := o.vfs.Files(ctx, o.name())
	if err != nil {
		return filesData{Error: err.Error()}
	}
	d := arrange(files)
	d.At = now.UnixMilli()
	p.files.put(id, now, d)
	return d
}

// arrange lays files out on a line of columns. Every transaction at which a file
// begins or ends has the same distance to the next, so that the short files of level 0
// are as visible as a snapshot.
func arrange(files []litestream.File) filesData {
	d := filesData{Levels: []levelData{}, Marks: []markData{}, Last: []stepData{}, Files: len(files)}
	var bounds []ltx.TXID
	newest := make(map[ltx.TXID]litestream.File) // the file that tells the time of a moment
	for _, f := range files {
		d.Bytes += f.Size
		bounds = append(bounds, f.MinTXID-1, f.MaxTXID)
		if old, ok := newest[f.MaxTXID]; f.Reachable && (!ok || f.Time.Before(old.Time)) {
			newest[f.MaxTXID] = f // a merged file is made later
		}
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	if len(bounds) < 2 {
		return d
	}
	steps := len(bounds) - 1
	d.Columns = min(steps, maxColumns)
	column := func(txid ltx.TXID) int {
		i, _ := slices.BinarySearch(bounds, txid)
		return i * d.Columns / steps
	}
	for _, f := range slices.Backward(files) { // levels descend, and so do transactions
		if n := len(d.Levels); n == 0 || d.Levels[n-1].Level != f.Level {
			d.Levels = append(d.Levels, levelData{Level: f.Level})
		}
		from := min(column(f.MinTXID-1), d.Columns-1)
		d.Levels[len(d.Levels)-1].add(f, from, max(column(f.MaxTXID), from+1))
	}
	var before ltx.TXID
	for _, txid := range bounds {
		f, ok := newest[txid]
		if !ok {
			continue
		}
		m := momentData{txidText(txid), millis(f.Time)}
		if d.Moments == 0 {
			d.Oldest = m
		} else {
			d.Last = append(d.Last, stepData{txidText(before), m})
		}
		d.Newest, before = m, txid
		d.Moments++
		if n := len(d.Marks); n > 0 && d.Marks[n-1].At == column(txid) {
			d.Marks[n-1].Moments++
			d.Marks[n-1].momentData = m
			continue
		}
		d.Marks = append(d.Marks, markData{column(txid), 1, m})
	}
	d.Last = d.Last[max(0, len(d.Last)-lastShown):]
	slices.Reverse(d.Last)
	return d
}

// add adds a file that lies before those of the level. It joins their first bar if both
// begin in one column.
func (l *levelData) add(f litestream.File, from, to int) {
	l.Files++
	l.Bytes += f.Size
	if n := len(l.Bars); n > 0 && l.Bars[n-1].From == from {
		bar := &l.Bars[n-1]
		bar.Files++
		bar.Bytes += f.Size
		bar.MinTXID = txidText(f.MinTXID)
		return
	}
	l.Bars = append(l.Bars, barData{from, to, 1, f.Size, txidText(f.MinTXID), txidText(f.MaxTXID), millis(f.Time)})
}
