//go:build unix

package killtest

import (
	"syscall"
	"time"
)

// stopOwner stops the owner until another process has taken over, and lets it go
// on then.
func (g *shareGroup) stopOwner() {
	g.t.Helper()
	old := g.owner()
	if old == nil {
		g.t.Fatal("no process owns the file")
	}
	g.change(1)
	time.Sleep(time.Duration(g.rng.IntN(30)) * time.Millisecond)
	if err := old.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		g.t.Fatal(err)
	}
	g.await("another owner", 30*time.Second, func() bool {
		for _, p := range g.all {
			if p != old && p.owns(g.task.Path) {
				return true
			}
		}
		return false
	})
	g.change(2)
	if err := old.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		g.t.Fatal(err)
	}
	g.change(3)
	g.settle("after the owner was stopped")
}
