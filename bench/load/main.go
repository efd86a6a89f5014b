//go:build linux

// Command load runs databases under load, and reports what they take of the machine:
// many connections in several processes, thousands of databases in one, a large
// database, thousands of files, and tables and rows as large as SQLite has them.
//
//	go run ./load -only mixed                      # from the folder bench
//	go run ./load -save first.json                 # everything, with the longest times
//	go run ./load -before first.json -markdown     # the same again, beside the first run
//
// It fails if an answer is wrong or if a bound is not held, after it has printed what
// it measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	runRole()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// config says how much load there is.
type config struct {
	only      string        // regular expression of scenarios
	latency   time.Duration // of each request to storage
	dir       string        // folder for temporary files
	length    time.Duration // of the scenario mixed
	think     time.Duration // pause of a connection between two transactions
	counts    []int         // numbers of databases of the scenario many
	idle      time.Duration // PollIdleAfter of the scenario many
	gigabytes float64       // size of the database of the scenario big
	files     int           // number of files of the scenario l0
	tables    int           // number of tables of the scenario wide
	row       int           // size of the largest row of the scenario wide, in bytes

	markdown     bool
	save, before string // paths of results
	profile      string // path of a profile of the processor time
	progress     io.Writer
}

// scenarios are the kinds of load, in the order in which they run.
var scenarios = []struct {
	name string
	run  func(context.Context, *config) ([]*report, error)
}{
	{"mixed", runMixed},
	{"many", runMany},
	{"big", runBig},
	{"l0", runL0},
	{"wide", runWide},
}

func parse(args []string, stderr io.Writer) (*config, error) {
	c := &config{progress: stderr, counts: []int{1000, 10000}}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.only, "only", "", "run the scenarios that match this regular expression: mixed, many, big, l0, wide")
	flags.DurationVar(&c.latency, "latency", 10*time.Millisecond, "of each request to storage")
	flags.StringVar(&c.dir, "dir", "", "folder for temporary files")
	flags.DurationVar(&c.length, "for", 10*time.Minute, "how long mixed runs")
	flags.DurationVar(&c.think, "think", 20*time.Millisecond, "pause of a connection of mixed between two transactions")
	flags.Func("databases", "numbers of databases of many (default 1000,10000)", func(text string) (err error) {
		c.counts, err = integers(text)
		return err
	})
	flags.DurationVar(&c.idle, "idle", 30*time.Second, "time without a transaction after which the databases of many stop polling")
	flags.Float64Var(&c.gigabytes, "size", 10, "size of the database of big, in GB")
	flags.IntVar(&c.files, "files", 10000, "number of files of l0")
	flags.IntVar(&c.tables, "tables", 20000, "number of tables of wide")
	flags.IntVar(&c.row, "row", 999_999_000, "size of the largest row of wide, in bytes")
	flags.BoolVar(&c.markdown, "markdown", false, "print tables in Markdown")
	flags.StringVar(&c.save, "save", "", "file to write the results to")
	flags.StringVar(&c.before, "before", "", "file with the results of an earlier run, which are printed beside those of this one")
	flags.StringVar(&c.profile, "cpuprofile", "", "file to write a profile of the processor time of this process to")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	return c, nil
}

func integers(text string) (all []int, err error) {
	for item := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(item)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a positive number", item)
		}
		all = append(all, n)
	}
	return all, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	wanted, err := regexp.Compile(c.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var before *results
	if c.before != "" {
		if before, err = readResults(c.before); err != nil {
			return err
		}
	}
	if c.dir != "" {
		if _, err := os.ReadDir(c.dir); err != nil {
			return fmt.Errorf("-dir: %w", err)
		}
	}
	if c.profile != "" {
		f, err := os.Create(c.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r := newResults(args)
	var failed []error
	for _, s := range scenarios {
		if !wanted.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(c.progress, "%s %s\n", time.Now().UTC().Format(time.TimeOnly), s.name)
		reports, err := s.run(ctx, c)
		r.Reports = append(r.Reports, reports...)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s.name, err))
		}
		for _, report := range reports {
			failed = append(failed, report.failures...)
		}
	}
	if len(r.Reports) == 0 && len(failed) == 0 {
		return fmt.Errorf("-only %s: no such scenario", c.only)
	}
	r.print(stdout, before, c.markdown)
	if c.save != "" {
		failed = append(failed, r.write(c.save))
	}
	failed = append(failed, context.Cause(ctx))
	return errors.Join(slices.DeleteFunc(failed, func(err error) bool { return err == nil })...)
}

// folder makes a temporary folder for a scenario. The caller removes it.
func (c *config) folder() (path string, remove func(), err error) {
	path, err = os.MkdirTemp(c.dir, "litestream-load-")
	if err != nil {
		return "", nil, fmt.Errorf("make a folder: %w", err)
	}
	return path, func() { _ = os.RemoveAll(path) }, nil
}

func (c *config) logf(format string, args ...any) {
	fmt.Fprintf(c.progress, "  "+format+"\n", args...)
}
