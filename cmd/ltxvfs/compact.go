package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// change opens the replica of the arguments for a command that changes it, and calls
// run with its URL for texts.
func (a *app) change(operation string, args []string, run func(url string, client replica.Client, req maintain.Requests) error) (err error) {
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	tell, end := a.meter(operation)
	req, err := a.requests(tell)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	defer end()
	return run(shown(url), client, req)
}

// snapshot is the command that makes a snapshot of a state.
func (a *app) snapshot() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "snapshot [URL]", Short: "Make a snapshot of a state from the files that are there", Args: between(0, 1),
		Long: `snapshot merges the files that give the newest or an earlier state into one file, a
snapshot, so that restores and opens of that state and of later ones read less. It
reads the replica and no database, and reads the snapshot back. It changes and
deletes nothing that is there, so programs may write to the replica meanwhile.`,
		Example: `  ltxvfs snapshot s3://bucket/app.db
  ltxvfs snapshot s3://bucket/app.db --at '2026-03-14'`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runSnapshot(cmd.Context(), args, at) },
	}
	cmd.Flags().StringVar(&at, "at", "", "transaction or time of the `state`, the newest by default")
	return cmd
}

// snapshotted is a snapshot as the command prints it.
type snapshotted struct {
	URL string `json:"url"`
	*maintain.Snapshotted
}

func (a *app) runSnapshot(ctx context.Context, args []string, text string) error {
	at, err := maintain.ParseMoment(text, time.Now())
	if err != nil {
		return usagef("--at: %w", err)
	}
	return a.change("snapshot", args, func(url string, client replica.Client, req maintain.Requests) error {
		r, err := maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: req, At: at})
		switch {
		case err != nil:
			return err
		case a.json:
			return a.printJSON(&snapshotted{url, r})
		case !r.Made:
			fmt.Fprintf(a.out, "%s is there already, %s\n", r.File, formatBytes(r.Bytes))
		default:
			fmt.Fprintf(a.out, "made %s of %s, %s\n", r.File, count(r.Files, "file"), formatBytes(r.Bytes))
		}
		return nil
	})
}

// compact is the command that merges files.
func (a *app) compact() *cobra.Command {
	var level string
	var young bool
	cmd := &cobra.Command{
		Use: "compact [URL]", Short: "Merge the files of each level into fewer of the next", Args: between(0, 1),
		Long: `compact merges files as Litestream and write mode do, for a replica whose primary does
not, or does not run any more: the transactions of each 30 seconds to a file of level
1, of each 5 minutes to one of level 2, and of each hour to one of level 3. It deletes
nothing; prune does.

What a primary that runs would merge itself is left alone: compact merges what is
older than twice the length of the level. --young merges the rest as well. Use it
only if no primary compacts the replica: Litestream might miss files that were merged
beside it.`,
		Example: `  ltxvfs compact s3://bucket/app.db
  ltxvfs compact s3://bucket/app.db --level 1 --young`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCompact(cmd.Context(), args, level, young) },
	}
	cmd.Flags().StringVar(&level, "level", "all", "`level` to merge files into: 1, 2, 3 or all")
	cmd.Flags().BoolVar(&young, "young", false, "merge young files as well; only if no primary compacts the replica")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]string{"all", "1", "2", "3"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// compacted is a compaction as the command prints it.
type compacted struct {
	URL string `json:"url"`
	*maintain.Compacted
}

func (a *app) runCompact(ctx context.Context, args []string, text string, young bool) error {
	level := 0
	if text != "all" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > len(maintain.DefaultLevels()) {
			return usagef("--level is %q, want 1 to %d or all", text, len(maintain.DefaultLevels()))
		}
		level = n
	}
	return a.change("compact", args, func(url string, client replica.Client, req maintain.Requests) error {
		r, err := maintain.Compact(ctx, client, maintain.CompactOptions{Requests: req, Level: level, Young: young})
		switch {
		case err != nil:
			return err
		case a.json:
			err = a.printJSON(&compacted{url, r})
		default:
			for _, l := range r.Levels {
				a.printLevel(l)
			}
		}
		if err == nil && r.Gap != "" {
			err = gapError{url, r.Gap}
		}
		return err
	})
}

// printLevel prints what was done for a level.
func (a *app) printLevel(l maintain.CompactedLevel) {
	fmt.Fprintf(a.out, "level %d: ", l.Level)
	if l.Files == 0 {
		fmt.Fprint(a.out, "nothing to merge")
	} else {
		fmt.Fprintf(a.out, "%s of %d, %s", count(l.Files, "file"), l.Of, formatBytes(l.Bytes))
	}
	if l.Left > 0 {
		fmt.Fprintf(a.out, ", and %s too young", isOrAreNow(l.Left))
	}
	fmt.Fprintln(a.out)
}

func isOrAreNow(n int) string {
	if n == 1 {
		return "1 is"
	}
	return fmt.Sprintf("%d are", n)
}
