package litestream

import (
	"cmp"
	"strings"
	"sync"
	"time"
)

// RequestPrices are the prices of a thousand requests, in US dollars. Zero means
// the price of S3 Standard in us-east-1, and a negative price means that requests
// are free.
type RequestPrices struct {
	List float64 // default 0.005
	Get  float64 // default 0.0004
	Put  float64 // default 0.005
}

// defaultPrices are those of S3 Standard in us-east-1. Deletions are free.
var defaultPrices = RequestPrices{List: 0.005, Get: 0.0004, Put: 0.005}

// orDefaults returns prices of which none has a special meaning. A replica in a
// local folder costs nothing, unless prices are given.
func (p RequestPrices) orDefaults(identity string) RequestPrices {
	defaults := defaultPrices
	if strings.HasPrefix(identity, "file:") {
		defaults = RequestPrices{}
	}
	return RequestPrices{
		List: max(0, cmp.Or(p.List, defaults.List)),
		Get:  max(0, cmp.Or(p.Get, defaults.Get)),
		Put:  max(0, cmp.Or(p.Put, defaults.Put)),
	}
}

// RequestStats holds the number of requests of one database since it was opened,
// by the kind by which stores bill them, and an estimate of what they cost. Every
// attempt counts. A listing counts once for each thousand files, and an upload
// counts once whatever its size. Transfer and storage are not included.
type RequestStats struct {
	List   int64 `json:"list"`
	Get    int64 `json:"get"`
	Put    int64 `json:"put"`
	Delete int64 `json:"delete"`

	Dollars float64 `json:"dollars"` // at RequestPrices

	// DollarsPerMonth is what 30 days cost at the rate since the last call of Stats
	// that was made more than a minute ago. During the first minute after an open,
	// it is what was spent, for each minute of the month.
	DollarsPerMonth float64 `json:"dollars_per_month"`
}

// dollars returns the price of requests.
func (r RequestStats) dollars(p RequestPrices) float64 {
	return (float64(r.List)*p.List + float64(r.Get)*p.Get + float64(r.Put)*p.Put) / 1000
}

// spending measures what requests cost in a time.
type spending struct {
	mu struct { // duty: the times from which on spending is measured
		sync.Mutex
		older, newer spent // newer replaces older once it is a minute old
	}
}

// spent is what requests had cost at a time.
type spent struct {
	at      time.Time
	dollars float64
}

const (
	minSpendingTime = time.Minute
	month           = 30 * 24 * time.Hour
)

// start begins to measure, at what was spent until then.
func (s *spending) start(dollars float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.newer = spent{time.Now(), dollars}
	s.mu.older = s.mu.newer
}

// perMonth returns what a month costs at the present rate, if dollars were spent
// until now.
func (s *spending) perMonth(dollars float64) float64 {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.mu.newer.at) >= minSpendingTime {
		s.mu.older, s.mu.newer = s.mu.newer, spent{now, dollars}
	}
	return (dollars - s.mu.older.dollars) * float64(month) / float64(max(minSpendingTime, now.Sub(s.mu.older.at)))
}

// countRequests returns the number of requests so far and their price.
func (db *database) countRequests() RequestStats {
	s := db.store
	reads, _ := s.TotalReads()
	r := RequestStats{
		List: s.Lists.Load() + s.MorePages.Load(), Get: reads + s.NameReads.Load(), Put: s.Creates.Load(), Delete: s.Deletes.Load(),
	}
	r.Dollars = r.dollars(db.prices)
	return r
}

func (db *database) requestStats() RequestStats {
	r := db.countRequests()
	r.DollarsPerMonth = db.spending.perMonth(r.Dollars)
	return r
}
