package dashboard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// changesData is what has changed between two states.
type changesData struct {
	Error  string                    `json:"error"`
	Tables []litestream.TableChanges `json:"tables"`
}

// changesAge is how long an answer is kept. What two transactions have changed does not
// change, but for a replica that is rolled back.
const changesAge = 10 * time.Minute

// changesOf returns what has changed in the database with an id between two
// transactions.
func (p *page) changesOf(ctx context.Context, id, from, to string) changesData {
	o, ok := p.find(id)
	if !ok {
		return changesData{Error: "the database is not open"}
	}
	a, err := ltx.ParseTXID(from)
	if err != nil {
		return changesData{Error: err.Error()}
	}
	b, err := ltx.ParseTXID(to)
	if err != nil {
		return changesData{Error: err.Error()}
	}
	key := fmt.Sprint(id, " ", a, " ", b)
	if d, ok := p.diffs.get(key, time.Now().Add(-changesAge)); ok {
		return d
	}
	ctx, end, err := p.startWork(ctx)
	if err != nil {
		return changesData{Error: err.Error()}
	}
	defer end()
	tables, err := o.vfs.CountChanges(ctx, o.name(), a, b)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return changesData{Error: fmt.Sprintf("that took longer than %s: ltxvfs diff has no such limit", workTime)}
	case err != nil:
		return changesData{Error: err.Error()}
	}
	d := changesData{Tables: tables}
	p.diffs.put(key, time.Now(), d)
	return d
}
