package pages

import (
	"slices"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/fulltext"
)

// maxTerms is how many terms of a full-text index are compared for the leaf before
// an arrival, and for the arrival.
const maxTerms = 16

// learnFromText looks for the rows of a full-text index that lead to an arrival:
// those with one term, or with terms that have a prefix. The leaf of the index is
// among those that were read last.
func (j *joins) learnFromText(w treeWalk, a arrival) *nest {
	l := &link{src: listRoot, dst: a.root, depth: a.depth, times: 1}
	if !a.bounds.table || j.isWrong(l) {
		return nil
	}
	for _, t := range j.trees {
		if t.root == a.root {
			continue
		}
		var lists []fulltext.List // of the leaves of one index
		for _, leaf := range t.leaves {
			if page, ok := w.page(leaf); ok && page.Kind() == btree.LeafTable {
				lists = j.appendLists(lists, page)
			}
		}
		if values, k, ok := j.textAlong(w, a, lists); ok {
			j.add(l)
			return newNest(w, j, listRoot, &listRows{values, k}, firstRows)
		}
	}
	return nil
}

// blockColumn is the column of the table of a full-text index that has the blobs.
const blockColumn = 1

// appendLists appends the lists in a leaf of the table of a full-text index.
func (j *joins) appendLists(lists []fulltext.List, page btree.Page) []fulltext.List {
	for cell := range page.Cells() {
		id, _ := page.Rowid(cell)
		if _, _, ok := fulltext.ParseLeafID(id); !ok {
			continue
		}
		v, _ := page.Value(cell, blockColumn)
		if blob, ok := v.Blob(); ok && j.spend(len(blob)) {
			more, _ := fulltext.Parse(blob)
			lists = append(lists, more...)
		}
	}
	return lists
}

// textAlong looks for rows of full-text lists, as along does in one list.
func (j *joins) textAlong(w treeWalk, a arrival, lists []fulltext.List) (values []btree.Value, k int, ok bool) {
	with := func(b bounds) (terms []int) {
		for i, l := range lists {
			if len(terms) < maxTerms && slices.ContainsFunc(l.Rowids, func(rowid int64) bool { return b.contains(btree.IntegerValue(rowid)) }) {
				terms = append(terms, i)
			}
		}
		return terms
	}
	tried := make(map[string]bool)
	arrivals := with(a.bounds)
	for _, i := range with(a.before) {
		for _, k := range arrivals {
			if i == k {
				if values, k, ok := j.rowsAlong(w, a, lists[i].Rowids); ok {
					return values, k, true
				}
			}
			prefix := commonPrefix(lists[i].Term, lists[k].Term)
			if prefix == "" || tried[prefix] {
				continue
			}
			tried[prefix] = true
			if values, k, ok := j.rowsAlong(w, a, fulltext.WithPrefix(lists, prefix)); ok {
				return values, k, true
			}
		}
	}
	return nil, 0, false
}

// rowsAlong is along for some rows, in ascending or in descending order.
func (j *joins) rowsAlong(w treeWalk, a arrival, rowids []int64) (values []btree.Value, k int, ok bool) {
	if !j.spend(len(rowids)) {
		return nil, 0, false
	}
	for _, rowid := range rowids {
		values = append(values, btree.IntegerValue(rowid))
	}
	if k, ok = j.along(w, a, values); !ok {
		slices.Reverse(values)
		k, ok = j.along(w, a, values)
	}
	return values, k, ok
}

func commonPrefix(s, t []byte) string {
	n := 0
	for n < min(len(s), len(t)) && s[n] == t[n] {
		n++
	}
	return string(s[:n])
}
