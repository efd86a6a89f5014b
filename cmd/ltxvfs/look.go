package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/maintain"
)

// ls is the command that lists databases.
func (a *app) ls() *cobra.Command {
	return &cobra.Command{
		Use: "ls [URL...]", Short: "List the databases at and below URLs",
		Long: `ls lists the replicas at and below URLs, up to four folders deep: the size of the
newest state, its transaction and its age, the LTX files and their size, and the
oldest state that can be restored.`,
		Example: `  ltxvfs ls s3://bucket
  ltxvfs ls file:///var/replicas gs://bucket/tenants --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runLs(cmd.Context(), args) },
	}
}

// listed is a replica as ls prints it.
type listed struct {
	URL string `json:"url"` // without parameters and passwords
	*maintain.Info
	Error string `json:"error,omitempty"`
	url   string
	err   error
}

// findAll returns the URLs of the replicas at and below URLs, or the URL of the
// environment.
func (a *app) findAll(ctx context.Context, args []string, req maintain.Requests) (urls []string, err error) {
	if len(args) == 0 {
		url, err := a.urlOf(args, 0)
		if err != nil {
			return nil, err
		}
		args = []string{url}
	}
	for i := range args {
		url, err := a.urlOf(args, i)
		if err != nil {
			return nil, err
		}
		found, err := maintain.Find(ctx, url, req)
		if err != nil {
			return nil, err
		}
		urls = append(urls, found.URLs...)
		for _, url := range found.Partial {
			fmt.Fprintf(a.errors, "ltxvfs: %s has more folders than were listed\n", shown(url))
		}
	}
	return urls, nil
}

func (a *app) runLs(ctx context.Context, args []string) error {
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	urls, err := a.findAll(ctx, args, req)
	if err != nil {
		return fmt.Errorf("ls: %w", err)
	}
	all := []*listed{} // JSON of no replicas is an empty list
	for _, url := range urls {
		all = append(all, &listed{URL: shown(url), url: url})
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(a.concurrency)
	for _, l := range all {
		g.Go(func() error {
			l.err = a.inspect(gctx, l, req)
			if l.err == nil && l.Gap != "" {
				l.err = gapError{l.URL, l.Gap}
			}
			if l.err != nil {
				l.Error = l.err.Error()
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if a.json {
		err = a.printJSON(all)
	} else {
		err = a.printList(all)
	}
	for _, l := range all {
		err = errors.Join(err, l.err)
	}
	return err
}

// inspect fills in the description of a replica.
func (a *app) inspect(ctx context.Context, l *listed, req maintain.Requests) error {
	client, done, err := a.open(l.url)
	if err != nil {
		return err
	}
	l.Info, err = maintain.Inspect(ctx, client, req)
	if err = done(err); err != nil {
		return fmt.Errorf("%s: %w", l.URL, err)
	}
	return nil
}

// gapError is an error about a replica with a gap, which was described.
type gapError struct{ url, gap string }

func (e gapError) Error() string { return e.url + ": " + e.gap }

// Is makes the program end as for other damage.
func (e gapError) Is(target error) bool { return target == litestream.ErrCorrupt }

func (a *app) printList(all []*listed) error {
	t, now := newTable(a.out), time.Now()
	t.row("SIZE", "PAGES", "NEWEST", "AGE", "OLDEST", "FILES", "STORED", "URL")
	for _, l := range all {
		i := l.Info
		switch {
		case i == nil:
			t.row("-", "-", "-", "-", "-", "-", "-", l.URL)
			continue
		case i.Moments == 0:
			t.row("-", "-", "-", "-", "-", i.Files, formatBytes(i.Bytes), l.URL)
			continue
		}
		t.row(formatBytes(i.Size), i.Pages, i.Newest.TXID, formatAge(i.Newest.Time, now), formatTime(i.Oldest.Time), i.Files, formatBytes(i.Bytes), l.URL)
	}
	return t.Flush()
}

// info is the command that describes a replica.
func (a *app) info() *cobra.Command {
	return &cobra.Command{
		Use: "info [URL]", Short: "Describe a replica", Args: between(0, 1),
		Long: `info describes a replica: its newest and oldest state, the files of each level, what
it takes to open and to restore it, and for S3 what it costs a month to store it and
to follow it, at the list prices of S3 standard.`,
		Example: `  ltxvfs info s3://bucket/app.db
  ltxvfs info s3://bucket/app.db --json | jq .newest.time`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runInfo(cmd.Context(), args) },
	}
}

func (a *app) runInfo(ctx context.Context, args []string) error {
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	l := &listed{URL: shown(url), url: url}
	if err := a.inspect(ctx, l, req); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(l)
	}
	i, t, now := l.Info, newTable(a.out), time.Now()
	t.row("url", shown(url))
	if i.Moments > 0 {
		t.row("newest", fmt.Sprintf("%s of %s, %s old", i.Newest.TXID, formatTime(i.Newest.Time), formatAge(i.Newest.Time, now)))
		t.row("oldest", fmt.Sprintf("%s of %s", i.Oldest.TXID, formatTime(i.Oldest.Time)))
		t.row("states", i.Moments)
		t.row("size", fmt.Sprintf("%s, %s of %d bytes", formatBytes(i.Size), count(i.Pages, "page"), i.PageSize))
		t.row("open", fmt.Sprintf("%s, %s to restore", count(i.Open, "file"), formatBytes(i.OpenBytes)))
	}
	t.row("stored", fmt.Sprintf("%s, %s", count(i.Files, "file"), formatBytes(i.Bytes)))
	for _, level := range i.Levels {
		t.row(fmt.Sprintf("level %d", level.Level), fmt.Sprintf("%s, %s, transactions %s to %s", count(level.Files, "file"), formatBytes(level.Bytes), level.MinTXID, level.MaxTXID))
	}
	if strings.HasPrefix(url, "s3:") {
		t.row("cost", formatCost(i.Bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if i.Gap != "" {
		return gapError{shown(url), i.Gap}
	}
	return nil
}

// List prices of S3 standard in us-east-1, dollars.
const (
	priceGBMonth = 0.023
	priceGet     = 0.0004 / 1000
	priceList    = 0.005 / 1000
	monthSeconds = 30 * 24 * 3600
)

// formatCost formats what a replica costs a month. Following takes a request each
// second: a LIST twice a minute, and a GET at other times.
func formatCost(stored int64) string {
	const follow = monthSeconds * (priceGet*29 + priceList) / 30
	return fmt.Sprintf("$%.2f a month to store, about $%.1f for each host that follows it", float64(stored)/1e9*priceGBMonth, follow)
}

// history is the command that lists states.
func (a *app) history() *cobra.Command {
	var since string
	cmd := &cobra.Command{
		Use: "history [URL]", Short: "List the states that can be restored", Args: between(0, 1),
		Long: `history lists the states that can be restored or queried with --at, from the oldest
to the newest: the transaction and its time.`,
		Example: `  ltxvfs history s3://bucket/app.db --since '1 hour ago'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runHistory(cmd.Context(), args, since)
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only states of this `time` and later")
	return cmd
}

func (a *app) runHistory(ctx context.Context, args []string, since string) error {
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	from, err := maintain.ParseMoment(since, time.Now())
	if err != nil || from.TXID != 0 {
		return usagef("--since: %q is no time", since)
	}
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	points, err := maintain.History(ctx, client, from.Time, req)
	if err = done(err); err != nil {
		return err
	}
	if a.json {
		if points == nil {
			points = []maintain.Point{}
		}
		return a.printJSON(points)
	}
	t := newTable(a.out)
	t.row("TRANSACTION", "TIME")
	for _, p := range points {
		t.row(p.TXID, p.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return t.Flush()
}
