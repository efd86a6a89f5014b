package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/internal/livefile"
	"github.com/ltxvfs/litestream/maintain"
)

// importCommand is the command that begins a replica.
func (a *app) importCommand() *cobra.Command {
	var copyFirst bool
	cmd := &cobra.Command{
		Use: "import FILE URL", Short: "Begin a replica with a SQLite database", Args: between(2, 2),
		Long: `import copies a SQLite database, which programs may use meanwhile, to a new replica,
as its first transaction. It reads the database in one read transaction. In WAL
mode, programs write on, and the WAL grows until the end. With a rollback journal,
programs can read, and cannot commit.

When a program wants to write with a rollback journal, or the WAL has grown by more
than what is left to be read, import copies the rest to the folder for temporary
files (TMPDIR) and ends the transaction. The program waits that long, as its busy
timeout says. With --copy, import copies all of the database there first, by SQLite's
backup API.

A store may notice only at the end that it cannot create a file on the condition that
there is none. Then import reads the database again.

Where a replica or anything like it lies already, it changes nothing.`,
		Example: `  ltxvfs import app.db s3://bucket/app.db
  ltxvfs import app.db s3://bucket/app.db --copy`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runImport(cmd.Context(), args, copyFirst) },
	}
	cmd.Flags().BoolVar(&copyFirst, "copy", false, "copy the database to a temporary file first")
	return cmd
}

func (a *app) runImport(ctx context.Context, args []string, copyFirst bool) (err error) {
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
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	start := time.Now()
	r, err := importFile(ctx, path, copyFirst, func(src maintain.Source) (*maintain.Imported, error) {
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

// importFile calls use with a state of a database that programs may write to.
func importFile(ctx context.Context, path string, copyFirst bool, use func(maintain.Source) (*maintain.Imported, error)) (r *maintain.Imported, err error) {
	f, err := livefile.Open(ctx, path, livefile.Options{Copy: copyFirst, BusyTimeout: busyTimeout})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return use(f)
}

// gcPercent is how much garbage an import leaves, in percent of the memory in use. Most
// of that is parts of files, which cost the collector nothing.
const gcPercent = 50

// busyTimeout is how long an import waits for a program that writes.
const busyTimeout = 30 * time.Second

var (
	_ maintain.PagesSource       = (*livefile.File)(nil)
	_ maintain.RestartableSource = (*livefile.File)(nil)
)
