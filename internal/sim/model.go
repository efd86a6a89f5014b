package sim

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
)

// Node is the number of a state in a Model. 0 is the database without anything.
type Node uint32

// Row is a row of the table that the writers of a world change. Its content follows
// from these numbers.
type Row struct {
	Value int64 // a number that no other version of the row has
	Size  int   // of the content, in bytes
}

// Content returns the content of the row with an identifier.
func (r Row) Content(id int64) string {
	text := fmt.Sprintf("<%d %d>", id, r.Value)
	return strings.Repeat(text, r.Size/len(text)+1)[:r.Size]
}

// Fate is what is known of a commit.
type Fate int

// The fates of a commit.
const (
	Begun  Fate = iota // it was tried, and it is not known whether it took place
	Acked              // COMMIT has succeeded
	Failed             // COMMIT has failed in a way that leaves nothing behind
)

// String returns the name of the fate.
func (f Fate) String() string { return [...]string{"begun", "acknowledged", "failed"}[f] }

// Model is the tree of all states that a database may have. Each commit makes a
// state of the one that it read. A Model is not safe for concurrent use.
type Model struct{ states []modelState }

// modelState is a state of the database.
type modelState struct {
	parent Node
	by     string // the party that made it
	fate   Fate
	rows   map[int64]Row // never changed
}

// NewModel returns a model that has the empty database only.
func NewModel() *Model { return &Model{states: []modelState{{fate: Acked, rows: map[int64]Row{}}}} }

// Rows returns a copy of the rows of a state.
func (m *Model) Rows(n Node) map[int64]Row { return maps.Clone(m.states[n].rows) }

// Add adds the state that a commit of a party makes of another one.
func (m *Model) Add(parent Node, by string, rows map[int64]Row) Node {
	m.states = append(m.states, modelState{parent: parent, by: by, rows: rows})
	return Node(len(m.states) - 1)
}

// SetFate records what became of the commit that made a state.
func (m *Model) SetFate(n Node, f Fate) { m.states[n].fate = f }

// Has reports whether b was made of a, or is a.
func (m *Model) Has(b, a Node) bool {
	for b > a { // a parent has a smaller number
		b = m.states[b].parent
	}
	return b == a
}

// Describe returns a text that names a state.
func (m *Model) Describe(n Node) string {
	if int(n) >= len(m.states) {
		return fmt.Sprintf("%d, which no commit made", n)
	}
	s := m.states[n]
	return fmt.Sprintf("%d of %s after %d, %s, %d rows, sum %x", n, s.by, s.parent, s.fate, len(s.rows), rowsSum(s.rows))
}

// Check compares what was read with the state of a number.
func (m *Model) Check(n Node, got map[int64]string, value map[int64]int64) *Violation {
	if int(n) >= len(m.states) {
		return Violated(RuleState, "the state is %s", m.Describe(n))
	}
	s := m.states[n]
	if s.fate == Failed {
		return Violated(RuleState, "COMMIT of %s returned an error, and it is there", m.Describe(n))
	}
	for id, row := range s.rows {
		if v, ok := value[id]; !ok || v != row.Value {
			return Violated(RuleState, "%s: row %d has value %d (there: %v), want %d", m.Describe(n), id, v, ok, row.Value)
		}
		if want := row.Content(id); got[id] != want {
			return Violated(RuleState, "%s: row %d has content %.40q of %d bytes, want %.40q of %d", m.Describe(n), id, got[id], len(got[id]), want, len(want))
		}
	}
	if len(got) != len(s.rows) {
		return Violated(RuleState, "%s: there are %d rows", m.Describe(n), len(got))
	}
	return nil
}

// rowsSum is a checksum of rows for texts.
func rowsSum(rows map[int64]Row) (sum uint32) {
	for id, r := range rows {
		h := fnv.New32a()
		fmt.Fprint(h, id, r)
		sum ^= h.Sum32()
	}
	return sum
}
