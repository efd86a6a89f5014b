// Package nearest finds the name that a misspelt one most likely means.
package nearest

// Of returns the name with the smallest edit distance to a misspelt one. It
// returns "" if none differs by less than a third of its letters, or by two. Of
// names at the same distance the first wins.
func Of(misspelt string, names []string) (best string) {
	least := 0
	for _, name := range names {
		d := distance(misspelt, name)
		if d > max(2, len(name)/3) || best != "" && d >= least {
			continue
		}
		best, least = name, d
	}
	return best
}

// distance returns the number of letters to insert, delete, replace or swap with
// their neighbour to turn a into b: the optimal string alignment distance.
func distance(a, b string) int {
	// Each row is the distance of the first i bytes of a to all beginnings of b.
	var before []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replace := row[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			next[j] = min(row[j]+1, next[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
