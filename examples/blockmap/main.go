// Command blockmap is a metadata service for a file system on object storage,
// similar to JuiceFS. For each file it stores the list of its blocks and the
// objects that contain them. Its own state is one SQLite database, which is on
// object storage, too.
//
//	go run ./examples/blockmap [-addr host:port] [-replica url or folder] [-buffer path] [-sync interval]
//
//	curl -X PUT -d '[{"object":"blocks/1","offset":0,"length":4096}]' http://$addr/files/a.txt
//	curl http://$addr/files/a.txt
//	curl http://$addr/healthz
//
// It can start on a machine that has no local copy of the database. When a PUT
// is answered with 204, the commit is in the write buffer, and soon after on
// the replica. With -buffer the commit survives kill -9: the next process with
// the same buffer uploads it.
//
// Only one process may run for a replica at a time. The service has no
// authentication.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/gs"
	_ "github.com/ltxvfs/litestream/s3"
)

const (
	vfsName = "blockmap"
	dbName  = "blockmap.db"

	endTimeout = 10 * time.Second // for each step of the shutdown
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills the process at once
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "blockmap:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done and then shuts down in order.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("blockmap", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:0", "`address` to listen on")
	replica := flags.String("replica", "", "`url` or folder of the replica (default: a temporary folder)")
	buffer := flags.String("buffer", "", "`path` of the write buffer (default: temporary files)")
	interval := flags.Duration("sync", litestream.DefaultWriteSyncInterval, "`time` from a commit to its upload")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *replica == "" {
		if *replica, err = os.MkdirTemp("", "blockmap-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*replica)) }()
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	client, err := newClient(*replica)
	if err != nil {
		return err
	}
	vfs := litestream.NewVFS(client, &litestream.Options{
		WriteEnabled: true, WriteBufferPath: *buffer, WriteSyncInterval: *interval, CloseTimeout: endTimeout, Logger: log,
	})
	if err := registerVFS(vfsName, vfs); err != nil {
		return fmt.Errorf("register vfs: %w", err)
	}
	// The steps below continue after ctx is done, until the shutdown is
	// complete.
	running := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, closeVFS(running, vfs)) }()
	s, err := openStore(ctx, vfsName, dbName)
	if err != nil {
		return fmt.Errorf("open %s: %w", *replica, err)
	}
	defer func() { err = errors.Join(err, closeStore(running, s, vfs)) }()

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	log.Info("serving", "addr", listener.Addr(), "replica", *replica, "buffer", *buffer)
	fmt.Fprintf(stdout, "http://%s\n", listener.Addr())
	return serve(ctx, log, listener, &http.Server{
		Handler:           newHandler(s, log),
		BaseContext:       func(net.Listener) context.Context { return running },
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
}

// newClient treats every argument that does not look like a URL as the folder
// of a replica.
func newClient(replica string) (litestream.ReplicaClient, error) {
	if strings.Contains(replica, "://") || strings.HasPrefix(replica, "file:") {
		return litestream.NewReplicaClientFromURL(replica)
	}
	return file.NewReplicaClient(replica), nil
}

// serve answers requests until ctx is done. It also completes the requests that
// have arrived before.
func serve(ctx context.Context, log *slog.Logger, listener net.Listener, srv *http.Server) error {
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
		log.Info("shutting down")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut down: %w", err), srv.Close())
	}
	return nil
}

// closeStore uploads all commits to the replica before it closes the store. The
// close of the last connection would sync as well, but could only log an error.
func closeStore(ctx context.Context, s *store, vfs *litestream.VFS) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	return errors.Join(vfs.Sync(ctx, dbName), s.close())
}

// closeVFS stops the background work of the VFS. It syncs, too.
func closeVFS(ctx context.Context, vfs *litestream.VFS) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	return vfs.Close(ctx)
}
