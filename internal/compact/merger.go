package compact

import (
	"context"
	"io"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// Merger merges LTX files. It reads each of them once, in parts.
type Merger struct {
	// Load fills buf with bytes of a file.
	Load func(ctx context.Context, info *ltx.FileInfo, buf []byte, offset int64) error

	// Check is called with the header of each file. An error ends the merge. Nil
	// means no calls.
	Check func(info *ltx.FileInfo, header []byte) error

	// Read is called with the number of bytes of each part that was read. Nil
	// means no calls.
	Read func(bytes int64)

	// Ahead is the number of files whose first part is read at the same time,
	// before the merge begins. Zero means that files are read one after the other,
	// as they are needed.
	Ahead int

	// SpillDir is the folder for a temporary file with the page index, if that is
	// large. An empty text means that the whole index is in memory.
	SpillDir string
}

// Merge writes one file with what inputs hold, which follow each other. It compares
// the checksums of the inputs before it writes the end of the file.
func (m *Merger) Merge(ctx context.Context, w io.Writer, inputs []*ltx.FileInfo) error {
	part := partOf(inputs)
	readers := make([]*inputReader, len(inputs))
	all := make([]io.Reader, len(inputs))
	for i, f := range inputs {
		readers[i] = &inputReader{ctx: ctx, m: m, info: f, part: part}
		all[i] = ltxio.NewGuard(readers[i])
	}
	if m.Ahead > 0 {
		g := new(errgroup.Group)
		g.SetLimit(m.Ahead)
		for _, r := range readers {
			g.Go(r.load)
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	merger, err := ltx.NewCompactor(w, all)
	if err != nil {
		return err
	}
	merger.HeaderFlags = ltx.HeaderFlagNoChecksum
	merger.SetSpillDir(m.SpillDir)
	defer func() { _ = merger.Cleanup() }()
	return merger.Compact(ctx)
}

// Inputs of a merge are read in parts of inputPart, or of less down to leastPart if
// there are many. The parts of all inputs together take inputMemory at most, as long
// as there are no more than MostInputs.
const (
	inputPart   = 1 << 20
	leastPart   = 16 << 10
	inputMemory = 64 << 20

	MostInputs = inputMemory / leastPart
)

// AtOnce returns the first files, as many as can be merged at once in parts of
// inputPart. There are MostInputs at most, because the decoder of a file takes some 25
// KiB, however small the file is.
func AtOnce(files []*ltx.FileInfo) []*ltx.FileInfo {
	memory := int64(0)
	for i, f := range files {
		if memory += min(f.Size, inputPart); memory > inputMemory && i > 1 || i == MostInputs {
			return files[:i]
		}
	}
	return files
}

// partOf returns the size of the parts of inputs.
func partOf(inputs []*ltx.FileInfo) int64 {
	if len(AtOnce(inputs)) == len(inputs) {
		return inputPart
	}
	return max(inputMemory/int64(len(inputs)), leastPart)
}

// inputReader reads an input of a merge in parts.
type inputReader struct {
	ctx    context.Context
	m      *Merger
	info   *ltx.FileInfo
	part   int64  // size of a part
	offset int64  // position of the next part in the file
	rest   []byte // bytes that were read and not returned yet
}

func (r *inputReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.load(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// load reads the next part. The error is io.EOF if there is none.
func (r *inputReader) load() error {
	n := min(r.info.Size-r.offset, r.part)
	if n <= 0 {
		return io.EOF
	}
	body := make([]byte, n)
	if err := r.m.Load(r.ctx, r.info, body, r.offset); err != nil {
		return err
	}
	if r.offset == 0 && n >= ltx.HeaderSize && r.m.Check != nil {
		if err := r.m.Check(r.info, body[:ltx.HeaderSize]); err != nil {
			return err
		}
	}
	if r.m.Read != nil {
		r.m.Read(n)
	}
	r.offset += n
	r.rest = body
	return nil
}
