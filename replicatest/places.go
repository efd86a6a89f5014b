package replicatest

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/replica"
)

var placeCases = []testCase{
	{name: "a place may have any characters in its name", skip: noAt, run: func(e *env) {
		names := []string{
			"a b", "a%20b", "a+b", "100%", "a&b=c;d", "a?b", "#1", "it's", `"q"`, "ä", "日本 語.db", "a:b@c", "[1]", "{x}~", "(1),$!*", "0000",
		}
		f := file{0, 1, 1}
		identities := map[string]string{}
		for i, name := range names {
			c := e.at("/" + url.PathEscape(name))
			if err := e.writeTo(c, f, f.variant(uint64(i))); err != nil {
				e.Errorf("%q: %v", name, err)
			}
			if c, ok := c.(replica.Identifier); ok {
				id := c.ReplicaIdentity()
				if other, twice := identities[id]; id == "" || twice {
					e.Errorf("the identity of %q is %q, as that of %q", name, id, other)
				}
				identities[id] = name
			}
		}
		for i, name := range names {
			c := e.at("/" + url.PathEscape(name))
			if err := e.holds(c, f, f.variant(uint64(i))); err != nil {
				e.Errorf("%q: %v", name, err)
			}
		}
		if s, ok := e.at("").(replica.Surveyor); ok {
			survey, err := s.Survey(e.ctx, "")
			for _, name := range names {
				if !slices.Contains(survey.Names, name+"/") {
					e.Errorf("the survey of the place above has no %q: %q, %v", name+"/", survey.Names, err)
				}
			}
		}
	}},

	{name: "slashes between and after names do not count", skip: noAt, run: func(e *env) {
		f := file{0, 1, 1}
		c := e.at("/a/b")
		if err := e.writeTo(c, f, f.body()); err != nil {
			e.Fatal(err)
		}
		for _, below := range []string{"/a/b/", "/a//b", "//a/b//", "/a/./b", "/a/x/../b"} {
			d := e.at(below)
			if err := e.holds(d, f, f.body()); err != nil {
				e.Errorf("%s: %v", below, err)
			}
			if c, ok := c.(replica.Identifier); ok && d.(replica.Identifier).ReplicaIdentity() != c.ReplicaIdentity() {
				e.Errorf("the identity of %s is %q, want %q", below, d.(replica.Identifier).ReplicaIdentity(), c.ReplicaIdentity())
			}
		}
	}},

	{name: "a place whose name begins like another one is apart from it", skip: noAt, run: func(e *env) {
		f := file{0, 1, 1}
		others := []string{"/app2", "/app.db", "/app/x", "/ap"}
		for i, below := range others {
			if err := e.writeTo(e.at(below), f, f.variant(uint64(i))); err != nil {
				e.Fatal(err)
			}
		}
		c := e.at("/app")
		if infos, err := list(e.ctx, c, 0, 0, false); err != nil || len(infos) > 0 {
			e.Errorf("a place without files lists %s, %v", formatFiles(filesOf(infos)), err)
		}
		if err := e.writeTo(c, f, f.body()); err != nil {
			e.Fatal(err)
		}
		if err := c.DeleteLTXFiles(e.ctx, []*ltx.FileInfo{f.info()}); err != nil {
			e.Fatal(err)
		}
		for i, below := range others {
			if err := e.holds(e.at(below), f, f.variant(uint64(i))); err != nil {
				e.Errorf("%s: %v", below, err)
			}
		}
	}},
}

// at returns a client of a place below that of the replica.
func (e *env) at(below string) replica.Client {
	e.Helper()
	c := e.props.At(e.T, e.client, below)
	e.init(c)
	return c
}

// writeTo stores a file in a replica.
func (e *env) writeTo(c replica.Client, f file, body []byte) error {
	_, err := c.WriteLTXFile(e.ctx, f.level, f.minTXID, f.maxTXID, bytes.NewReader(body))
	return err
}

// holds checks that a replica has exactly one file at level 0, with a body.
func (e *env) holds(c replica.Client, f file, body []byte) error {
	infos, err := list(e.ctx, c, 0, 0, false)
	if err != nil {
		return err
	}
	if files := filesOf(infos); !slices.Equal(files, []file{f}) {
		return fmt.Errorf("lists %s, want %s", formatFiles(files), f)
	}
	got, err := read(e.ctx, c, f, 0, 0)
	if err != nil {
		return err
	}
	return compareBytes(f, got, body)
}
