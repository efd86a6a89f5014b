package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// repair is the command that repairs what can be repaired without loss.
func (a *app) repair() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "repair [URL]", Short: "Repair what can be repaired without loss", Args: between(0, 1),
		Long: `repair verifies a replica and says what can be done about what is wrong without losing
a state that can be restored. --yes does it: damaged files are rebuilt from intact
ones that hold the same, files with a wrong name are copied to the right one, copies
under a wrong name are deleted, and a newest state that a damaged file hides becomes a
snapshot. Nothing else is changed.

The exit code is 0 if nothing is wrong any more, 1 if what is wrong costs no state, or
if repair would do something but for --yes, and 4 if states are lost.`,
		Example: `  ltxvfs repair s3://bucket/app.db
  ltxvfs repair s3://bucket/app.db --yes`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRepair(cmd.Context(), args, yes) },
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "change the replica")
	return cmd
}

// repaired is what repair prints.
type repaired struct {
	URL string `json:"url"`
	*maintain.Repaired
}

func (a *app) runRepair(ctx context.Context, args []string, yes bool) error {
	return a.change("repair", args, func(url string, client replica.Client, req maintain.Requests) error {
		r, err := maintain.Repair(ctx, client, maintain.RepairOptions{Requests: req, DryRun: !yes})
		if err != nil {
			return err
		}
		left := r.Before
		if r.After != nil {
			left = r.After
		}
		if a.json {
			err = a.printJSON(&repaired{url, r})
		} else {
			a.printRepaired(url, r, yes)
		}
		switch {
		case err != nil:
			return err
		case len(left.Lost) > 0 || left.Restorable == 0:
			return errDamaged
		case len(left.Findings) > 0:
			return errFound
		}
		return nil
	})
}

func (a *app) printRepaired(url string, r *maintain.Repaired, yes bool) {
	a.printReport(&verified{URL: url, Report: r.Before, Restore: restoreHint(url, r.Before)})
	if len(r.Before.Findings) == 0 {
		return
	}
	fmt.Fprintln(a.out)
	for _, s := range r.Steps {
		fmt.Fprintln(a.out, s)
	}
	switch {
	case len(r.Steps) == 0:
		fmt.Fprintln(a.out, "nothing of it can be repaired without loss, and nothing was changed")
	case !yes:
		fmt.Fprintf(a.out, "nothing was changed; to do this:\n  ltxvfs repair %s --yes\n", quote(shown(url)))
	default:
		fmt.Fprintln(a.out, "\nafterwards:")
		a.printReport(&verified{URL: url, Report: r.After, Restore: restoreHint(url, r.After)})
	}
}
