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
	"strings"
	"time"
)

// roleVariable is the environment variable that tells a process of this program what
// it is, so that the program is one file.
const roleVariable = "LITESTREAM_LOAD_ROLE"

// role is what a process of this program is. One of the fields is set.
type role struct {
	Server *serverRole
	Worker *workerRole
}

// runRole runs the role of this process, and exits, if the environment has one.
// Otherwise it returns.
func runRole() {
	text := os.Getenv(roleVariable)
	if text == "" {
		return
	}
	var r role
	err := json.Unmarshal([]byte(text), &r)
	switch {
	case err != nil:
	case r.Server != nil:
		err = r.Server.run()
	case r.Worker != nil:
		err = r.Worker.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a process with a role. It ends when its standard input does, so that it
// does not outlive this process.
type child struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	log  strings.Builder
}

// startRole starts a process of this program.
func startRole(name string, r role) (c *child, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c = &child{name: name, cmd: exec.Command(self)}
	c.cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	for name, value := range credentials {
		c.cmd.Env = append(c.cmd.Env, name+"="+value)
	}
	c.cmd.Stderr = &c.log
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = json.NewDecoder(bufio.NewReader(out))
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// read reads the next value that the process prints. It returns io.EOF when the
// process prints no more.
func (c *child) read(v any) error {
	err := c.out.Decode(v)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return err
}

// end ends the process, and waits for it.
func (c *child) end() error {
	_ = c.in.Close()
	timer := time.AfterFunc(time.Minute, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c.name, err, c.log.String())
	}
	return nil
}
