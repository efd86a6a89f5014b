package litestream

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequestStats_Idle reads statistics of a reader in use for some hours: the
// requests by kind, what they cost, and what a month costs at that rate.
func TestRequestStats_Idle(t *testing.T) {
	// A round trip of 7 ms keeps polls and statistics from the same instant.
	followIn(t, Options{}, 7*time.Millisecond, unchanged, func(t *testing.T, f *follower) {
		before := f.db.stats().Requests
		const hours = 3
		for range hours * 6 {
			time.Sleep(10 * time.Minute)
			f.db.stats()
		}
		after := f.db.stats().Requests
		lists, gets := after.List-before.List, after.Get-before.Get
		if lists < hours*118 || lists > hours*120 || gets < hours*3440 || gets > hours*3480 || after.Put != 0 || after.Delete != 0 {
			t.Errorf("in %d hours: %d listings, %d reads, %d uploads, %d deletions", hours, lists, gets, after.Put, after.Delete)
		}
		near := func(what string, got, want, tolerance float64) {
			t.Helper()
			if math.Abs(got-want) > want*tolerance {
				t.Errorf("%s: %f dollars, want %f", what, got, want)
			}
		}
		spent := float64(lists)*0.005/1000 + float64(gets)*0.0004/1000
		near("since the start", after.Dollars-before.Dollars, spent, 1e-6)
		near("a month", after.DollarsPerMonth, spent/hours*24*30, 0.05) // a listing more or less in ten minutes

		// The rate is that of the last minutes.
		f.db.poller.suspend()
		for range 4 {
			time.Sleep(time.Minute)
			after = f.db.stats().Requests
		}
		if after.DollarsPerMonth != 0 {
			t.Errorf("a month costs %f dollars while nothing polls", after.DollarsPerMonth)
		}
	})
}

// TestRequestPrices fills in prices.
func TestRequestPrices(t *testing.T) {
	for _, tc := range []struct {
		given    RequestPrices
		identity string
		want     RequestPrices
	}{
		{RequestPrices{}, "s3://bucket/app.db", RequestPrices{List: 0.005, Get: 0.0004, Put: 0.005}},
		{RequestPrices{List: -1, Get: 0.001}, "", RequestPrices{Get: 0.001, Put: 0.005}},
		{RequestPrices{}, "file:///srv/app.db", RequestPrices{}},
		{RequestPrices{Put: 1}, "file:///srv/app.db", RequestPrices{Put: 1}},
	} {
		if got := tc.given.orDefaults(tc.identity); got != tc.want {
			t.Errorf("%+v for %q: %+v, want %+v", tc.given, tc.identity, got, tc.want)
		}
	}
}

// The rate is that of the last minute for a program that asks each minute.
func TestRequestStats_EachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s spending
		s.start(1)
		for minute, tc := range []struct{ dollars, want float64 }{{3, 2}, {3, 0}, {4, 1}, {4, 0}} {
			time.Sleep(minSpendingTime)
			if got := s.perMonth(tc.dollars) / (30 * 24 * 60); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("minute %d: %f dollars a minute, want %f", minute+1, got, tc.want)
			}
		}
	})
}
