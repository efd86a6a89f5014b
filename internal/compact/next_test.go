package compact

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/superfly/ltx"
)

// lists are the files that a Lister lists, and errors of it.
type lists struct {
	below, all       []*ltx.FileInfo
	belowErr, allErr error
	asked            []string
}

func (l *lists) Below() ([]*ltx.FileInfo, error) {
	l.asked = append(l.asked, "below")
	return l.below, l.belowErr
}

func (l *lists) All() ([]*ltx.FileInfo, error) {
	l.asked = append(l.asked, "all")
	return l.all, l.allErr
}

// fileInfos parses files like "1-3 4-4".
func fileInfos(t *testing.T, text string) (all []*ltx.FileInfo) {
	t.Helper()
	for field := range strings.FieldsSeq(text) {
		f := new(ltx.FileInfo)
		if _, err := fmt.Sscanf(field, "%d-%d", &f.MinTXID, &f.MaxTXID); err != nil {
			t.Fatal(field, err)
		}
		all = append(all, f)
	}
	return all
}

// TestNext merges files after the newest one of a level, with gaps of all kinds.
func TestNext(t *testing.T) {
	wrong := errors.New("wrong")
	for _, tc := range []struct {
		name             string
		level            int
		last, limit      ltx.TXID
		files            string
		below, all       string
		belowErr, allErr error
		want             string
		asked            string
		err              error
		says             string
	}{
		{name: "nothing", level: 1, last: 3, limit: 9},
		{name: "the next ones", level: 1, last: 3, limit: 5, files: "4-4 5-5 6-6", want: "4-4 5-5"},
		{name: "the first ones", level: 1, limit: 9, files: "4-4 5-5", want: "4-4 5-5"},
		{name: "only later ones", level: 1, last: 3, limit: 5, files: "6-6 7-7"},
		{name: "one that ends later", level: 2, last: 3, limit: 5, files: "5-6"},
		{name: "only known ones", level: 1, last: 7, limit: 9, files: "6-6 7-7"},
		{name: "a gap", level: 1, last: 3, limit: 9, files: "6-7 8-9", all: "1-3 6-7 8-9", asked: "all", err: ErrLevelGap, says: "0000000000000004 to 0000000000000005"},
		{name: "two gaps", level: 1, last: 3, limit: 9, files: "9-9 6-7", all: "1-3", asked: "all", err: ErrLevelGap, says: "0000000000000004 to 0000000000000005"},
		{name: "a gap that a snapshot fills", level: 1, last: 3, limit: 9, files: "6-7 8-9", all: "1-9", want: "6-7 8-9", asked: "all"},
		{name: "a snapshot that ends too early", level: 1, last: 3, limit: 9, files: "6-7 8-9", all: "1-7", asked: "all", err: ErrLevelGap},
		{name: "a gap that the list before had", level: 2, last: 3, limit: 9, files: "6-9", below: "2-5 6-9", want: "2-5 6-9", asked: "below"},
		{name: "a gap of a higher level", level: 2, last: 3, limit: 9, files: "6-9", below: "6-9", all: "1-9", want: "6-9", asked: "below all"},
		{name: "the level below cannot be listed", level: 2, last: 3, limit: 9, files: "6-9", belowErr: wrong, asked: "below", err: wrong},
		{name: "the replica cannot be listed", level: 1, last: 3, limit: 9, files: "6-9", allErr: wrong, asked: "all", err: wrong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &lists{below: fileInfos(t, tc.below), all: fileInfos(t, tc.all), belowErr: tc.belowErr, allErr: tc.allErr}
			inputs, err := Next(tc.level, tc.last, tc.limit, fileInfos(t, tc.files), l)
			if !errors.Is(err, tc.err) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the error is %v, want %v with %q", err, tc.err, tc.says)
			}
			var got []string
			for _, f := range inputs {
				got = append(got, fmt.Sprintf("%d-%d", f.MinTXID, f.MaxTXID))
			}
			if got := strings.Join(got, " "); got != tc.want {
				t.Errorf("it merges %q, want %q", got, tc.want)
			}
			if got := strings.Join(l.asked, " "); got != tc.asked {
				t.Errorf("it lists %q, want %q", got, tc.asked)
			}
		})
	}
}
