package decorate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/superfly/ltx"
)

// Waves groups events by their start times, earliest first. Within a wave,
// events are in order of operation, level, TXIDs and range, so the order in
// which goroutines ran does not matter.
func Waves(events []Event) [][]Event {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int {
		return cmp.Or(
			a.Start.Compare(b.Start),
			cmp.Compare(a.Op, b.Op),
			cmp.Compare(a.Level, b.Level),
			cmp.Compare(a.Seek, b.Seek),
			cmp.Compare(a.MinTXID, b.MinTXID),
			cmp.Compare(a.MaxTXID, b.MaxTXID),
			cmp.Compare(a.Offset, b.Offset),
			cmp.Compare(a.Size, b.Size),
			cmp.Compare(formatEvent(a), formatEvent(b)),
		)
	})

	var waves [][]Event
	for i, e := range events {
		if i == 0 || !e.Start.Equal(events[i-1].Start) {
			waves = append(waves, nil)
		}
		last := &waves[len(waves)-1]
		*last = append(*last, e)
	}
	return waves
}

// Format prints events in waves, one per line: see [Waves]. TXIDs are in hex,
// as in the names of files. For example
//
//	wave 1: list level=0 seek=1 -> 30 files
//	wave 1: list level=9 seek=0 metadata -> 1 file
//	wave 2: read 9/0000000000000001-000000000000001d offset=0 size=65536 -> 65536 bytes
//	wave 2: read 0/000000000000001e-000000000000001e offset=90 to end -> error: not exist
//
// Standard errors are printed as a word or two, other errors as their text. The
// text does not depend on times or on the order of calls in a wave, so it suits
// a golden file. Without events it is empty.
func Format(events []Event) string {
	var b strings.Builder
	for i, wave := range Waves(events) {
		for _, e := range wave {
			fmt.Fprintf(&b, "wave %d: %s\n", i+1, formatEvent(e))
		}
	}
	return b.String()
}

func formatEvent(e Event) string {
	return formatCall(e.Call) + " -> " + formatResult(e)
}

// String prints the call as [Format] does.
func (c Call) String() string { return formatCall(c) }

func formatCall(c Call) string {
	var metadata string
	if c.UseMetadata {
		metadata = " metadata"
	}
	switch c.Op {
	case OpList:
		return fmt.Sprintf("%s level=%d seek=%x%s", c.Op, c.Level, uint64(c.Seek), metadata)
	case OpListAll:
		return string(c.Op) + metadata
	case OpSurvey:
		if c.Dir == "" {
			return string(c.Op)
		}
		return fmt.Sprintf("%s %s", c.Op, c.Dir)
	case OpRead:
		extent := fmt.Sprintf("size=%d", c.Size)
		if c.Size == 0 {
			extent = "to end"
		}
		return fmt.Sprintf("%s %s offset=%d %s", c.Op, formatName(c.Level, c.MinTXID, c.MaxTXID), c.Offset, extent)
	case OpWrite, OpCreate:
		return fmt.Sprintf("%s %s", c.Op, formatName(c.Level, c.MinTXID, c.MaxTXID))
	case OpDelete:
		return fmt.Sprintf("%s %s", c.Op, formatFiles(c.Files))
	default:
		return string(c.Op)
	}
}

func formatName(level int, minTXID, maxTXID ltx.TXID) string {
	return fmt.Sprintf("%d/%s-%s", level, minTXID, maxTXID)
}

// formatFiles prints one name, or the number of names with the first and the
// last.
func formatFiles(files []ltx.FileInfo) string {
	if len(files) == 0 {
		return plural(0, "file")
	}
	byName := func(a, b ltx.FileInfo) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
	}
	first, last := slices.MinFunc(files, byName), slices.MaxFunc(files, byName)
	name := formatName(first.Level, first.MinTXID, first.MaxTXID)
	if len(files) == 1 {
		return name
	}
	return fmt.Sprintf("%s %s to %s", plural(int64(len(files)), "file"), name, formatName(last.Level, last.MinTXID, last.MaxTXID))
}

func formatResult(e Event) string {
	switch {
	case e.Open():
		return "open"
	case e.Err != nil:
		return "error: " + formatError(e.Err)
	}
	switch e.Op {
	case OpList, OpListAll:
		return plural(int64(e.Items), "file")
	case OpSurvey:
		return plural(int64(e.Items), "name")
	case OpRead, OpWrite, OpCreate:
		return plural(e.Bytes, "byte")
	default:
		return "ok"
	}
}

// formatError names the class of an error. Its text may contain paths and
// request numbers.
func formatError(err error) string {
	for _, class := range []struct {
		err  error
		text string
	}{
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline exceeded"},
		{errors.ErrUnsupported, "unsupported"},
		{fs.ErrNotExist, "not exist"},
		{fs.ErrExist, "exist"},
		{fs.ErrPermission, "permission"},
		{fs.ErrInvalid, "invalid"},
	} {
		if errors.Is(err, class.err) {
			return class.text
		}
	}
	return err.Error()
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
