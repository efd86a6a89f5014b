// Package metrics shows how databases are doing: a collector for Prometheus and a
// handler for health checks, over the statistics that a litestream.VFS keeps anyway.
//
//	vfs := litestream.NewVFS(client, nil)
//	prometheus.MustRegister(metrics.NewCollector(vfs))
//	http.Handle("/metrics", promhttp.Handler())
//	http.Handle("/healthz", metrics.Health(vfs))
//
// Both read the statistics of the databases that are open when they are asked. They
// make no request to storage, open no database and start no goroutine, so they cost
// nothing while nobody asks. The page docs/monitoring.md has the table of metrics,
// rules for alerts and a dashboard for Grafana.
package metrics
