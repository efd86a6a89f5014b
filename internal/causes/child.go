package causes

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"
)

// Child is a program in another process. It reads requests from its standard input
// and writes replies to its standard output, one JSON object a line.
type Child struct {
	in     io.Writer
	out    *bufio.Reader
	opened int // number of connections
}

type request struct {
	Op        string            `json:"op"` // open, exec, query or close
	Conn      int               `json:"conn"`
	URL       string            `json:"url,omitempty"`
	Options   map[string]string `json:"options,omitempty"`
	Statement string            `json:"statement,omitempty"`
}

type reply struct {
	Error string `json:"error"` // everything that the program tells its user; "" if it has succeeded
	Value string `json:"value"` // of a query
}

// StartChild starts a command until the end of the test.
func StartChild(t testing.TB, cmd *exec.Cmd) *Child {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("end of %s: %v", cmd.Path, err)
		}
	})
	return &Child{in: in, out: bufio.NewReader(out)}
}

func (c *Child) call(r request) (string, error) {
	line, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return "", fmt.Errorf("the program has ended: %w", err)
	}
	if line, err = c.out.ReadBytes('\n'); err != nil {
		return "", fmt.Errorf("the program has ended: %w", err)
	}
	var a reply
	if err := json.Unmarshal(line, &a); err != nil {
		return "", fmt.Errorf("the program has written %q: %w", line, err)
	}
	if a.Error != "" {
		return "", errors.New(a.Error)
	}
	return a.Value, nil
}

// Open opens a database.
func (c *Child) Open(_ context.Context, url string, options map[string]string) (DB, error) {
	c.opened++
	_, err := c.call(request{Op: "open", Conn: c.opened, URL: url, Options: options})
	return &childDB{c, c.opened}, err
}

// childDB is a connection in another process.
type childDB struct {
	c    *Child
	conn int
}

func (d *childDB) Exec(_ context.Context, statement string) error {
	_, err := d.c.call(request{Op: "exec", Conn: d.conn, Statement: statement})
	return err
}

func (d *childDB) Query(query string) (string, error) {
	return d.c.call(request{Op: "query", Conn: d.conn, Statement: query})
}

func (d *childDB) Close() error {
	_, err := d.c.call(request{Op: "close", Conn: d.conn})
	return err
}
