package clientio

import (
	"encoding/xml"
	"strings"
	"testing"
)

// FuzzCheckXML looks at documents of stores. One that is accepted has the root that
// was asked for, and no document is accepted that was cut off before that begins.
func FuzzCheckXML(f *testing.F) {
	for _, s := range []string{
		`<?xml version="1.0"?><ListBucketResult xmlns="x"><Key>a</Key></ListBucketResult>`, `<ListBucketResult/>`, `<a><ListBucketResult/></a>`,
		"\ufeff<x:ListBucketResult xmlns:x='y'></x:ListBucketResult >", `<!DOCTYPE html><html></html>`, `<ListBucketResult>`, `<ListBucketResult><a/>`, ``, `{}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckXML([]byte(s), "ListBucketResult", "Error") != "" {
			return
		}
		if !strings.Contains(s, "ListBucketResult") && !strings.Contains(s, "Error") {
			t.Errorf("%q is accepted", s)
		}
		var any struct {
			XMLName xml.Name
			Key     []string
		}
		_ = xml.Unmarshal([]byte(s), &any) // it may be malformed inside
	})
}

// FuzzParseName parses names of files. A name that is accepted is the one that the
// transactions have.
func FuzzParseName(f *testing.F) {
	f.Add("0000000000000001-0000000000000009.ltx")
	f.Add("0000000000000009-0000000000000001.ltx")
	f.Add("000000000000000A-000000000000000B.ltx")
	f.Add("../0000000000000001-0000000000000009.ltx")
	f.Fuzz(func(t *testing.T, s string) {
		minTXID, maxTXID, ok := ParseName(s)
		if !ok {
			return
		}
		if want := NewFile(0, minTXID, maxTXID).String(); minTXID == 0 || minTXID > maxTXID || want != "0/"+s {
			t.Errorf("%q is %s", s, want)
		}
	})
}
