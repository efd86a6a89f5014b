package hydrate

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/goldenfile"
)

// goldenRecord has a value in every field.
func goldenRecord() *record {
	return &record{
		recordHeader: recordHeader{
			FileID: "000102030405060708090a0b0c0d0e0f", FileNumber: 1 << 63, Closed: true, RecordNumber: 1<<63 | 1, Table: 12, Replica: "s3://bucket/path", PageSize: 512, Commit: 1000, TXID: 7,
			Complete: true, Timestamp: 1700000000123, Fresh: 1700000009000,
			Stamps: []recordStamp{{TXID: 5, Timestamp: 1700000000000, Dated: true, Commit: 900}, {TXID: 7, Timestamp: 1700000000123, Commit: 1000}},
			Files: []datedFile{
				{recordFile: recordFile{Level: 9, MinTXID: 1, MaxTXID: 5, Size: 12345, Checksum: 1<<63 | 5}, Timestamp: 1700000000000, Commit: 900},
				{recordFile: recordFile{Level: 1, MinTXID: 6, MaxTXID: 7, Size: 678, Checksum: 1<<63 | 6}, Timestamp: 1700000000123, Commit: 1000},
			},
			Samples:  []sample{{Pgno: 1, CRC64: 1 << 60}, {Pgno: 1000, CRC64: 2}},
			Compared: makeRuns(900, 1, 100, 0),
		},
		runs: makeRuns(300, 5, 1, 0, 699, 7),
	}
}

// TestRecord_Golden reads and writes the records of testdata/formats.
func TestRecord_Golden(t *testing.T) {
	b, sum, err := goldenRecord().encode()
	if err != nil {
		t.Fatal(err)
	}
	more, sum := encodeForgotten([]uint32{2, 301}, sum)
	b = append(b, more...)
	more, _ = encodeForgotten([]uint32{999}, sum)
	goldenfile.Check(t, "record-2-replica", append(b, more...))

	for name, forget := range map[string]func(*record){
		"record-2-replica":  func(*record) {},
		"record-2-numbered": func(r *record) { r.Replica = "" },
		"record-2":          func(r *record) { r.Replica, r.RecordNumber = "", 0 },
	} {
		want := goldenRecord()
		forget(want)
		r, forgotten, err := parseRecord(goldenfile.Read(t, name))
		if err != nil || !reflect.DeepEqual(r.recordHeader, want.recordHeader) || !bytes.Equal(r.runs, want.runs) {
			t.Errorf("%s: got %+v, %v", name, r, err)
		}
		if got := slices.Sorted(maps.Keys(forgotten)); !slices.Equal(got, []uint32{2, 301, 999}) {
			t.Errorf("%s: pages %d may be overwritten", name, got)
		}
	}
}
