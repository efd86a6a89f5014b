package maintain_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// sized is a store whose listings tell another size of each file than it has.
type sized struct {
	bucket
	size func(int64) int64
}

func (s sized) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := s.bucket.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, err
	}
	infos, err := ltx.SliceFileIterator(itr)
	for _, info := range infos {
		info.Size = s.size(info.Size)
	}
	return ltx.NewFileInfoSliceIterator(infos), err
}

var _ replica.Client = sized{}

// errFindings means that Verify has found something.
var errFindings = errors.New("findings")

// A listing that lies about the sizes of files makes no operation panic, succeed or
// take memory for what is not there.
func TestSizes(t *testing.T) {
	b, _ := large(t)
	most := int64(0)
	for _, body := range b {
		most = max(most, int64(len(body)))
	}
	for name, size := range map[string]func(int64) int64{
		"negative":         func(int64) int64 { return -1 },
		"most negative":    func(int64) int64 { return math.MinInt64 },
		"nothing":          func(int64) int64 { return 0 },
		"a byte":           func(int64) int64 { return 1 },
		"one byte less":    func(n int64) int64 { return n - 1 },
		"one byte more":    func(n int64) int64 { return n + 1 },
		"a terabyte":       func(int64) int64 { return 1 << 40 },
		"more than exists": func(int64) int64 { return math.MaxInt64 },
	} {
		client := sized{b, size}
		for operation, run := range map[string]func() error{
			"restore": func() error {
				_, err := maintain.Restore(t.Context(), client, filepath.Join(t.TempDir(), "restored.db"), maintain.RestoreOptions{})
				return err
			},
			"verify": func() error {
				r, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
				if err == nil && len(r.Findings) > 0 {
					err = errFindings
				}
				return err
			},
			"copy": func() error {
				_, err := maintain.Copy(t.Context(), client, memory.NewReplicaClient(), maintain.CopyOptions{})
				return err
			},
			"fork": func() error {
				_, err := maintain.Fork(t.Context(), client, memory.NewReplicaClient(), maintain.ForkOptions{})
				return err
			},
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := run()
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("%s with sizes of %s: no error", operation, name)
			}
			if took := int64(after.TotalAlloc - before.TotalAlloc); took > 20*most+64<<20 {
				t.Errorf("%s with sizes of %s allocates %d MB for files of up to %d bytes", operation, name, took>>20, most)
			}
		}
	}
}
