package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
)

// importCommand is the command that begins a replica.
func (a *app) importCommand() *cobra.Command {
	return &cobra.Command{
		Use: "import FILE URL", Short: "Begin a replica with a SQLite database", Args: between(2, 2),
		Long: `import copies a SQLite database, which programs may use meanwhile, to a new replica,
as its first transaction. It makes a consistent copy in the folder for temporary
files first (TMPDIR). Where a replica or anything like it lies already, it changes
nothing.`,
		Example: `  ltxvfs import app.db s3://bucket/app.db`,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runImport(cmd.Context(), args) },
	}
}

func (a *app) runImport(ctx context.Context, args []string) (err error) {
	path := args[0]
	url, err := a.urlOf(args, 1)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return usageError{err}
	}
	tell, end := a.meter("import")
	req, err := a.requests(tell)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	start := time.Now()
	r, err := importFile(ctx, path, func(src maintain.Source) (*maintain.Imported, error) {
		return maintain.Import(ctx, client, src, maintain.ImportOptions{Requests: req})
	})
	end()
	if err = done(err); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			URL string `json:"url"`
			*maintain.Imported
		}{shown(url), r})
	}
	fmt.Fprintf(a.out, "imported %s to %s as transaction %s: %s, stored as %s", path, shown(url), r.TXID, formatBytes(int64(r.Pages)*int64(r.PageSize)), formatBytes(r.Stored))
	if !a.quiet {
		fmt.Fprintf(a.out, " in %s", time.Since(start).Round(time.Millisecond))
	}
	fmt.Fprintln(a.out)
	return nil
}

// importFile calls use with a consistent copy of a database.
func importFile(ctx context.Context, path string, use func(maintain.Source) (*maintain.Imported, error)) (r *maintain.Imported, err error) {
	dir, err := os.MkdirTemp("", "ltxvfs-import-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, "database")
	if err := backup(ctx, path, copied); err != nil {
		return nil, fmt.Errorf("copy %s: %w", path, err)
	}
	f, err := os.Open(copied)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	src, err := maintain.NewFileSource(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return use(src)
}

// busyTimeout is how long a backup waits for a program that writes.
const busyTimeout = 30 * time.Second

// backup copies a database by SQLite's backup API, in one transaction.
func backup(ctx context.Context, from, to string) (err error) {
	// A connection that may write removes the files of WAL mode if it is the last
	// one, as any program does.
	name := "file:" + escapeURI(from)
	conn, err := sqlite3.OpenFlags(name, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI)
	if err != nil {
		conn, err = sqlite3.OpenFlags(name, sqlite3.OPEN_READONLY|sqlite3.OPEN_URI)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	conn.SetInterrupt(ctx)
	if err := conn.BusyTimeout(busyTimeout); err != nil {
		return err
	}
	if err := conn.Exec("BEGIN; SELECT count(*) FROM sqlite_schema"); err != nil {
		return err
	}
	b, err := conn.BackupInit("main", "file:"+escapeURI(to))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err = b.Step(backupPages); err != nil {
			return err
		}
	}
	return nil
}

// backupPages is the number of pages that are copied between two looks at the
// context. The read transaction keeps them of one state.
const backupPages = 1000
