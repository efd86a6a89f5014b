package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/s3"
)

// TestStatic runs the program, built without cgo, in a root directory that contains
// nothing else: no libraries, no certificates and no folder for temporary files. It
// queries a replica in S3.
func TestStatic(t *testing.T) {
	endpoint := storetest.Server(t, "LITESTREAM_TEST_S3")
	root := t.TempDir()
	within, reason := chroot(root)
	if reason != "" {
		t.Skip(reason)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "query"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "testkey")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
	url := fmt.Sprintf("s3://%s/query-%d?endpoint=%s&region=us-east-1", os.Getenv("LITESTREAM_TEST_S3_BUCKET"), os.Getpid(), endpoint)
	upload(t, url)

	query := exec.CommandContext(t.Context(), "/query", "-time", "2026-03-14 11:59:49", url, "SELECT round(avg(stars), 2) AS stars FROM (SELECT * FROM sandwich_ratings ORDER BY stars)")
	query.Dir = "/"
	query.Env = []string{"AWS_ACCESS_KEY_ID=testkey", "AWS_SECRET_ACCESS_KEY=testsecret"}
	query.SysProcAttr = within
	out, err := query.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "stars\n-----\n2.99\n\nas of transaction 000000000000003f") {
		t.Errorf("query: %v\n%s", err, out)
	}
}

// upload copies the example replica to a URL.
func upload(t *testing.T, url string) {
	t.Helper()
	client, err := replica.NewFromURL(url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.(*s3.ReplicaClient).Close()
	from := file.NewReplicaClient("../../" + defaultReplica)
	for level := range 10 {
		files, err := from.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		for files.Next() {
			info := files.Item()
			r, err := from.OpenLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.WriteLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, r); err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
		}
		if err := files.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
