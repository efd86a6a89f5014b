// Package sim has the parts of a simulated world for tests: a bucket behind a bad
// network, the history that the bucket should tell, the states that a database may
// have, a trace, and the search for a shorter run that fails as well.
//
// Everything random depends on a seed and on what is done, not on the order in
// which goroutines come: a request of the same name by the same process has the same
// fate in every run of a seed.
package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// NewRand returns random numbers that depend on a seed and a name alone.
func NewRand(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// Violation is a rule that was broken.
type Violation struct {
	Rule Rule
	Text string
}

// Error implements error.
func (v *Violation) Error() string { return fmt.Sprintf("%s: %s", v.Rule, v.Text) }

// Violated returns a violation of a rule.
func Violated(rule Rule, format string, args ...any) *Violation {
	return &Violation{rule, fmt.Sprintf(format, args...)}
}

// Rule names what must hold in a world at any time.
type Rule string

// The rules that the parts of this package check.
const (
	// RuleOneFile: there is one content for each transaction, and no transaction is
	// left out.
	RuleOneFile Rule = "one file per transaction"

	// RuleMerged: a file of several transactions has the state after the last of
	// them, and every page that they changed.
	RuleMerged Rule = "merged files have what they merge"

	// RuleStamps: a transaction has a later time than the one before it, whatever the
	// clocks of those who write say.
	RuleStamps Rule = "stamps of transactions rise"

	// RuleState: what is read is a state that some prefix of the commits gives.
	RuleState Rule = "a read sees a prefix of the commits"
)

// latency returns a random duration from 1 to most. Two durations are hardly ever
// the same, so that replies come one by one.
func latency(rng *rand.Rand, most time.Duration) time.Duration {
	return 1 + time.Duration(rng.Int64N(int64(max(most, time.Millisecond))))
}

// chance reports whether something happens that happens in so many of a thousand
// cases.
func chance(rng *rand.Rand, perMille int) bool { return rng.IntN(1000) < perMille }
