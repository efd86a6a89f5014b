package litestream_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ltxvfs/litestream/file"
	"github.com/superfly/ltx"
)

var simKeep = flag.String("sim.keep", "", "folder in which TestSimulation keeps the replica of each world, with what its transactions restore to")

// simMoment is a transaction whose state the files of a replica give.
type simMoment struct {
	TXID   ltx.TXID `json:"txid"`
	SHA256 string   `json:"sha256"` // of the database
}

// keep copies the files of the bucket to a folder of the name of the seed, if the
// flag asks for it. Beside them it writes which transactions can be restored, and to
// what.
func (w *simWorld) keep() {
	reachable, err := w.bucket.Reachable()
	if *simKeep == "" || err != nil || len(reachable) == 0 {
		return
	}
	dir := filepath.Join(*simKeep, fmt.Sprint(w.seed))
	if err := w.copyFiles(file.NewReplicaClient(dir)); err != nil {
		w.t.Error(err)
	}
	var moments []simMoment
	for _, txid := range reachable {
		moments = append(moments, simMoment{txid, fmt.Sprintf("%x", sha256.Sum256(w.bucket.Image(txid)))})
	}
	b, err := json.MarshalIndent(moments, "", "\t")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "moments.json"), b, 0o600)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// copyFiles copies the files of the bucket as they are.
func (w *simWorld) copyFiles(to *file.ReplicaClient) error {
	ctx, from := context.Background(), w.bucket.Files()
	itr, err := from.AllLTXFiles(ctx, false)
	if err != nil {
		return err
	}
	for itr.Next() {
		f := itr.Item()
		r, err := from.OpenLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, 0, 0)
		if err != nil {
			return err
		}
		_, err = to.WriteLTXFile(ctx, f.Level, f.MinTXID, f.MaxTXID, r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return itr.Close()
}
