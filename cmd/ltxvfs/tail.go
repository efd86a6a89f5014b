package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// tail is the command that prints what each transaction changes.
func (a *app) tail() *cobra.Command {
	var from string
	var once bool
	cmd := &cobra.Command{
		Use: "tail URL [TABLE...]", Short: "Print what each transaction changes, as it arrives", Args: between(1, 1000),
		Long: `tail prints what each transaction of a replica changes, as the transactions arrive:
a line of JSON for each change, as diff --json prints it, with the transaction and
its time, and then a line of the kind "commit". The changes of a transaction count
when that line is there. A line of the kind "restart" says that the changes since
the last commit are void; they come again. The first line, of the kind "begin",
names the state that the changes lead on from.

--from goes on after a transaction: that of the last commit line that a reader has
dealt with, or of the begin line before the first one. A reader that does so gets
each transaction at least once, and never half of one. With the time of that line,
as TXID@TIME, a replica that was rolled back or replaced meanwhile is an error.
Where the files of single transactions were compacted, several transactions come as
one, and "first" says which is the first.`,
		Example: `  ltxvfs tail s3://bucket/app.db
  ltxvfs tail s3://bucket/app.db users orders --from 000000000000003f
  ltxvfs tail s3://bucket/app.db --from 000000000000003f@2026-01-02T15:04:05.678Z`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runTail(cmd.Context(), args, from, once) },
	}
	cmd.Flags().StringVar(&from, "from", "", "`transaction` to go on after, or TXID@TIME, the newest by default")
	cmd.Flags().BoolVar(&once, "once", false, "end with the newest transaction, and wait for no other")
	return cmd
}

func (a *app) runTail(ctx context.Context, args []string, from string, once bool) error {
	replicaURL, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	after, err := parseAfter(from)
	if err != nil {
		return usagef("--from: %w", err)
	}
	vfs, err := a.newVFS(replicaURL)
	if err != nil {
		return err
	}
	var last ltx.TXID // of --once
	if once {
		stats, err := vfs.StatsOf(ctx, replicaURL)
		if err != nil {
			return errors.Join(err, vfs.Close(context.Background()))
		}
		last = stats.TXID
	}
	out := bufio.NewWriter(a.out)
	for e, problem := range vfs.Tail(ctx, replicaURL, after, args[1:]...) {
		if err = problem; err == nil {
			err = writeEvent(out, e)
		}
		if err == nil && e.Kind != litestream.TailChange {
			err = out.Flush()
		}
		if err != nil || once && e.Last >= last && (e.Kind == litestream.TailBegin || e.Kind == litestream.TailCommit) {
			break
		}
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil // interrupted is how a tail ends well
	}
	return errors.Join(err, out.Flush(), vfs.Close(context.Background())) // within CloseTimeout
}

// parseAfter parses the value of --from.
func parseAfter(from string) (p litestream.HistoryPoint, err error) {
	if from == "" {
		return p, nil
	}
	txid, at, timed := strings.Cut(from, "@")
	if p.TXID, err = ltx.ParseTXID(strings.ToLower(txid)); err != nil || p.TXID == 0 {
		return p, usagef("%q is no transaction of 16 hex digits", txid)
	}
	if timed {
		if p.Time, err = time.Parse(time.RFC3339Nano, at); err != nil {
			return p, usagef("%q is no time like 2026-01-02T15:04:05.678Z", at)
		}
	}
	return p, nil
}

// writeEvent prints an event as an object on a line.
func writeEvent(out io.Writer, e litestream.TailEvent) error {
	head, values := []string{"txid"}, []any{e.Last.String()}
	if e.First != e.Last {
		head, values = append(head, "first"), append(values, e.First.String())
	}
	if !e.Time.IsZero() {
		head, values = append(head, "time"), append(values, ltx.FormatTimestamp(e.Time))
	}
	return writeObject(out, func(b *strings.Builder) error {
		if e.Kind != litestream.TailChange {
			return jsonFields(b, append(head, "kind"), append(values, string(e.Kind)))
		}
		if err := jsonFields(b, head, values); err != nil {
			return err
		}
		b.WriteString(", ")
		return changeFields(b, e.Change)
	})
}
