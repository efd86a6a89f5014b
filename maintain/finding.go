package maintain

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// Kind is a kind of findings.
type Kind int

// The kinds of findings.
const (
	Damaged    Kind = iota // the content of a file is not what its checksum, its structure or its name says
	Unreadable             // a file is listed, but the store does not give it
	Missing                // no file holds some transactions, or files of a level are missing
	Misplaced              // a file is on a level where it cannot be
	Disorder               // a later transaction has an earlier timestamp
	Conflict               // files contradict each other: they are of different histories
)

var kindNames = [...]string{"damaged", "unreadable", "missing", "misplaced", "disorder", "conflict"}

// String returns the name of the kind.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// MarshalText returns the name of the kind.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// FileName names an LTX file of a replica.
type FileName struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
}

// String formats the name: the level, a slash and the name in that level.
func (f FileName) String() string { return view.Key(f).String() }

// MarshalText formats the name as String does.
func (f FileName) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Range is a range of transactions. Both ends belong to it.
type Range struct {
	First ltx.TXID `json:"first"`
	Last  ltx.TXID `json:"last"`
}

// String formats the range.
func (r Range) String() string {
	if r.First == r.Last {
		return r.First.String()
	}
	return r.First.String() + " to " + r.Last.String()
}

// Finding is something that Verify has found to be wrong.
type Finding struct {
	Kind Kind

	// File is the file that is wrong. It is zero if the finding is about files
	// that are missing.
	File FileName

	// Err says what is wrong.
	Err error

	// Lost are the moments that cannot be restored because of this finding:
	// ranges of transactions from one moment to another. It is empty if other
	// files give all of them. Moments within Range are not in Lost, because
	// nothing says which there were.
	Lost []Range

	// Range are the transactions that are missing. It is zero for other kinds.
	Range Range
}

// String says what is wrong.
func (f Finding) String() string {
	text := f.Kind.String() + ": "
	if f.Kind != Missing {
		text += f.File.String() + ": "
	}
	text += f.Err.Error()
	if len(f.Lost) > 0 {
		text += "; lost: " + formatRanges(f.Lost)
	}
	return text
}

// MarshalJSON formats the finding as an object with its fields in lower case.
func (f Finding) MarshalJSON() ([]byte, error) {
	out := struct {
		Kind    Kind      `json:"kind"`
		File    *FileName `json:"file,omitempty"`
		Error   string    `json:"error"`
		Lost    []Range   `json:"lost,omitempty"`
		Missing *Range    `json:"missing,omitempty"`
	}{Kind: f.Kind, Error: f.Err.Error(), Lost: f.Lost}
	if f.File != (FileName{}) {
		out.File = &f.File
	}
	if f.Range != (Range{}) {
		out.Missing = &f.Range
	}
	return json.Marshal(out)
}

// formatRanges lists ranges, up to five of them.
func formatRanges(ranges []Range) string {
	const most = 5
	texts := make([]string, 0, most)
	for _, r := range ranges[:min(len(ranges), most)] {
		texts = append(texts, r.String())
	}
	text := strings.Join(texts, ", ")
	if rest := len(ranges) - most; rest > 0 {
		text += fmt.Sprintf(" and %d more", rest)
	}
	return text
}
