//go:build cgo

package litestream_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/file" // the scheme file
)

// Example is the program in the README.
func Example() {
	db, err := litestream.Open("file:testdata/replicas/sandwiches", nil) // or s3://bucket/path
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
