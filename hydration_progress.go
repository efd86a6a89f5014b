package litestream

import "time"

// HydrationStatus is what a hydration is doing.
type HydrationStatus string

// The states of a hydration.
const (
	HydrationIdle       HydrationStatus = "idle"        // not enabled, or not begun
	HydrationRestoring  HydrationStatus = "restoring"   // not all pages are local and compared yet
	HydrationCatchingUp HydrationStatus = "catching_up" // they were, and some have changed since
	HydrationComplete   HydrationStatus = "complete"    // all pages are local, and all checksums that can be compared are right
	HydrationFailed     HydrationStatus = "failed"      // it goes on no more, or waits for the disk; reads are remote
)

// HydrationProgress is how far the hydration of a database has come.
type HydrationProgress struct {
	Name       string          `json:"-"` // of the database
	Status     HydrationStatus `json:"status"`
	Progress   float64         `json:"progress"`    // 0 to 100, which it is when it is complete
	Pages      int64           `json:"pages"`       // local pages of the newest state
	TotalPages int64           `json:"total_pages"` // pages of the newest state

	// Of Pages, those that a checksum of an LTX file covers that was compared, and
	// those of which none can be: too little of their files is needed.
	VerifiedPages     int64 `json:"verified_pages"`
	UnverifiablePages int64 `json:"unverifiable_pages"`

	Bytes int64  `json:"bytes"` // read from storage for it
	File  string `json:"file"`  // the local file; a temporary one has no name any more
	Error string `json:"error"` // why it failed or pauses; empty if it goes on
}

// mostProgress is that of a hydration that is not complete, though all pages
// may be local.
const mostProgress = 99.9

// progressed changes the status by what is missing, and logs every tenth.
func (h *hydrator) progressed() {
	l := h.local()
	total, missing := l.total.Load(), l.missing()
	if l.view() == nil {
		return
	}
	h.mu.Lock()
	changed := h.changed
	h.changed = false
	if h.status == HydrationFailed || h.status == HydrationIdle {
		h.mu.Unlock()
		if changed {
			h.report()
		}
		return
	}
	before := h.status
	complete := l.isComplete()
	step := 10
	if !complete {
		step = min(int(10*(total-missing)/max(total, 1)), 9)
	}
	done := complete && before != HydrationComplete
	switch {
	case done:
		h.status, h.problem = HydrationComplete, nil
	case !complete && before == HydrationComplete:
		h.status, h.since, h.already, h.step = HydrationCatchingUp, time.Now(), h.bytes.Load(), step
	}
	tenth := before == HydrationRestoring && step > h.step && !done
	h.step = max(h.step, step)
	took, bytes := time.Since(h.since), h.bytes.Load()-h.already
	h.mu.Unlock()
	switch {
	case done && before == HydrationRestoring:
		size := total * l.size
		h.db.log.Info("hydration complete", "pages", total, "bytes_read", bytes, "duration", took,
			"mb_per_s", int64(float64(size)/1e6/max(took.Seconds(), 1e-3)), "verified", l.compared.Load())
	case tenth:
		h.db.log.Info("hydration", "percent", step*10, "pages", total-missing, "of", total)
	}
	if changed || done || !complete {
		h.report()
	}
}

// progress tells how far it has come.
func (h *hydrator) progress() HydrationProgress {
	if h == nil {
		return HydrationProgress{Status: HydrationIdle}
	}
	h.mu.Lock()
	p := HydrationProgress{Name: h.db.name, Status: h.status, Bytes: h.bytes.Load()}
	if h.problem != nil {
		p.Error = h.problem.Error()
	}
	h.mu.Unlock()
	l := h.local()
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

// report calls OnHydrationProgress. Only run does, one at a time.
func (h *hydrator) report() {
	var err error
	defer guard(h.db.log, "OnHydrationProgress", &err)
	if fn := h.db.opts.OnHydrationProgress; fn != nil {
		fn(h.progress())
	}
}
