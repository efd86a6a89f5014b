package docs_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	formats    = "docs/formats.md"
	formatsDir = "testdata/formats"
)

var (
	// layoutPattern is the heading of a table of bytes, with its golden file.
	layoutPattern = regexp.MustCompile(`^\| offset \| size \| type \| content \| \[[^]]+\]\(\.\./(\S+)\) \|$`)

	// membersPattern is the heading of a table of the members of JSON, which is in the
	// golden file of the heading, or else in that of the table before.
	membersPattern = regexp.MustCompile(`^\| member of (?:\[[^]]+\]\(\.\./(\S+)\)|.*) \| type \| content \|$`)
)

// cells returns the cells of a row of a table.
func cells(row string) (all []string) {
	for cell := range strings.SplitSeq(strings.Trim(row, "|"), "|") {
		all = append(all, strings.TrimSpace(cell))
	}
	return all
}

// formatValue returns the value of bytes of a type as formats.md has it, "" for bytes
// that it does not show.
func formatValue(kind string, b []byte) (string, error) {
	number := func(size int, n uint64) (string, error) {
		if len(b) != size {
			return "", fmt.Errorf("a %s has %d bytes", kind, len(b))
		}
		if n >= 1<<32 {
			return fmt.Sprintf("0x%016x", n), nil
		}
		return strconv.FormatUint(n, 10), nil
	}
	padded := append(bytes.Clone(b), make([]byte, 8)...)
	switch kind {
	case "text":
		return code(strings.TrimRight(string(b), "\n")), nil
	case "hex":
		return code(fmt.Sprintf("%x", b)), nil
	case "u8":
		return number(1, uint64(padded[0]))
	case "u16":
		return number(2, uint64(binary.BigEndian.Uint16(padded)))
	case "u32":
		return number(4, uint64(binary.BigEndian.Uint32(padded)))
	case "u64":
		return number(8, binary.BigEndian.Uint64(padded))
	case "host u64": // the golden file is of a little-endian host
		return number(8, binary.LittleEndian.Uint64(padded))
	case "i64":
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(padded)), 10), nil
	case "varints":
		var values []string
		for len(b) > 0 {
			n, size := binary.Uvarint(b)
			if size <= 0 {
				return "", fmt.Errorf("%x are no varints", b)
			}
			values, b = append(values, strconv.FormatUint(n, 10)), b[size:]
		}
		return strings.Join(values, ", "), nil
	case "zeros":
		if len(bytes.Trim(b, "\x00")) > 0 {
			return "", fmt.Errorf("%x are not only zeros", b)
		}
		return "", nil
	case "json":
		if !json.Valid(b) {
			return "", fmt.Errorf("%q is no JSON", b)
		}
		return "", nil
	case "bytes":
		return "", nil
	}
	return "", fmt.Errorf("there is no type %q", kind)
}

// addMembers adds the paths of all members of a value of JSON.
func addMembers(paths map[string]bool, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			addMembers(paths, strings.TrimPrefix(path+"."+name, "."), member)
		}
	case []any:
		for _, element := range v {
			if _, ok := element.(map[string]any); ok {
				addMembers(paths, path+"[]", element)
				continue
			}
			paths[path] = true
		}
	default:
		paths[path] = true
	}
}

// membersOf returns the paths of the members of all objects of JSON in a file.
func membersOf(b []byte) []string {
	paths := make(map[string]bool)
	for {
		at := bytes.IndexByte(b, '{')
		if at < 0 {
			return slices.Sorted(maps.Keys(paths))
		}
		b = b[at:]
		dec := json.NewDecoder(bytes.NewReader(b))
		var object map[string]any
		if dec.Decode(&object) != nil {
			b = b[1:]
			continue
		}
		addMembers(paths, "", object)
		b = b[dec.InputOffset():]
	}
}

// checkLayout compares the rows of a table with the bytes of a golden file. It
// returns the rows with the values of the file.
func checkLayout(name string, b []byte, rows []string) (made []string, wrong []string) {
	at := 0
	for _, row := range rows {
		c := cells(row)
		if len(c) != 5 {
			return nil, []string{fmt.Sprintf("%s: a row of %d cells: %s", name, len(c), row)}
		}
		offset, oerr := strconv.Atoi(c[0])
		size, serr := strconv.Atoi(c[1])
		if oerr != nil || serr != nil || offset != at || at+size > len(b) {
			return nil, []string{fmt.Sprintf("%s: offset %s and size %s, want offset %d and an end within %d bytes", name, c[0], c[1], at, len(b))}
		}
		value, err := formatValue(c[2], b[at:at+size])
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: at %d: %v", name, at, err))
		}
		if value != c[4] {
			wrong = append(wrong, fmt.Sprintf("%s: at %d: %s has %s, the file has %s", name, at, formats, c[4], value))
		}
		c[4] = value
		row = "|"
		for _, cell := range c {
			row += strings.TrimRight(" "+cell, " ") + " |"
		}
		made = append(made, row)
		at += size
	}
	return made, wrong
}

// TestFormats compares the tables of formats.md with the golden files: offsets, sizes
// and values of bytes, and the members of JSON. The flag update writes the values.
func TestFormats(t *testing.T) {
	lines := strings.Split(readFile(t, formats), "\n")
	seen := make(map[string]bool)
	last := ""
	for i, line := range lines {
		rows := lines[min(i+2, len(lines)):]
		if end := slices.IndexFunc(rows, func(s string) bool { return !strings.HasPrefix(s, "|") }); end >= 0 {
			rows = rows[:end]
		}
		if m := layoutPattern.FindStringSubmatch(line); m != nil {
			last = m[1]
			seen[last] = true
			made, wrong := checkLayout(last, []byte(readFile(t, last)), rows)
			if *update && made != nil {
				copy(lines[i+2:], made)
				continue
			}
			for _, w := range wrong {
				t.Error(w)
			}
		}
		if m := membersPattern.FindStringSubmatch(line); m != nil {
			if m[1] != "" {
				last = m[1]
			}
			seen[last] = true
			var listed []string
			for _, row := range rows {
				listed = append(listed, strings.Trim(cells(row)[0], "`"))
			}
			slices.Sort(listed)
			if got := membersOf([]byte(readFile(t, last))); !slices.Equal(got, listed) {
				t.Errorf("%s has the members %q, %s lists %q", last, got, formats, listed)
			}
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, formats), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 9 {
		t.Errorf("tables of %d files are found", len(seen))
	}
}

// TestFormats_Listed checks that the README of the golden files lists each of them.
func TestFormats_Listed(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join(root, formatsDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "README.md" {
			names = append(names, e.Name())
		}
	}
	listed := codeOf(readFile(t, formatsDir+"/README.md"), "file")
	slices.Sort(listed)
	if !slices.Equal(names, listed) {
		t.Errorf("%s has %q, its README.md lists %q", formatsDir, names, listed)
	}
}

// TestCheckLayout breaks the layout of a golden file.
func TestCheckLayout(t *testing.T) {
	b := []byte("magic\x00\x00\x00\x07\x00\x00rest")
	rows := []string{"| 0 | 5 | text | | `magic` |", "| 5 | 4 | u32 | version | 7 |", "| 9 | 2 | zeros | | |"}
	if made, wrong := checkLayout("f", b, rows); len(wrong) > 0 || !slices.Equal(made, rows) {
		t.Errorf("%q, %q", made, wrong)
	}
	for _, bad := range []string{
		"| 5 | 4 | u32 | another version | 8 |", "| 5 | 3 | u32 | another size | 7 |", "| 6 | 4 | u32 | another offset | 7 |",
		"| 5 | 4 | text | another type | 7 |", "| 5 | 4 | u48 | no type | 7 |", "| 5 | 40 | bytes | beyond the end | |", "| 5 | 4 | zeros | not zeros | |",
	} {
		if _, wrong := checkLayout("f", b, []string{rows[0], bad}); len(wrong) == 0 {
			t.Errorf("%s: nothing is wrong", bad)
		}
	}
}
