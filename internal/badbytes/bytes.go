package badbytes

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// change gives a file other bytes.
func change(rng *rand.Rand, r Replica, how func(body []byte) ([]byte, string)) string {
	key, ok := pick(rng, r)
	if !ok || len(r[key]) == 0 {
		return ""
	}
	body, note := how(bytes.Clone(r[key]))
	if note == "" || bytes.Equal(body, r[key]) {
		return ""
	}
	r[key] = body
	return fmt.Sprintf("%s: %s", key, note)
}

// place returns an offset in a file. Headers and page indexes are small and have
// most of the meaning, so they come often.
func place(rng *rand.Rand, size int) int {
	switch rng.IntN(3) {
	case 0:
		return rng.IntN(min(size, ltx.HeaderSize))
	case 1:
		return size - 1 - rng.IntN(min(size, 200))
	}
	return rng.IntN(size)
}

func flip(rng *rand.Rand, r Replica) string {
	return change(rng, r, func(b []byte) ([]byte, string) {
		note := "bits"
		for range 1 + rng.IntN(3)*rng.IntN(2) {
			at, bit := place(rng, len(b)), rng.UintN(8)
			b[at] ^= 1 << bit
			note += fmt.Sprintf(" %d.%d", at, bit)
		}
		return b, note
	})
}

func overwrite(rng *rand.Rand, r Replica) string {
	return change(rng, r, func(b []byte) ([]byte, string) {
		at := place(rng, len(b))
		end := min(len(b), at+1+rng.IntN(64))
		value := byte(rng.Uint32())
		for i := at; i < end; i++ {
			b[i] = value
			if value&1 == 1 {
				b[i] = byte(rng.Uint32())
			}
		}
		return b, fmt.Sprintf("bytes %d to %d", at, end)
	})
}

func cut(rng *rand.Rand, r Replica) string {
	return change(rng, r, func(b []byte) ([]byte, string) {
		n := place(rng, len(b))
		if rng.IntN(4) == 0 {
			return b[n:], fmt.Sprintf("its first %d bytes are missing", n)
		}
		return b[:n], fmt.Sprintf("%d of %d bytes", n, len(b))
	})
}

func appendBytes(rng *rand.Rand, r Replica) string {
	return change(rng, r, func(b []byte) ([]byte, string) {
		more := make([]byte, 1+rng.IntN(300))
		if rng.IntN(2) == 0 {
			more = bytes.Clone(b[:min(len(b), len(more))])
		}
		return append(b, more...), fmt.Sprintf("%d bytes more", len(more))
	})
}

// splice puts a part of another file into one.
func splice(rng *rand.Rand, r Replica) string {
	other, ok := pick(rng, r)
	if !ok || len(r[other]) == 0 {
		return ""
	}
	from := r[other]
	return change(rng, r, func(b []byte) ([]byte, string) {
		at, of := place(rng, len(b)), place(rng, len(from))
		n := copy(b[at:], from[of:min(len(from), of+1+rng.IntN(2000))])
		return b, fmt.Sprintf("%d bytes at %d are those at %d of %s", n, at, of, other)
	})
}

func empty(rng *rand.Rand, r Replica) string {
	return change(rng, r, func([]byte) ([]byte, string) { return []byte{}, "no bytes" })
}

func remove(rng *rand.Rand, r Replica) string {
	key, ok := pick(rng, r)
	if !ok {
		return ""
	}
	delete(r, key)
	return key.String() + " is missing"
}

func swap(rng *rand.Rand, r Replica) string {
	a, ok := pick(rng, r)
	b, _ := pick(rng, r)
	if !ok || a == b {
		return ""
	}
	r[a], r[b] = r[b], r[a]
	return fmt.Sprintf("%s and %s have each other's bytes", a, b)
}

// otherKey returns another name for a file.
func otherKey(rng *rand.Rand, key view.Key) view.Key {
	switch rng.IntN(6) {
	case 0:
		key.MinTXID, key.MaxTXID = key.MinTXID+1, key.MaxTXID+1
	case 1:
		key.MaxTXID++
	case 2:
		key.MinTXID = max(key.MinTXID, 2) - 1
	case 3:
		key.MinTXID = 1
	case 4:
		key.MaxTXID = ltx.TXID(number(rng))
	default:
		key.MinTXID, key.MaxTXID = ltx.TXID(number(rng)), ltx.TXID(number(rng))
	}
	key.MinTXID = max(key.MinTXID, 1)
	key.MaxTXID = max(key.MinTXID, key.MaxTXID)
	return key
}

func rename(rng *rand.Rand, r Replica) string {
	key, ok := pick(rng, r)
	if !ok {
		return ""
	}
	other := otherKey(rng, key)
	if _, taken := r[other]; taken {
		return ""
	}
	r[other] = r[key]
	if rng.IntN(2) == 0 {
		return fmt.Sprintf("%s has the bytes of %s", other, key)
	}
	delete(r, key)
	return fmt.Sprintf("%s is now %s", key, other)
}

func toLevel(rng *rand.Rand, r Replica) string {
	key, ok := pick(rng, r)
	if !ok {
		return ""
	}
	other := key
	other.Level = rng.IntN(view.Levels)
	if _, taken := r[other]; taken {
		return ""
	}
	r[other] = r[key]
	if rng.IntN(2) == 0 {
		delete(r, key)
	}
	return fmt.Sprintf("%s is at level %d", key, other.Level)
}

// copyFile gives a file the name of another one, which goes.
func copyFile(rng *rand.Rand, r Replica) string {
	from, ok := pick(rng, r)
	to, _ := pick(rng, r)
	if !ok || from == to || slices.Equal(r[from], r[to]) {
		return ""
	}
	r[to] = r[from]
	return fmt.Sprintf("%s has the bytes of %s", to, from)
}
