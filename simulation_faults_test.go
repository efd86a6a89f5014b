package litestream_test

import (
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// simFaults are the faults that the simulation must notice, with the rules that may
// say so first.
var simFaults = []struct {
	bucket sim.Break
	local  simBreak
	plan   func(p *simPlan) // nil: the plan stays
	rules  []sim.Rule
}{
	{bucket: sim.BreakOverwrite, plan: contend, rules: []sim.Rule{sim.RuleOneFile, ruleSynced, sim.RuleMerged, ruleForward, sim.RuleState}},
	{bucket: sim.BreakDrop, rules: []sim.Rule{ruleSynced, ruleCalm}},
	{bucket: sim.BreakVanish, rules: []sim.Rule{ruleRestorable, ruleSynced}},
	{bucket: sim.BreakPage, rules: []sim.Rule{sim.RuleState, sim.RuleOneFile, sim.RuleMerged}},
	{bucket: sim.BreakMerge, rules: []sim.Rule{sim.RuleMerged, sim.RuleOneFile}},
	{bucket: sim.BreakStamp, rules: []sim.Rule{sim.RuleStamps}},
	{bucket: sim.BreakStale, rules: []sim.Rule{ruleSynced}},
	{local: simBreakFsync, rules: []sim.Rule{ruleLocal}},
	{local: simBreakKill, rules: []sim.Rule{ruleLocal}},
	{local: simBreakSync, rules: []sim.Rule{ruleSynced}},
	{local: simBreakRollback, rules: []sim.Rule{ruleForward, ruleSynced}},
	{local: simBreakView, rules: []sim.Rule{ruleSnapshot}},
	{local: simBreakTravel, rules: []sim.Rule{ruleTravel}},
	{local: simBreakFile, rules: []sim.Rule{ruleLeft}},
	{local: simBreakGoroutine, rules: []sim.Rule{ruleLeft}},
	{local: simBreakError, rules: []sim.Rule{sim.RuleState}},
	{local: simBreakGiveUp, plan: contend, rules: []sim.Rule{ruleOneWriter}},
	{local: simBreakDead, rules: []sim.Rule{ruleCalm}},
	{local: simBreakKept, plan: contend, rules: []sim.Rule{ruleKept}},
	{local: simBreakOrder, rules: []sim.Rule{ruleSynced}},
	{local: simBreakOpen, rules: []sim.Rule{ruleLeft}},
	{local: simBreakMemory, rules: []sim.Rule{ruleLeft}},
}

// contend makes a world one of two writers.
func contend(p *simPlan) { p.twoWriters = true }

// TestSimulation_Faults breaks each rule on purpose. The simulation notices it
// within some seeds, and says which rule is broken.
func TestSimulation_Faults(t *testing.T) {
	testscale.NeedsNoRace(t, "its worlds are like those of TestSimulation")
	const seeds = 200
	for _, f := range simFaults {
		t.Run(string(f.bucket)+string(f.local), func(t *testing.T) {
			s := newSimulator(t)
			broken := 0
			for seed := range uint64(seeds) {
				plan := newSimPlan(seed)
				if plan.primary {
					continue // most faults are of writers
				}
				if f.plan != nil {
					f.plan(&plan)
				}
				result := s.run(seed, f.bucket, f.local, plan, false)
				broken += result.counts.broken
				if v := result.violation; v == nil {
					continue
				} else if !slices.Contains(f.rules, v.Rule) {
					t.Fatalf("seed %d: %v\n%s", seed, v, result.trace)
				} else {
					t.Logf("seed %d: %v", seed, v)
					return
				}
			}
			t.Errorf("%d seeds notice nothing, although the rule was broken %d times", seeds, broken)
		})
	}
}
