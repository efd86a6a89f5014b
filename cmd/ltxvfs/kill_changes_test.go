package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

// A command that changes a replica, interrupted or killed at any of its requests,
// loses no state that it has to keep, and the same command does the rest.
func TestChanges_Killed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before [][]string // commands that prepare the replica
		flip   bool       // a file of level 1 is damaged after them
		args   []string
		states string // that can be restored at any time
		done   string // what the command prints when nothing is left to be done
	}{
		{"snapshot", nil, false, []string{"snapshot"}, "all 9 states", "is there already"},
		{"compact", nil, false, []string{"compact"}, "all 9 states", "level 1: nothing to merge\nlevel 2: nothing to merge\nlevel 3: nothing to merge\n"},
		{"prune", [][]string{{"compact"}, {"snapshot"}}, false, []string{"prune", "--keep-last", "1"}, "nothing is wrong", "deleted 0 files"},
		{"repair", [][]string{{"compact"}}, true, []string{"repair", "--yes"}, "9 states can be restored", "nothing is wrong, and all 9 states"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			step := int64(1)
			if testing.Short() {
				step = 5 // an odd number, so that both signals are sent
			}
			for k := int64(1); ; k += step {
				service := storetest.NewS3()
				service.Set(nil)
				g := &gate{Handler: service}
				server := httptest.NewServer(g)
				p := newProgram(t, environmentOf(server.URL))
				fillFrom(t, server.URL, "broken/base")
				for _, args := range tt.before {
					p.run(append(args, "s3://bucket/app.db", "-q")...)
				}
				if tt.flip {
					flipObject(t, server.URL)
				}
				cmd := p.command(append(tt.args, "s3://bucket/app.db", "-q", "--concurrency", "1")...)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				sig := []os.Signal{os.Kill, os.Interrupt}[k%2]
				err := g.runUntil(cmd, k, sig)
				if g.at.Load() > 0 {
					server.Close()
					if k < 5 || err != nil {
						t.Fatalf("it makes %d requests, and ends with %v: %s", k-1, err, &stderr)
					}
					return
				}
				g.at.Store(0)
				if sig == os.Interrupt && cmd.ProcessState.ExitCode() != exitInterrupted {
					t.Errorf("request %d: exit code %d, %s", k, cmd.ProcessState.ExitCode(), &stderr)
				}
				found, _ := p.command("verify", "s3://bucket/app.db", "-q").Output() // the exit code of a repair says what is left
				if !strings.Contains(string(found), tt.states) {
					t.Fatalf("request %d, %s: %s", k, sig, found)
				}
				p.run(append(tt.args, "s3://bucket/app.db", "-q")...)
				if k == 1 {
					if again := p.run(append(tt.args, "s3://bucket/app.db", "-q")...); !strings.Contains(again, tt.done) {
						t.Errorf("a third time it printed %s", again)
					}
				}
				if found := p.run("verify", "s3://bucket/app.db", "-q"); !strings.Contains(found, "nothing is wrong") {
					t.Errorf("request %d, %s: %s", k, sig, found)
				}
				server.Close()
			}
		})
	}
}

// clientAt returns the client of app.db on a server.
func clientAt(t testing.TB, endpoint string) replica.Client {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	client, err := replica.NewFromURL("s3://" + storetest.Bucket + "/app.db?region=eu-west-1&endpoint=" + endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// fillFrom stores a replica of testdata on a server.
func fillFrom(t testing.TB, endpoint, dir string) {
	t.Helper()
	from, to := file.NewReplicaClient("../../testdata/replicas/"+dir), clientAt(t, endpoint)
	for level := range replica.SnapshotLevel + 1 {
		itr, err := from.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		for itr.Next() {
			copyFile(t.Context(), t, from, to, itr.Item())
		}
		if err := itr.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// flipObject damages the first file of level 1.
func flipObject(t testing.TB, endpoint string) {
	t.Helper()
	client := clientAt(t, endpoint)
	itr, err := client.LTXFiles(t.Context(), 1, 0, false)
	if err != nil || !itr.Next() {
		t.Fatal("no file of level 1", err)
	}
	f := itr.Item()
	r, err := client.OpenLTXFile(t.Context(), 1, f.MinTXID, f.MaxTXID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	_ = itr.Close()
	body.Bytes()[body.Len()/2] ^= 8
	if _, err := client.WriteLTXFile(t.Context(), 1, f.MinTXID, f.MaxTXID, &body); err != nil {
		t.Fatal(err)
	}
}
