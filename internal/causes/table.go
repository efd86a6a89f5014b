package causes

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// Table returns the causes.
func Table() []Cause {
	var all []Cause
	for _, part := range [][]Cause{requests(), places(), names(), content(), travel(), writing(), local()} {
		all = append(all, part...)
	}
	return all
}

// fewTries is an OpenTimeout for failures that are tried again until it ends.
const fewTries = "500ms"

// requests are the causes for which no request succeeds.
func requests() []Cause {
	return []Cause{
		{
			Name: "wrong bucket", When: Opening, Says: []string{"NoSuchBucket"}, Requests: 1,
			Place: []string{"s3://buckte/app.db", "HOST"},
			Fail: func(w *World) error {
				return w.OpenFails("s3://buckte/app.db?endpoint=" + w.server.http.URL)
			},
		},
		{
			Name: "wrong access key", When: Opening, Says: []string{"InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"}, Is: fs.ErrPermission, Requests: 1,
			Fail: func(w *World) error {
				w.Env["AWS_ACCESS_KEY_ID"] = "AKIDWRONG"
				return w.OpenFails(w.URL())
			},
		},
		{
			Name: "wrong secret key", When: Opening, Says: []string{"SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID"}, Is: fs.ErrPermission, Requests: 1,
			Fail: func(w *World) error {
				w.Env["AWS_SECRET_ACCESS_KEY"] = Password
				return w.OpenFails(w.URL())
			},
		},
		{
			Name: "no credentials", When: Opening, Requests: -1, Says: []string{"credentials", "AWS_ACCESS_KEY_ID", "not set"}, Is: fs.ErrPermission,
			Fail: func(w *World) error {
				w.Env["AWS_ACCESS_KEY_ID"], w.Env["AWS_SECRET_ACCESS_KEY"] = "", ""
				return w.OpenFails(w.URL())
			},
		},
		{
			Name: "not permitted", When: Opening, Says: []string{"AccessDenied"}, Is: fs.ErrPermission, Requests: 1,
			Fail: func(w *World) error {
				w.server.setFault(Answer(all, http.StatusForbidden, "AccessDenied", "Access Denied"))
				return w.OpenFails(w.URL())
			},
		},
		{
			Name: "closed port", When: Opening, Until: "OpenTimeout", Is: context.DeadlineExceeded, Says: []string{"connection refused"},
			Place: []string{"s3://bucket/app.db", "127.0.0.1:1"},
			Fail: func(w *World) error {
				return w.OpenFails("s3://bucket/app.db?endpoint=http://127.0.0.1:1", "open_timeout", fewTries)
			},
		},
		{
			Name: "unknown host", When: Opening, Until: "OpenTimeout", Is: context.DeadlineExceeded, Says: []string{"lookup minio.invalid"},
			Place: []string{"s3://bucket/app.db", "minio.invalid"},
			Fail: func(w *World) error {
				return w.OpenFails("s3://bucket/app.db?endpoint=http://minio.invalid", "open_timeout", fewTries)
			},
		},
		{
			Name: "https to a server of http", When: Opening, Until: "OpenTimeout", Is: context.DeadlineExceeded, Says: []string{"does not speak TLS"},
			Fail: func(w *World) error {
				return w.OpenFails("s3://bucket/app.db?endpoint=https://"+w.server.host(), "open_timeout", fewTries)
			},
		},
		{
			Name: "the server does not answer", When: Opening, Until: "OpenTimeout", Says: []string{"deadline exceeded"}, Is: context.DeadlineExceeded,
			Fail: func(w *World) error {
				w.server.setFault(w.server.hang(all))
				return w.OpenFails(w.URL(), "open_timeout", fewTries)
			},
		},
		{
			Name: "the server is overloaded", When: Opening, Until: "OpenTimeout", Says: []string{"503", "SlowDown"}, Is: context.DeadlineExceeded,
			Fail: func(w *World) error {
				w.server.setFault(Answer(all, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."))
				return w.OpenFails(w.URL(), "open_timeout", fewTries)
			},
		},
		{
			Name: "another region", When: Opening, Says: []string{"PermanentRedirect", "eu-west-3"}, Requests: 1,
			Fail: func(w *World) error {
				w.server.setFault(func(rw http.ResponseWriter, r *http.Request) bool {
					rw.Header().Set("X-Amz-Bucket-Region", "eu-west-3")
					refuse(rw, http.StatusMovedPermanently, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.")
					return true
				})
				return w.OpenFails(w.URL())
			},
		},
		{
			Name: "not an S3 server", When: Opening, Until: "OpenTimeout", Is: context.DeadlineExceeded, Says: []string{"200"},
			Fail: func(w *World) error {
				w.server.setFault(func(rw http.ResponseWriter, r *http.Request) bool {
					fmt.Fprint(rw, "<html>Welcome to the router</html>")
					return true
				})
				return w.OpenFails(w.URL(), "open_timeout", fewTries)
			},
		},
	}
}

// place is a cause whose replica is somewhere else. An open lists the files of the
// replica, then what else lies at the place, reads its first bytes, and lists its
// folders.
func place(name, says string, folders int, objects ...string) Cause {
	return Cause{
		Name: name, When: Opening, Says: []string{says}, Is: litestream.ErrNoDatabase, Requests: 3 + folders,
		Fail: func(w *World) error {
			for _, key := range objects {
				w.server.Put(key, []byte("SQLite format 3\x00..."))
			}
			return w.OpenFails(w.URL(), "wait_for_replica", "0")
		},
	}
}

// places are the causes for which the place has no LTX files.
func places() []Cause {
	file := ltx.FormatFilename(1, 1)
	folder := place("the folder of the LTX files", "is the folder ltx of a replica: open s3://bucket/app.db", 1)
	folder.Fail = func(w *World) error {
		w.server.Put("app.db/ltx/0/"+file, []byte("..."))
		return w.OpenFails(w.urlOf("app.db/ltx"))
	}
	return []Cause{
		place("nothing is there", "nothing lies", 0),
		{
			Name: "nothing is there, and nothing comes", When: Opening, Until: "WaitForReplica", Says: []string{"nothing lies", "no files came within 300ms"}, Is: litestream.ErrNoDatabase,
			Fail: func(w *World) error { return w.OpenFails(w.URL(), "wait_for_replica", "300ms") },
		},
		place("other files are there", "has no LTX files, but readme.txt", 0, "app.db/readme.txt"),
		place("the layout of another store", "in the layout of another kind of store", 1, "app.db/ltx/9/"+file),
		place("a replica of Litestream v0.3", "Litestream v0.3", 1, "app.db/generations/16f8a7a3a5b7c9d1/wal/1"),
		place("the parent of replicas", "is the parent of replicas: open one of one.db/, two.db/", 2, "app.db/one.db/0009/"+file, "app.db/two.db/0009/"+file),
		folder,
		place("a database file", "is a SQLite database and not a replica", 0, "app.db"),
	}
}

// names are the causes that are in the name and its options.
func names() []Cause {
	none := []string{}
	open := func(url string, options ...string) func(w *World) error {
		return func(w *World) error {
			w.Primary()
			if url == "" {
				return w.OpenFails(w.URL(), options...)
			}
			return w.OpenFails(strings.ReplaceAll(url, "ENDPOINT", w.server.http.URL), options...)
		}
	}
	return []Cause{
		{Name: "unknown scheme", When: Opening, Says: []string{`"s4"`}, Place: []string{"s4://bucket/app.db"}, Requests: -1, Fail: open("s4://bucket/app.db")},
		{Name: "malformed URL", When: Opening, Says: []string{"percent-encoded"}, Place: none, Requests: -1, Fail: open("s3://user:" + Password + "@bucket/app%zz.db")},
		{Name: "password in the URL", When: Opening, Says: []string{"url has a user"}, Place: []string{"s3://bucket/app.db"}, Requests: -1, Fail: open("s3://user:" + Password + "@bucket/app.db")},
		{Name: "no bucket", When: Opening, Says: []string{"bucket is not set"}, Place: none, Requests: -1, Fail: open("s3:///")},
		{Name: "misspelt parameter of the URL", When: Opening, Says: []string{`"regoin"`, `"region"`}, Requests: -1, Fail: open("s3://bucket/app.db?endpoint=ENDPOINT&regoin=" + Password)},
		{Name: "misspelt option", When: Opening, Says: []string{"cache_sise", "cache_size"}, Requests: -1, Fail: open("", "cache_sise", "64MiB")},
		{Name: "misspelt write mode", When: Opening, Says: []string{"write_enable", "write_enabled"}, Requests: -1, Fail: open("", "write_enable", "1")},
		{Name: "unknown option", When: Opening, Says: []string{"colour"}, Requests: -1, Fail: open("", "colour", "red")},
		{Name: "malformed value of an option", When: Opening, Says: []string{"cache_size", `"lots"`}, Requests: -1, Fail: open("", "cache_size", "lots")},
		{Name: "value of an option out of range", When: Opening, Says: []string{"hydration_concurrency", `"2000"`}, Requests: -1, Fail: open("", "hydration_concurrency", "2000")},
		{Name: "SQLite's shared cache", When: Opening, Says: []string{"cache=private"}, Is: litestream.ErrSharedCache, Requests: -1, Fail: open("", "cache", "shared")},
		{
			Name: "open with other options", When: Opening, Says: []string{"open with other options", "cache_size is 1MiB, not 2MiB"},
			Fail: func(w *World) error {
				w.Primary()
				w.Open(w.Program(), w.URL(), "cache_size", "1MiB")
				return w.OpenFails(w.URL(), "cache_size", "2MiB")
			},
		},
	}
}

// content are the causes that are in the files of the replica.
func content() []Cause {
	layout := clientio.NewHexLayout(replicaPath)
	last := layout.Key(0, 3, 3)
	corrupt := func(name, says string, change func([]byte) []byte) Cause {
		return Cause{
			Name: name, When: Opening, Says: []string{says, ltx.FormatFilename(3, 3)}, Is: litestream.ErrCorrupt,
			Fail: func(w *World) error {
				w.Primary()
				w.change(last, change)
				return w.OpenFails(w.URL(), "open_timeout", fewTries)
			},
		}
	}
	uncached := []string{"cache_size", "-1", "read_ahead_size", "-1", "read_timeout", fewTries, "poll_interval", "-1s"}
	read := func(name, until string, is error, fault func(w *World) Fault, says ...string) Cause {
		return Cause{
			Name: name, When: Reading, Says: says, Is: is, Until: until,
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), uncached...)
				w.Must(db, "SELECT n FROM t")
				w.server.setFault(fault(w))
				return w.Fails(db, "SELECT sum(length(b)) FROM big")
			},
		}
	}
	return []Cause{
		{
			Name: "transactions are missing", When: Opening, Says: []string{"0000000000000002"},
			Fail: func(w *World) error {
				w.Primary()
				w.server.Remove(layout.Key(0, 2, 2))
				return w.OpenFails(w.URL(), "open_timeout", fewTries)
			},
		},
		corrupt("a file that is no LTX file", "corrupt ltx file", func(b []byte) []byte { return []byte(strings.Repeat("not an LTX file", 99)) }),
		corrupt("a file that was cut off", "corrupt ltx file", func(b []byte) []byte { return b[:len(b)/2] }),
		corrupt("a file of a newer format", "LTX2", func(b []byte) []byte { return append([]byte("LTX2"), b[4:]...) }),
		{
			Name: "a damaged page", When: Reading, Says: []string{"corrupt ltx file", ltx.FormatFilename(3, 3)}, Is: litestream.ErrCorrupt,
			Fail: func(w *World) error {
				w.Primary()
				w.change(last, func(b []byte) []byte {
					// A frame begins with the number of its page.
					return bytes.Replace(b, []byte{0, 0, 0, 30, 0}, []byte{0, 0, 0, 99, 0}, 1)
				})
				db := w.Open(w.Program(), w.URL(), uncached...)
				return w.Fails(db, "SELECT sum(length(b)) FROM big")
			},
		},
		read("reads are not permitted", "", fs.ErrPermission, func(w *World) Fault {
			return Answer(reads, http.StatusForbidden, "AccessDenied", "Access Denied")
		}, "AccessDenied", ltx.FormatFilename(3, 3)),
		read("reads fail", "ReadTimeout", context.DeadlineExceeded, func(w *World) Fault {
			return Answer(reads, http.StatusInternalServerError, "InternalError", "We encountered an internal error.")
		}, "500", "InternalError", ltx.FormatFilename(3, 3)),
		read("a read does not end", "ReadTimeout", context.DeadlineExceeded, func(w *World) Fault { return w.server.hang(reads) }, "deadline exceeded", ltx.FormatFilename(3, 3)),
		{
			Name: "the limit of a query", When: Reading, Until: "the limit of the query", Is: context.DeadlineExceeded, Says: []string{"deadline exceeded"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), "cache_size", "-1", "read_ahead_size", "-1", "poll_interval", "-1s", "read_timeout", "5s")
				w.Must(db, "SELECT n FROM t")
				w.server.setFault(w.server.hang(reads))
				w.begin()
				return within(300*time.Millisecond, func(ctx context.Context) error { return db.Exec(ctx, "SELECT sum(length(b)) FROM big") })
			},
		},
		{
			Name: "files were deleted under a transaction", When: Reading, Says: []string{ltx.FormatFilename(3, 3)},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), uncached...)
				w.Must(db, "BEGIN")
				w.Must(db, "SELECT n FROM t")
				w.server.Set(nil)
				return w.Fails(db, "SELECT sum(length(b)) FROM big")
			},
		},
		{
			Name: "the replica was replaced under a transaction", When: Reading, Says: []string{"state is no longer available"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), uncached...)
				w.Must(db, "BEGIN")
				w.Must(db, "SELECT n FROM t")
				w.server.Set(nil)
				ltxtest.New(w.T, w.client(), ltxtest.Options{Start: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)}).Exec("CREATE TABLE other (n)")
				return w.Fails(db, "SELECT sum(length(b)) FROM big")
			},
		},
	}
}

// travel are the causes of time travel.
func travel() []Cause {
	stmt := func(name, statement string, is error, says ...string) Cause {
		return Cause{
			Name: name, When: Travel, Says: says, Is: is,
			Fail: func(w *World) error {
				w.Primary().Snapshot()
				w.server.Remove(clientio.NewHexLayout(replicaPath).Key(0, 1, 1))
				db := w.Open(w.Program(), w.URL())
				w.Must(db, "SELECT n FROM t")
				if strings.Contains(name, "within a transaction") {
					w.Must(db, "BEGIN")
					w.Must(db, "SELECT n FROM t")
				}
				return w.Fails(db, statement)
			},
		}
	}
	return []Cause{
		stmt("a transaction that does not exist yet", "PRAGMA litestream_txid = '00000000000000ff'", litestream.ErrTxNotAvailable, "00000000000000ff"),
		stmt("a transaction that is not kept", "PRAGMA litestream_txid = '0000000000000001'", litestream.ErrTxNotAvailable, "0000000000000001"),
		stmt("a time before the oldest", "PRAGMA litestream_time = '2020-01-01T00:00:00Z'", litestream.ErrTxNotAvailable, "2020-01-01T00:00:00Z"),
		stmt("a malformed time", "PRAGMA litestream_time = 'teatime'", nil, `"teatime"`),
		stmt("a malformed transaction", "PRAGMA litestream_txid = 'three'", nil, `"three"`),
		stmt("time travel within a transaction", "PRAGMA litestream_txid = '0000000000000003'", litestream.ErrInTransaction, "within a transaction"),
		stmt("waiting for a transaction", "PRAGMA litestream_wait = '0000000000000009 100ms'", litestream.ErrTxNotAvailable, "0000000000000009"),
	}
}

// writing are the causes of writes and commits.
func writing() []Cause {
	write := []string{"write_enabled", "true", "sync_interval", "-1s", "poll_interval", "-1s"}
	conflict := func(w *World, commit string) DB {
		w.Primary()
		db := w.Open(w.Program(), w.URL(), write...)
		w.Must(db, "SELECT n FROM t")
		other := w.Open(w.binding.Start(w.T, w.Env), w.URL(), write...)
		w.Must(other, "UPDATE t SET n = 2")
		w.Must(other, "PRAGMA litestream_sync")
		w.Must(db, commit)
		return db
	}
	return []Cause{
		{
			Name: "write mode is off", When: Writing, Is: litestream.ErrReadOnly, Says: []string{"write mode is off"},
			Fail: func(w *World) error {
				w.Primary()
				return w.Fails(w.Open(w.Program(), w.URL()), "UPDATE t SET n = 2")
			},
		},
		{
			Name: "writing to the past", When: Writing, Is: litestream.ErrReadOnly, Says: []string{"the connection looks at the past"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), write...)
				w.Must(db, "PRAGMA litestream_txid = '0000000000000002'")
				return w.Fails(db, "UPDATE t SET n = 2")
			},
		},
		{
			Name: "another connection writes", When: Writing, Says: []string{"another connection writes"},
			Fail: func(w *World) error {
				w.Primary()
				first, second := w.Open(w.Program(), w.URL(), write...), w.Open(w.Program(), w.URL(), write...)
				w.Must(first, "BEGIN IMMEDIATE")
				w.Must(second, "PRAGMA busy_timeout = 0")
				return w.Fails(second, "UPDATE t SET n = 2")
			},
		},
		{
			Name: "another writer has written", When: Commit, Is: litestream.ErrConflict, Says: []string{"another writer", ltx.FormatFilename(4, 4)},
			Fail: func(w *World) error { return w.Fails(conflict(w, "UPDATE t SET n = 3"), "PRAGMA litestream_sync") },
		},
		{
			Name: "write mode was lost", When: Writing, Is: litestream.ErrConflict, Says: []string{"write mode was lost", "another writer"},
			Fail: func(w *World) error {
				db := conflict(w, "UPDATE t SET n = 3")
				_ = db.Exec(w.T.Context(), "PRAGMA litestream_sync") // loses it
				return w.Fails(db, "UPDATE t SET n = 4")
			},
		},
		{
			Name: "a commit that cannot be uploaded", When: Commit, Until: "ReadTimeout", Is: context.DeadlineExceeded, Says: []string{"503", "SlowDown"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), append(write, "sync_on_commit", "true", "close_timeout", fewTries, "read_timeout", fewTries)...)
				w.Must(db, "BEGIN IMMEDIATE")
				w.Must(db, "UPDATE t SET n = 2")
				w.server.setFault(Answer(writes, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."))
				return w.Fails(db, "COMMIT")
			},
		},
		{
			Name: "a commit that must not be uploaded", When: Commit, Until: "ReadTimeout", Is: fs.ErrPermission, Says: []string{"AccessDenied", ltx.FormatFilename(4, 4)},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), append(write, "close_timeout", fewTries, "read_timeout", fewTries)...)
				w.Must(db, "UPDATE t SET n = 2")
				w.server.setFault(Answer(writes, http.StatusForbidden, "AccessDenied", "Access Denied"))
				return w.Fails(db, "PRAGMA litestream_sync")
			},
		},
		{
			Name: "the write buffer is full", When: Writing, Says: []string{"the write buffer is full", "SlowDown"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), append(write, "buffer_max_size", "4096", "close_timeout", fewTries)...)
				w.server.setFault(Answer(writes, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."))
				w.Must(db, "PRAGMA busy_timeout = 0")
				w.Must(db, "UPDATE t SET n = 2")
				return w.failsLater(db, "UPDATE t SET n = 3", "SlowDown") // once the sync has failed
			},
		},
		{
			Name: "another page size", When: Writing, Says: []string{"the page size of a database cannot change"},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), write...)
				w.Must(db, "PRAGMA journal_mode = delete")
				w.Must(db, "PRAGMA page_size = 8192")
				return w.Fails(db, "VACUUM")
			},
		},
	}
}

// local are the causes that are in files of the machine.
func local() []Cause {
	// Nobody may make files in this folder of Linux's.
	const forbidden = "/sys/litestream"
	with := func(name, says string, is error, option string, path func(w *World) string) Cause {
		return Cause{
			Name: name, When: Opening, Says: []string{says}, Is: is,
			Fail: func(w *World) error {
				w.Primary()
				return w.OpenFails(w.URL(), option, path(w), "write_enabled", "true")
			},
		}
	}
	// Without its file, hydration fails and queries do not, so the error is that of
	// the status.
	hydration := func(name, says string, path func(w *World) string) Cause {
		return Cause{
			Name: name, When: Hydration, Says: []string{says}, Place: []string{},
			Fail: func(w *World) error {
				w.Primary()
				db := w.Open(w.Program(), w.URL(), "hydration_enabled", "true", "hydration_path", path(w))
				return w.hydrationError(db)
			},
		}
	}
	foreign := func(suffix string) func(w *World) string {
		return func(w *World) string {
			path := filepath.Join(w.Dir, "letter")
			if err := os.WriteFile(path+suffix, []byte(strings.Repeat("Dear reader,\n", 99)), 0o600); err != nil {
				w.T.Fatal(err)
			}
			return path
		}
	}
	// absent says that a cause is a file that does not exist.
	absent := func(c Cause) Cause {
		c.MaySay = "no such file or directory"
		return c
	}
	newer := func(w *World) string {
		path := filepath.Join(w.Dir, "buffer")
		segment := append([]byte("LTXCLOG\x03"), make([]byte, 200)...)
		if err := os.WriteFile(path+"-00000001", segment, 0o600); err != nil {
			w.T.Fatal(err)
		}
		return path
	}
	missing := func(w *World) string { return filepath.Join(w.Dir, "missing", "file") }
	refused := func(*World) string { return forbidden }
	return []Cause{
		hydration("a hydration path with a file of others", "DIR/letter", foreign("")),
		absent(hydration("a hydration path without its folder", "DIR/missing", missing)),
		hydration("a hydration path that is not permitted", forbidden, refused),
		with("a buffer path with a file of others", "DIR/letter-", nil, "buffer_path", foreign("-00000001")),
		absent(with("a buffer path without its folder", "DIR/missing", fs.ErrNotExist, "buffer_path", missing)),
		with("a buffer path that is not permitted", forbidden, fs.ErrPermission, "buffer_path", refused),
		with("a buffer of a newer version", "DIR/buffer-00000001", nil, "buffer_path", newer),
		{
			Name: "a buffer that another process uses", When: Opening, Is: litestream.ErrBufferInUse, Says: []string{"DIR/buffer"},
			Fail: func(w *World) error {
				w.Primary()
				options := []string{"write_enabled", "true", "sync_interval", "-1s", "buffer_path", filepath.Join(w.Dir, "buffer")}
				other := w.Open(w.binding.Start(w.T, w.Env), w.URL(), options...)
				w.Must(other, "UPDATE t SET n = 2")
				return w.OpenFails(w.URL(), options...)
			},
		},
		{
			Name: "a buffer of another database", When: Opening, Is: litestream.ErrForeignBuffer, Says: []string{"DIR/buffer", "s3://bucket/other.db"},
			Fail: func(w *World) error {
				w.Primary()
				options := []string{"write_enabled", "true", "sync_interval", "-1s", "close_timeout", fewTries, "buffer_path", filepath.Join(w.Dir, "buffer")}
				other := w.Open(w.binding.Start(w.T, w.Env), w.urlOf("other.db"), options...)
				w.Must(other, "CREATE TABLE t (n)")
				w.server.setFault(Answer(writes, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."))
				_ = other.Close() // the commit stays in the buffer
				w.server.setFault(nil)
				return w.OpenFails(w.URL(), options...)
			},
		},
	}
}
