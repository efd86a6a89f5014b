package main

import "testing"

func TestShown(t *testing.T) {
	for url, want := range map[string]string{
		"s3://bucket/app.db":                              "s3://bucket/app.db",
		"s3://bucket/a%20b/app.db?endpoint=localhost&x=y": "s3://bucket/a%20b/app.db",
		"abs://account@container/app.db":                  "abs://account@container/app.db",
		"abs://account:a2V5@container/app.db":             "abs://account@container/app.db",
		"sftp://me:s3cret@host:22/a@b/app.db":             "sftp://me@host:22/a@b/app.db",
		"sftp://me:s3@cret@host/app.db":                   "sftp://me@host/app.db",
		"webdav://:s3cret@host":                           "webdav://host",
		"nats://t0ken@host/bucket":                        "nats://host/bucket",
		"nats://me:s3cret@host":                           "nats://host",
		"sftp://me:s3/cret@host/app.db":                   "sftp://...",
		"/var/lib/app.db":                                 "/var/lib/app.db",
		"file:///var/lib/a@b.db":                          "file:///var/lib/a@b.db",
	} {
		if got := shown(url); got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
	}
}
