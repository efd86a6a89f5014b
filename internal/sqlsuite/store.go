package sqlsuite

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// Store is a place for replicas.
type Store struct {
	// URL returns the URL of a replica that is empty, for a test.
	URL func(t testing.TB) string

	// Env has the environment variables by which clients reach the store, as
	// os.Environ has them. They are set in this process.
	Env []string

	isFar bool // requests take long, so cases that hardly depend on the store are left out
}

// Folder returns a store of folders.
func Folder() Store {
	return Store{URL: func(t testing.TB) string { return "file://" + filepath.ToSlash(t.TempDir()) }}
}

// S3 returns a store on the S3 server that scripts/servers has started. Without
// one it skips the test, or fails it if LITESTREAM_TEST_ALL is set. The test must
// not be a parallel one, since S3 sets credentials in the environment.
func S3(t *testing.T) Store {
	t.Helper()
	endpoint := storetest.Server(t, "LITESTREAM_TEST_S3")
	const variable = "LITESTREAM_TEST_S3_BUCKET"
	bucket := os.Getenv(variable)
	switch {
	case bucket == "" && os.Getenv("LITESTREAM_TEST_ALL") != "":
		t.Fatalf("%s is not set, and LITESTREAM_TEST_ALL is", variable)
	case bucket == "":
		t.Skipf(`%s is not set: start a server with eval "$(scripts/servers start)"`, variable)
	}
	credentials := map[string]string{"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret", "AWS_EC2_METADATA_DISABLED": "true"}
	var env []string
	for name, value := range credentials {
		t.Setenv(name, value)
		env = append(env, name+"="+value)
	}
	run := fmt.Sprintf("sqlsuite/%d-%d", os.Getpid(), time.Now().UnixNano())
	var replicas atomic.Int64
	return Store{isFar: true, Env: env, URL: func(testing.TB) string {
		return fmt.Sprintf("s3://%s/%s/%d?endpoint=%s", bucket, run, replicas.Add(1), endpoint)
	}}
}

// copyReplica copies a replica from the folder testdata/replicas of the module to
// the store, and returns its URL.
func (e *env) copyReplica(name string) string {
	e.Helper()
	url := e.store.URL(e)
	to, err := litestream.NewReplicaClientFromURL(url)
	if err != nil {
		e.Fatal(err)
	}
	if c, ok := to.(io.Closer); ok {
		defer c.Close()
	}
	from := file.NewReplicaClient(filepath.Join(moduleFolder(e), "testdata", "replicas", name))
	for level := range litestream.SnapshotLevel + 1 {
		itr, err := from.LTXFiles(e.ctx, level, 0, false)
		if err != nil {
			e.Fatal(err)
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err != nil {
			e.Fatal(err)
		}
		for _, info := range infos {
			body, err := from.OpenLTXFile(e.ctx, level, info.MinTXID, info.MaxTXID, 0, 0)
			if err != nil {
				e.Fatal(err)
			}
			b, err := io.ReadAll(body)
			_ = body.Close()
			if err == nil {
				_, err = to.WriteLTXFile(e.ctx, level, info.MinTXID, info.MaxTXID, bytes.NewReader(b))
			}
			if err != nil {
				e.Fatalf("copy %s: %v", name, err)
			}
		}
	}
	return url
}

// replicaOf returns a new replica whose only transaction is the content of a database file
// of this page size.
func (e *env) replicaOf(image []byte, pageSize int) replica {
	e.Helper()
	r := e.replica()
	to, err := litestream.NewReplicaClientFromURL(r.url)
	if err != nil {
		e.Fatal(err)
	}
	if c, ok := to.(io.Closer); ok {
		defer c.Close()
	}
	pages := make(map[uint32][]byte)
	for page := range slices.Chunk(image, pageSize) {
		pages[uint32(len(pages)+1)] = page
	}
	hdr := ltx.Header{PageSize: uint32(pageSize), Commit: uint32(len(pages)), MinTXID: 1, MaxTXID: 1, Timestamp: time.Now().UnixMilli()}
	if _, err := to.WriteLTXFile(e.ctx, litestream.SnapshotLevel, 1, 1, bytes.NewReader(ltxtest.EncodeLTX(hdr, pages, false))); err != nil {
		e.Fatal(err)
	}
	return r
}

// moduleFolder returns the folder of the module, above the folder of the package
// that is tested.
func moduleFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "testdata", "replicas")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	t.Fatalf("no folder above has testdata/replicas: %v", err)
	return ""
}
