package main

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ltxvfs/litestream/internal/testscale"
)

var update = flag.Bool("update", false, "write what the program prints to the scripts")

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
			if store.name == "file" {
				testscale.NeedsNoRace(t, "it does what the scripts over S3 do")
			}
			testscript.Run(t, testscript.Params{Dir: "testdata/script", Setup: store.setup, UpdateScripts: *update && store.name == "file"})
		})
	}
}
