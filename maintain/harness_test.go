package maintain_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

func TestMain(m *testing.M) {
	restoreInChild()
	goleak.VerifyTestMain(m)
}

// bucket is a store that has any bytes under the names of LTX files. Unlike other
// stores, it lets a test store damaged files. It is safe for concurrent reads.
type bucket map[view.Key][]byte

var _ replica.Client = bucket(nil)

func (b bucket) LTXFiles(_ context.Context, level int, seek ltx.TXID, _ bool) (ltx.FileIterator, error) {
	var infos []*ltx.FileInfo
	for _, key := range slices.SortedFunc(maps.Keys(b), view.Key.Compare) {
		if key.Level == level && key.MinTXID >= seek {
			infos = append(infos, b.info(key))
		}
	}
	return ltx.NewFileInfoSliceIterator(infos), nil
}

func (b bucket) info(key view.Key) *ltx.FileInfo {
	return &ltx.FileInfo{Level: key.Level, MinTXID: key.MinTXID, MaxTXID: key.MaxTXID, Size: int64(len(b[key]))}
}

func (b bucket) OpenLTXFile(_ context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	body, ok := b[view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}]
	if !ok {
		return nil, fs.ErrNotExist
	}
	body = body[min(offset, int64(len(body))):]
	if size > 0 {
		body = body[:min(size, int64(len(body)))]
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

func (b bucket) WriteLTXFile(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (*ltx.FileInfo, error) {
	return nil, fs.ErrPermission
}

func (b bucket) DeleteLTXFiles(context.Context, []*ltx.FileInfo) error { return fs.ErrPermission }

// infos lists all files.
func (b bucket) infos() (infos []*ltx.FileInfo) {
	for _, key := range slices.SortedFunc(maps.Keys(b), view.Key.Compare) {
		infos = append(infos, b.info(key))
	}
	return infos
}

// readBucket reads the LTX files of a replica in a folder.
func readBucket(t testing.TB, dir string) bucket {
	t.Helper()
	b := bucket{}
	for level := range view.Levels {
		folder := filepath.Join(dir, "ltx", fmt.Sprint(level))
		entries, err := os.ReadDir(folder)
		if err != nil {
			continue // most levels have no folder
		}
		for _, e := range entries {
			key := view.Key{Level: level}
			if key.MinTXID, key.MaxTXID, err = ltx.ParseFilename(e.Name()); err != nil {
				t.Fatal(err)
			}
			if b[key], err = os.ReadFile(filepath.Join(folder, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// image returns the database after a transaction, as package ltx makes it of the
// files.
func (b bucket) image(txid ltx.TXID) ([]byte, error) {
	plan, err := view.PlanTXID(0, txid, b.infos())
	if err != nil {
		return nil, err
	}
	readers := make([]io.Reader, len(plan))
	for i, info := range plan {
		readers[i] = bytes.NewReader(b[view.KeyOf(info)])
	}
	var merged, image bytes.Buffer
	compactor, err := ltx.NewCompactor(&merged, readers)
	if err != nil {
		return nil, err
	}
	compactor.HeaderFlags = ltx.HeaderFlagNoChecksum
	if err := compactor.Compact(context.Background()); err != nil {
		return nil, err
	}
	if err := ltx.NewDecoder(&merged).DecodeDatabaseTo(&image); err != nil {
		return nil, err
	}
	return image.Bytes(), nil
}

// reachable returns the transactions whose state the files of a bucket give,
// according to their names.
func (b bucket) reachable() (txids []ltx.TXID) {
	for _, p := range view.Points(b.infos()) {
		if p.Reachable {
			txids = append(txids, p.TXID)
		}
	}
	return txids
}

// manifest is what the folder of a replica says of it.
type manifest struct {
	TXID   ltx.TXID
	Points []struct {
		TXID       ltx.TXID
		FileSHA256 string `json:"file_sha256"`
	}
	Times []struct {
		TimeMS        int64  `json:"time_ms"`
		UpstreamError string `json:"upstream_error"`
		AtOrBefore    string `json:"at_or_before_txid"`
	}
	Files []struct {
		Path        string
		TimestampMS int64 `json:"timestamp_ms"`
	}
}

func readManifest(t testing.TB, dir string) (m manifest) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// replicas are the folders of intact replicas that Litestream made: those of this
// repository, and more of a folder beside it if there is one.
func replicas(t testing.TB) (dirs []string) {
	t.Helper()
	for _, pattern := range []string{"../testdata/replicas/*/ltx", "../testdata/replicas/broken/base/ltx", "../../shared/replicas/*/ltx"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range found {
			dir = filepath.Dir(dir)
			if !slices.ContainsFunc(dirs, func(d string) bool { return filepath.Base(d) == filepath.Base(dir) }) {
				dirs = append(dirs, dir)
			}
		}
	}
	if len(dirs) == 0 {
		t.Fatal("there are no replicas")
	}
	return dirs
}

// parent returns a folder of the test that has a replica named compacted, for calls that
// have to refuse to write there.
func parent(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "compacted"), os.DirFS("../testdata/replicas/compacted")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
