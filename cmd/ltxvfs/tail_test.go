package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// line is a line that tail prints.
type line struct {
	TXID, First, Time, Kind, Table string
	Rowid                          int64
	Old, New                       map[string]any
}

// rowsOf reads the rows of some tables of a replica, as texts by table and rowid.
func rowsOf(t *testing.T, p *program, url, at string, tables ...string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, table := range tables {
		var rows []map[string]any
		if err := json.Unmarshal([]byte(p.run("query", "-q", "-o", "json", url, "SELECT rowid AS \"the rowid\", * FROM "+table, "--at", at)), &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			key := fmt.Sprint(table, " ", row["the rowid"])
			delete(row, "the rowid")
			all[key] = fmt.Sprint(row)
		}
	}
	return all
}

// A reader of tail that is killed with its process at any line, and goes on after the
// last commit line that it has read, has all changes, and none that there were not.
func TestTail_Killed(t *testing.T) {
	p := newProgram(t, nil)
	url := fillFolder(t, p.dir) + "/tenants/a/app.db"
	const from, to = "0000000000000034", "0000000000000045"
	tables := []string{"events", "sandwich_ratings"}
	rows := rowsOf(t, p, url, from, tables...)
	after, seen := from, 0
	kills := 0
	for most := 1; after != to; most = 2*most + 1 {
		cmd := p.command(append([]string{"tail", url, "--from", after}, tables...)...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var held []line // lines of the transaction that is not complete
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for n := 0; n < most && after != to && lines.Scan(); n++ {
			var l line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Fatalf("%v: %s", err, lines.Text())
			}
			if n == 0 && (l.Kind != "begin" || l.TXID != after) {
				t.Fatalf("after %s, it begins with %s", after, lines.Text())
			}
			switch {
			case l.Kind == "begin":
			case l.Kind != "commit":
				held = append(held, l)
			default:
				for _, c := range held {
					key := fmt.Sprint(c.Table, " ", c.Rowid)
					if had, ok := rows[key]; ok != (c.Old != nil) || ok && had != fmt.Sprint(c.Old) || c.TXID != l.TXID || c.Time != l.Time {
						t.Fatalf("transaction %s: %+v, but the row is %s", l.TXID, c, had)
					}
					if c.New == nil {
						delete(rows, key)
					} else {
						rows[key] = fmt.Sprint(c.New)
					}
				}
				held, after, seen = nil, l.TXID, seen+1
			}
		}
		_ = cmd.Process.Kill() // it may have failed, and then the next one does as well
		_ = cmd.Wait()
		if kills++; kills > 30 {
			t.Fatalf("it does not get beyond %s", after)
		}
	}
	if want := rowsOf(t, p, url, to, tables...); !maps.Equal(rows, want) {
		t.Errorf("%d rows, and they are not the %d of the replica", len(rows), len(want))
	}
	if seen < 10 || kills < 5 {
		t.Errorf("%d commits, %d kills", seen, kills)
	}
}

// A tail prints a transaction when it arrives, ends well when it is interrupted, and
// ends with exit code 4 when the replica was rolled back.
func TestTail(t *testing.T) {
	p := newProgram(t, []string{"LITESTREAM_POLL_INTERVAL=10ms"})
	url := fillFolder(t, p.dir) + "/app.db"
	newest := filepath.Join(p.dir, "app.db", "ltx", "0", "000000000000001d-000000000000001d.ltx")
	aside := filepath.Join(p.dir, "aside")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(newest, aside)
	for _, sig := range []os.Signal{os.Interrupt, nil} {
		cmd, out := p.start("tail", url, "items")
		out.waitFor(t, `{"txid": "000000000000001c", "time": "2026-03-14T10:19:12.000Z", "kind": "begin"}`+"\n")
		move(aside, newest)
		out.waitFor(t, `{"txid": "000000000000001d", "time": "2026-03-14T10:19:17.000Z", "kind": "update", "table": "items", "rowid": 12, `)
		out.waitFor(t, `{"txid": "000000000000001d", "time": "2026-03-14T10:19:17.000Z", "kind": "commit"}`+"\n")
		if sig != nil {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("interrupted, it ends with %v: %s", err, out)
			}
			move(newest, aside)
			continue
		}
		move(newest, aside)
		_ = cmd.Wait() // the exit code says how it ended
		if code := cmd.ProcessState.ExitCode(); code != exitDamaged {
			t.Errorf("the replica was rolled back: exit code %d\n%s", code, out)
		}
		out.waitFor(t, "the replica was rolled back")
	}
}
