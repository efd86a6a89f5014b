package replicatest

import (
	"context"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/superfly/ltx"
)

var placeMutants = []mutant{
	{
		name:   "unescapes twice",
		killed: []string{"Places/a place may have any characters in its name"},
		mutate: func(f *fake) {
			f.resolve = func(below string) string {
				once := resolvePath(below)
				if twice, err := url.PathUnescape(once); err == nil {
					return twice
				}
				return once
			}
		},
	},
	{
		name:   "reads a plus as a space",
		killed: []string{"Places/a place may have any characters in its name"},
		mutate: func(f *fake) {
			f.resolve = func(below string) string { return strings.ReplaceAll(resolvePath(below), "+", " ") }
		},
	},
	{
		name:   "does not unescape",
		killed: []string{"Places/a place may have any characters in its name"},
		mutate: func(f *fake) { f.resolve = func(below string) string { return below } },
	},
	{
		name:   "keeps slashes",
		killed: []string{"Places/slashes between and after names do not count"},
		mutate: func(f *fake) {
			f.resolve = func(below string) string { return strings.TrimSuffix(below, "/") }
		},
	},
	{
		name:   "compares the beginnings of names",
		killed: []string{"Places/a place whose name begins like another one is apart from it"},
		mutate: func(f *fake) {
			f.resolve = func(below string) string { return resolvePath(below)[:len("/app")-1] }
		},
	},
}

var leftMutants = []mutant{
	{
		name:   "leaves an upload behind when it does not succeed",
		killed: []string{"CreateLTXFile/the calls that do not succeed leave nothing behind"},
		props:  func(p *Properties) { p.Timeout = 300 * time.Millisecond },
		mutate: func(f *fake) {
			f.create = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
				info, err := f.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
				if err != nil {
					f.places.leave(".tmp")
				}
				return info, err
			}
		},
	},
}
