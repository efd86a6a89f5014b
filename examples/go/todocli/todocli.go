// Package todocli is the command line that the programs of this module have in
// common.
//
//	PROGRAM add TITLE    # adds to the list in write mode, and prints the transaction
//	PROGRAM list         # prints the list
//	PROGRAM follow       # prints the list, then waits for each transaction on standard input and prints it again
package todocli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	_ "github.com/ltxvfs/litestream/s3" // gs and abs are imported in the same way
)

func init() { slog.SetLogLoggerLevel(slog.LevelWarn) }

// URL returns the place of the replica: file:///path, or s3://bucket/path.
func URL() string { return cmp.Or(os.Getenv("LITESTREAM_REPLICA_URL"), "file:///tmp/todos") }

// IsWriter reports whether this process writes. One process at a time can.
func IsWriter() bool { return len(os.Args) > 1 && os.Args[1] == "add" }

// List is a list in a database.
type List struct {
	Add    func(title string) (txid string, err error)
	Titles func() ([]string, error)
	Wait   func(txid string) error
	Close  func() error // closes the database
}

// Run runs the command, and returns the status of the process.
func Run(list List, err error) int {
	if err == nil {
		err = errors.Join(list.run(os.Args[1:]), list.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (l List) run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "add":
		txid, err := l.Add(args[1])
		if err != nil {
			return err
		}
		fmt.Println(txid)
		return nil
	case len(args) == 1 && args[0] == "list":
		return l.show()
	case len(args) == 1 && args[0] == "follow":
		return l.follow()
	}
	return errors.New("want add TITLE, list or follow")
}

func (l List) follow() error {
	if err := l.show(); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := l.Wait(lines.Text()); err != nil {
			return err
		}
		if err := l.show(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (l List) show() error {
	titles, err := l.Titles()
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(titles, ", "))
	return nil
}
