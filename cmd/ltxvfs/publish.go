package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// publish is the command that writes the index of a replica for web servers.
func (a *app) publish() *cobra.Command {
	var output string
	var follow bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use: "publish [URL|DIR]", Short: "Write index.json, by which web servers can serve a replica", Args: between(0, 1),
		Long: `publish writes index.json beside the LTX files of a replica: the list of the files,
with sizes and times. With it, any web server or CDN that serves ranges of files can
serve the replica, read-only, under a URL like https://example.com/data/app.db. A
reader sees only the files that the index has, so publish again after each change,
or run publish with --follow beside the writer.`,
		Example: `  ltxvfs publish /var/www/data/app.db
  ltxvfs publish s3://public-bucket/app.db --follow
  ltxvfs publish gs://bucket/app.db --output index.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runPublish(cmd.Context(), args, output, follow, interval)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the index to this `file` instead")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on, and publish each change until interrupted")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "time between two listings with --follow")
	return cmd
}

// publishedIndex is an index as publish prints it.
type publishedIndex struct {
	URL string `json:"url"`
	*maintain.Published
}

func (a *app) runPublish(ctx context.Context, args []string, output string, follow bool, interval time.Duration) error {
	if interval <= 0 {
		return usagef("--interval is %s, want a positive time", interval)
	}
	if len(args) == 1 && !strings.Contains(args[0], ":") {
		args = []string{fileURL(args[0])}
	}
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	opts := maintain.PublishOptions{Requests: req}
	if output != "" {
		opts.Write = func(_ context.Context, index []byte) error { return replaceIndex(output, index) }
	}
	return done(a.publishTo(ctx, client, url, opts, follow, interval))
}

// publishTo publishes once, or until the context is done.
func (a *app) publishTo(ctx context.Context, client replica.Client, url string, opts maintain.PublishOptions, follow bool, interval time.Duration) error {
	for {
		p, err := maintain.Publish(ctx, client, opts)
		switch {
		case err == nil:
			opts.Last = p
		case ctx.Err() != nil && follow:
			return nil
		case errors.Is(err, errors.ErrUnsupported):
			return fmt.Errorf("%w: write it to a file with --output, and copy that to the place as index.json", err)
		case !follow || opts.Last == nil:
			return err
		default:
			opts.Logger.Warn("the index was not written", "error", err)
		}
		if err == nil && p.Written {
			if err := a.printPublished(url, p); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

func (a *app) printPublished(url string, p *maintain.Published) error {
	shown := &publishedIndex{shown(url), p}
	if a.json {
		return a.printJSON(shown)
	}
	_, err := fmt.Fprintf(a.out, "published %s: %s, transaction %s\n", shown.URL, count(p.Files, "file"), p.Newest)
	return err
}

// fileURL returns the URL of a folder.
func fileURL(path string) string {
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(filepath.ToSlash(path))
}

// replaceIndex writes an index under another name and renames it.
func replaceIndex(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(fs.FileMode(0o644))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
