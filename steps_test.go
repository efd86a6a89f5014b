package litestream

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// stepsFrom returns steps that begin at a transaction.
func stepsFrom(t *testing.T, db *database, txid ltx.TXID) *steps {
	t.Helper()
	s, _, err := db.beginSteps(t.Context(), HistoryPoint{TXID: txid})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Steps without a transaction to begin at begin at the newest one, which may be the
// first. A database without transactions is none.
func TestSteps_BeginAtNewest(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 1)
	db := openHere(t, client, Options{PollInterval: -1})
	if s, at, err := db.beginSteps(t.Context(), HistoryPoint{}); err != nil || s.at.TXID != 1 || !at.Equal(p.Time(1)) {
		t.Errorf("of one transaction: %v, %v", at, err)
	}
	empty := openHere(t, newHookClient(), Options{PollInterval: -1, WriteEnabled: true})
	if _, _, err := empty.beginSteps(t.Context(), HistoryPoint{}); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("of none: %v", err)
	}
}

// The pages of a transaction that come with its file take no request when its
// changes are read.
func TestSteps_PagesOfFile(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 5)
	db := openHere(t, client, Options{PollInterval: -1})
	s := stepsFrom(t, db, 2)
	for txid := ltx.TXID(3); txid <= 5; txid++ {
		v, err := s.next(t.Context())
		if err != nil || v.TXID != txid {
			t.Fatalf("after %s: %v", s.at.TXID, err)
		}
		before := client.opens.Load()
		wantPages(t, p, db, v, 1, 2)
		if n := client.opens.Load() - before; n > 0 {
			t.Errorf("the pages of transaction %s take %d reads", txid, n)
		}
		s.advance()
	}
}

// A replica that is replaced while the file of the next transaction is read ends the
// steps: the next state would not be one of the same history.
func TestSteps_ReplacedDuringLoad(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 5)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	s := stepsFrom(t, db, 2)
	var replaced atomic.Bool
	client.fetch = func(k view.Key, _ int64) {
		if k != (view.Key{Level: 0, MinTXID: 3, MaxTXID: 3}) || replaced.Swap(true) {
			return
		}
		replace(t, client, p, 6)
		if err := db.poller.poll(true); err != nil {
			t.Error(err)
		}
	}
	before := db.Epoch()
	if v, err := s.next(t.Context()); v != nil || !errors.Is(err, ErrRolledBack) {
		t.Errorf("the next state is %v, and the error %v", v, err)
	}
	if db.Epoch() == before {
		t.Error("the replica was not replaced in time")
	}
}

// A state whose files were merged with later ones cannot be gone on from. The error
// says what there is instead.
func TestSteps_Merged(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 3)
	db := openHere(t, client, Options{PollInterval: -1, CacheSize: -1})
	s := stepsFrom(t, db, 2)
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 4)
	err := s.renew(t.Context())
	if !errors.Is(err, ErrTxNotAvailable) || !strings.Contains(err.Error(), "go on from transaction 0000000000000002: ") || !strings.HasSuffix(err.Error(), "the oldest is 0000000000000003") {
		t.Errorf("got %v", err)
	}
	if s.at.TXID != 2 {
		t.Errorf("the steps are at %s", s.at.TXID)
	}
}
