package main

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"io"
)

// answer returns a hash of all rows of a query.
func answer(ctx context.Context, db *sql.DB, query string, args ...any) (uint64, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	sum := fnv.New64a()
	err = readRows(rows, sum)
	return sum.Sum64(), err
}

// readRows reads all rows and closes them. It returns an error if there are
// none.
func readRows(rows *sql.Rows, w io.Writer) error {
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	raw := make([]sql.RawBytes, len(columns))
	dest := make([]any, len(columns))
	for i := range raw {
		dest[i] = &raw[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		for _, b := range raw {
			_, _ = w.Write(b) // writing to a hash never fails
			_, _ = w.Write([]byte{0})
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n == 0 {
		return sql.ErrNoRows
	}
	return nil
}

// check compares an answer with the answer of another system.
func (e *env) check(question string, got uint64) error {
	want, ok := e.answers[question]
	if !ok {
		e.answers[question] = got
		return nil
	}
	if got != want {
		return fmt.Errorf("wrong answer to %q: systems differ", question)
	}
	return nil
}
