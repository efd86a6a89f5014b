// Package active is what mutated code calls. All mutants of a run are compiled
// into the same test binaries, and the environment says which one of them is
// switched on: with none, the code does what its source says. Only package
// internal/mutants writes code that imports this package, into temporary files.
package active

import (
	"cmp"
	"os"
	"strconv"
)

const (
	// Mutant is the environment variable with the number of the mutant that is
	// switched on. Numbers begin with 1.
	Mutant = "LITESTREAM_MUTANT"

	// Reached is the environment variable with the name of a file of Size
	// bytes. The byte of each mutant that ran and could have made a difference
	// is set to 1.
	Reached = "LITESTREAM_MUTANTS_REACHED"

	// Size bounds the numbers of mutants.
	Size = 1 << 16
)

var (
	current, _ = strconv.Atoi(os.Getenv(Mutant))
	reached    = mapReached(os.Getenv(Reached))
)

// On reports whether a mutant is switched on.
func On(id int) bool {
	reached[id] = 1
	return id == current
}

// integer is what can be one more or less than it is.
type integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

type number interface {
	integer | ~float32 | ~float64
}

// Plus returns v, or v+1 with the mutant.
func Plus[T integer](id int, v T) T {
	if On(id) {
		return v + 1
	}
	return v
}

// Minus returns v, or v-1 with the mutant.
func Minus[T integer](id int, v T) T {
	if On(id) {
		return v - 1
	}
	return v
}

// Zero returns v, or 0 with the mutant.
func Zero[T number](id int, v T) T {
	if v != 0 && On(id) {
		return 0
	}
	return v
}

// Less returns x < y, or x <= y with the mutant.
func Less[T cmp.Ordered](id int, x, y T) bool { return x < y || x == y && On(id) }

// LessEqual returns x <= y, or x < y with the mutant.
func LessEqual[T cmp.Ordered](id int, x, y T) bool { return x < y || x == y && !On(id) }

// Greater returns x > y, or x >= y with the mutant.
func Greater[T cmp.Ordered](id int, x, y T) bool { return x > y || x == y && On(id) }

// GreaterEqual returns x >= y, or x > y with the mutant.
func GreaterEqual[T cmp.Ordered](id int, x, y T) bool { return x > y || x == y && !On(id) }

// Add returns x + y, or x - y with the mutant.
func Add[T number](id int, x, y T) T {
	if y != 0 && On(id) {
		return x - y
	}
	return x + y
}

// Sub returns x - y, or x + y with the mutant.
func Sub[T number](id int, x, y T) T {
	if y != 0 && On(id) {
		return x + y
	}
	return x - y
}

// Mul returns x * y, or x + y with the mutant.
func Mul[T number](id int, x, y T) T {
	if x*y != x+y && On(id) {
		return x + y
	}
	return x * y
}

// Div returns x / y, or x with the mutant.
func Div[T number](id int, x, y T) T {
	if x != x/y && On(id) {
		return x
	}
	return x / y
}

// Rem returns x % y, or x with the mutant.
func Rem[T integer](id int, x, y T) T {
	if x != x%y && On(id) {
		return x
	}
	return x % y
}

// And returns x & y, or x | y with the mutant.
func And[T integer](id int, x, y T) T {
	if x != y && On(id) {
		return x | y
	}
	return x & y
}

// Or returns x | y, or x & y with the mutant.
func Or[T integer](id int, x, y T) T {
	if x != y && On(id) {
		return x & y
	}
	return x | y
}

// True returns x, or true with the mutant.
func True(id int, x bool) bool { return x || On(id) }

// False returns x, or false with the mutant.
func False(id int, x bool) bool { return x && !On(id) }

// Nil returns an error, or nil with the mutant.
func Nil(id int, err error) error {
	if err != nil && On(id) {
		return nil
	}
	return err
}
