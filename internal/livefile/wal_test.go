package livefile

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// someWAL returns a WAL and its number of frames.
func someWAL(t testing.TB) (wal []byte, frames uint32) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA page_size = 512", "PRAGMA journal_mode = WAL")
	conn := openConn(t, path, "PRAGMA wal_autocheckpoint = 0", "UPDATE total SET commits = 5", "UPDATE t SET n = 5 WHERE id < 10", "UPDATE total SET commits = 6")
	committed, _, err := lookAtWAL(conn)
	if err != nil {
		t.Fatal(err)
	}
	if wal, err = os.ReadFile(path + "-wal"); err != nil {
		t.Fatal(err)
	}
	return wal, committed
}

// Of each page, the newest frame counts.
func TestReadWAL(t *testing.T) {
	wal, frames := someWAL(t)
	if len(wal) != int(walOffset(frames+1, 512)) || frames < 5 {
		t.Fatalf("%d frames in %d bytes", frames, len(wal))
	}
	x, err := readWAL(bytes.NewReader(wal), 512, frames)
	if err != nil {
		t.Fatal(err)
	}
	newest := map[uint32]uint32{}
	for i := range frames {
		at := wal[walOffset(i+1, 512):]
		newest[uint32(at[0])<<24|uint32(at[1])<<16|uint32(at[2])<<8|uint32(at[3])] = i + 1
	}
	if len(newest) != len(x.frames) || len(newest) == int(frames) {
		t.Errorf("%d pages in %d frames, want %d pages", len(x.frames), frames, len(newest))
	}
	for i, f := range x.frames {
		if newest[f.pgno] != f.frame || i > 0 && x.frames[i-1].pgno >= f.pgno {
			t.Errorf("page %d is in frame %d, want %d", f.pgno, f.frame, newest[f.pgno])
		}
		if some := x.between(f.pgno, f.pgno+1); len(some) != 1 || some[0] != f {
			t.Errorf("frames of page %d: %v", f.pgno, some)
		}
	}
}

// A bit that is wrong anywhere is noticed, and so is a WAL that is too short or ends
// within a transaction.
func TestReadWAL_Damaged(t *testing.T) {
	wal, frames := someWAL(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		bit := rng.IntN(8 * len(wal))
		if i < 8*walHeaderSize {
			bit = i
		}
		wal[bit/8] ^= 1 << (bit % 8)
		if _, err := readWAL(bytes.NewReader(wal), 512, frames); !errors.Is(err, errWAL) {
			t.Fatalf("bit %d: error %v", bit, err)
		}
		wal[bit/8] ^= 1 << (bit % 8)
	}
	inside := false
	for n := uint32(1); n <= frames; n++ {
		ends := !bytes.Equal(wal[walOffset(n, 512)+4:][:4], make([]byte, 4))
		inside = inside || !ends
		if _, err := readWAL(bytes.NewReader(wal), 512, n); ends != (err == nil) || !ends && !errors.Is(err, errWAL) {
			t.Errorf("%d frames: error %v", n, err)
		}
	}
	if !inside {
		t.Error("no transaction has two frames")
	}
	for _, size := range []int{0, 31, 32, len(wal) - 1} {
		if _, err := readWAL(bytes.NewReader(wal[:size]), 512, frames); !errors.Is(err, errWAL) {
			t.Errorf("%d bytes: error %v", size, err)
		}
	}
	if _, err := readWAL(bytes.NewReader(wal), 1024, 1); !errors.Is(err, errWAL) {
		t.Errorf("another page size: error %v", err)
	}
}

// Whatever a WAL has, reading it neither panics nor returns frames that it has not.
func FuzzReadWAL(f *testing.F) {
	wal, frames := someWAL(f)
	f.Add(wal, frames)
	f.Add(wal[:walOffset(3, 512)], uint32(2))
	f.Fuzz(func(t *testing.T, wal []byte, frames uint32) {
		x, err := readWAL(bytes.NewReader(wal), 512, frames%1000)
		if err != nil {
			return
		}
		for _, frame := range x.frames {
			if frame.pgno == 0 || frame.frame == 0 || walOffset(frame.frame+1, 512) > int64(len(wal)) {
				t.Errorf("frame %+v in %d bytes", frame, len(wal))
			}
		}
	})
}
