package main

import (
	"math"
	"slices"
	"time"
)

// sample is one run of a timed measurement.
type sample struct {
	time     time.Duration
	requests int
	bytes    int64

	// share is the share of the work that was done, if not all of it. The rest
	// is extrapolated, except for the fixed part at the start.
	share float64
	once  *sample
}

// whole returns the sample extrapolated to all of the work.
func (s sample) whole() sample {
	if s.share == 0 {
		return s
	}
	var once sample
	if s.once != nil {
		once = *s.once
	}
	s.time = once.time + time.Duration(float64(s.time-once.time)/s.share)
	s.requests = once.requests + int(float64(s.requests-once.requests)/s.share)
	s.bytes = once.bytes + int64(float64(s.bytes-once.bytes)/s.share)
	return s
}

// results holds the samples and figures of every system by the name of the
// measurement. The order is that in which the names were added.
type results struct {
	rows    []*row
	figures []*figure
	notes   []string
}

// note adds a text below the tables.
func (r *results) note(text string) { r.notes = append(r.notes, text) }

type row struct {
	name    string
	samples map[string][]sample // by system
}

// figure is a result that is not a time.
type figure struct {
	name   string
	unit   string
	values map[string][]float64 // by system
}

func (r *results) add(name, system string, s sample) {
	i := slices.IndexFunc(r.rows, func(row *row) bool { return row.name == name })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, &row{name, make(map[string][]sample)})
	}
	r.rows[i].samples[system] = append(r.rows[i].samples[system], s)
}

func (r *results) addFigure(name, unit, system string, v float64) {
	i := slices.IndexFunc(r.figures, func(f *figure) bool { return f.name == name })
	if i < 0 {
		i = len(r.figures)
		r.figures = append(r.figures, &figure{name, unit, make(map[string][]float64)})
	}
	r.figures[i].values[system] = append(r.figures[i].values[system], v)
}

// median returns the median run of a system by time, extrapolated to all of the
// work.
func (r *row) median(system string) (sample, bool) {
	all := slices.Clone(r.samples[system])
	if len(all) == 0 {
		return sample{}, false
	}
	slices.SortFunc(all, func(a, b sample) int { return int(a.time - b.time) })
	return all[(len(all)-1)/2].whole(), true
}

func (f *figure) median(system string) (float64, bool) {
	all := slices.Clone(f.values[system])
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[(len(all)-1)/2], true
}

// time returns the median time of a row in seconds, or NaN if there is none.
func (r *results) time(name, system string) float64 {
	for _, row := range r.rows {
		if row.name == name {
			if s, ok := row.median(system); ok {
				return s.time.Seconds()
			}
		}
	}
	return math.NaN()
}

// value returns the median of a figure, or NaN if there is none.
func (r *results) value(name, system string) float64 {
	for _, f := range r.figures {
		if f.name == name {
			if v, ok := f.median(system); ok {
				return v
			}
		}
	}
	return math.NaN()
}
