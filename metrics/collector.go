package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ltxvfs/litestream"
)

// Collector is a prometheus.Collector of the databases of some VFSes. It is safe for
// concurrent use.
//
// Every metric of a database has the label database: the URL of its replica, without
// credentials, if it was opened by one, and otherwise its file name. With more than
// one VFS every metric also has the label vfs, the position of the VFS in the call
// of NewCollector, from 0. The number of time series of a database is bounded: 37
// for one that is read, and at most 60.
//
// Counters begin at zero when a database is opened. A database that is closed has no
// time series, until it is opened again.
type Collector struct {
	vfses    []*litestream.VFS
	families []described
	opens    *prometheus.Desc
	open     *prometheus.Desc
}

var _ prometheus.Collector = (*Collector)(nil)

// described is a family with what is needed to make its metrics.
type described struct {
	*family
	desc      *prometheus.Desc
	labels    []*dto.LabelPair // one for each series; nil for a family without label
	isCounter bool
}

// NewCollector returns a collector of all databases of the VFSes. It has to be
// registered once. Two collectors can be registered if each has labels of its own:
//
//	prometheus.WrapRegistererWith(prometheus.Labels{"role": "reader"}, registry)
func NewCollector(vfs ...*litestream.VFS) *Collector {
	c := &Collector{vfses: vfs}
	c.open = c.describe("databases", openHelp)
	c.opens = c.describe("opens_total", opensHelp, "result")
	for i := range families {
		f := &families[i]
		d := described{family: f, isCounter: strings.HasSuffix(f.name, "_total")}
		names := []string{"database"}
		if f.label != "" {
			names = append(names, f.label)
			for _, s := range f.series {
				d.labels = append(d.labels, pair(f.label, s.label))
			}
		}
		d.desc = c.describe(f.name, f.help, names...)
		c.families = append(c.families, d)
	}
	return c
}

// describe returns the description of a metric with labels in ascending order, which
// come before the label vfs.
func (c *Collector) describe(name, help string, labels ...string) *prometheus.Desc {
	if len(c.vfses) > 1 {
		labels = append(labels, "vfs")
	}
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// prefix is that of the names of all metrics. The others are the help texts of
// metrics that are not about a database.
const (
	prefix    = "litestream_vfs_"
	openHelp  = "Databases that are open."
	opensHelp = "Opens of databases, by their result. A connection to a database that is open counts as none."
)

func pair(name, value string) *dto.LabelPair { return &dto.LabelPair{Name: &name, Value: &value} }

// failure and success are labels of opens.
var failure, success = pair("result", "failure"), pair("result", "success")

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.open
	ch <- c.opens
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect sends the metrics of all databases that are open.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for i, v := range c.vfses {
		var vfs []*dto.LabelPair
		if len(c.vfses) > 1 {
			vfs = []*dto.LabelPair{pair("vfs", strconv.Itoa(i))}
		}
		databases := statsOf(v)
		opens := v.Opens()
		own := make([]metric, 3)
		ch <- own[0].gauge(c.open, vfs, float64(len(databases)))
		ch <- own[1].counter(c.opens, append([]*dto.LabelPair{failure}, vfs...), float64(opens.Failures), nil)
		ch <- own[2].counter(c.opens, append([]*dto.LabelPair{success}, vfs...), float64(opens.Successes), nil)
		n := 0
		for i := range databases {
			n = c.collect(ch, &databases[i], now, vfs, max(n, 1))
		}
	}
}

// collect sends the metrics of a database, and returns how many. About as many are
// expected.
func (c *Collector) collect(ch chan<- prometheus.Metric, d *database, now time.Time, vfs []*dto.LabelPair, expected int) (sent int) {
	name := pair("database", d.label)
	opened := timestamppb.New(d.stats.Opened)
	// The metrics of a database are few pieces of memory, and so are their labels.
	var metrics []metric // not used yet
	labels := make([]*dto.LabelPair, 0, expected*(2+len(vfs)))
	for _, f := range c.families {
		if f.when != nil && !f.when(&d.stats) {
			continue
		}
		for i, s := range f.series {
			value, ok := s.value(&d.stats, now)
			if !ok {
				continue
			}
			begin := len(labels)
			labels = append(labels, name)
			if f.label != "" {
				labels = append(labels, f.labelOf(i, &d.stats))
			}
			labels = append(labels, vfs...)
			if len(metrics) == 0 {
				metrics = make([]metric, max(expected-sent, 8))
			}
			m, own := &metrics[0], labels[begin:len(labels):len(labels)]
			metrics = metrics[1:]
			sent++
			if f.isCounter {
				ch <- m.counter(f.desc, own, value, opened)
			} else {
				ch <- m.gauge(f.desc, own, value)
			}
		}
	}
	return sent
}

// labelOf returns the label of a series.
func (f *described) labelOf(i int, s *litestream.Stats) *dto.LabelPair {
	if text := f.series[i].text; text != nil {
		return pair(f.label, strings.ToValidUTF8(text(s), "\uFFFD"))
	}
	return f.labels[i]
}

// metric is a prometheus.Metric. It has room for what it writes, so that a scrape of
// many databases allocates little. It is not copied.
type metric struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair // ascending; many metrics share them
	value  float64
	out    struct {
		counter dto.Counter // if isCounter
		gauge   dto.Gauge   // otherwise
	}
	isCounter bool
}

// gauge makes m a gauge, and returns it.
func (m *metric) gauge(desc *prometheus.Desc, labels []*dto.LabelPair, value float64) *metric {
	m.desc, m.labels, m.value = desc, labels, value
	m.out.gauge.Value = &m.value
	return m
}

// counter makes m a counter, and returns it. It counts from a time on, nil if that is
// not known.
func (m *metric) counter(desc *prometheus.Desc, labels []*dto.LabelPair, value float64, since *timestamppb.Timestamp) *metric {
	m.desc, m.labels, m.value, m.isCounter = desc, labels, value, true
	m.out.counter.Value, m.out.counter.CreatedTimestamp = &m.value, since
	return m
}

// Desc returns the description.
func (m *metric) Desc() *prometheus.Desc { return m.desc }

// Write writes the labels and the value.
func (m *metric) Write(out *dto.Metric) error {
	out.Label = m.labels
	if m.isCounter {
		out.Counter = &m.out.counter
	} else {
		out.Gauge = &m.out.gauge
	}
	return nil
}

// database is an open database with a label that no other of its VFS has.
type database struct {
	label string
	stats litestream.Stats
}

// statsOf returns the open databases of a VFS, in the order of their labels.
func statsOf(v *litestream.VFS) []database {
	stats := v.Stats()
	databases := make([]database, len(stats))
	for i, s := range stats {
		databases[i] = database{strings.ToValidUTF8(s.ID, "\uFFFD"), s}
	}
	order := func(a, b database) int {
		return cmp.Or(cmp.Compare(a.label, b.label), a.stats.Opened.Compare(b.stats.Opened), cmp.Compare(a.stats.Name, b.stats.Name))
	}
	slices.SortFunc(databases, order)
	if distinguish(databases) {
		slices.SortFunc(databases, order)
	}
	return databases
}

// distinguish gives databases different labels. Labels can be equal if IDs differ only
// in bytes that are no UTF-8. One that is there twice would fail a whole scrape. It
// reports whether it has changed any.
func distinguish(databases []database) (changed bool) {
	for i := 1; i < len(databases); i++ {
		changed = changed || databases[i].label == databases[i-1].label
	}
	if !changed {
		return false
	}
	taken := make(map[string]bool, len(databases))
	for i := range databases {
		d := &databases[i]
		label := d.label
		for n := 2; taken[d.label]; n++ {
			d.label = fmt.Sprintf("%s (%d)", label, n)
		}
		taken[d.label] = true
	}
	return true
}
