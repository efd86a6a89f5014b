package litestream

import "github.com/ltxvfs/litestream/internal/hydrate"

// HydrationStatus tells what a hydration is doing.
type HydrationStatus string

// The states of a hydration.
const (
	HydrationIdle       HydrationStatus = HydrationStatus(hydrate.Idle)       // it is not enabled, or has not begun
	HydrationRestoring  HydrationStatus = HydrationStatus(hydrate.Restoring)  // some pages are not local yet, or not verified
	HydrationCatchingUp HydrationStatus = HydrationStatus(hydrate.CatchingUp) // it was complete, and pages have changed since
	HydrationComplete   HydrationStatus = HydrationStatus(hydrate.Complete)   // all pages are local, and every checksum that can be compared is right
	HydrationOnDemand   HydrationStatus = HydrationStatus(hydrate.OnDemand)   // only pages that queries fetch become local (HydratePages)
	HydrationFailed     HydrationStatus = HydrationStatus(hydrate.Failed)     // it has ended, or waits for room on the disk; reads are remote
)

// HydrationProgress tells how far the hydration of a database has come.
type HydrationProgress struct {
	Name       string          `json:"-"`       // of the database
	Enabled    bool            `json:"enabled"` // whether the database is hydrated at all
	Status     HydrationStatus `json:"status"`
	Progress   float64         `json:"progress"`    // percent; 100 only if it is complete
	Pages      int64           `json:"pages"`       // local pages of the newest state
	TotalPages int64           `json:"total_pages"` // pages of the newest state

	// VerifiedPages are local pages that the checksum of an LTX file covers, which
	// was compared. For UnverifiablePages no checksum can be compared, because too
	// little of their files is needed.
	VerifiedPages     int64 `json:"verified_pages"`
	UnverifiablePages int64 `json:"unverifiable_pages"`

	Bytes int64  `json:"bytes"` // read from storage by hydration
	File  string `json:"file"`  // the local file; a temporary one has no name any more
	Owner int    `json:"owner"` // process that owns the local file, which this one shares; 0: this one
	Error string `json:"error"` // why it failed or pauses; empty if it goes on
}

// publicProgress converts a progress to the exported type.
func publicProgress(p hydrate.Progress) HydrationProgress {
	return HydrationProgress{
		Name: p.Name, Enabled: p.Enabled, Status: HydrationStatus(p.Status), Progress: p.Progress,
		Pages: p.Pages, TotalPages: p.TotalPages,
		VerifiedPages: p.VerifiedPages, UnverifiablePages: p.UnverifiablePages,
		Bytes: p.Bytes, File: p.File, Owner: p.Owner, Error: p.Error,
	}
}
