package replicatest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

var surveyCases = []testCase{
	{name: "a replica that does not exist has no names", skip: noSurvey, run: func(e *env) {
		s := e.survey("")
		e.wantNames(s)
		if s.More || s.Head != nil {
			e.Errorf("got more names %v, and the head %q", s.More, s.Head)
		}
		e.wantNames(e.survey("folder/"))
	}},

	{name: "lists the folders of the levels", skip: noSurvey, run: func(e *env) {
		e.write(file{0, 1, 1}, file{0, 2, 2}, file{replica.SnapshotLevel, 1, 1})
		top := e.survey("")
		first, rest, _ := strings.Cut(top.LevelDir, "/")
		if !strings.HasSuffix(top.LevelDir, "/") || !slices.Contains(top.Names, first+"/") {
			e.Fatalf("LevelDir is %q, and the names are %q", top.LevelDir, top.Names)
		}
		below := e.survey(first + "/")
		if rest != "" {
			e.wantNames(below, "0/", rest)
		} else {
			e.wantNames(below, ltx.FormatFilename(1, 1))
		}
	}},

	{name: "lists what lies at the place in ascending order", skip: noPlaceAt, run: func(e *env) {
		for _, name := range []string{"b/2/x", "b.db", "c", "a/1", "b/1", "b/1-/x", "a b"} {
			e.props.PlaceAt(e.T, e.client, name, []byte("x"))
		}
		e.wantNames(e.survey(""), "a b", "a/", "b.db", "b/", "c")
		e.wantNames(e.survey("b/"), "1", "1-/", "2/")
		e.wantNames(e.survey("d/"))
		if s := e.survey("b/"); s.More || s.Head != nil {
			e.Errorf("got more names %v, and the head %q", s.More, s.Head)
		}
	}},

	{name: "lists the first names if there are many", skip: noPlaceAt, run: func(e *env) {
		var want []string
		for i := range replica.MaxSurveyNames {
			want = append(want, fmt.Sprintf("%03d", i))
			e.props.PlaceAt(e.T, e.client, want[i], []byte("x"))
		}
		s := e.survey("")
		if e.wantNames(s, want...); s.More {
			e.Error("there are no more names")
		}
		e.props.PlaceAt(e.T, e.client, "x", []byte("x"))
		s = e.survey("")
		if e.wantNames(s, want...); !s.More {
			e.Error("it does not say that there are more names")
		}
	}},

	{name: "has the first bytes of a file at the place", skip: noPlaceAt, run: func(e *env) {
		body := []byte("SQLite format 3\x00 and more")
		e.props.PlaceAt(e.T, e.client, "", body)
		if s := e.survey(""); len(s.Names) > 0 || !bytes.Equal(s.Head, body[:replica.SurveyHeadSize]) {
			e.Errorf("names %q, head %q", s.Names, s.Head)
		}
		e.wantList(0, 0)
	}},

	{name: "any other dir is fs.ErrInvalid", skip: noSurvey, run: func(e *env) {
		e.write(file{0, 1, 1})
		for _, dir := range []string{"/", "a", "ltx", "a/b/", "../", "./", "//", "/a/"} {
			if s, err := e.surveyor().Survey(e.ctx, dir); !errors.Is(err, fs.ErrInvalid) {
				e.Errorf("%q: names %q, error %v, want fs.ErrInvalid", dir, s.Names, err)
			}
		}
	}},

	{name: "a client that cannot survey returns errors.ErrUnsupported", skip: canSurvey, run: func(e *env) {
		c, ok := e.client.(replica.Surveyor)
		if !ok {
			return
		}
		if _, err := c.Survey(e.ctx, ""); !errors.Is(err, errors.ErrUnsupported) {
			e.Errorf("got error %v, want errors.ErrUnsupported", err)
		}
	}},
}

// surveyor returns the client as a replica.Surveyor.
func (e *env) surveyor() replica.Surveyor {
	e.Helper()
	c, ok := e.client.(replica.Surveyor)
	if !ok {
		e.Fatal("client does not implement replica.Surveyor, and Properties.NoSurvey is false")
	}
	return c
}

func (e *env) survey(dir string) replica.Survey {
	e.Helper()
	s, err := e.surveyor().Survey(e.ctx, dir)
	if err != nil {
		e.Fatalf("Survey %q: %v", dir, err)
	}
	return s
}

func (e *env) wantNames(s replica.Survey, want ...string) {
	e.Helper()
	if !slices.Equal(s.Names, want) {
		e.Errorf("got names %q, want %q", s.Names, want)
	}
}
