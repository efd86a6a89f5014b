package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

var update = flag.Bool("update", false, "write what the program prints to the scripts")

// flip is a command of scripts: it flips a bit in the middle of a file of a replica,
// flip URL LEVEL MIN MAX.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	url := args[0]
	if strings.HasPrefix(url, "s3:") {
		url += "?region=eu-west-1&endpoint=" + ts.Getenv("AWS_ENDPOINT_URL_S3")
	}
	level, err := strconv.Atoi(args[1])
	ts.Check(err)
	minTXID, err := ltx.ParseTXID(args[2])
	ts.Check(err)
	maxTXID, err := ltx.ParseTXID(args[3])
	ts.Check(err)
	client, err := replica.NewFromURL(url)
	ts.Check(err)
	r, err := client.OpenLTXFile(context.Background(), level, minTXID, maxTXID, 0, 0)
	ts.Check(err)
	body, err := io.ReadAll(r)
	ts.Check(errors.Join(err, r.Close()))
	body[len(body)/2] ^= 8
	_, err = client.WriteLTXFile(context.Background(), level, minTXID, maxTXID, bytes.NewReader(body))
	ts.Check(err)
}

// Every command prints what its script says, over a folder and over S3. $BUCKET is
// the URL below which the replicas of fixtures are.
func TestScripts(t *testing.T) {
	s3 := startS3(t)
	for _, store := range []struct {
		name  string
		setup func(*testscript.Env) error
	}{
		{"file", func(env *testscript.Env) error {
			env.Setenv("BUCKET", fillFolder(t, filepath.Join(env.WorkDir, "bucket")))
			return nil
		}},
		{"s3", func(env *testscript.Env) error {
			env.Vars = append(env.Vars, s3...)
			env.Setenv("BUCKET", "s3://bucket")
			return nil
		}},
	} {
		t.Run(store.name, func(t *testing.T) {
			if store.name == "file" && testing.Short() {
				t.Skip("it does what the scripts over S3 do")
			}
			testscript.Run(t, testscript.Params{
				Dir: "testdata/script", Setup: store.setup, UpdateScripts: *update && store.name == "file",
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"flip": flip},
			})
		})
	}
}
