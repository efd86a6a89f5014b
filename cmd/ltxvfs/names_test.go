package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// What a bucket calls its folders leads to no place outside of the one that copy
// --all was given, and no name reaches a terminal as a command.
func TestCopy_HostileNames(t *testing.T) {
	service, environment := startS3Service(t)
	p := newProgram(t, environment)
	const control = "tenants/%C2%9B2J" // U+009B begins a command of a terminal
	p.run("copy", "-q", "s3://bucket/tenants/a/app.db", "s3://bucket/"+control)
	for _, key := range []string{
		"tenants/../x", "tenants/./x", "tenants//x", "tenants/../../x", "tenants/a/../../../x", `tenants/..\..\x`, "tenants/C:/x", "tenants/NUL/x",
		"tenants/" + strings.Repeat("long", 200) + "/x",
	} {
		service.Put(key, []byte("x"))
	}
	list := p.run("ls", "s3://bucket/tenants")
	if !strings.Contains(list, "s3://bucket/"+control+"\n") || strings.ContainsFunc(strings.ReplaceAll(list, "\n", ""), unicode.IsControl) {
		t.Errorf("it lists %q", list)
	}
	p.run("copy", "-q", "--all", "s3://bucket/tenants", "file://"+filepath.ToSlash(p.dir)+"/to/backup")
	copies := map[string]bool{}
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			place, _, _ := strings.Cut(filepath.ToSlash(path), "/ltx/")
			copies[strings.TrimPrefix(place, filepath.ToSlash(p.dir))] = true
		}
		return err
	})
	if err != nil || len(copies) != 2 || !copies["/to/backup/a/app.db"] || !copies["/to/backup/\u009b2J"] {
		t.Errorf("copies are at %v, error %v", copies, err)
	}
}
