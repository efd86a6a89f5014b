// Command bench measures how fast databases are read in place. It compares this
// library's VFS, upstream Litestream's VFS, and plain SQLite on the restored
// file. All run in one process on the same replicas in a folder, and the
// command delays requests so that the folder is as slow as an object store.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/mattn/go-sqlite3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	cfg, err := parseFlags(args)
	if err != nil {
		return err
	}
	all, err := systems(cfg.binding)
	if err != nil {
		return err
	}
	e, err := newEnv(cfg, all, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	err = e.run(ctx)
	text := e.markdown()
	fmt.Print(text) // after an error, the text contains the results so far
	if err != nil || cfg.output == "" {
		return err
	}
	return replaceTables(cfg.output, text)
}

func replaceTables(path, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	next, err := between(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(next), 0o644)
}

func sqliteVersion() string {
	version, _, _ := sqlite3.Version()
	return version
}

func upstreamVersion() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/benbjohnson/litestream" {
				return dep.Version
			}
		}
	}
	return "of an unknown version"
}
