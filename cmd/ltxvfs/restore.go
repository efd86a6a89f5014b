package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
)

// restoreFlags are the flags of restore.
type restoreFlags struct {
	at        string
	sparse    bool
	integrity bool
}

// restore is the command that restores a database.
func (a *app) restore() *cobra.Command {
	var flags restoreFlags
	cmd := &cobra.Command{
		Use: "restore URL FILE", Short: "Restore a database to a file", Args: between(2, 2),
		Long: `restore restores a database to a new file, or to standard output with the file -.
It reads in parallel, compares the checksums of all files that make the state, and
overwrites nothing. If it is interrupted, it leaves FILE.partial, and the next
restore to the same file continues from there.`,
		Example: `  ltxvfs restore s3://bucket/app.db app.db
  ltxvfs restore s3://bucket/app.db before.db --at '2026-03-14 11:59' --integrity-check
  ltxvfs restore s3://bucket/app.db - | gzip >app.db.gz`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRestore(cmd.Context(), args, flags) },
	}
	cmd.Flags().StringVar(&flags.at, "at", "", "transaction or time of the `state`, the newest by default")
	cmd.Flags().BoolVar(&flags.sparse, "sparse", false, "leave holes where pages are zero")
	cmd.Flags().BoolVar(&flags.integrity, "integrity-check", false, "run PRAGMA integrity_check on the file")
	return cmd
}

func (a *app) runRestore(ctx context.Context, args []string, flags restoreFlags) error {
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	at, err := maintain.ParseMoment(flags.at, time.Now())
	if err != nil {
		return usagef("--at: %w", err)
	}
	path := args[1]
	if path == "-" && (flags.integrity || a.json) {
		return usagef("--integrity-check and --json need a file")
	}
	tell, end := a.meter("restore")
	req, err := a.requests(tell)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	opts := maintain.RestoreOptions{Requests: req, At: at, Sparse: flags.sparse}
	start := time.Now()
	var r *maintain.Restored
	if path == "-" {
		out := bufio.NewWriterSize(a.out, 1<<20)
		r, err = maintain.RestoreTo(ctx, client, out, opts)
		err = errors.Join(err, out.Flush())
	} else {
		r, err = maintain.Restore(ctx, client, path, opts)
	}
	end()
	if err = done(err); err != nil {
		return a.withPartial(path, err)
	}
	for _, f := range r.Damaged {
		fmt.Fprintf(a.errors, "ltxvfs: %s is damaged; other files gave the same transactions\n", f)
	}
	var integrity []string
	if flags.integrity {
		if integrity, err = integrityOf(ctx, path); err != nil {
			return fmt.Errorf("integrity_check of %s: %w", path, err)
		}
	}
	switch {
	case a.json:
		err = a.printJSON(struct {
			File string `json:"file"`
			*maintain.Restored
			Integrity []string `json:"integrity_check,omitempty"`
		}{path, r, integrity})
	case path != "-":
		fmt.Fprintf(a.out, "restored %s of %s to %s: %s from %s", r.TXID, formatTime(r.Time), path, formatBytes(r.Bytes), count(r.Files, "file"))
		if !a.quiet {
			fmt.Fprintf(a.out, ", %s read in %s", formatBytes(r.Read), time.Since(start).Round(time.Millisecond))
		}
		if r.Resumed > 0 {
			fmt.Fprintf(a.out, ", %s were there from before", formatBytes(r.Resumed))
		}
		fmt.Fprintln(a.out)
		for _, row := range integrity {
			fmt.Fprintln(a.out, "integrity_check:", row)
		}
	}
	if err == nil && isBroken(integrity) {
		err = errDamaged
	}
	return err
}

// withPartial adds to an error that a partial file was left.
func (a *app) withPartial(path string, err error) error {
	if _, serr := os.Lstat(path + ".partial"); path != "-" && serr == nil && !errors.Is(err, os.ErrExist) {
		fmt.Fprintf(a.errors, "ltxvfs: %s.partial is what was restored so far: the same command continues with it\n", path)
	}
	return err
}

// integrityOf returns the rows of PRAGMA integrity_check of a local database.
func integrityOf(ctx context.Context, path string) (rows []string, err error) {
	// The database was just restored, so nothing changes it. Immutable makes SQLite
	// leave no files beside it.
	conn, err := sqlite3.OpenContext(ctx, "file:"+escapeURI(path)+"?mode=ro&immutable=1")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return texts(conn, "PRAGMA integrity_check")
}
