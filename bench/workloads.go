package main

import (
	"context"
	"fmt"
	"strings"
)

// workload is a measurement.
type workload struct {
	name string
	run  func(ctx context.Context, e *env) error
}

// workloads returns all workloads in the order of the table.
func workloads(cfg config) []workload {
	list := []workload{
		{"open-few", openWorkload(cfg.fewFiles)},
		{"open-many", openWorkload(cfg.manyFiles)},
		{"lookups-blocks-key", with((*env).blocks, lookupWorkload(byPrimaryKey))},
		{"lookups-blocks-hash", with((*env).blocks, lookupWorkload("hash index"))},
		{"lookups-events-key", with((*env).events, lookupWorkload(byPrimaryKey))},
		{"lookups-events-user", with((*env).events, lookupWorkload("user index"))},
		{"lookups-one-blocks-key", with((*env).blocks, oneTransaction(byPrimaryKey))},
		{"lookups-one-blocks-hash", with((*env).blocks, oneTransaction("hash index"))},
		{"lookups-one-events-key", with((*env).events, oneTransaction(byPrimaryKey))},
		{"lookups-one-events-user", with((*env).events, oneTransaction("user index"))},
		{"lookups-one-network-notes", with((*env).network, oneTransaction(byPrimaryKey))},
		{"ranges-blocks", with((*env).blocks, rangeWorkload)},
		{"ranges-events", with((*env).events, rangeWorkload)},
		{"joins-network", with((*env).network, joinsWorkload)},
		{"conns", with((*env).blocks, connsWorkload)},
		{"table-blocks", with((*env).blocks, tableWorkload)},
		{"scan-blocks", with((*env).blocks, scanWorkload)},
		{"scan-events", with((*env).events, scanWorkload)},
		{"count-blocks", with((*env).blocks, countWorkload)},
		{"count-events", with((*env).events, countWorkload)},
		{"changes-events", with((*env).changed, changesWorkload)},
		{"partial-events", with((*env).events, partialWorkload)},
		{"hydrate-blocks", with((*env).blocks, hydrateWorkload)},
		{"hydrate-events", with((*env).events, hydrateWorkload)},
		{"restore-blocks", with((*env).blocks, restoreWorkload)},
		{"restore-events", with((*env).events, restoreWorkload)},
		{"format-lookups", with((*env).otherFormat, lookupWorkload(byPrimaryKey))},
		{"format-scan", with((*env).otherFormat, scanWorkload)},
	}
	if cfg.largeRows > 0 {
		list = append(list,
			workload{"large-open", with((*env).large, openRun)},
			workload{"large-lookups", with((*env).large, lookupWorkload(byPrimaryKey))},
			workload{"large-lookups-one", with((*env).large, oneTransaction(byPrimaryKey))},
			workload{"large-ranges", with((*env).large, rangeWorkload)},
			workload{"large-joins", with((*env).largeNetwork, joinsWorkload)},
			workload{"large-scan", with((*env).large, scanWorkload)},
			workload{"large-count", with((*env).large, countWorkload)},
			workload{"large-changes", with((*env).largeChanged, changesWorkload)},
			workload{"large-partial", with((*env).large, partialWorkload)},
			workload{"large-hydrate", with((*env).large, hydrateWorkload)},
			workload{"large-restore", with((*env).large, restoreWorkload)})
	}
	for _, pages := range cfg.treePages {
		list = append(list, workload{fmt.Sprintf("open-index-%d", pages), openIndexWorkload(pages)})
	}
	for _, pages := range cfg.pointPages {
		list = append(list, workload{fmt.Sprintf("points-%d", pages), pointsWorkload(pages)})
	}
	for _, synchronous := range []string{"FULL", "OFF"} {
		list = append(list, workload{"write-commits-" + strings.ToLower(synchronous), commitsWorkload(synchronous)})
	}
	return append(list,
		workload{"write-uploads", besideUploads},
		workload{"write-bulk", bulkWorkload},
		workload{"write-syncs", syncsWorkload},
		workload{"write-group", groupWorkload},
		workload{"program-speedtest1", programWorkload(speedtest1)},
		workload{"program-kvtest-read", programWorkload(kvtestRead)},
		workload{"program-kvtest-hydrated", programWorkload(kvtestHydrated)},
		workload{"program-kvtest-update", programWorkload(kvtestUpdate)},
		workload{"memory-index", indexMemory},
		workload{"memory-conns", with((*env).blocks, connMemory)},
		workload{"memory-cache", with((*env).blocks, cacheMemory(cfg.cacheSize))},
		workload{"memory-cache-small-pages", with((*env).small, cacheMemory(cfg.smallCacheSize))})
}

// with makes a workload from a dataset and a function that runs on it.
func with(make func(*env, context.Context) (*dataset, error), run func(context.Context, *env, *dataset) error) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		d, err := make(e, ctx)
		if err != nil {
			return err
		}
		return run(ctx, e, d)
	}
}

func (e *env) blocks(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, blocksSource(e.blockRows), e.fewFiles, e.frames)
}

func (e *env) events(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, eventsSource("events", e.eventRows), e.fewFiles, e.frames)
}

func (e *env) network(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, networkSource("network", e.people), e.fewFiles, e.frames)
}

func (e *env) largeNetwork(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, networkSource("large network", 10*e.people), e.fewFiles, e.frames)
}

func (e *env) large(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, eventsSource("large", e.largeRows), e.fewFiles, e.frames)
}

// otherFormat returns the block map in the format that the other workloads do
// not use.
func (e *env) otherFormat(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, blocksSource(e.blockRows), e.fewFiles, !e.frames)
}

func (e *env) small(ctx context.Context) (*dataset, error) {
	return e.dataset(ctx, pointsSource(e.smallPages), 0, e.frames)
}

// run runs the workloads with matching names.
func (e *env) run(ctx context.Context) error {
	for _, w := range workloads(e.config) {
		if e.only != nil && !e.only.MatchString(w.name) {
			continue
		}
		e.logf("%s", w.name)
		if err := w.run(ctx, e); err != nil {
			return fmt.Errorf("workload %s: %w", w.name, err)
		}
	}
	return nil
}
