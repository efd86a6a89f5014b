//go:build cgo

package litestream_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	_ "github.com/mattn/go-sqlite3"
)

// Example is the program in the README. Other VFSs are registered already when
// it registers its own: examples run after the tests.
func Example() {
	client := file.NewReplicaClient("testdata/replicas/sandwiches")
	vfs := litestream.NewVFS(client)
	if err := litestream.RegisterVFS("litestream", vfs); err != nil {
		log.Fatal(err)
	}
	defer vfs.Close(context.Background())

	db, err := sql.Open("sqlite3", "file:ratings.db?vfs=litestream&mode=ro")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	// What the primary has, at most about a second ago.
	var ratings int
	var average float64
	const query = "SELECT count(*), avg(stars) FROM sandwich_ratings"
	if err := db.QueryRow(query).Scan(&ratings, &average); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("now:  %d ratings, %.2f stars\n", ratings, average)

	// What it had at some moment. Time travel is for one connection.
	conn, err := db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(context.Background(), "PRAGMA litestream_time = '2026-03-14 11:59:49'"); err != nil {
		log.Fatal(err)
	}
	if err := conn.QueryRowContext(context.Background(), query).Scan(&ratings, &average); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("then: %d ratings, %.2f stars\n", ratings, average)
	// Output:
	// now:  4988 ratings, 1.00 stars
	// then: 4988 ratings, 2.99 stars
}

// TestREADME_ProgramIsExample compares the program in the README with the
// example above, which is compiled and run.
func TestREADME_ProgramIsExample(t *testing.T) {
	body := func(name, head string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(b), "\n"+head+" {\n")
		body, _, ended := strings.Cut(rest, "\n}\n")
		if !found || !ended {
			t.Fatalf("%s has no %s", name, head)
		}
		return body
	}
	readme, example := body("README.md", "func main()"), body("example_test.go", "func Example()")
	if readme != example {
		t.Errorf("the README has:\n%s\nthe example is:\n%s", readme, example)
	}
}
