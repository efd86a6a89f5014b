//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// kind is a way in which a process reads.
type kind struct {
	name string
	argv []string
	env  []string
}

// process is a worker.
type process struct {
	kind
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	log *strings.Builder

	mu sync.Mutex // held during a request and its reply
}

// reply is what a worker answers.
type reply struct {
	Sum     int64
	Text    string
	Seconds float64
	Error   string
}

func (k kind) start(env []string) (p *process, err error) {
	p = &process{kind: k, cmd: exec.Command(k.argv[0], k.argv[1:]...), log: new(strings.Builder)}
	p.cmd.Env = append(append(append(os.Environ(), k.env...), env...), "LITESTREAM_LOG_LEVEL=warn")
	p.cmd.Stderr = p.log
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", k.name, err)
	}
	if _, err := p.reply(); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// ask runs a query for each key.
func (p *process) ask(plain bool, query string, keys ...int64) (reply, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := json.Marshal(struct {
		Plain bool
		SQL   string
		Keys  []int64
	}{plain, query, keys})
	if err != nil {
		return reply{}, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return reply{}, fmt.Errorf("%s: %w\n%s", p.name, err, p.log)
	}
	return p.reply()
}

func (p *process) reply() (r reply, err error) {
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w\n%s", p.name, err, p.log)
	}
	return r, nil
}

// end ends the process.
func (p *process) end() error {
	_ = p.in.Close()
	timer := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.name, err, p.log)
	}
	return nil
}

// memory is what a process has in memory, in bytes, without what others have mapped, too.
type memory struct{ clean, dirty int64 }

// memory returns the private memory of the process.
func (p *process) memory() (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		for name, to := range map[string]*int64{"Private_Clean:": &m.clean, "Private_Dirty:": &m.dirty} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, to); err != nil {
					return m, fmt.Errorf("%s: %w", line, err)
				}
				*to <<= 10
			}
		}
	}
	return m, nil
}

// fileID names a file of this host.
type fileID struct{ device, inode uint64 }

// files adds the regular files that the process has open below a folder to those in
// found, also those without a name, with the bytes that they take on the disk.
func (p *process) files(folder string, found map[fileID]int64) error {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, folder) {
			if err := addFile(link, found); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func addFile(path string, found map[fileID]int64) error {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	s := info.Sys().(*syscall.Stat_t)
	found[fileID{uint64(s.Dev), s.Ino}] = s.Blocks * 512
	return nil
}
