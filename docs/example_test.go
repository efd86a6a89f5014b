//go:build cgo

// The pages show mattn/go-sqlite3.

package docs_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/metrics"
	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/oss"
	"github.com/ltxvfs/litestream/s3"
	"github.com/ltxvfs/litestream/sftp"
	"github.com/ltxvfs/litestream/webdav"
	"github.com/mattn/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/superfly/ltx"
)

// The examples here are the code in the pages of this folder. They are
// compiled, and TestBlocks_Go compares them with the pages.

var client litestream.ReplicaClient

func Example_options() {
	vfs := litestream.NewVFS(client, &litestream.Options{CacheSize: 64 << 20})
	vfs.PollInterval = 5 * time.Second
}

func Example_untrustedSQL() {
	vfs := litestream.NewVFS(client, &litestream.Options{
		AllowParameter: func(name, value string) bool { return name == "cache_size" },
		LocalFiles:     litestream.NoLocalFiles,
	})
	_ = vfs
}

func Example_hydration() {
	vfs := litestream.NewVFS(client, &litestream.Options{
		HydrationEnabled: true,
		HydrationPath:    "/var/lib/app/ratings.copy", // stays when the process ends
		OnHydrationProgress: func(p litestream.HydrationProgress) {
			log.Printf("%s: %.0f %%", p.Status, p.Progress)
		},
	})
	_ = vfs
}

func Example_writing() {
	vfs := litestream.NewVFS(client, &litestream.Options{WriteEnabled: true, WriteBufferPath: "/var/lib/app/buffer"})
	_ = vfs
}

func Example_changes() {
	ctx, vfs := context.Background(), litestream.NewVFS(nil, nil)
	var from, to ltx.TXID
	for change, err := range vfs.Changes(ctx, "s3://my-bucket/app.db", from, to, "users") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(change.Kind, change.Table, change.Rowid, change.Old, change.New)
	}
}

func Example_tail() {
	ctx, vfs := context.Background(), litestream.NewVFS(nil, nil)
	save := func([]litestream.Change, litestream.HistoryPoint) {}
	var last litestream.HistoryPoint // of the last commit that this program has dealt with; zero: begin with the newest state
	var held []litestream.Change
	for event, err := range vfs.Tail(ctx, "s3://my-bucket/app.db", last, "users") {
		if err != nil {
			log.Fatal(err)
		}
		switch event.Kind {
		case litestream.TailBegin:
			if last.TXID == 0 { // the first run: changes come from here on
				last = litestream.HistoryPoint{TXID: event.Last, Time: event.Time}
				save(nil, last)
			}
		case litestream.TailChange:
			held = append(held, event.Change)
		case litestream.TailRestart: // the changes since the last commit come again
			held = nil
		case litestream.TailCommit:
			last = litestream.HistoryPoint{TXID: event.Last, Time: event.Time}
			save(held, last) // in one transaction of its own
			held = nil
		}
	}
}

func Example_functions() {
	sql.Register("sqlite3-litestream", &sqlite3.SQLiteDriver{ConnectHook: litestream.RegisterFunctions})
}

func Example_monitoring() {
	vfs := litestream.NewVFS(client, nil)
	prometheus.MustRegister(metrics.NewCollector(vfs))

	http.Handle("/metrics", promhttp.Handler())
	http.Handle("/healthz", metrics.Health(vfs))
}

// monitorConnector opens a database whose VFS is monitored.
func monitorConnector() error {
	connector, err := litestream.NewConnector("s3://bucket/app.db", nil)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	prometheus.MustRegister(metrics.NewCollector(litestream.VFSOf(connector)))
	return db.Close()
}

var _ = monitorConnector // it is compiled, and not run

func Example_s3() {
	client := s3.NewReplicaClient()
	client.Bucket, client.Path = "backups", "app.db"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_gs() {
	client := gs.NewReplicaClient()
	client.Bucket, client.Path = "bucket", "databases/app.db"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_abs() {
	client := abs.NewReplicaClient()
	client.AccountName, client.Bucket, client.Path = "myaccount", "mycontainer", "app.db"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_nats() {
	client := nats.NewReplicaClient()
	client.URL, client.BucketName = "nats://localhost:4222", "app"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_oss() {
	client := oss.NewReplicaClient()
	client.Bucket, client.Path, client.Region = "bucket", "app.db", "eu-central-1"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_sftp() {
	client := sftp.NewReplicaClient()
	client.Host, client.User = "backup.example.com", "litestream"
	client.Path = "/srv/replicas/app.db"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_https() {
	client := https.NewReplicaClient()
	client.URL = "https://example.com/data/app.db"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_webdav() {
	client := webdav.NewReplicaClient()
	client.URL, client.Path = "https://cloud.example.com", "/remote.php/dav/files/me/app.db"
	client.Username = "me"
	vfs := litestream.NewVFS(client)
	_ = vfs
}

func Example_dashboard() {
	vfs := litestream.NewVFS(client)
	token := "of twenty characters or more"
	http.Handle("/databases", metrics.Page(metrics.PageOptions{Token: token}, vfs))
}

func Example_file() {
	client := file.NewReplicaClient("/var/backups/app")
	vfs := litestream.NewVFS(client)
	_ = vfs
}
