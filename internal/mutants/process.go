//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ran is how a process ended.
type ran struct {
	failed   bool
	timedOut bool
	output   []byte
	took     time.Duration // without the time that it waited for a processor
}

// start runs a test binary with a bound on time and memory, and ends what it
// started.
func start(dir, binary string, args, env []string, limit time.Duration, memory int) (ran, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`ulimit -v %d; exec "$0" "$@"`, memory<<10), binary}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return ran{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var r ran
	var waited time.Duration
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case err := <-ended:
			r.failed = err != nil
			running = false
		case <-tick.C:
			waited = max(waited, processorWait(cmd.Process.Pid))
			if time.Since(began)-waited > limit || time.Since(began) > 6*limit {
				r.timedOut, r.failed = true, true
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		}
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // processes that the test left
	r.took = time.Since(began) - waited
	r.output = output.Bytes()
	return r, nil
}

// processorWait returns how long the thread of a process that waited longest for
// a processor did so. A machine that is busy makes no timeouts of that. It is
// zero where the system does not say.
func processorWait(pid int) time.Duration {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	var longest time.Duration
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		var ranFor, waited int64
		if n, _ := fmt.Sscan(string(text), &ranFor, &waited); n == 2 {
			longest = max(longest, time.Duration(waited))
		}
	}
	return longest
}
