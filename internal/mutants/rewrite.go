package main

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// rewrite applies the edits of mutants to a file. Lines stay where they are.
func rewrite(f *sourceFile, packageEnd int, mutants []*mutant) []byte {
	type numbered struct {
		edit
		nth int
	}
	var edits []numbered
	// Of two mutants of one comparison, the one that replaces its operator is the inner
	// one.
	mutants = slices.Clone(mutants)
	slices.SortStableFunc(mutants, func(a, b *mutant) int { return cmp.Compare(len(a.edits), len(b.edits)) })
	for i, m := range mutants {
		for _, e := range m.edits {
			e.text = strings.ReplaceAll(e.text, "%d", strconv.Itoa(m.id))
			edits = append(edits, numbered{edit: e, nth: i})
		}
	}
	// Nodes nest: at the same place the inner ones end first, and the outer ones
	// begin first. Of two mutants of one node, the first is the outer one.
	slices.SortStableFunc(edits, func(a, b numbered) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		if a.closes != b.closes {
			if a.closes {
				return -1
			}
			return 1
		}
		if a.closes {
			return cmp.Or(cmp.Compare(a.extent, b.extent), cmp.Compare(b.nth, a.nth))
		}
		return cmp.Or(cmp.Compare(b.extent, a.extent), cmp.Compare(a.nth, b.nth))
	})
	var out bytes.Buffer
	out.Write(f.src[:packageEnd])
	out.WriteString(`; import mutantactive "` + module + `/internal/mutants/active"`)
	at := packageEnd
	for _, e := range edits {
		out.Write(f.src[at:e.at])
		out.WriteString(e.text)
		at = e.end
	}
	out.Write(f.src[at:])
	return out.Bytes()
}
