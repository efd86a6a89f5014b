// Command timetravel repairs a database with the help of its past.
//
//	go run ./examples/timetravel [-sql] [replica folder]
//
// In the example replica of this repository, a user ran UPDATE sandwich_ratings
// SET stars = 1 without a WHERE. The program finds out when, reads the state
// just before, and prints the statements that restore the stars. With -sql it
// prints only these statements, so that they can be piped to the primary's
// database.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"text/tabwriter"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

const defaultReplica = "testdata/replicas/sandwiches"

func main() {
	script := flag.Bool("sql", false, "print the repair as SQL, and nothing else")
	flag.Parse()
	replica := defaultReplica
	if flag.NArg() > 0 {
		replica = flag.Arg(0)
	}
	if err := run(context.Background(), os.Stdout, replica, *script); err != nil {
		fmt.Fprintln(os.Stderr, "timetravel:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, w io.Writer, replica string, script bool) (err error) {
	vfs := litestream.NewVFS(file.NewReplicaClient(replica), &litestream.Options{
		WaitForReplica: -1, // a misspelt path is an error at once
		Logger:         slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err := registerVFS("litestream", vfs); err != nil {
		return fmt.Errorf("register vfs: %w", err)
	}
	defer func() { err = errors.Join(err, vfs.Close(ctx)) }()
	db, err := sql.Open("sqlite3", "file:ratings.db?vfs=litestream")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()

	// Attach the same database once more in the same connection. The schema
	// main follows the primary, the schema past travels in time, and a query
	// can read both.
	if _, err := conn.ExecContext(ctx, "ATTACH 'file:ratings.db?vfs=litestream' AS past"); err != nil {
		return err
	}
	t := traveller{conn}
	if script {
		return t.repair(ctx, w)
	}
	return t.story(ctx, w)
}

// traveller is a connection with the database attached twice, as main and as
// past.
type traveller struct{ conn *sql.Conn }

// story prints what happened and how to repair it.
func (t traveller) story(ctx context.Context, w io.Writer) error {
	now, err := t.state(ctx, "main")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Now: %s. Nobody likes sandwiches any more?\n\n", now)

	history, at, err := t.findDisaster(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "The replica has %d points in time. Around the one where the stars went:\n\n", len(history))
	if err := t.printAround(ctx, w, history, at); err != nil {
		return err
	}

	before := justBefore(history[at])
	if err := t.goToTime(ctx, before); err != nil {
		return err
	}
	past, err := t.state(ctx, "past")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\nPRAGMA past.litestream_time = '%s': %s.\n\n", before, past)

	repairs, err := t.repairs(ctx)
	if err != nil {
		return err
	}
	const shown = 5
	fmt.Fprintf(w, "%d ratings had other stars then. This brings them back:\n\n", len(repairs))
	for _, r := range repairs[:min(shown, len(repairs))] {
		fmt.Fprintf(w, "%s -- %s, %s\n", r, r.sandwich, r.city)
	}
	_, err = fmt.Fprintf(w, "\nFor all of them: timetravel -sql | sqlite3 -bail -cmd '.timeout 30000' <the primary's database>\n")
	return err
}

// repair prints a script that restores the stars.
func (t traveller) repair(ctx context.Context, w io.Writer) error {
	history, at, err := t.findDisaster(ctx)
	if err != nil {
		return err
	}
	if err := t.goToTime(ctx, justBefore(history[at])); err != nil {
		return err
	}
	repairs, err := t.repairs(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "BEGIN IMMEDIATE;")
	for _, r := range repairs {
		fmt.Fprintln(w, r)
	}
	_, err = fmt.Fprintln(w, "COMMIT;")
	return err
}

// state describes the state of the database that a schema shows.
func (t traveller) state(ctx context.Context, schema string) (string, error) {
	var txid string
	if err := t.conn.QueryRowContext(ctx, "PRAGMA "+schema+".litestream_txid").Scan(&txid); err != nil {
		return "", err
	}
	ratings, average, err := t.stars(ctx, schema)
	return fmt.Sprintf("transaction %s, %d ratings, %.2f stars on average", txid, ratings, average), err
}

func (t traveller) stars(ctx context.Context, schema string) (ratings int, average float64, err error) {
	err = t.conn.QueryRowContext(ctx, "SELECT count(*), coalesce(avg(stars), 0) FROM "+schema+".sandwich_ratings").Scan(&ratings, &average)
	return ratings, average, err
}

// history returns the points in time that the files of the replica still give.
func (t traveller) history(ctx context.Context) (points []litestream.HistoryPoint, err error) {
	var s string
	if err := t.conn.QueryRowContext(ctx, "PRAGMA litestream_history").Scan(&s); err != nil {
		return nil, err
	}
	return points, json.Unmarshal([]byte(s), &points)
}

// findDisaster returns the history and the index of the first point at which
// every rating is one star. It does not examine all points, because the ratings
// have not changed since.
func (t traveller) findDisaster(ctx context.Context) (history []litestream.HistoryPoint, at int, err error) {
	if history, err = t.history(ctx); err != nil {
		return nil, 0, err
	}
	at = sort.Search(len(history), func(i int) bool {
		if err != nil {
			return false
		}
		var average float64
		if err = t.goTo(ctx, history[i]); err == nil {
			_, average, err = t.stars(ctx, "past")
		}
		return average == 1
	})
	if err == nil && at == len(history) {
		err = errors.New("there was no disaster")
	}
	return history, at, err
}

// printAround prints the points around one point.
func (t traveller) printAround(ctx context.Context, w io.Writer, history []litestream.HistoryPoint, at int) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "transaction\ttime\taverage\tlast event")
	for i := max(0, at-3); i < min(len(history), at+3); i++ {
		if err := t.goTo(ctx, history[i]); err != nil {
			return err
		}
		_, average, err := t.stars(ctx, "past")
		if err != nil {
			return err
		}
		var event string
		if err := t.conn.QueryRowContext(ctx, "SELECT kind || ': ' || detail FROM past.events ORDER BY id DESC LIMIT 1").Scan(&event); err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%.2f\t%s\n", history[i].TXID, formatTime(history[i].Time), average, event)
	}
	return table.Flush()
}

// goTo makes past show the state after one transaction.
func (t traveller) goTo(ctx context.Context, p litestream.HistoryPoint) error {
	_, err := t.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA past.litestream_txid = '%s'", p.TXID))
	return err
}

// goToTime makes past show the state after the newest transaction at or before
// a time.
func (t traveller) goToTime(ctx context.Context, at string) error {
	_, err := t.conn.ExecContext(ctx, fmt.Sprintf("PRAGMA past.litestream_time = '%s'", at))
	return err
}

// justBefore returns a time just before a transaction. LTX files store
// milliseconds.
func justBefore(p litestream.HistoryPoint) string { return formatTime(p.Time.Add(-time.Millisecond)) }

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// repair is one rating with its old and its new value.
type repair struct {
	id             int64
	sandwich, city string
	then, now      int
}

// String returns a statement that undoes the change, unless the rating has
// changed again since.
func (r repair) String() string {
	return fmt.Sprintf("UPDATE sandwich_ratings SET stars = %d WHERE id = %d AND stars = %d;", r.then, r.id, r.now)
}

// repairs compares the past with the present.
func (t traveller) repairs(ctx context.Context) (repairs []repair, err error) {
	rows, err := t.conn.QueryContext(ctx, `SELECT id, now.sandwich, now.city, past.stars, now.stars
		FROM main.sandwich_ratings AS now JOIN past.sandwich_ratings AS past USING (id)
		WHERE now.stars <> past.stars ORDER BY id`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r repair
		if err := rows.Scan(&r.id, &r.sandwich, &r.city, &r.then, &r.now); err != nil {
			return nil, err
		}
		repairs = append(repairs, r)
	}
	return repairs, rows.Err()
}
