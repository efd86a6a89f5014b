package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ltxvfs/litestream/maintain"
)

// checkMetricsPath returns an error if the metrics cannot be written to a file, since
// it is better to know that before a verification of hours. An empty path means that
// none are written.
func checkMetricsPath(path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", dir)
	}
	if err != nil {
		return fmt.Errorf("--metrics %s: %w", path, err)
	}
	return nil
}

// writeMetrics writes the result of a verification as metrics to a file, for the
// textfile collector of Prometheus' node_exporter. It replaces the file at once.
func (v *verified) writeMetrics(path string, start, end time.Time, quick bool) error {
	mode := "full"
	if quick {
		mode = "quick"
	}
	registry := prometheus.NewRegistry()
	labels := prometheus.Labels{"replica": withoutSecrets(v.URL), "mode": mode}
	gauge := func(name, help string, value float64, more ...prometheus.Labels) {
		opts := prometheus.GaugeOpts{Namespace: "litestream_vfs", Subsystem: "verify", Name: name, Help: help, ConstLabels: prometheus.Labels{}}
		for _, add := range append(more, labels) {
			for label, value := range add {
				opts.ConstLabels[label] = value
			}
		}
		g := prometheus.NewGauge(opts)
		g.Set(value)
		registry.MustRegister(g)
	}
	seconds := func(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
	gauge("timestamp_seconds", "When the verification ended.", float64(end.UnixMilli())/1000)
	gauge("duration_seconds", "How long the verification took.", seconds(end.Sub(start)))
	gauge("files", "LTX files of the replica.", float64(v.Files))
	gauge("bytes", "Size of the LTX files of the replica.", float64(v.Bytes))
	gauge("states", "States that the replica should give.", float64(v.Moments))
	gauge("restorable_states", "States that can be restored.", float64(v.Restorable))
	gauge("lost_states", "States that cannot be restored.", float64(v.Moments-v.Restorable))
	found := make(map[maintain.Kind]int)
	for _, f := range v.Findings {
		found[f.Kind]++
	}
	findings := func(kind string, n int) {
		gauge("findings", "What is wrong, by its kind.", float64(n), prometheus.Labels{"kind": kind})
	}
	for kind := maintain.Damaged; kind <= maintain.Conflict; kind++ {
		findings(kind.String(), found[kind])
	}
	if v.Integrity != nil {
		n := 0
		if isBroken(v.Integrity) {
			n = len(v.Integrity)
		}
		findings("integrity_check", n)
	}
	if err := prometheus.WriteToTextfile(path, registry); err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// withoutSecrets returns a URL without user information and parameters.
func withoutSecrets(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a replica with a malformed URL"
	}
	return (&url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path}).String()
}
