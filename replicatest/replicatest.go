// Package replicatest is the conformance suite for implementations of
// replica.Client. It has a sub-test for each sentence of the contract.
//
//	func TestConformance(t *testing.T) {
//		replicatest.Run(t, func(t *testing.T) replica.Client {
//			return file.NewReplicaClient(t.TempDir())
//		}, replicatest.Properties{NoInit: true, NoListAll: true})
//	}
//
// Run it with the race detector, because the contract includes that all methods
// are safe for concurrent use.
package replicatest

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/replica"
)

// Properties says what a store cannot do, and gives the suite means to change
// and reopen the store. The zero value is for a store that can do everything. A
// skipped case names the property.
type Properties struct {
	// NoInit says that the client does not implement replica.Initializer.
	NoInit bool

	// NoCreate says that the client does not implement replica.LTXFileCreator,
	// or that CreateLTXFile is unsupported.
	NoCreate bool

	// NoListAll says that the client does not implement
	// replica.AllLTXFilesLister, or that AllLTXFiles is unsupported.
	NoListAll bool

	// NoSurvey says that the client does not implement replica.Surveyor, or that
	// Survey is unsupported.
	NoSurvey bool

	// NoVersions says that listings do not report the versions of files, see
	// replica.NoteFileVersion.
	NoVersions bool

	// NoTimestamps says that a listing with useMetadata cannot tell the
	// timestamps of LTX headers.
	NoTimestamps bool

	// TimestampPrecision is the greatest difference between the timestamps of a
	// listing with useMetadata and those of LTX headers. Zero: none.
	TimestampPrecision time.Duration

	// ManyFiles is the number of files in the cases that look for limits of
	// listings and deletions. It should be greater than the store's page size.
	// Zero: 1,100. Negative: these cases are skipped.
	ManyFiles int

	// LargeBody is the approximate number of bytes in the cases with large
	// bodies. It should be greater than the store's part size. Zero: 8 MiB.
	// Negative: these cases are skipped.
	LargeBody int

	// Timeout limits each case, through the context that the client gets. Zero:
	// one minute.
	Timeout time.Duration

	// PlaceForeign stores an object that is no LTX file among the files of a
	// level of c. The name is relative to the level, and may contain a slash.
	// Nil: the case is skipped.
	PlaceForeign func(t *testing.T, c replica.Client, level int, name string, body []byte)

	// PlaceAt stores an object at the place of the replica of c. The name is
	// relative to the place, and may contain a slash. An empty name is the place
	// itself. Nil: cases of Survey are skipped.
	PlaceAt func(t *testing.T, c replica.Client, name string, body []byte)

	// Peer returns a client of another replica of the same store, which has no
	// files. Nil: the client does not implement replica.LTXFileCopier, and its
	// cases are skipped.
	Peer func(t *testing.T, c replica.Client) replica.Client

	// Reopen returns another client of the replica of c, like the client of
	// another process. Nil: cases with several clients are skipped.
	Reopen func(t *testing.T, c replica.Client) replica.Client

	// At returns a client of the replica at a place below that of c, made from a
	// URL: below is what the URL of c's place is continued with. It is
	// percent-encoded, and empty or begins with a slash. Nil: cases of places are
	// skipped.
	At func(t *testing.T, c replica.Client, below string) replica.Client

	// Unfinished returns the names of what uploads to the replica of c have left
	// at the store that is no LTX file. Nil: nothing is left by design, and the
	// cases are skipped.
	Unfinished func(t *testing.T, c replica.Client) []string
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

// Run runs the suite. It calls newClient at least once for each case, with the
// test of the case. newClient returns a client of an empty replica that no
// other case uses. The suite calls Init if the client has it, and closes
// nothing; newClient can use t.Cleanup for that.
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
		{"CopyLTXFile", copyCases},
		{"AllLTXFiles", listAllCases},
		{"Survey", surveyCases},
		{"Places", placeCases},
		{"Context", contextCases},
		{"Concurrency", concurrencyCases},
	}
}

// testCase is one sentence of the contract.
type testCase struct {
	name string
	skip func(Properties) string // returns the property that skips the case, or ""
	raw  bool                    // Init is not called
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

// These functions return the property that skips a case, or "".

func noInit(p Properties) string     { return name("NoInit", p.NoInit) }
func noCreate(p Properties) string   { return name("NoCreate", p.NoCreate) }
func canCreate(p Properties) string  { return name("NoCreate is false", !p.NoCreate) }
func noListAll(p Properties) string  { return name("NoListAll", p.NoListAll) }
func canListAll(p Properties) string { return name("NoListAll is false", !p.NoListAll) }
func noSurvey(p Properties) string   { return name("NoSurvey", p.NoSurvey) }
func canSurvey(p Properties) string  { return name("NoSurvey is false", !p.NoSurvey) }
func noTimes(p Properties) string    { return name("NoTimestamps", p.NoTimestamps) }
func noMany(p Properties) string     { return name("ManyFiles is negative", p.ManyFiles < 0) }
func noLarge(p Properties) string    { return name("LargeBody is negative", p.LargeBody < 0) }
func noForeign(p Properties) string  { return name("PlaceForeign is nil", p.PlaceForeign == nil) }
func noPlaceAt(p Properties) string {
	return cmp.Or(noSurvey(p), name("PlaceAt is nil", p.PlaceAt == nil))
}
func noPeer(p Properties) string   { return name("Peer is nil", p.Peer == nil) }
func noReopen(p Properties) string { return name("Reopen is nil", p.Reopen == nil) }
func noAt(p Properties) string     { return name("At is nil", p.At == nil) }
func noUnfinished(p Properties) string {
	return name("Unfinished is nil", p.Unfinished == nil)
}

func name(property string, holds bool) string {
	if holds {
		return property
	}
	return ""
}
