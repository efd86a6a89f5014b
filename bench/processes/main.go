//go:build linux

// Command processes measures processes of a host that share one local copy: two each in
// Go with mattn/go-sqlite3, in Go with ncruces/go-sqlite3, in Python and in Node.js. An S3
// server in this process counts what they ask for.
//
//	eval "$(scripts/clients install)"; export LITESTREAM_TEST_EXTENSION=$(scripts/extension | tail -n 1)
//	cd bench && go run ./processes
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	c := config{}
	flag.IntVar(&c.megabytes, "mb", 200, "size of the database")
	flag.DurationVar(&c.latency, "latency", 20*time.Millisecond, "of a request")
	flag.DurationVar(&c.poll, "poll", 200*time.Millisecond, "interval of polls")
	flag.DurationVar(&c.pollTime, "polltime", 12*time.Second, "how long polls are counted")
	flag.IntVar(&c.lookups, "lookups", 2000, "number of lookups")
	flag.IntVar(&c.runs, "runs", 5, "runs of each query, of which the median counts")
	flag.BoolVar(&c.apart, "apart", true, "also with a copy for each process")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := c.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "processes:", err)
		os.Exit(1)
	}
	r.print(os.Stdout)
}
