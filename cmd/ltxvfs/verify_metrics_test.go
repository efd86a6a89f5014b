package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/maintain"
)

// TestVerifyMetrics compares the metrics of a verification with a file, which the
// rules for alerts are compared with as well.
func TestVerifyMetrics(t *testing.T) {
	path, golden := filepath.Join(t.TempDir(), "app.prom"), filepath.Join("testdata", "verify.prom")
	start := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	v := &verified{
		URL: "sftp://user:Pa55@host/app.db",
		Report: &maintain.Report{Files: 9, Bytes: 219e3, Moments: 9, Restorable: 4, Findings: []maintain.Finding{
			{Kind: maintain.Damaged, Err: errors.New("checksum")}, {Kind: maintain.Damaged, Err: errors.New("checksum")}, {Kind: maintain.Missing, Err: errors.New("missing")},
		}},
		Integrity: []string{"row 1 missing from index i", "row 2 missing from index i"},
	}
	if err := v.writeMetrics(path, start, start.Add(90*time.Second), false); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
