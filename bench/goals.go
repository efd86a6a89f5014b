package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// goal is the project's goal for one number.
type goal struct {
	what    string
	atLeast bool // the goal is a minimum; otherwise it is a maximum
	want    float64
	unit    string
	got     float64 // NaN if not measured
}

func (g goal) met() bool {
	if g.atLeast {
		return g.got >= g.want
	}
	return g.got <= g.want
}

func (e *env) goals() []goal {
	r := &e.results
	blocks, events := e.label("blocks", e.frames), e.label("events", e.frames)
	few, many := openName(blocks, e.fewFiles), openName(blocks, e.manyFiles)
	faster := func(row string) float64 { return r.time(row, upstream) / r.time(row, ours) }

	// Eight round trips, and the duration of one more for the processor.
	open := (9 * e.latency).Seconds() * 1e3
	goals := []goal{
		{few, false, open, " ms", r.time(few, ours) * 1e3},
		{few + ": faster than upstream", true, 10, "x", faster(few)},
		{many, false, 2 * open, " ms", r.time(many, ours) * 1e3},
		{many + fmt.Sprintf(": as with %d", e.fewFiles), false, 2, "x", r.time(many, ours) / r.time(few, ours)},
	}
	for _, d := range []label{blocks, events, e.label("blocks", !e.frames)} {
		goals = append(goals,
			goal{scanName(d) + ": faster than upstream", true, 100, "x", faster(scanName(d))},
			goal{shareFigure(scanName(d)), true, 60, " %", r.value(shareFigure(scanName(d)), ours)})
	}
	for _, d := range []label{blocks, events} {
		count := shareFigure(countName(d))
		goals = append(goals, goal{count, true, 60, " %", r.value(count, ours)})
		cold := lookupName(d, e.lookups, byPrimaryKey, "cold")
		goals = append(goals,
			goal{lookupFigure(d, byPrimaryKey, perLookup), false, 1.2, "", r.value(lookupFigure(d, byPrimaryKey, perLookup), ours)},
			goal{lookupFigure(d, byPrimaryKey, amplification), false, 1.3, "", r.value(lookupFigure(d, byPrimaryKey, amplification), ours)},
			goal{cold + ": faster than upstream", true, 2, "x", faster(cold)})
	}
	for _, s := range []*source{blocksSource(1), eventsSource("events", 1)} {
		d := e.label(s.name, e.frames)
		for _, l := range s.lookups[1:] {
			cold := lookupName(d, e.lookups, l.name, "cold")
			goals = append(goals,
				goal{lookupFigure(d, l.name, perPage), false, 1.2, "", r.value(lookupFigure(d, l.name, perPage), ours)},
				goal{lookupFigure(d, l.name, amplification), false, 1.3, "", r.value(lookupFigure(d, l.name, amplification), ours)},
				goal{cold + ": faster than upstream", true, 2, "x", faster(cold)})
		}
		for _, rg := range s.ranges {
			name := rangeName(d, e.rangeRows, rg.name)
			goals = append(goals, goal{name + ": faster than upstream", true, 10, "x", faster(name)})
		}
	}
	hydrated := []label{blocks, events}
	if e.largeRows > 0 {
		hydrated = append(hydrated, e.label("large", e.frames))
	}
	if e.largeRows > 0 {
		d := e.label(largeChanged, e.frames)
		goals = append(goals,
			goal{changesShareFigure(d), false, 5, " %", r.value(changesShareFigure(d), ours)},
			goal{changesTripsFigure(d), false, 20, "", r.value(changesTripsFigure(d), ours)})
	}
	for _, d := range hydrated {
		ratio := func(what string) float64 {
			return r.time(hydratedName(d, what), ours) / r.time(hydratedName(d, what), plain)
		}
		goals = append(goals,
			goal{hydrateShareFigure(d), false, 1.25, "x", r.value(hydrateShareFigure(d), ours)},
			goal{hydrateName(d) + ": faster than upstream", true, 3, "x", faster(hydrateName(d))},
			goal{hydrateBytesFigure(d), false, 1.05, "x", r.value(hydrateBytesFigure(d), ours)},
			goal{hydrateCPUFigure(d), true, 400, " MB/s", r.value(hydrateCPUFigure(d), ours)},
			goal{hydrateHeapFigure(d), false, 64, " MiB", r.value(hydrateHeapFigure(d), ours)},
			goal{restoreShareFigure(d), false, 1.3, "x", r.value(restoreShareFigure(d), ours)},
			goal{restoreName(d) + ": faster than upstream", true, 3, "x", faster(restoreName(d))},
			goal{restoreHeapFigure(d), false, 128, " MiB", r.value(restoreHeapFigure(d), ours)},
			goal{importHeapFigure(d), false, 128, " MiB", r.value(importHeapFigure(d), ours)},
			goal{hydratedName(d, "full scan") + ", of plain SQLite", false, 1.15, "x", ratio("full scan")})
		for _, when := range []string{atOnce, settled} {
			lookups := hydratedLookups(e.lookups, when)
			goals = append(goals, goal{hydratedName(d, lookups) + ", of plain SQLite", false, 1.3, "x", ratio(lookups)})
		}
	}
	for _, pages := range e.pointPages {
		name := pointsName(pages)
		goals = append(goals, goal{name + ": of plain SQLite", false, 2, "x", r.time(name, ours) / r.time(name, plain)})
	}
	for _, synchronous := range []string{"FULL", "OFF"} {
		for _, percent := range []int{50, 99} {
			name := commitName(synchronous, percent)
			goals = append(goals, goal{name + ": of plain SQLite", false, 1.5, "x", r.time(name, ours) / r.time(name, plain)})
		}
	}
	bulk := bulkName(e.bulkRows)
	goals = append(goals,
		goal{besideFigure("commits"), false, 1.5, "x", r.value(besideFigure("commits"), ours)},
		goal{besideFigure("reads"), false, 1.5, "x", r.value(besideFigure("reads"), ours)},
		goal{bulk + ": of plain SQLite", false, 1.5, "x", r.time(bulk, ours) / r.time(bulk, plain)},
		goal{syncCreates, false, 1, "", r.value(syncCreates, ours)},
		goal{syncLists, false, 1, "", r.value(syncLists, ours)},
		goal{groupFigure(e.writers, perSync), true, 8, "", r.value(groupFigure(e.writers, perSync), ours)},
		goal{indexFigure(e.indexPages), false, 12, " bytes a page", r.value(indexFigure(e.indexPages), ours)},
		goal{connFigure(blocks), false, 64, " KiB", r.value(connFigure(blocks), ours)})
	for _, f := range r.figures {
		if f.unit == cacheUnit {
			goals = append(goals, goal{f.name, false, 115, " " + f.unit, r.value(f.name, ours)})
		}
	}
	return goals
}

func (e *env) writeGoals(b *strings.Builder) {
	goals := slices.DeleteFunc(e.goals(), func(g goal) bool { return math.IsNaN(g.got) })
	if len(goals) == 0 {
		return
	}
	b.WriteString("| goal | wanted | measured | met |\n|---|--:|--:|---|\n")
	for _, g := range goals {
		sign, met := "<=", "no"
		if g.atLeast {
			sign = ">="
		}
		if g.met() {
			met = "yes"
		}
		fmt.Fprintf(b, "| %s | %s %s%s | %s%s | %s |\n", g.what, sign, number(g.want), g.unit, number(g.got), g.unit, met)
	}
	b.WriteString("\n")
}

// label is the name of a dataset in the tables.
type label string

func (l label) String() string { return string(l) }

func (e *env) label(name string, frames bool) label {
	return label((&dataset{source: &source{name: name}, frames: frames}).String())
}
