package replicatest

import (
	"github.com/superfly/ltx"
)

var deleteCases = []testCase{
	{name: "deletes files by level and TXIDs", run: func(e *env) {
		stay := []file{{0, 1, 1}, {0, 2, 3}, {1, 2, 2}, {2, 2, 4}}
		gone := []file{{0, 2, 2}, {1, 1, 1}, {2, 1, 4}}
		e.write(stay...)
		e.write(gone...)
		e.deleteFiles(gone...)
		for _, f := range gone {
			e.wantMissing(f)
		}
		e.wantList(0, 0, stay[:2]...)
		e.wantList(1, 0, stay[2])
		e.wantList(2, 0, stay[3])
		for _, f := range stay {
			e.wantBody(f, f.body())
		}
	}},

	{name: "deletes what a listing gave", run: func(e *env) {
		e.write(file{0, 1, 1}, file{0, 2, 2})
		if err := e.client.DeleteLTXFiles(e.ctx, e.list(0, 2, true)); err != nil {
			e.Fatal(err)
		}
		e.wantList(0, 0, file{0, 1, 1})
	}},

	{name: "a file that does not exist is no error", run: func(e *env) {
		e.deleteFiles(file{0, 1, 1}) // the replica does not exist yet
		e.write(file{0, 1, 1}, file{0, 3, 3})
		e.deleteFiles(file{0, 2, 2}, file{0, 1, 1}, file{5, 1, 1}, file{0, 1, 1})
		e.wantList(0, 0, file{0, 3, 3})
		e.deleteFiles(file{0, 1, 1})
	}},

	{name: "no files is no error", run: func(e *env) {
		e.write(file{0, 1, 1})
		e.deleteFiles()
		e.wantList(0, 0, file{0, 1, 1})
	}},

	{name: "deletes many files at once", skip: noMany, run: func(e *env) {
		files := e.writeMany()
		e.deleteFiles(files[1:]...)
		e.wantList(0, 0, files[0])
	}},

	{name: "a deleted file can be written again", run: func(e *env) {
		f := file{0, 1, 1}
		e.write(f)
		e.deleteFiles(f)
		e.writeBody(f, f.variant(1))
		e.wantBody(f, f.variant(1))
		e.wantList(0, 0, f)
	}},
}

// deleteFiles deletes files by infos that have only a level and TXIDs.
func (e *env) deleteFiles(files ...file) {
	e.Helper()
	infos := make([]*ltx.FileInfo, len(files))
	for i, f := range files {
		infos[i] = f.info()
	}
	if err := e.client.DeleteLTXFiles(e.ctx, infos); err != nil {
		e.Fatalf("DeleteLTXFiles %s: %v", formatFiles(files), err)
	}
}
