package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
)

// shellFlags are the flags of shell.
type shellFlags struct {
	at     string
	format string
}

// shellCommand is the command that reads SQL line by line.
func (a *app) shellCommand() *cobra.Command {
	var flags shellFlags
	cmd := &cobra.Command{
		Use: "shell URL", Short: "Run SQL on a replica interactively", Args: between(0, 1),
		Long: `shell reads SQL from the terminal and runs it on a replica where it is. It reads only
the pages that each statement needs, and follows the replica: every statement sees
the newest state, unless .at or --at has chosen an earlier one. Statements that
change the database are refused. A statement ends with a semicolon and may have
many lines. Ctrl-C ends the statement that runs, and Ctrl-D or .quit the shell.

Without a terminal, shell runs what standard input has, and ends at the first
error. What each statement costs is printed to standard error. The lines typed are
kept in ltxvfs/history below XDG_STATE_HOME, except those that begin with a space.`,
		Example: `  ltxvfs shell s3://bucket/app.db
  ltxvfs shell s3://bucket/app.db --at yesterday
  ltxvfs shell s3://bucket/app.db <report.sql`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runShell(cmd.Context(), args, flags) },
	}
	cmd.Flags().StringVar(&flags.at, "at", "", "transaction or time of the `state`, the newest by default")
	a.outputFlag(cmd, &flags.format)
	return cmd
}

func (a *app) runShell(ctx context.Context, args []string, flags shellFlags) (err error) {
	replicaURL, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	if _, err := maintain.ParseMoment(flags.at, time.Now()); err != nil {
		return usagef("--at: %w", err)
	}
	if a.json {
		flags.format = "json"
	}
	if _, err := newRows(flags.format, a.out); err != nil {
		return err
	}
	db, err := a.openDatabase(ctx, replicaURL, flags.at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	s := &shell{app: a, db: db, format: flags.format, past: flags.at != ""}
	if !isTerminal(os.Stdin) {
		s.lines = newPipedLines(os.Stdin)
		return s.loop(ctx)
	}
	terminal, err := a.newTerminalLines()
	if err != nil {
		return err
	}
	s.lines, s.interactive = terminal, true
	if !a.quiet {
		fmt.Fprintf(a.errors, "%s at %s of %s; .help lists commands\n", shown(replicaURL), db.txid, db.time)
	}
	// An interrupt ends what runs, and not the program as it does otherwise.
	signal.Reset(os.Interrupt)
	s.interrupts = make(chan os.Signal, 1)
	signal.Notify(s.interrupts, os.Interrupt)
	defer signal.Stop(s.interrupts)
	return s.loop(ctx)
}

// shell runs what is typed. It is used by one goroutine.
type shell struct {
	*app
	db          *database
	lines       lineReader
	interactive bool
	interrupts  chan os.Signal // of the terminal; nil unless interactive
	format      string         // of rows
	past        bool           // a state was chosen, and new transactions do not show
}

// lineReader gives the lines that are typed.
type lineReader interface {
	// read returns the next line without its end. It is io.EOF after the last
	// one, and errInterrupted if the line was given up.
	read(ctx context.Context, prompt string) (string, error)
}

// errInterrupted means that Ctrl-C was typed.
var errInterrupted = errors.New("interrupted")

// errQuit ends the shell.
var errQuit = errors.New("quit")

// loop reads and runs statements until there are no more. Unless it is interactive,
// it ends with the first error.
func (s *shell) loop(ctx context.Context) error {
	var sql strings.Builder
	for {
		line, err := s.lines.read(ctx, s.prompt(sql.Len() > 0))
		switch {
		case errors.Is(err, errInterrupted):
			sql.Reset()
			continue
		case errors.Is(err, io.EOF) && s.interactive:
			return nil
		case errors.Is(err, io.EOF):
			if completionOf(sql.String()) == blank {
				return nil
			}
			return s.run(ctx, func() error { return s.query(sql.String()) }) // its error says that it is incomplete
		case err != nil:
			return err
		}
		act := func() error { return s.command(line) }
		if sql.Len() > 0 || !strings.HasPrefix(line, ".") {
			sql.WriteString(line + "\n")
			text := sql.String()
			done := completionOf(text)
			if done != partial {
				sql.Reset()
			}
			if done != complete {
				continue
			}
			act = func() error { return s.query(text) }
		}
		switch err := s.run(ctx, act); {
		case errors.Is(err, errQuit):
			return nil
		case err != nil && (!s.interactive || ctx.Err() != nil):
			return err
		case err != nil:
			fmt.Fprintln(s.errors, "error:", err)
		}
	}
}

// prompt returns the prompt for a statement, or for its next line.
func (s *shell) prompt(next bool) string {
	name := "ltxvfs"
	if s.past {
		name += "@" + s.db.txid
	}
	if next {
		return strings.Repeat(" ", max(0, len(name)-3)) + "...> "
	}
	return name + "> "
}

// run does something that an interrupt ends.
func (s *shell) run(ctx context.Context, act func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.interactive {
		select {
		case <-s.interrupts: // it came too late for the last statement
		default:
		}
		ended := make(chan struct{})
		defer close(ended)
		go func() {
			select {
			case <-s.interrupts:
				cancel()
			case <-ended:
			}
		}()
	}
	before := s.db.SetInterrupt(ctx)
	defer s.db.SetInterrupt(before)
	err := act()
	if ctx.Err() != nil {
		err = errInterrupted
	}
	return err
}

// query runs statements, and says what they cost.
func (s *shell) query(sql string) error {
	rows, err := newRows(s.format, s.out)
	if err != nil {
		return err
	}
	start, before := time.Now(), s.db.cost()
	if _, _, err := runStatements(s.db.Conn, sql, nil, rows); err != nil {
		return err
	}
	after := s.db.cost()
	took := time.Since(start)
	if err := s.db.where(); err != nil {
		return err
	}
	if !s.quiet {
		s.printCost(cost{after.requests - before.requests, after.bytes - before.bytes}, took, s.db)
	}
	return nil
}

const shellHelp = `.at             print the state that is read, and its time
.at STATE       read an earlier state: a transaction, a time, or an age like '5 minutes ago'
.at now         read the newest state again
.help           print this text
.mode FORMAT    print rows as table, csv, json or markdown
.quit           end the shell; .exit and Ctrl-D do so, too
.schema [NAME]  print the CREATE statements, or those of one table
.tables         list tables and views
SQL ends with a semicolon, and may have many lines. Ctrl-C ends what runs.
`

// command runs a command that begins with a dot.
func (s *shell) command(line string) error {
	name, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	arg = unquote(strings.TrimSpace(arg))
	switch name {
	case ".at":
		return s.at(arg)
	case ".help":
		_, err := io.WriteString(s.out, shellHelp)
		return err
	case ".mode":
		return s.mode(arg)
	case ".quit", ".exit":
		return errQuit
	case ".schema":
		return s.schema(arg)
	case ".tables":
		names, err := texts(s.db.Conn, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1")
		if err != nil {
			return err
		}
		return s.print(names)
	}
	return usagef("unknown command %q, and .help lists those that there are", name)
}

// unquote removes the quotes around an argument.
func unquote(arg string) string {
	for _, q := range []string{"'", `"`} {
		if len(arg) >= 2 && strings.HasPrefix(arg, q) && strings.HasSuffix(arg, q) {
			return arg[1 : len(arg)-1]
		}
	}
	return arg
}

// at chooses a state, or prints which one is read.
func (s *shell) at(arg string) error {
	if arg != "" {
		if strings.EqualFold(arg, "now") {
			arg = "latest"
		}
		m, err := maintain.ParseMoment(arg, time.Now())
		if err != nil {
			return usageError{err}
		}
		if err := s.db.travel(arg); err != nil {
			return err
		}
		s.past = m != maintain.Moment{}
	}
	if err := s.db.where(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%s of %s\n", s.db.txid, s.db.time)
	return err
}

// mode chooses the format of rows, or prints it.
func (s *shell) mode(arg string) error {
	if arg == "" {
		_, err := fmt.Fprintln(s.out, s.format)
		return err
	}
	if _, err := newRows(arg, s.out); err != nil {
		return usagef(".mode: unknown format %q, want table, csv, json or markdown", arg)
	}
	s.format = arg
	return nil
}

// schema prints the statements that make a table and what belongs to it, or all of
// them.
func (s *shell) schema(table string) error {
	sql := "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
	if table != "" {
		name := sqlite3.Quote(table)
		sql += fmt.Sprintf(" AND (name = %[1]s COLLATE NOCASE OR tbl_name = %[1]s COLLATE NOCASE)", name)
	}
	definitions, err := texts(s.db.Conn, sql+" ORDER BY tbl_name, type = 'table' DESC, name")
	if err != nil {
		return err
	}
	if len(definitions) == 0 && table != "" {
		return fmt.Errorf("%w: table %q; .tables lists those that are there", errNotThere, table)
	}
	for i, d := range definitions {
		definitions[i] = statementOf(d)
	}
	return s.print(definitions)
}

// print prints lines.
func (s *shell) print(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return err
		}
	}
	return nil
}
