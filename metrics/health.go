package metrics

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream"
)

// Status says how a database, or all of them, are doing.
type Status string

// The statuses, from the best to the worst.
const (
	// Healthy means that everything works.
	Healthy Status = "healthy"

	// Degraded means that queries and commits work, but something else does not:
	// polls, so that what is read grows older; uploads of commits, which wait in the
	// write buffer; hydration, so that reads are remote; compaction. It is also the
	// status of a database that was opened without storage.
	Degraded Status = "degraded"

	// Unhealthy means that queries fail because storage cannot be read, that write
	// mode was lost to another writer, or that a database could not be opened.
	Unhealthy Status = "unhealthy"
)

// statuses are ordered from the best to the worst.
var statuses = []Status{Healthy, Degraded, Unhealthy}

// worse returns the worse of two statuses.
func worse(a, b Status) Status {
	return statuses[max(slices.Index(statuses, a), slices.Index(statuses, b))]
}

// These parts are not among those of litestream.Problem, because a database works
// without them.
const (
	partOffline    litestream.Part = "offline"
	partCompaction litestream.Part = "compaction"
)

// partOpen is the part that is wrong with a database that could not be opened.
const partOpen litestream.Part = "open"

// statusOf returns the status of a database in which something is wrong with a part.
func statusOf(part litestream.Part) Status {
	switch part {
	case litestream.PartReads, litestream.PartWriteMode:
		return Unhealthy
	}
	return Degraded
}

// hasProblem reports whether something is wrong with a part of a database.
func hasProblem(s *litestream.Stats, part litestream.Part) bool {
	switch part {
	case partOffline:
		return s.Offline
	case partCompaction:
		return s.Write.Compaction != ""
	}
	return slices.ContainsFunc(s.Problems, func(p litestream.Problem) bool { return p.Part == part })
}

// problemsOf returns what is wrong with a database.
func problemsOf(s *litestream.Stats) []litestream.Problem {
	problems := slices.Clone(s.Problems)
	if hasProblem(s, partOffline) {
		problems = append(problems, litestream.Problem{Part: partOffline, Since: s.Opened, Error: "it was opened with the local file, because storage did not answer, and no poll has succeeded since"})
	}
	if hasProblem(s, partCompaction) {
		problems = append(problems, litestream.Problem{Part: partCompaction, Error: "compaction: " + s.Write.Compaction})
	}
	return problems
}

// Report says how databases are doing, as Health writes it in JSON.
type Report struct {
	Status Status `json:"status"` // the worst of all
	Text   string `json:"text"`   // the same in words

	Open      int `json:"open"` // databases that are open
	Degraded  int `json:"degraded"`
	Unhealthy int `json:"unhealthy"`

	// Unopened is how many databases should be open and are not. Only HealthOf knows.
	Unopened int `json:"unopened,omitempty"`

	// Databases are those which are not healthy, the worst first, and 100 of them at
	// most.
	Databases []DatabaseReport `json:"databases"`
}

// DatabaseReport says what is wrong with a database.
type DatabaseReport struct {
	Database string               `json:"database"` // as in the label of metrics
	VFS      int                  `json:"vfs"`      // position of its VFS in the call of Health; 0 if it is not open
	Replica  string               `json:"replica"`  // where the replica is, without credentials
	Status   Status               `json:"status"`
	Problems []litestream.Problem `json:"problems"`
}

// mostReported bounds the number of databases in a report.
const mostReported = 100

// report finds out how the databases of VFSes are doing, and those that are not open.
func report(vfses []*litestream.VFS, unopened []Unopened) Report {
	r := Report{Status: Healthy, Databases: []DatabaseReport{}, Unopened: len(unopened)}
	for _, u := range unopened {
		r.Status = Unhealthy
		r.Databases = append(r.Databases, DatabaseReport{
			Database: u.Name, Replica: u.Name, Status: Unhealthy, Problems: []litestream.Problem{{Part: partOpen, Error: u.Err.Error()}},
		})
	}
	closed := 0
	for i, v := range vfses {
		if v.IsClosed() {
			closed++
		}
		for _, d := range statsOf(v) {
			r.Open++
			problems := problemsOf(&d.stats)
			if len(problems) == 0 {
				continue
			}
			of := DatabaseReport{Database: d.label, VFS: i, Replica: d.stats.Place, Status: Healthy, Problems: problems}
			for _, p := range problems {
				of.Status = worse(of.Status, statusOf(p.Part))
			}
			if of.Status == Unhealthy {
				r.Unhealthy++
			} else {
				r.Degraded++
			}
			r.Status = worse(r.Status, of.Status)
			r.Databases = append(r.Databases, of)
		}
	}
	if closed > 0 {
		r.Status = Unhealthy
	}
	slices.SortStableFunc(r.Databases, func(a, b DatabaseReport) int {
		return cmp.Compare(slices.Index(statuses, b.Status), slices.Index(statuses, a.Status))
	})
	r.Databases = r.Databases[:min(len(r.Databases), mostReported)]
	r.Text = r.words(closed)
	return r
}

// words says how the databases are doing, if a number of VFSes are closed.
func (r *Report) words(closed int) string {
	var words []string
	if closed > 0 {
		words = append(words, "the VFS is closed")
	}
	switch {
	case r.Unopened == 1:
		words = append(words, "1 database could not be opened")
	case r.Unopened > 1:
		words = append(words, fmt.Sprintf("%d databases could not be opened", r.Unopened))
	}
	if r.Unhealthy > 0 {
		words = append(words, fmt.Sprintf("%d of %s cannot be read, or has lost write mode", r.Unhealthy, countDatabases(r.Open)))
	}
	if r.Degraded > 0 {
		words = append(words, fmt.Sprintf("%d of %s can be used, but something does not work", r.Degraded, countDatabases(r.Open)))
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, "; ")
	case r.Open == 0:
		return "no database is open"
	}
	return "nothing is wrong with " + countDatabases(r.Open)
}

// countDatabases returns a number of databases in words.
func countDatabases(n int) string {
	if n == 1 {
		return "1 open database"
	}
	return fmt.Sprintf("%d open databases", n)
}

// Health returns a handler for health checks of all databases of the VFSes that are
// open. It answers GET and HEAD with a Report in JSON. The status code is 200 if all
// are healthy or degraded, and 503 if one is unhealthy or a VFS is closed. Degraded
// is no failure because a restart would not help, and what works would stop.
//
// It makes no request to storage and opens no database. Errors say where replicas
// are, but have no credentials. It is safe for concurrent use.
func Health(vfs ...*litestream.VFS) http.Handler { return HealthOf(nil, vfs...) }

// HealthOf is Health for a program that knows which databases should be open. Those
// that unopened returns could not be opened, and are unhealthy, too. It is called for
// each request. Nil: there are none.
func HealthOf(unopened func() []Unopened, vfs ...*litestream.VFS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		var missing []Unopened
		if unopened != nil {
			missing = unopened()
		}
		found := report(vfs, missing)
		body, err := json.Marshal(found)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if found.Status == Unhealthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		// A client that is gone needs no answer.
		_, _ = w.Write(append(body, '\n'))
	})
}
