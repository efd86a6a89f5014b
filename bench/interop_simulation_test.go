package main

import (
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	upstreamfile "github.com/benbjohnson/litestream/file"
	"github.com/superfly/ltx"
)

var (
	simulated      = flag.Int("simulated", 24, "number of simulated worlds whose replicas TestInteropSimulation restores")
	firstSimulated = flag.Uint64("first-simulated", 0, "seed of the first of them")
)

// Upstream restores every transaction that the files of simulated worlds give, to what
// the model of the world says. Processes of these worlds crash, lose power and write
// into each other's replica, and the network repeats and delays what they send.
func TestInteropSimulation(t *testing.T) {
	dir := t.TempDir()
	limit := time.Duration(0) // none
	if deadline, ok := t.Deadline(); ok {
		limit = time.Until(deadline)
	}
	args := []string{"test", "-vet=off", "-timeout", limit.String(), "-count=1", "-run", "TestSimulation$",
		"-sim.keep", dir, "-sim.first", fmt.Sprint(*firstSimulated), "-sim.seeds", fmt.Sprint(*simulated), "."}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".." // the module of the library
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	worlds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	restored := 0
	for _, world := range worlds {
		restored += checkWorld(t, filepath.Join(dir, world.Name()), world.Name())
	}
	t.Logf("restored %d transactions of %d worlds", restored, len(worlds))
	if len(worlds) < *simulated/2 || restored < *simulated {
		t.Errorf("%d worlds of %d have replicas, with %d transactions", len(worlds), *simulated, restored)
	}
}

// checkWorld restores the transactions of the replica of a world, and returns how many.
func checkWorld(t *testing.T, dir, seed string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "moments.json"))
	if err != nil {
		t.Fatal(err)
	}
	var moments []struct {
		TXID   ltx.TXID `json:"txid"`
		SHA256 string   `json:"sha256"`
	}
	if err := json.Unmarshal(b, &moments); err != nil {
		t.Fatal(err)
	}
	for _, m := range moments {
		image := upstreamImage(t, upstreamfile.NewReplicaClient(dir), m.TXID)
		if got := fmt.Sprintf("%x", sha256.Sum256(image)); image == nil || got != m.SHA256 {
			t.Errorf("world %s: transaction %s: upstream restores %d bytes with sum %s, want %s", seed, m.TXID, len(image), got, m.SHA256)
		}
	}
	return len(moments)
}
