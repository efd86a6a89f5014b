package ltxtest

import (
	"sort"
	"sync"
	"time"

	"github.com/superfly/ltx"
)

// history holds every state of a database, one per transaction. It is safe for
// concurrent use. Arguments must name existing transactions.
type history struct {
	pageSize int
	lockPgno uint32

	mu sync.RWMutex

	// txns[i] is transaction i+1. It is guarded by mu.
	txns []txn

	// versions[pgno-1] holds the versions of a page, oldest first. When the
	// database shrinks, the versions of a page that was cut off stay. When the
	// database grows again, the page gets a new version. versions is guarded by
	// mu.
	versions [][]version
}

type txn struct {
	time   time.Time
	commit uint32 // size of the database, in pages
}

// version is the content of a page since a transaction.
type version struct {
	txid ltx.TXID
	data []byte
}

// record adds a transaction and returns its TXID. changed must contain every
// page that is new in the database.
func (h *history) record(at time.Time, commit uint32, changed map[uint32][]byte) ltx.TXID {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.txns = append(h.txns, txn{time: at.UTC().Truncate(time.Millisecond), commit: commit})
	txid := ltx.TXID(len(h.txns))
	if n := int(commit) - len(h.versions); n > 0 {
		h.versions = append(h.versions, make([][]version, n)...)
	}
	for pgno, data := range changed {
		h.versions[pgno-1] = append(h.versions[pgno-1], version{txid: txid, data: data})
	}
	return txid
}

// txid returns the TXID of the newest transaction, or 0 before the first one.
func (h *history) txid() ltx.TXID {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return ltx.TXID(len(h.txns))
}

func (h *history) time(txid ltx.TXID) time.Time {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.txns[txid-1].time
}

// commit returns the size of the database as of txid, in pages.
func (h *history) commit(txid ltx.TXID) uint32 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if txid == 0 {
		return 0
	}
	return h.txns[txid-1].commit
}

// page returns the version of a page as of txid. At that time the page must be
// in the database, and it must not be the lock page.
func (h *history) page(pgno uint32, txid ltx.TXID) version {
	h.mu.RLock()
	defer h.mu.RUnlock()
	a := h.versions[pgno-1]
	n := sort.Search(len(a), func(i int) bool { return a[i].txid > txid })
	return a[n-1]
}

// pages returns the pages of the database as of maxTXID that the transactions
// from minTXID on have written.
func (h *history) pages(minTXID, maxTXID ltx.TXID) map[uint32][]byte {
	pages := make(map[uint32][]byte)
	for pgno := uint32(1); pgno <= h.commit(maxTXID); pgno++ {
		if pgno == h.lockPgno {
			continue
		}
		if v := h.page(pgno, maxTXID); v.txid >= minTXID {
			pages[pgno] = v.data
		}
	}
	return pages
}

// image returns the database file as of txid.
func (h *history) image(txid ltx.TXID) []byte {
	commit := h.commit(txid)
	b := make([]byte, int(commit)*h.pageSize)
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if pgno != h.lockPgno {
			copy(b[int(pgno-1)*h.pageSize:], h.page(pgno, txid).data)
		}
	}
	return b
}
