package webindex

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() Index {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	return Index{Version: Version, Published: at, Files: []File{
		{Name: "ltx/0/0000000000000001-0000000000000001.ltx", Size: 1234, Time: at},
		{Name: "ltx/9/0000000000000001-0000000000000005.ltx", Size: 99, Time: at.Add(time.Hour)},
	}}
}

func TestRoundTrip(t *testing.T) {
	for _, index := range []Index{sample(), {Version: Version, Published: time.Unix(0, 0).UTC(), Files: []File{}}} {
		b, err := Encode(index)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, index) {
			t.Errorf("%s gives %+v, %v", b, got, err)
		}
	}
}

// Every change of a byte is an error, except of one between the members.
func TestDecode_Damaged(t *testing.T) {
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 1
		if index, err := Decode(damaged); err == nil && !reflect.DeepEqual(index, sample()) {
			t.Errorf("byte %d of %q: got %+v", i, damaged, index)
		}
		if _, err := Decode(b[:i]); err == nil && i < len(b)-1 {
			t.Errorf("the first %d bytes of %d are accepted", i, len(b))
		}
	}
}

func TestDecode_Errors(t *testing.T) {
	b, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":              "no json object",
		"<html>":        "no json object",
		"[]":            "no json object",
		"{}":            "no list of LTX files",
		`{"index":{}}`:  "no list of LTX files",
		string(b) + "x": "no json object",
		strings.Replace(string(b), "1234", "1235", 1):                                                         "checksum is wrong",
		`{"index":{"version":2},"sha256":"3ac1ed2e60e90ca3b27fbe4ad2e2cd5b3cb3ac4e4e9f1bc9cbe05e6ab1f9cf9f"}`: "checksum is wrong",
	} {
		if _, err := Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", text, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		index, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(index)
		if err != nil {
			t.Skip(err) // a time that JSON cannot have
		}
		if _, err := Decode(again); err != nil {
			t.Errorf("%q gives %q: %v", b, again, err)
		}
	})
}
