package badbytes

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/ltxvfs/litestream/internal/view"
)

// Step is one damage. What it damages follows from its seed and the files that are
// there.
type Step struct {
	Kind string
	Seed uint64
}

// String formats the step for reports.
func (s Step) String() string { return fmt.Sprintf("%s/%x", s.Kind, s.Seed) }

// Plan is the damages of a replica, in order.
type Plan []Step

// Damage says what a plan has done.
type Damage struct {
	// Forged is set if checksums were computed anew. Then the content of the replica
	// is any content.
	Forged bool

	// Notes say what each step has done, for reports.
	Notes []string
}

// mutation is a kind of step. It returns what it has done, or nothing if the
// replica has no file for it.
type mutation struct {
	weight int
	forges bool
	apply  func(rng *rand.Rand, r Replica) string
}

// mutations are all kinds by their names.
var mutations = map[string]mutation{
	"flip":      {8, false, flip},
	"overwrite": {4, false, overwrite},
	"cut":       {4, false, cut},
	"append":    {2, false, appendBytes},
	"splice":    {3, false, splice},
	"empty":     {1, false, empty},
	"delete":    {3, false, remove},
	"swap":      {2, false, swap},
	"rename":    {3, false, rename},
	"level":     {3, false, toLevel},
	"copy":      {2, false, copyFile},

	"header":     {6, true, forgeHeader},
	"commit":     {6, true, forgeCommit},
	"pagesize":   {3, true, forgePageSize},
	"retxid":     {4, true, forgeTXIDs},
	"index":      {8, true, forgeIndex},
	"footer":     {3, true, forgeFooter},
	"frames":     {6, true, forgeFrames},
	"bomb":       {4, true, forgeBomb},
	"sparse":     {3, true, forgeSparse},
	"dbheader":   {6, true, forgeDatabaseHeader},
	"cells":      {8, true, forgeCells},
	"children":   {6, true, forgeChildren},
	"chains":     {4, true, forgeChains},
	"freelist":   {4, true, forgeFreelist},
	"schema":     {5, true, forgeSchema},
	"pagebytes":  {6, true, forgePageBytes},
	"pageswap":   {4, true, forgePageSwap},
	"structures": {3, true, forgeStructures},
}

// kinds are the names of mutations, each as often as its weight says.
var kinds = map[bool][]string{}

func init() {
	for _, name := range slices.Sorted(maps.Keys(mutations)) {
		m := mutations[name]
		for range m.weight {
			kinds[m.forges] = append(kinds[m.forges], name)
		}
	}
}

// NewPlan returns the plan of a seed. Half of the plans leave all checksums as they
// are, so that damage has to be noticed.
func NewPlan(seed uint64) Plan {
	rng := rand.New(rand.NewPCG(seed, 0xbad))
	forges := rng.IntN(2) == 0
	plan := make(Plan, 1+rng.IntN(3)*rng.IntN(3))
	for i := range plan {
		of := kinds[forges && (i == 0 || rng.IntN(4) > 0)]
		plan[i] = Step{of[rng.IntN(len(of))], rng.Uint64()}
	}
	return plan
}

// Apply damages a replica.
func (p Plan) Apply(r Replica) Damage {
	var d Damage
	for _, step := range p {
		m := mutations[step.Kind]
		note := m.apply(rand.New(rand.NewPCG(step.Seed, 1)), r)
		if note == "" {
			continue
		}
		d.Forged = d.Forged || m.forges
		d.Notes = append(d.Notes, fmt.Sprintf("%s: %s", step, note))
	}
	return d
}

// pick returns one of the files; it prefers the newest ones.
func pick(rng *rand.Rand, r Replica) (view.Key, bool) {
	keys := r.Keys()
	if len(keys) == 0 {
		return view.Key{}, false
	}
	slices.SortStableFunc(keys, func(a, b view.Key) int { return int(a.MaxTXID) - int(b.MaxTXID) })
	i := max(rng.IntN(len(keys)), rng.IntN(len(keys)))
	return keys[i], true
}

// number returns a number that is likely to be at some limit.
func number(rng *rand.Rand) uint64 {
	limits := [...]uint64{0, 1, 2, 3, 7, 100, 127, 128, 255, 256, 511, 512, 4096, 65535, 65536, 1<<20 + 1, 1<<31 - 1, 1 << 31, 1<<32 - 2, 1<<32 - 1, 1 << 32, 1 << 40, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	switch n := limits[rng.IntN(len(limits))]; rng.IntN(4) {
	case 0:
		return n + rng.Uint64N(4) - 2
	case 1:
		return rng.Uint64() >> rng.UintN(64)
	default:
		return n
	}
}
