package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	neturl "net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// copyFlags are the flags of copy.
type copyFlags struct {
	all      bool
	watch    bool
	interval time.Duration
}

// copyCommand is the command that copies replicas.
func (a *app) copyCommand() *cobra.Command {
	var flags copyFlags
	cmd := &cobra.Command{
		Use: "copy URL URL", Short: "Copy a replica to another place", Args: between(2, 2),
		Long: `copy copies the files of a replica that another place lacks, also to another kind of
store, with their transactions and timestamps. It compares the checksum of each
file. If it is interrupted, the same command copies the rest. It deletes nothing and
replaces nothing: if a file is there with other content, it is of another history,
and nothing is copied.

With --watch it then goes on with what is new, prints a line for each batch, and
tries again after errors of the stores. It ends with exit code 4 if the source was
rolled back, because another history must not be mixed in, and with 0 by Ctrl-C.`,
		Example: `  ltxvfs copy s3://bucket/app.db gs://backup/app.db
  ltxvfs copy s3://bucket/app.db file:///var/backup/app.db --watch --interval 1m
  ltxvfs copy s3://bucket file:///var/backup --all`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCopy(cmd.Context(), args, flags) },
	}
	cmd.Flags().BoolVar(&flags.all, "all", false, "copy all replicas below the first URL to the same places below the second")
	cmd.Flags().BoolVar(&flags.watch, "watch", false, "go on with what is new")
	cmd.Flags().DurationVar(&flags.interval, "interval", maintain.DefaultWatchInterval, "`time` between two looks at the source with --watch")
	return cmd
}

// copied is a replica as copy prints it.
type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
	*maintain.Copied
}

// urlsOf returns the URLs of two replicas.
func (a *app) urlsOf(args []string) (from, to string, err error) {
	if from, err = a.urlOf(args, 0); err == nil {
		to, err = a.urlOf(args, 1)
	}
	return from, to, err
}

func (a *app) runCopy(ctx context.Context, args []string, flags copyFlags) error {
	from, to, err := a.urlsOf(args)
	switch {
	case err != nil:
		return err
	case flags.watch && flags.all:
		return usagef("--watch follows one replica, and --all copies all of them once")
	case flags.interval <= 0:
		return usagef("--interval is %s, want a positive time", flags.interval)
	case flags.watch:
		return a.watch(ctx, from, to, flags.interval)
	case !flags.all:
		r, err := a.copyOne(ctx, from, to)
		if err == nil && a.json {
			err = a.printJSON(r)
		}
		return err
	}
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	found, err := maintain.Find(ctx, from, req)
	if err != nil {
		return err
	}
	if len(found.Partial) > 0 {
		return fmt.Errorf("copy: %s has more folders than can be listed", shown(found.Partial[0]))
	}
	results := []*copied{}
	var failed error
	for _, url := range found.URLs {
		target, err := sameBelow(from, url, to)
		var r *copied
		if err == nil {
			r, err = a.copyOne(ctx, url, target)
		}
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", shown(url), err))
			continue
		}
		results = append(results, r)
	}
	if a.json {
		failed = errors.Join(a.printJSON(results), failed)
	}
	return failed
}

// sameBelow returns the place below to where url is below from. It is an error if that
// is a folder of this host, and the names of the source would lead out of it, as those
// with backslashes do on Windows.
func sameBelow(from, url, to string) (string, error) {
	rest := strings.TrimPrefix(shown(url), strings.TrimSuffix(shown(from), "/"))
	if scheme, _, _ := strings.Cut(to, ":"); scheme == file.ReplicaClientType && rest != "" {
		path, err := neturl.PathUnescape(strings.TrimPrefix(rest, "/"))
		if err != nil || !filepath.IsLocal(filepath.FromSlash(path)) {
			return "", fmt.Errorf("%q cannot be the name of a folder on this host", path)
		}
	}
	base, parameters, has := strings.Cut(to, "?")
	base = strings.TrimSuffix(base, "/") + rest
	if has {
		base += "?" + parameters
	}
	return base, nil
}

// copyOne copies one replica.
func (a *app) copyOne(ctx context.Context, from, to string) (*copied, error) {
	return a.transfer("copy", "copied", from, to, func(from, to replica.Client, req maintain.Requests) (*maintain.Copied, error) {
		return maintain.Copy(ctx, from, to, maintain.CopyOptions{Requests: req})
	})
}

// fork is the command that begins a replica with the state of another one.
func (a *app) fork() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "fork URL URL", Short: "Begin a replica with a state of another one", Args: between(2, 2),
		Long: `fork begins a new replica with the newest or an earlier state of another one, by
copying the files that make the state. Large files are copied by the store itself
where it can do that, which reads and verifies only their beginnings and ends. From then on each has a history of its own,
and both can be written to. Where a replica or anything like it lies already, fork
changes nothing.`,
		Example: `  ltxvfs fork s3://bucket/app.db s3://bucket/staging.db
  ltxvfs fork s3://bucket/app.db s3://bucket/before.db --at '2026-03-14 11:59'`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runFork(cmd.Context(), args, at) },
	}
	cmd.Flags().StringVar(&at, "at", "", "transaction or time of the `state`, the newest by default")
	return cmd
}

func (a *app) runFork(ctx context.Context, args []string, text string) error {
	from, to, err := a.urlsOf(args)
	if err != nil {
		return err
	}
	at, err := maintain.ParseMoment(text, time.Now())
	if err != nil {
		return usagef("--at: %w", err)
	}
	r, err := a.transfer("fork", "forked", from, to, func(from, to replica.Client, req maintain.Requests) (*maintain.Copied, error) {
		return maintain.Fork(ctx, from, to, maintain.ForkOptions{Requests: req, At: at})
	})
	if err == nil && a.json {
		err = a.printJSON(r)
	}
	return err
}

// transfer opens two replicas, and prints what an operation has copied from one to
// the other.
func (a *app) transfer(operation, done, from, to string, run func(from, to replica.Client, req maintain.Requests) (*maintain.Copied, error)) (r *copied, err error) {
	tell, end := a.meter(operation)
	req, err := a.requests(tell)
	if err != nil {
		return nil, err
	}
	source, target, close, err := a.openBoth(from, to)
	if err != nil {
		return nil, err
	}
	defer func() { err = close(err) }()
	start := time.Now()
	result, err := run(source, target, req)
	end()
	if err != nil {
		return nil, err
	}
	r = &copied{shown(from), shown(to), result}
	if !a.json {
		took := ""
		if !a.quiet {
			took = fmt.Sprintf(", in %s", time.Since(start).Round(time.Millisecond))
		}
		a.printCopied(done, *r, took)
	}
	return r, nil
}

// printCopied prints what was copied, with an end of the line.
func (a *app) printCopied(done string, r copied, end string) {
	there := ""
	if r.Inside > 0 {
		there = fmt.Sprintf(", %s of them copied by the store", formatBytes(r.Inside))
	}
	if r.There > 0 {
		there += fmt.Sprintf(", and %s there before", isOrAre(r.There))
	}
	fmt.Fprintf(a.out, "%s %s to %s, up to %s: %s, %s%s%s\n", done, r.From, r.To, r.Newest, count(r.Files, "file"), formatBytes(r.Bytes), there, end)
}

// openBoth makes the clients of two replicas. The caller calls done with its last
// error.
func (a *app) openBoth(from, to string) (source, target replica.Client, done func(error) error, err error) {
	source, sourceDone, err := a.open(from)
	if err != nil {
		return nil, nil, nil, err
	}
	target, targetDone, err := a.open(to)
	if err != nil {
		return nil, nil, nil, sourceDone(err)
	}
	return source, target, func(err error) error { return sourceDone(targetDone(err)) }, nil
}

// watch copies a replica, and goes on until it is interrupted.
func (a *app) watch(ctx context.Context, from, to string, interval time.Duration) (err error) {
	tell, end := a.meter("copy")
	req, err := a.requests(tell)
	if err != nil {
		return err
	}
	source, target, done, err := a.openBoth(from, to)
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	from, to = shown(from), shown(to)
	complete := false // the first copy
	opts := maintain.CopyOptions{Requests: req, Watch: &maintain.Watch{Interval: interval}}
	opts.Watch.Copied = func(c maintain.Copied) {
		end()
		switch now := time.Now().UTC(); {
		case a.json:
			err = errors.Join(err, json.NewEncoder(a.out).Encode(struct {
				Time time.Time `json:"time"`
				copied
			}{now, copied{from, to, &c}}))
		case complete:
			fmt.Fprintf(a.out, "%s copied %s, %s, up to %s\n", formatTime(now), count(c.Files, "file"), formatBytes(c.Bytes), c.Newest)
		default:
			a.printCopied("copied", copied{from, to, &c}, "; watching")
		}
		complete = true
	}
	opts.Watch.Failed = func(err error, again time.Duration) {
		fmt.Fprintf(a.errors, "%s %s; next attempt in %s\n", formatTime(time.Now()), err, again)
	}
	_, cerr := maintain.Copy(ctx, source, target, opts)
	end()
	if complete && ctx.Err() != nil {
		cerr = nil // to be interrupted is how it ends
	}
	return errors.Join(err, cerr)
}

func isOrAre(n int) string {
	if n == 1 {
		return "1 was"
	}
	return fmt.Sprintf("%d were", n)
}
