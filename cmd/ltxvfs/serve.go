package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/metrics"
)

// tokenVariable has the token of serve. Other users of a host see the arguments of a
// process, but not its environment.
const tokenVariable = "LTXVFS_TOKEN"

// serveFlags are the flags of serve.
type serveFlags struct {
	addr    string
	token   string
	noToken bool
	hosts   []string
}

// serve is the command that shows on a page how databases are doing.
func (a *app) serve() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use: "serve [URL...]", Short: "Show on a web page how databases are doing",
		Long: `serve opens the databases at and below URLs to read, and serves a page that shows how
they are doing, until it is interrupted. While nobody looks at the page it makes no
requests to storage. While somebody does, it follows the databases like any reader:
that is a request a second and database.

It listens on this host only. An --addr that other hosts reach needs a --token, which
a browser asks for as a password, with any user name; other programs send it as a
bearer token. The variable LTXVFS_TOKEN has it, too, and does not show in the list of
processes. Serve it through a proxy that speaks TLS.

/metrics has metrics for Prometheus, and /healthz a health check in JSON, whose status
is 503 if a database is unhealthy or could not be opened. Both need the token, too.`,
		Example: `  ltxvfs serve s3://bucket
  ltxvfs serve s3://bucket/app.db --addr 127.0.0.1:9000
  LTXVFS_TOKEN=$(cat token) ltxvfs serve s3://bucket --addr :8080`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runServe(cmd.Context(), args, flags) },
	}
	cmd.Flags().StringVar(&flags.addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 is any that is free")
	cmd.Flags().StringVar(&flags.token, "token", "", "`password` that a browser has to give")
	cmd.Flags().BoolVar(&flags.noToken, "no-token", false, "let everybody who reaches the address see the page")
	cmd.Flags().StringSliceVar(&flags.hosts, "host", nil, "`name` under which browsers reach the page without a token, besides localhost and addresses")
	return cmd
}

func (a *app) runServe(ctx context.Context, args []string, flags serveFlags) (err error) {
	if flags.token == "" {
		flags.token = a.environment(tokenVariable)
	}
	switch isLocal, err := isLoopback(flags.addr); {
	case err != nil:
		return usagef("--addr: %w", err)
	case flags.token != "" && flags.noToken:
		return usagef("--no-token and a token exclude each other")
	case !isLocal && flags.token == "" && !flags.noToken:
		return usagef("other hosts may reach %s: give a --token, or --no-token if everybody who reaches it may see the page", flags.addr)
	}
	req, err := a.requests(nil)
	if err != nil {
		return err
	}
	vfs, err := a.newVFS()
	if err != nil {
		return err
	}
	// An open that is under way ends with the VFS.
	stop := context.AfterFunc(ctx, func() { _ = vfs.Close(context.WithoutCancel(ctx)) })
	defer stop()
	s := &served{ctx: ctx, vfs: vfs}
	defer func() { err = errors.Join(err, s.close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", flags.addr)
	if err != nil {
		return err
	}
	defer listener.Close() // the server has closed it if there was one
	urls, err := a.findAll(ctx, args, req)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if err := s.openAll(urls, a.concurrency); err != nil {
		return err
	}
	for _, u := range s.Unopened() {
		fmt.Fprintf(a.errors, "ltxvfs: %s\n", u.Err)
	}
	fmt.Fprintf(a.out, "%s at http://%s/\n", count(len(s.databases), "database"), listener.Addr())
	return serveUntil(ctx, listener, s.handler(metrics.PageOptions{Token: flags.token, Hosts: hostsOf(flags), KeepFresh: true, Unopened: s.Unopened}))
}

// isLoopback reports whether only this host reaches an address.
func isLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// hostsOf returns the names under which the page may be reached.
func hostsOf(flags serveFlags) []string {
	if flags.noToken && len(flags.hosts) == 0 {
		return []string{"*"}
	}
	return flags.hosts
}

// handler returns what the server answers.
func (s *served) handler(opts metrics.PageOptions) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", metrics.Page(opts, s.vfs))
	// No connection of a program makes the databases follow their replicas or opens those
	// that are not open, so a look at them does.
	fresh := func(h http.Handler) http.Handler {
		return metrics.Guard(opts, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.retry()
			for _, db := range s.vfs.Stats() {
				_ = s.vfs.KeepFresh(db.ID) // it may have been closed just now
			}
			h.ServeHTTP(w, r)
		}))
	}
	mux.Handle("/healthz", fresh(metrics.HealthOf(s.failed, s.vfs)))
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(s.vfs))
	mux.Handle("/metrics", fresh(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return mux
}

// shutdownTime is how long requests that are under way may take after an interrupt.
const shutdownTime = 5 * time.Second

// serveUntil serves until ctx is done. Requests of clients end with ctx.
func serveUntil(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	err := server.Shutdown(wait)
	if err != nil {
		err = server.Close()
	}
	<-ended
	return err
}

// served are the databases that serve shows. It is safe for concurrent use.
type served struct {
	ctx       context.Context // of the command
	vfs       *litestream.VFS
	databases []*servedDatabase
	opening   sync.WaitGroup // opens that are tried again
}

// servedDatabase is a database that is open, or is to be.
type servedDatabase struct {
	url string

	mu struct {
		sync.Mutex
		conn    *litestream.Conn // keeps it open; nil: it is not
		err     error            // why it is not open
		tried   time.Time
		opening bool
	}
}

// reopenEvery is how often a database that could not be opened is tried again, while
// somebody looks.
const reopenEvery = 30 * time.Second

// openAll opens databases, so many at a time. It returns an error if that fails for all
// of them.
func (s *served) openAll(urls []string, concurrency int) error {
	slices.Sort(urls)
	for _, url := range slices.Compact(urls) {
		s.databases = append(s.databases, &servedDatabase{url: url})
	}
	var g errgroup.Group
	g.SetLimit(concurrency)
	for _, d := range s.databases {
		d.begin(0)
		g.Go(func() error { d.open(s.vfs); return nil })
	}
	_ = g.Wait()
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	failed := s.failed()
	if len(failed) < len(s.databases) {
		return nil
	}
	var errs []error
	for _, u := range failed {
		errs = append(errs, u.Err)
	}
	return errors.Join(errs...)
}

// begin reports whether the database is to be opened now: it is not open, and was not
// tried within a time.
func (d *servedDatabase) begin(within time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.conn != nil || d.mu.opening || time.Since(d.mu.tried) < within {
		return false
	}
	d.mu.opening, d.mu.tried = true, time.Now()
	return true
}

// open opens the database, after begin.
func (d *servedDatabase) open(vfs *litestream.VFS) {
	conn, err := vfs.OpenConn(d.url, map[string]string{"replica_url": d.url}, litestream.OpenMode{ReadOnly: true})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.conn, d.mu.err, d.mu.opening = conn, err, false
}

// failed returns the databases that are not open.
func (s *served) failed() (all []metrics.Unopened) {
	for _, d := range s.databases {
		d.mu.Lock()
		if d.mu.err != nil {
			all = append(all, metrics.Unopened{Name: shown(d.url), Err: d.mu.err})
		}
		d.mu.Unlock()
	}
	return all
}

// retry begins to open the databases that are not open, since somebody looks. It does
// not wait for them.
func (s *served) retry() {
	for _, d := range s.databases {
		if s.ctx.Err() == nil && d.begin(reopenEvery) {
			s.opening.Go(func() { d.open(s.vfs) })
		}
	}
}

// Unopened returns the databases that are not open, for the page, and tries them again.
func (s *served) Unopened() []metrics.Unopened {
	s.retry()
	return s.failed()
}

// close closes all databases.
func (s *served) close() (err error) {
	err = s.vfs.Close(context.WithoutCancel(s.ctx)) // within CloseTimeout; ends opens, too
	s.opening.Wait()
	for _, d := range s.databases {
		d.mu.Lock()
		if d.mu.conn != nil {
			err = errors.Join(err, d.mu.conn.Close())
		}
		d.mu.Unlock()
	}
	return err
}
