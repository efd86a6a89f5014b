package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

func programName(what string) string { return "extension: " + what }

// program is one of SQLite's own test programs. Its first argument is the name
// of a database, which it opens.
type program struct {
	what, variable string
	environment    []string // variables for the extension

	// runs returns the arguments of each process; %s stands for the database.
	// The last process is timed.
	runs func(cfg *config) [][]string
}

var (
	speedtest1 = program{"speedtest1", "LITESTREAM_TEST_SPEEDTEST1", nil, func(cfg *config) [][]string {
		return [][]string{{"%s", "--size", strconv.Itoa(cfg.programSize)}}
	}}
	kvtestRead     = program{"kvtest, random blobs of 10 KB", "LITESTREAM_TEST_KVTEST", nil, readBlobs}
	kvtestHydrated = program{"kvtest, random blobs of 10 KB, hydrated on the way", "LITESTREAM_TEST_KVTEST", []string{"LITESTREAM_HYDRATION_ENABLED=true"}, readBlobs}
	kvtestUpdate   = program{"kvtest, updates of blobs of 10 KB", "LITESTREAM_TEST_KVTEST", nil, func(cfg *config) [][]string {
		return [][]string{
			{"init", "%s", "--count", strconv.Itoa(cfg.programBlobs), "--size", "10000"},
			{"run", "%s", "--update", "--random", "--count", strconv.Itoa(2 * cfg.programBlobs)},
		}
	}}
)

func readBlobs(cfg *config) [][]string {
	return [][]string{
		{"init", "%s", "--count", strconv.Itoa(cfg.programBlobs), "--size", "10000"},
		{"run", "%s", "--random", "--count", strconv.Itoa(20 * cfg.programBlobs)},
	}
}

// programWorkload runs a program with the loadable extension in write mode, on
// a replica in a folder without delays, and with SQLite's default VFS on a
// file.
func programWorkload(p program) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		path, extension := os.Getenv(p.variable), os.Getenv("LITESTREAM_TEST_EXTENSION")
		if path == "" || extension == "" {
			e.logf("left out: %s or LITESTREAM_TEST_EXTENSION is not set; scripts/clients and scripts/extension build them", p.variable)
			return nil
		}
		return e.repeat(ctx, func(ctx context.Context, sys *system) error {
			if sys.name == upstream {
				return nil // it has an extension, but not in the module of this process
			}
			took, err := runProgram(ctx, e, p, path, sys.name == ours)
			if err == nil {
				e.results.add(programName(p.what), sys.name, sample{time: took})
			}
			return err
		})
	}
}

func runProgram(ctx context.Context, e *env, p program, path string, extended bool) (took time.Duration, err error) {
	dir, err := os.MkdirTemp(e.dir, "program-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	database, variables := "app.db", []string{"LITESTREAM_TEST_EXTENSION="}
	if extended {
		database = "file:app.db?vfs=litestream"
		variables = []string{"LITESTREAM_REPLICA_URL=file://" + filepath.Join(dir, "replica"), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_LOG_LEVEL=warn"}
		variables = append(variables, p.environment...)
		// kvtest checks that a file of the given name exists.
		if err := os.WriteFile(filepath.Join(dir, database), nil, 0o600); err != nil {
			return 0, err
		}
	}
	for _, args := range p.runs(&e.config) {
		for i, arg := range args {
			if arg == "%s" {
				args[i] = database
			}
		}
		cmd := exec.CommandContext(ctx, path, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), variables...)
		start := time.Now()
		out, err := cmd.CombinedOutput()
		took = time.Since(start)
		if err != nil {
			return 0, fmt.Errorf("%s %v: %w\n%s", path, args, err, out)
		}
	}
	return took, nil
}
