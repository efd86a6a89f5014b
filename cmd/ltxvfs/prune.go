package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// pruneFlags are the flags of prune.
type pruneFlags struct {
	keep         maintain.Keep
	within       string
	moments      []string
	dryRun       bool
	writerMayRun bool
}

// prune is the command that deletes files that are not needed.
func (a *app) prune() *cobra.Command {
	f := new(pruneFlags)
	cmd := &cobra.Command{
		Use: "prune [URL]", Short: "Delete the files that no state to be kept needs", Args: between(0, 1),
		Long: `prune deletes the files of a replica that neither the newest state nor a state of the
--keep flags needs. --dry-run says which files and states these are, and deletes
nothing.

The newest file of each level stays, and so do files that are not merged into the next
level yet, so that compaction can go on: run compact first. If prune is interrupted,
everything that is kept can be restored, and the same command deletes the rest.

prune deletes nothing if a program seems to write to the replica: its newest
transaction is less than a minute old, or files come while prune looks. It cannot see
a program that does not write at the time, and no reader. The newest state stays in
any case, but a transaction that reads an older one while its files are deleted fails
if no other file has its pages. --writer-may-run says that this is all right.`,
		Example: `  ltxvfs prune s3://bucket/app.db --keep-within 7d --keep-daily 30 --keep-monthly 12 --dry-run
  ltxvfs prune s3://bucket/app.db --keep-last 1 --keep-moment '2026-03-14 11:59'`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runPrune(cmd.Context(), args, f) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.keep.Last, "keep-last", 0, "keep the newest `N` states")
	flags.IntVar(&f.keep.Hourly, "keep-hourly", 0, "keep the newest state of each of the last `N` hours that have one, in UTC")
	flags.IntVar(&f.keep.Daily, "keep-daily", 0, "the same for `N` days")
	flags.IntVar(&f.keep.Weekly, "keep-weekly", 0, "the same for `N` weeks, which begin on Monday")
	flags.IntVar(&f.keep.Monthly, "keep-monthly", 0, "the same for `N` months")
	flags.StringVar(&f.within, "keep-within", "", "keep all states of this `time` before the newest one, such as 36h, 30d or 8w")
	flags.StringArrayVar(&f.moments, "keep-moment", nil, "keep the state of this `transaction` or time; may be repeated")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be deleted and lost, and delete nothing")
	flags.BoolVar(&f.writerMayRun, "writer-may-run", false, "prune although a program seems to write to the replica")
	return cmd
}

// policy returns what the flags say.
func (f *pruneFlags) policy() (keep maintain.Keep, err error) {
	keep = f.keep
	if f.within != "" {
		if keep.Within, err = parseLong(f.within); err != nil || keep.Within <= 0 {
			return keep, usagef("--keep-within is %q, want a time such as 36h, 30d or 8w", f.within)
		}
	}
	for _, text := range f.moments {
		m, err := maintain.ParseMoment(text, time.Now())
		if err != nil {
			return keep, usagef("--keep-moment: %w", err)
		}
		keep.Moments = append(keep.Moments, m)
	}
	return keep, nil
}

// parseLong parses a length of time in days, weeks, or as Go writes it.
func parseLong(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			return time.Duration(n) * length, err
		}
	}
	return time.ParseDuration(text)
}

// pruned is what prune prints.
type pruned struct {
	URL    string `json:"url"`
	DryRun bool   `json:"dry_run"`
	*maintain.Pruned
}

func (a *app) runPrune(ctx context.Context, args []string, f *pruneFlags) error {
	keep, err := f.policy()
	if err != nil {
		return err
	}
	return a.change("prune", args, func(url string, client replica.Client, req maintain.Requests) error {
		r, err := maintain.Prune(ctx, client, maintain.PruneOptions{Requests: req, Keep: keep, DryRun: f.dryRun, WriterMayRun: f.writerMayRun})
		switch {
		case errors.Is(err, fs.ErrInvalid):
			return usagef("%w: give one of the --keep flags, such as --keep-within 30d", err)
		case errors.Is(err, maintain.ErrInUse):
			return fmt.Errorf("%w; stop the program, or see --writer-may-run in ltxvfs prune --help", err)
		case err != nil:
			return err
		case a.json:
			return a.printJSON(&pruned{url, f.dryRun, r})
		}
		a.printPruned(r, f.dryRun)
		return nil
	})
}

func (a *app) printPruned(r *maintain.Pruned, dryRun bool) {
	done := "deleted"
	if dryRun {
		done = "would delete"
		t := newTable(a.out)
		t.row("KEEP", "TIME", "WHY")
		for _, k := range r.Keep {
			t.row(k.TXID, formatTime(k.Time), strings.Join(k.Why, ", "))
		}
		_ = t.Flush()
		fmt.Fprintln(a.out)
		for _, name := range r.Delete {
			fmt.Fprintln(a.out, "delete", name)
		}
	}
	fmt.Fprintf(a.out, "%s %s, %s; %s %s, %s\n", done, count(len(r.Delete), "file"), formatBytes(r.DeleteBytes), count(r.Files, "file"), stayOrStays(r.Files), formatBytes(r.Bytes))
	fmt.Fprintf(a.out, "%s can be restored, and %d cannot any more\n", count(r.States, "state"), r.LostStates)
	if len(r.Lost) > 0 {
		fmt.Fprintf(a.out, "lost: %s\n", formatLost(r.Lost))
	}
	if r.Unmerged > 0 {
		fmt.Fprintf(a.out, "stay until they are merged into the next level: %s; see ltxvfs compact\n", count(r.Unmerged, "file"))
	}
}

func stayOrStays(n int) string {
	if n == 1 {
		return "stays"
	}
	return "stay"
}
