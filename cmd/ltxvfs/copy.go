package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
)

// copyCommand is the command that copies replicas.
func (a *app) copyCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "copy URL URL", Short: "Copy a replica to another place", Args: between(2, 2),
		Long: `copy copies the files of a replica that another place lacks, also to another kind of
store, with their transactions and timestamps. It compares the checksum of each
file. If it is interrupted, the same command copies the rest. It deletes nothing and
replaces nothing: if a file is there with other content, it is of another history,
and nothing is copied.`,
		Example: `  ltxvfs copy s3://bucket/app.db gs://backup/app.db
  ltxvfs copy s3://bucket file:///var/backup --all`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runCopy(cmd.Context(), args, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "copy all replicas below the first URL to the same places below the second")
	return cmd
}

// copied is a replica as copy prints it.
type copied struct {
	From string `json:"from"`
	To   string `json:"to"`
	*maintain.Copied
}

func (a *app) runCopy(ctx context.Context, args []string, all bool) error {
	from, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	to, err := a.urlOf(args, 1)
	if err != nil {
		return err
	}
	if !all {
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
		return fmt.Errorf("copy: %s has more folders than can be listed", withoutParameters(found.Partial[0]))
	}
	results := []*copied{}
	var failed error
	for _, url := range found.URLs {
		r, err := a.copyOne(ctx, url, sameBelow(from, url, to))
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", withoutParameters(url), err))
			continue
		}
		results = append(results, r)
	}
	if a.json {
		failed = errors.Join(a.printJSON(results), failed)
	}
	return failed
}

// sameBelow returns the place below to where url is below from.
func sameBelow(from, url, to string) string {
	rest := strings.TrimPrefix(withoutParameters(url), strings.TrimSuffix(withoutParameters(from), "/"))
	base, parameters, has := strings.Cut(to, "?")
	base = strings.TrimSuffix(base, "/") + rest
	if has {
		base += "?" + parameters
	}
	return base
}

// copyOne copies one replica.
func (a *app) copyOne(ctx context.Context, from, to string) (r *copied, err error) {
	tell, end := a.meter("copy")
	req, err := a.requests(tell)
	if err != nil {
		return nil, err
	}
	source, sourceDone, err := a.open(from)
	if err != nil {
		return nil, err
	}
	defer func() { err = sourceDone(err) }()
	target, targetDone, err := a.open(to)
	if err != nil {
		return nil, err
	}
	defer func() { err = targetDone(err) }()
	start := time.Now()
	result, err := maintain.Copy(ctx, source, target, maintain.CopyOptions{Requests: req})
	end()
	if err != nil {
		return nil, err
	}
	r = &copied{withoutParameters(from), withoutParameters(to), result}
	if a.json {
		return r, nil
	}
	fmt.Fprintf(a.out, "copied %s to %s, up to %s: %s, %s", r.From, r.To, r.Newest, count(r.Files, "file"), formatBytes(r.Bytes))
	if r.There > 0 {
		fmt.Fprintf(a.out, ", and %s there before", isOrAre(r.There))
	}
	if !a.quiet {
		fmt.Fprintf(a.out, ", in %s", time.Since(start).Round(time.Millisecond))
	}
	fmt.Fprintln(a.out)
	return r, nil
}

func isOrAre(n int) string {
	if n == 1 {
		return "1 was"
	}
	return fmt.Sprintf("%d were", n)
}
