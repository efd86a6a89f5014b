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

// verify is the command that verifies a replica.
func (a *app) verify() *cobra.Command {
	var opts verifyOptions
	cmd := &cobra.Command{
		Use: "verify [URL]", Short: "Read every byte of a replica and say what is wrong", Args: between(0, 1),
		Long: `verify reads every file of a replica and checks it: its checksum, the compressed
pages, the page index, its name. It checks that the files give every state they
should, that timestamps ascend, and that files do not contradict each other. For
what is wrong, it says which states are lost, and how to restore what is not.

The exit code is 0 if nothing was found, 1 if what was found costs no state, and 4
if states are lost.`,
		Example: `  ltxvfs verify s3://bucket/app.db
  ltxvfs verify s3://bucket/app.db -q --metrics /var/lib/node_exporter/app.prom
  ltxvfs verify s3://bucket/app.db --quick -q || mail -s 'replica' ops@example.com`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runVerify(cmd.Context(), args, opts)
		},
	}
	cmd.Flags().BoolVar(&opts.quick, "quick", false, "read only the beginning and the end of each file")
	cmd.Flags().BoolVar(&opts.sql, "sql", false, "run PRAGMA integrity_check on the newest state as well")
	cmd.Flags().StringVar(&opts.metrics, "metrics", "", "write the result to a `file` as metrics for Prometheus' node_exporter")
	return cmd
}

// verifyOptions are the flags of verify.
type verifyOptions struct {
	quick, sql bool
	metrics    string // path of a file for metrics; empty: none
}

// verified is a report as verify prints it.
type verified struct {
	URL string `json:"url"`
	*maintain.Report
	Integrity []string `json:"integrity_check,omitempty"` // rows of PRAGMA integrity_check
	Restore   string   `json:"restore,omitempty"`         // command that restores the newest state that is intact
}

func (a *app) runVerify(ctx context.Context, args []string, opts verifyOptions) error {
	start := time.Now()
	url, err := a.urlOf(args, 0)
	if err != nil {
		return err
	}
	if err := checkMetricsPath(opts.metrics); err != nil {
		return err
	}
	if opts.sql { // it is better to know that before a verification of hours
		if _, err := a.vfsOptions(); err != nil {
			return err
		}
	}
	tell, end := a.meter("verify")
	req, err := a.requests(tell)
	if err != nil {
		return err
	}
	client, done, err := a.open(url)
	if err != nil {
		return err
	}
	report, err := maintain.Verify(ctx, client, maintain.VerifyOptions{Requests: req, Quick: opts.quick})
	end()
	if err = done(err); err != nil {
		return err
	}
	v := &verified{URL: shown(url), Report: report}
	v.Restore = restoreHint(v.URL, report)
	var sqlErr error // why the check did not run; what was found is printed all the same
	if opts.sql && report.Last == report.Newest {
		if v.Integrity, sqlErr = a.integrity(ctx, url); sqlErr != nil {
			sqlErr = fmt.Errorf("integrity_check: %w", sqlErr)
		}
	}
	if a.json {
		err = a.printJSON(v)
	} else {
		a.printReport(v)
	}
	if opts.metrics != "" {
		err = errors.Join(err, v.writeMetrics(opts.metrics, start, time.Now(), opts.quick))
	}
	err = errors.Join(err, sqlErr)
	switch isLost := len(report.Lost) > 0 || report.Restorable == 0; {
	case isLost && err != nil:
		fmt.Fprintf(a.errors, "ltxvfs: %s\n", explain(ctx, err)) // the exit code is that of the loss
		return errDamaged
	case isLost:
		return errDamaged
	case err != nil:
		return err
	case len(report.Findings) > 0 || isBroken(v.Integrity):
		return errFound
	}
	return nil
}

// restoreHint returns the command that restores the newest intact state of a replica
// in which something is wrong.
func restoreHint(url string, report *maintain.Report) string {
	if len(report.Findings) == 0 || report.Last == 0 {
		return ""
	}
	return fmt.Sprintf("ltxvfs restore %s FILE --at %s", quote(url), report.Last)
}

// isBroken reports whether rows of PRAGMA integrity_check say that a database is
// not in order.
func isBroken(rows []string) bool { return len(rows) > 0 && !(len(rows) == 1 && rows[0] == "ok") }

func (a *app) printReport(v *verified) {
	r := v.Report
	for _, f := range r.Findings {
		fmt.Fprintln(a.out, f)
	}
	for _, row := range v.Integrity {
		fmt.Fprintln(a.out, "integrity_check:", row)
	}
	if len(r.Findings) > 0 {
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "%s, %s: ", count(r.Files, "file"), formatBytes(r.Bytes))
	switch {
	case len(r.Findings) == 0:
		fmt.Fprintf(a.out, "nothing is wrong, and all %s can be restored\n", count(r.Moments, "state"))
	case r.Restorable == 0:
		fmt.Fprintf(a.out, "%s, and no state can be restored\n", count(len(r.Findings), "finding"))
	default:
		fmt.Fprintf(a.out, "%s, and %d of %s can be restored, %s to %s\n", count(len(r.Findings), "finding"), r.Restorable, count(r.Moments, "state"), r.Oldest, r.Last)
	}
	if len(r.Lost) > 0 {
		fmt.Fprintf(a.out, "lost: %s\n", formatLost(r.Lost))
	}
	if v.Restore != "" {
		fmt.Fprintf(a.out, "to restore the newest state that is left:\n  %s\n", v.Restore)
	}
}

// formatLost lists ranges of transactions.
func formatLost(ranges []maintain.Range) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}
