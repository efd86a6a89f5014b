package livefile

import (
	"context"
	"errors"
	"strings"
	"time"
)

// backupPages is the number of pages that are copied between two looks at the
// context. The read transaction keeps them of one state.
const backupPages = 1000

// backup copies a database by SQLite's backup API, in one transaction.
func backup(ctx context.Context, from, to string, busyTimeout time.Duration) (err error) {
	conn, err := openDatabase(from, "", busyTimeout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	conn.SetInterrupt(ctx)
	if err := conn.Exec(beginRead); err != nil {
		return err
	}
	b, err := conn.BackupInit("main", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(to))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err = b.Step(backupPages); err != nil {
			return err
		}
	}
	return nil
}

// beginRead begins a read transaction. SQLite takes the locks at the first read.
const beginRead = "BEGIN; SELECT count(*) FROM sqlite_schema"
