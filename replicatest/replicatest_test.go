package replicatest

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pageSize is how many files some mutants handle at once.
const pageSize = 40

// childEnv is set in the process whose tests are to fail.
const childEnv = "REPLICATEST_CHILD"

// suiteProps are those of a fake, with a smaller workload.
func suiteProps(mutate func(*fake)) (newClient func(*testing.T) replica.Client, props Properties) {
	newClient = func(*testing.T) replica.Client {
		f := newFake(memory.NewReplicaClient())
		mutate(f)
		return f
	}
	return newClient, Properties{
		ManyFiles: 2 * pageSize,
		LargeBody: 256 << 10,
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			c.(*fake).placeForeign(t, c, level, name, body)
		},
		PlaceAt: func(_ *testing.T, c replica.Client, name string, body []byte) { c.(*fake).placeAt(name, body) },
		Peer:    func(*testing.T, replica.Client) replica.Client { return newFake(memory.NewReplicaClient()) },
		Reopen: func(_ *testing.T, c replica.Client) replica.Client {
			f := newFake(c.(*fake).ReplicaClient)
			f.meeting, f.places = c.(*fake).meeting, c.(*fake).places
			mutate(f)
			return f
		},
		At:         func(_ *testing.T, c replica.Client, below string) replica.Client { return c.(*fake).atBelow(below) },
		Unfinished: func(_ *testing.T, c replica.Client) []string { return c.(*fake).places.unfinished() },
	}
}

// TestRun_Sound shows that the suite passes a client that keeps the contract.
func TestRun_Sound(t *testing.T) {
	newClient, props := suiteProps(func(*fake) {})
	Run(t, newClient, props)
}

// plain has none of the optional interfaces.
type plain struct{ replica.Client }

// TestRun_Plain shows that it passes one without optional interfaces.
func TestRun_Plain(t *testing.T) {
	Run(t, func(*testing.T) replica.Client {
		return plain{memory.NewReplicaClient()}
	}, Properties{NoInit: true, NoCreate: true, NoListAll: true, NoSurvey: true, NoTimestamps: true, ManyFiles: -1, LargeBody: -1})
}

// TestMutants shows that each case fails for a client that breaks its rule. The
// mutants run in a process of their own, where their tests fail.
func TestMutants(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		t.Skip("in the child process")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestMutantsChild$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the child process did not fail")
	}

	failed := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^ *--- FAIL: TestMutantsChild/(\S+) `).FindAllStringSubmatch(string(out), -1) {
		failed[match[1]] = true
	}
	killed := map[string]bool{}
	for _, m := range mutants {
		for _, tc := range m.killed {
			killed[testName(tc)] = true
			if !failed[testName(m.name+"/"+tc)] {
				t.Errorf("mutant %q was not killed by %q", m.name, tc)
			}
		}
	}
	for _, tc := range caseNames() {
		if !killed[testName(tc)] {
			t.Errorf("case %q has no mutant to kill", tc)
		}
	}
	if len(failed) == 0 {
		t.Logf("child process:\n%s", out)
	}
}

// TestMutantsChild runs the cases that are to kill each mutant.
func TestMutantsChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("not in the child process of TestMutants")
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			newClient, props := suiteProps(m.mutate)
			if m.props != nil {
				m.props(&props)
			}
			for _, g := range groups() {
				for _, tc := range g.cases {
					if name := g.name + "/" + tc.name; slices.Contains(m.killed, name) {
						t.Run(name, func(t *testing.T) { tc.test(t, newClient, props.withDefaults()) })
					}
				}
			}
		})
	}
}

func caseNames() (names []string) {
	for _, g := range groups() {
		for _, tc := range g.cases {
			names = append(names, g.name+"/"+tc.name)
		}
	}
	return names
}

// testName is how package testing prints a name.
func testName(name string) string { return strings.ReplaceAll(name, " ", "_") }

func TestFileSpec_Invalid(t *testing.T) {
	for name, spec := range map[string]FileSpec{
		"no TXIDs":           {},
		"TXIDs out of order": {MinTXID: 2, MaxTXID: 1},
		"page size":          {MinTXID: 1, MaxTXID: 1, PageSize: 1000},
		"negative page size": {MinTXID: 1, MaxTXID: 1, PageSize: -512},
		"negative pages":     {MinTXID: 1, MaxTXID: 1, Pages: -1},
	} {
		if _, err := spec.Encode(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
