// Command ltxvfs is for the people who operate replicas: it lists, verifies,
// restores, copies, forks, compacts and queries them, and begins new ones. It is a
// thin layer over package maintain, and needs no cgo:
//
//	CGO_ENABLED=0 go install -tags disable_grpc_modules,grpcnotrace github.com/ltxvfs/litestream/cmd/ltxvfs@latest
//
// The page docs/cli.md shows every command with its output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/maintain"
	_ "github.com/ltxvfs/litestream/nats"
	_ "github.com/ltxvfs/litestream/oss"
	"github.com/ltxvfs/litestream/replica"
	_ "github.com/ltxvfs/litestream/s3"
	_ "github.com/ltxvfs/litestream/sftp"
	_ "github.com/ltxvfs/litestream/webdav"
)

// Exit codes.
const (
	exitFine        = 0
	exitFound       = 1 // something was found, or what was asked for is not there
	exitUsage       = 2
	exitStorage     = 3 // the store, the local disk or the network failed
	exitDamaged     = 4 // the replica is damaged
	exitInterrupted = 130
)

func main() { os.Exit(run()) }

// run runs the program and returns its exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{out: onScreen(os.Stdout), errors: onScreen(os.Stderr), environment: os.Getenv}
	root := a.command()
	root.SetArgs(os.Args[1:])
	err := root.ExecuteContext(ctx)
	code := codeOf(ctx, err)
	if err != nil && !errors.Is(err, errFound) && !errors.Is(err, errDamaged) {
		fmt.Fprintf(a.errors, "ltxvfs: %s\n", explain(ctx, err))
	}
	return code
}

// These errors say how the program ends after it has printed what was found.
var (
	errFound   = errors.New("something was found")
	errDamaged = errors.New("the replica is damaged")
)

// errNotThere means that what was asked for is not in the database.
var errNotThere = errors.New("not in the database")

// usageError is an error about arguments.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// explain returns the text of an error.
func explain(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "interrupted"
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return err.Error() + "\nSee ltxvfs --help."
	}
	return err.Error()
}

// codeOf returns the exit code of an error.
func codeOf(ctx context.Context, err error) int {
	_, isUsage := errors.AsType[usageError](err)
	_, isGap := errors.AsType[*litestream.MissingError](err)
	sql, isSQL := sqlCode(err)
	switch {
	case err == nil:
		return exitFine
	case ctx.Err() != nil:
		return exitInterrupted
	case isUsage:
		return exitUsage
	case errors.Is(err, errDamaged), errors.Is(err, litestream.ErrCorrupt), errors.Is(err, litestream.ErrRolledBack), isGap:
		return exitDamaged
	case errors.Is(err, errFound), errors.Is(err, errNotThere), errors.Is(err, litestream.ErrNoDatabase), errors.Is(err, litestream.ErrTxNotAvailable), errors.Is(err, litestream.ErrNoTable), errors.Is(err, litestream.ErrConflict), errors.Is(err, maintain.ErrInUse), errors.Is(err, fs.ErrExist):
		return exitFound
	case isSQL && sql == sqlite3.CORRUPT:
		return exitDamaged
	case isSQL && sql != sqlite3.IOERR && sql != sqlite3.CANTOPEN:
		return exitFound
	}
	return exitStorage
}

// sqlCode returns the result code of an error of SQLite's.
func sqlCode(err error) (code sqlite3.ErrorCode, ok bool) {
	if e, ok := errors.AsType[*sqlite3.Error](err); ok {
		return e.Code(), true
	}
	if e, ok := errors.AsType[sqlite3.ExtendedErrorCode](err); ok {
		return e.Code(), true
	}
	return errors.AsType[sqlite3.ErrorCode](err)
}

// app is a run of the program.
type app struct {
	out         io.Writer
	errors      io.Writer
	environment func(string) string

	// Flags that all commands have.
	json        bool
	quiet       bool
	concurrency int
	isTold      func(flag string) bool // whether the user has set it
}

const examples = `  ltxvfs ls s3://bucket                           # databases, how large and how fresh they are
  ltxvfs query s3://bucket/app.db 'SELECT count(*) FROM users'
  ltxvfs verify s3://bucket/app.db                # reads every byte
  ltxvfs restore s3://bucket/app.db app.db --at '5 minutes ago'
  ltxvfs import app.db gs://bucket/app.db
  ltxvfs copy s3://bucket/app.db gs://bucket/app.db`

const long = `ltxvfs looks at, verifies, restores, copies and begins replicas of SQLite databases, as
Litestream v0.5 and this library write them.

A replica is given by its URL, like s3://bucket/path, gs://bucket/path,
abs://account@container/path and file:///path. Credentials come from the
environment, as for the library. Where a URL is left out, LITESTREAM_REPLICA_URL
is used.

A state is given by --at: a transaction of 16 hex digits, or a time such as
2026-01-02T15:04:05Z, '2026-01-02 15:04' (UTC), '5 minutes ago' and yesterday.

Exit codes: 0 fine; 1 something was found, or what was asked for is not there;
2 usage; 3 storage or local files failed; 4 the replica is damaged, or was
rolled back; 130 interrupted.`

// command returns the root command.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use: "ltxvfs", Short: "Operate replicas of SQLite databases", Long: long, Example: examples,
		SilenceErrors: true, SilenceUsage: true, Version: version(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q", args[0])
			}
			return nil
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return refuseBlank(cmd.Flags()) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.out)
	root.SetErr(a.errors)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	cobra.EnableCommandSorting = false
	flags := root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print JSON")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print no progress")
	flags.IntVar(&a.concurrency, "concurrency", maintain.DefaultConcurrency, "`number` of reads in flight")
	a.isTold = flags.Changed
	root.AddCommand(
		a.ls(), a.info(), a.history(), a.diff(), a.tail(), a.query(), a.shellCommand(), a.verify(), a.restore(), a.importCommand(),
		a.copyCommand(), a.fork(), a.snapshot(), a.compact(), a.prune(), a.repair(), a.publish(), a.serve(),
	)
	return root
}

// refuseBlank returns an error if a flag was set to a blank value, which in a script is
// a variable that has no value. A command must not do what it does without the flag
// then: take the newest state, keep no other one, or write to another place. The value
// of a parameter of SQL may be blank.
func refuseBlank(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		if err == nil && f.Name != "param" && (len(values) == 0 || slices.ContainsFunc(values, isBlank)) {
			err = usagef("--%s is empty: give it a value, or leave it out", f.Name)
		}
	})
	return err
}

func isBlank(value string) bool { return strings.TrimSpace(value) == "" }

// requests returns how an operation makes its requests.
func (a *app) requests(tell func(maintain.Progress)) (maintain.Requests, error) {
	log, err := a.logger()
	if err == nil && a.concurrency < 1 {
		err = usagef("--concurrency is %d, want a positive number", a.concurrency)
	}
	r := maintain.Requests{Concurrency: a.concurrency, Logger: log, Progress: tell}
	if !a.isTold("concurrency") {
		r.Concurrency = 0 // which allows twice as many small reads
	}
	return r, err
}

// logger returns the log on standard error, of the level of LITESTREAM_LOG_LEVEL.
func (a *app) logger() (*slog.Logger, error) {
	level := slog.LevelWarn
	if text := a.environment("LITESTREAM_LOG_LEVEL"); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, usagef("LITESTREAM_LOG_LEVEL: %w", err)
		}
	}
	return slog.New(slog.NewTextHandler(a.errors, &slog.HandlerOptions{Level: level})), nil
}

// urlOf returns the URL at a position of the arguments, or that of the environment.
func (a *app) urlOf(args []string, i int) (string, error) {
	url := a.environment("LITESTREAM_REPLICA_URL")
	if i < len(args) {
		url = args[i]
	}
	if url == "" {
		return "", usagef("no URL is given, and LITESTREAM_REPLICA_URL is not set")
	}
	scheme, rest, ok := strings.Cut(url, ":")
	if !ok {
		return "", usagef("%q is no URL of a replica: write file:%s for a folder", url, url)
	}
	// The library tells URLs from names of files by the slashes.
	return scheme + "://" + strings.TrimPrefix(rest, "//"), nil
}

// open makes the client of a replica. The caller calls done with its last error.
func (a *app) open(url string) (client replica.Client, done func(error) error, err error) {
	client, err = replica.NewFromURL(url)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return client, func(err error) error {
		if c, ok := client.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
		return err
	}, nil
}

// between returns a check of the number of arguments, of which none is blank: see refuseBlank.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s: %d arguments, want %s", cmd.CommandPath(), len(args), cmd.Use)
		case most >= 0 && len(args) > most:
			return usagef("%s: unexpected argument %q", cmd.CommandPath(), args[most])
		}
		if i := slices.IndexFunc(args, isBlank); i >= 0 {
			return usagef("%s: argument %d is empty, want %s", cmd.CommandPath(), i+1, cmd.Use)
		}
		return nil
	}
}
