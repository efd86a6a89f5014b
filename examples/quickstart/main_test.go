package main

import (
	"bytes"
	"strings"
	"testing"
)

const output = `
writer: a table with 3 rows is on the replica as transaction 0000000000000001
writer: new prices are on the replica as transaction 0000000000000002

replica: ltx/0/0000000000000001-0000000000000001.ltx
replica: ltx/0/0000000000000002-0000000000000002.ltx

reader: now,  transaction 0000000000000002: cheese 5, egg 3, pastrami 9
reader: then, transaction 0000000000000001: cheese 4, egg 3, pastrami 8

reader: hydrated, 2 of 2 pages are in a local file
reader: from there, one of each costs 17
`

func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimPrefix(output, "\n"); out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}
