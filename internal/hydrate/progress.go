package hydrate

// Status tells what a hydration is doing.
type Status string

// The states of a hydration.
const (
	Idle       Status = "idle"        // it is not enabled, or has not begun
	Restoring  Status = "restoring"   // some pages are not local yet, or not verified
	CatchingUp Status = "catching_up" // it was complete, and pages have changed since
	OnDemand   Status = "on_demand"   // only pages that queries fetch become local
	Complete   Status = "complete"    // all pages are local, and every checksum that can be compared is right
	Failed     Status = "failed"      // it has ended, or waits for room on the disk; reads are remote
)

// Progress tells how far the hydration of a database has come.
type Progress struct {
	Name       string // of the database
	Enabled    bool   // whether the database is hydrated at all
	Status     Status
	Progress   float64 // percent; 100 only if it is complete
	Pages      int64   // local pages of the newest state
	TotalPages int64   // pages of the newest state

	// VerifiedPages are local pages that the checksum of an LTX file covers,
	// which was compared. For UnverifiablePages no checksum can be compared,
	// because too little of their files is needed.
	VerifiedPages     int64
	UnverifiablePages int64

	Bytes int64  // read from storage by hydration
	File  string // the local file; a temporary one has no name any more
	Owner int    // process that owns the local file; 0: this one
	Error string // why it failed or pauses; empty if it goes on
}

// mostProgress is the progress of a hydration that is not complete, even if all
// pages are local.
const mostProgress = 99.9

// progressOf returns how far a hydration into a local file has come. L is nil
// before there is one.
func progressOf(name string, s *hydrationState, l *localPages) Progress {
	p := s.progress()
	p.Name, p.Enabled = name, true
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
	case p.Status == Complete && l.isComplete():
		p.Progress = 100
	case p.Status == Complete: // of the state before
		p.Status = CatchingUp
	}
	return p
}
