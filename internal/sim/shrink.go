package sim

import "slices"

// Shrink returns a part of steps that fails, in their order. Fails reports whether
// a part fails; it is called at most limit times. The steps themselves must fail.
//
// Shrink leaves out halves, quarters and so on down to single steps, as long as
// what is left fails.
func Shrink[S any](steps []S, limit int, fails func([]S) bool) []S {
	size := (len(steps) + 1) / 2
	for size > 0 {
		shorter := false
		for at := 0; at < len(steps) && limit > 0; {
			rest := slices.Concat(steps[:at], steps[min(at+size, len(steps)):])
			limit--
			if fails(rest) {
				steps, shorter = rest, true
			} else {
				at += size
			}
		}
		switch {
		case limit <= 0:
			return steps
		case size > 1:
			size = (size + 1) / 2
		case !shorter:
			return steps
		}
	}
	return steps
}
