// Package replicatest is the conformance suite for implementations of
// replica.Client: a sub-test for each sentence of its contract.
//
//	func TestConformance(t *testing.T) {
//		replicatest.Run(t, func(t *testing.T) replica.Client {
//			return file.NewReplicaClient(t.TempDir())
//		}, replicatest.Properties{NoInit: true, NoListAll: true})
//	}
//
// Run it with the race detector: that all methods are safe for concurrent use
// is part of the contract.
package replicatest

import (
	"context"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/replica"
)

// Properties says what a store cannot do, and gives the suite means to look at
// it from outside. With the zero value it does everything. A case that is
// skipped names the property.
type Properties struct {
	// NoInit says that the client does not implement replica.Initializer.
	NoInit bool

	// NoCreate says that the client does not implement
	// replica.LTXFileCreator, or that CreateLTXFile is unsupported.
	NoCreate bool

	// NoListAll says that the client does not implement
	// replica.AllLTXFilesLister, or that AllLTXFiles is unsupported.
	NoListAll bool

	// NoVersions says that listings do not tell the versions of files, see
	// replica.NoteFileVersion.
	NoVersions bool

	// NoTimestamps says that a listing with useMetadata cannot tell the
	// timestamps of LTX headers.
	NoTimestamps bool

	// TimestampPrecision is how far the timestamps of a listing with
	// useMetadata may be from those of LTX headers. Zero: not at all.
	TimestampPrecision time.Duration

	// ManyFiles is the number of files in the cases that look for limits of
	// listings and deletions; it should be above the store's page size. Zero:
	// 1,100. Negative: these cases are skipped.
	ManyFiles int

	// LargeBody is the number of bytes, roughly, in the cases with large
	// bodies; it should be above the store's part size. Zero: 8 MiB. Negative:
	// these cases are skipped.
	LargeBody int

	// Timeout limits each case, by the context that the client gets. Zero: one
	// minute.
	Timeout time.Duration

	// PlaceForeign puts something that is no LTX file among those of a level of
	// c. The name is relative to the level, and may contain a slash. Nil: the
	// case is skipped.
	PlaceForeign func(t *testing.T, c replica.Client, level int, name string, body []byte)

	// Reopen returns a further client for the replica of c, as another process
	// would use it. Nil: cases with several clients are skipped.
	Reopen func(t *testing.T, c replica.Client) replica.Client
}

const (
	defaultManyFiles = 1100
	defaultLargeBody = 8 << 20
	defaultTimeout   = time.Minute
)

func (p Properties) withDefaults() Properties {
	if p.ManyFiles == 0 {
		p.ManyFiles = defaultManyFiles
	}
	if p.LargeBody == 0 {
		p.LargeBody = defaultLargeBody
	}
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	return p
}

// Run runs the suite. newClient is called at least once for each case, from
// its test, and returns a client of an empty replica that no other case uses.
// The suite calls Init where a client has it, and closes nothing: newClient can
// leave that to t.Cleanup.
func Run(t *testing.T, newClient func(t *testing.T) replica.Client, props Properties) {
	props = props.withDefaults()
	for _, group := range groups() {
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.cases {
				t.Run(tc.name, func(t *testing.T) { tc.test(t, newClient, props) })
			}
		})
	}
}

// group is the cases of one method or subject.
type group struct {
	name  string
	cases []testCase
}

func groups() []group {
	return []group{
		{"LTXFiles", listCases},
		{"OpenLTXFile", openCases},
		{"Versions", versionCases},
		{"WriteLTXFile", writeCases},
		{"DeleteLTXFiles", deleteCases},
		{"Init", initCases},
		{"CreateLTXFile", createCases},
		{"AllLTXFiles", listAllCases},
		{"Context", contextCases},
		{"Concurrency", concurrencyCases},
	}
}

// testCase is one sentence of the contract.
type testCase struct {
	name string
	skip func(Properties) string // the property that skips the case, or ""
	raw  bool                    // do not call Init
	run  func(*env)
}

func (tc testCase) test(t *testing.T, newClient func(*testing.T) replica.Client, props Properties) {
	if tc.skip != nil {
		if property := tc.skip(props); property != "" {
			t.Skip("Properties." + property)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), props.Timeout)
	defer cancel()
	e := &env{T: t, ctx: ctx, props: props, client: newClient(t)}
	if !tc.raw {
		e.init(e.client)
	}
	tc.run(e)
}

// Reasons to skip a case.

func noInit(p Properties) string     { return name("NoInit", p.NoInit) }
func noCreate(p Properties) string   { return name("NoCreate", p.NoCreate) }
func canCreate(p Properties) string  { return name("NoCreate is false", !p.NoCreate) }
func noListAll(p Properties) string  { return name("NoListAll", p.NoListAll) }
func canListAll(p Properties) string { return name("NoListAll is false", !p.NoListAll) }
func noTimes(p Properties) string    { return name("NoTimestamps", p.NoTimestamps) }
func noMany(p Properties) string     { return name("ManyFiles is negative", p.ManyFiles < 0) }
func noLarge(p Properties) string    { return name("LargeBody is negative", p.LargeBody < 0) }
func noForeign(p Properties) string  { return name("PlaceForeign is nil", p.PlaceForeign == nil) }
func noReopen(p Properties) string   { return name("Reopen is nil", p.Reopen == nil) }

func name(property string, holds bool) string {
	if holds {
		return property
	}
	return ""
}
