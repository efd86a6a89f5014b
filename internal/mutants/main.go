// mutants tests the tests: it changes the code of the engine in one small way at a
// time, and reports the changes that no test notices.
//
//	go run ./internal/mutants                                  # a sample of all packages of the engine
//	go run ./internal/mutants -n 200 -packages internal/view   # of one package
//	go run ./internal/mutants -retry survived -budget 1m       # those again, with more tests
//
// All mutants of a sample are compiled into the same test binaries, with the
// overlay of the go command, and an environment variable switches one of them on.
// So a mutant costs no compilation. Each test first runs without mutants and says
// which of them it reaches with a value for which they make a difference. Then
// each mutant runs against these tests only: those of its own package, and then
// the cheapest ones of others.
//
// Gremlins, the best kept tool of this kind, compiles and runs all tests of a package
// for each mutant, and none of the packages that depend on it. Here that would take
// days, and miss the tests of the root package, which are most of the engine's.
//
// Mutants that no test can notice stand in equivalent.txt with the reason. Results
// are kept in the folder of -state, so that a run that was stopped goes on.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// engine are the packages that are mutated by default.
const engine = "internal/view,internal/remote,internal/pages,internal/hydrate,internal/write,internal/compact," +
	"internal/ltxio,internal/commitlog,internal/pagefile,internal/pageshare,internal/ownfile,internal/dbheader," +
	"internal/btree,internal/rowdiff,internal/feed,internal/task,internal/clientio,maintain,."

// depending are packages whose tests run against mutants of the packages that
// they depend on.
const depending = ".,maintain,https,webdav"

// options are the flags.
type options struct {
	packages  string        // directories of the packages that are mutated
	depending string        // directories of further packages with tests
	n         int           // size of the sample
	seed      string        // which sample
	state     string        // folder of the results
	retry     string        // outcomes that are tried again
	budget    time.Duration // time that the tests of the package, and those of others, take without mutants
	memory    int           // bound of the address space in MiB
	list      bool          // print the sample only
	run       bool          // run mutants
	own       bool          // run the tests of the packages that are mutated
	workers   int           // how many tests run at a time

	// isCompiled takes the test binaries of the last run, whose code and tests are
	// those of the tree.
	isCompiled bool
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutants: ")
	var o options
	flag.StringVar(&o.packages, "packages", engine, "directories of the packages that are mutated, with commas")
	flag.StringVar(&o.depending, "depending", depending, "directories of further packages whose tests run")
	flag.IntVar(&o.n, "n", 1000, "number of mutants")
	flag.StringVar(&o.seed, "seed", "1", "which mutants")
	flag.StringVar(&o.state, "state", "build/mutants", "folder for results")
	flag.StringVar(&o.retry, "retry", "", "outcomes of an earlier run that are tried again, with commas: survived, unreached, timeout")
	flag.DurationVar(&o.budget, "budget", 5*time.Second, "time that tests of the package, and those of others, may take for each mutant")
	flag.IntVar(&o.memory, "memory", 8192, "bound of the memory of a test in MiB")
	flag.BoolVar(&o.isCompiled, "compiled", false, "take the test binaries of the last run; the code has to be the same")
	flag.BoolVar(&o.own, "own", true, "run the tests of the packages that are mutated; false runs those of the others only")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "how many tests run at a time")
	flag.BoolVar(&o.list, "list", false, "print the sample, run nothing")
	flag.BoolVar(&o.run, "run", true, "run mutants without a result; false reports what is known")
	flag.Parse()
	if err := mutate(o); err != nil {
		log.Fatal(err)
	}
}

func mutate(o options) error {
	top, err := goCommand("list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return err
	}
	if o.state, err = filepath.Abs(o.state); err != nil {
		return err
	}
	if err := os.MkdirAll(o.state, 0o755); err != nil {
		return err
	}
	if err := os.Chdir(strings.TrimSpace(string(top))); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)

	s, err := newSample(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, m := range s.mutants {
			fmt.Println(m)
		}
		return nil
	}
	r, err := openResults(o.state)
	if err != nil {
		return err
	}
	defer r.file.Close()
	if o.run {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		t := &tester{options: o, tmp: tmp, sample: s, results: r}
		if err := t.all(ctx); err != nil {
			return err
		}
	}
	report(os.Stdout, s, r)
	return nil
}
