package litestream

// HydrationStatus tells what a hydration is doing.
type HydrationStatus string

// The states of a hydration.
const (
	HydrationIdle       HydrationStatus = "idle"        // it is not enabled, or has not begun
	HydrationRestoring  HydrationStatus = "restoring"   // some pages are not local yet, or not verified
	HydrationCatchingUp HydrationStatus = "catching_up" // it was complete, and pages have changed since
	HydrationComplete   HydrationStatus = "complete"    // all pages are local, and every checksum that can be compared is right
	HydrationFailed     HydrationStatus = "failed"      // it has ended, or waits for room on the disk; reads are remote
)

// HydrationProgress tells how far the hydration of a database has come.
type HydrationProgress struct {
	Name       string          `json:"-"` // of the database
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
	Error string `json:"error"` // why it failed or pauses; empty if it goes on
}

// mostProgress is the progress of a hydration that is not complete, even if all
// pages are local.
const mostProgress = 99.9

// progressOf returns how far a hydration into a local file has come. L is nil
// before there is one.
func progressOf(name string, s *hydrationState, l *localPages) HydrationProgress {
	p := s.progress()
	p.Name = name
	if l == nil {
		return p
	}
	p.File = l.file.Path()
	p.Pages, p.TotalPages = l.count.Load(), l.total.Load()
	p.VerifiedPages = l.compared.Load()
	p.UnverifiablePages = max(0, l.settled.Load()-p.VerifiedPages)
	if p.TotalPages > 0 {
		p.Progress = min(100*float64(p.Pages)/float64(p.TotalPages), mostProgress)
	}
	switch {
	case p.Status == HydrationComplete && l.isComplete():
		p.Progress = 100
	case p.Status == HydrationComplete: // of the state before
		p.Status = HydrationCatchingUp
	}
	return p
}
