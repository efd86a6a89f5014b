package replicatest

import (
	"context"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// fake is a sound client, each of whose methods a mutant can replace. What it
// replaces can still be reached by the memory client within.
type fake struct {
	*memory.ReplicaClient

	init    func(ctx context.Context) error
	list    func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)
	listAll func(ctx context.Context, useMetadata bool) (ltx.FileIterator, error)
	open    func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)
	write   put
	create  put
	copy    func(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error)
	delete  func(ctx context.Context, a []*ltx.FileInfo) error
	survey  func(ctx context.Context, dir string) (replica.Survey, error)

	mu      sync.Mutex // guards foreign and at
	foreign []string
	at      map[string][]byte // objects at the place of the replica

	meeting *meeting // one for all clients of a store

	resolve func(below string) string // the place that the end of a URL leads to
	places  *places                   // one for all clients of a store
}

// places are the replicas below that of a fake, and what uploads have left there.
type places struct {
	mu     sync.Mutex // guards the rest
	byPath map[string]*memory.ReplicaClient
	left   []string
}

func (p *places) leave(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = append(p.left, name)
}

func (p *places) unfinished() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.left)
}

func (p *places) at(path string) *memory.ReplicaClient {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byPath[path] == nil {
		p.byPath[path] = memory.NewReplicaClient()
	}
	return p.byPath[path]
}

// names returns the names of the places directly below that of the fake.
func (p *places) names() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for path := range p.byPath {
		first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if name := first + "/"; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// resolvePath is what a sound client does with the end of a URL.
func resolvePath(below string) string {
	unescaped, err := url.PathUnescape(below)
	if err != nil {
		panic(err) // the suite escapes
	}
	return path.Clean("/" + unescaped)
}

// belowFake is a client of a place below that of a fake.
type belowFake struct {
	*memory.ReplicaClient
	path string
}

func (b belowFake) ReplicaIdentity() string { return "fake:" + b.path }

// atBelow returns a client of a place below.
func (f *fake) atBelow(below string) replica.Client {
	if below == "" {
		return f
	}
	path := f.resolve(below)
	return belowFake{f.places.at(path), path}
}

func newFake(store *memory.ReplicaClient) *fake {
	f := &fake{
		ReplicaClient: store,
		meeting:       &meeting{second: make(chan struct{})},
		resolve:       resolvePath,
		places:        &places{byPath: map[string]*memory.ReplicaClient{}},
		init:          func(context.Context) error { return nil },
		list:          store.LTXFiles,
		listAll:       store.AllLTXFiles,
		open:          store.OpenLTXFile,
		write:         store.WriteLTXFile,
		create:        store.CreateLTXFile,
		copy:          store.CopyLTXFile,
		delete:        store.DeleteLTXFiles,
	}
	f.survey = f.surveyAll
	return f
}

var (
	_ replica.Client            = (*fake)(nil)
	_ replica.Initializer       = (*fake)(nil)
	_ replica.LTXFileCreator    = (*fake)(nil)
	_ replica.LTXFileCopier     = (*fake)(nil)
	_ replica.AllLTXFilesLister = (*fake)(nil)
	_ replica.Surveyor          = (*fake)(nil)
)

func (f *fake) Init(ctx context.Context) error { return f.init(ctx) }

func (f *fake) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return f.list(ctx, level, seek, useMetadata)
}

func (f *fake) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return f.listAll(ctx, useMetadata)
}

func (f *fake) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return f.open(ctx, level, minTXID, maxTXID, offset, size)
}

func (f *fake) CopyLTXFile(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	if other, ok := from.(*fake); ok {
		from = other.ReplicaClient
	}
	return f.copy(ctx, from, level, minTXID, maxTXID)
}

func (f *fake) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return f.write(ctx, level, minTXID, maxTXID, r)
}

func (f *fake) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return f.create(ctx, level, minTXID, maxTXID, r)
}

func (f *fake) Survey(ctx context.Context, dir string) (replica.Survey, error) {
	return f.survey(ctx, dir)
}

// surveyAll is the survey of the memory client with the objects of placeAt.
func (f *fake) surveyAll(ctx context.Context, dir string) (replica.Survey, error) {
	s, err := f.ReplicaClient.Survey(ctx, dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	names := slices.Clone(s.Names)
	if dir == "" {
		names = append(names, f.places.names()...)
	}
	if err != nil || len(names)+len(f.at) == len(s.Names) {
		return s, err
	}
	for name := range f.at {
		rest, ok := strings.CutPrefix(name, dir)
		if first, _, below := strings.Cut(rest, "/"); below {
			rest = first + "/"
		}
		if ok && !slices.Contains(names, rest) {
			names = append(names, rest)
		}
	}
	all := replica.Survey(clientio.NewSurvey(names, false, clientio.NewLayout("")))
	if dir == "" {
		all.Head = f.at[""]
		all.Head = all.Head[:min(len(all.Head), replica.SurveyHeadSize)]
	}
	return all, nil
}

func (f *fake) placeAt(name string, body []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == nil {
		f.at = make(map[string][]byte)
	}
	f.at[name] = body
}

func (f *fake) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return f.delete(ctx, a)
}

// editList changes what both kinds of listing give. edit gets the items in
// order, and level -1 for a listing of all.
func (f *fake) editList(edit func(level int, infos []*ltx.FileInfo) []*ltx.FileInfo) {
	list, listAll := f.list, f.listAll
	edited := func(level int, itr ltx.FileIterator, err error) (ltx.FileIterator, error) {
		if err != nil {
			return nil, err
		}
		infos, err := drain(itr)
		if err != nil {
			return nil, err
		}
		return &sliceIterator{infos: edit(level, infos)}, nil
	}
	f.list = func(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
		itr, err := list(ctx, level, seek, useMetadata)
		return edited(level, itr, err)
	}
	f.listAll = func(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
		itr, err := listAll(ctx, useMetadata)
		return edited(-1, itr, err)
	}
}

// editBody changes the body that is read; edit gets it whole.
func (f *fake) editBody(edit func(ctx context.Context, body []byte, offset, size int64) (io.ReadCloser, error)) {
	open := f.open
	f.open = func(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
		r, err := open(ctx, level, minTXID, maxTXID, 0, 0)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		return edit(ctx, body, offset, size)
	}
}

// editPut changes write and create alike.
func (f *fake) editPut(edit func(inner put) put) {
	f.write, f.create = edit(f.write), edit(f.create)
}

// meeting makes calls that may overlap do so.
type meeting struct {
	calls  atomic.Int64
	second chan struct{}
}

// attend returns the number of the call, from 1. The first call waits for the
// second.
func (m *meeting) attend() int64 {
	n := m.calls.Add(1)
	switch n {
	case 1:
		<-m.second
	case 2:
		close(m.second)
	}
	return n
}

func (f *fake) placeForeign(_ *testing.T, _ replica.Client, _ int, name string, _ []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.foreign = append(f.foreign, name)
}

// sliceIterator lists infos as they are.
type sliceIterator struct {
	infos    []*ltx.FileInfo
	item     *ltx.FileInfo
	closeErr func(left int) error // of Close, with files left
}

func (itr *sliceIterator) Next() bool {
	if len(itr.infos) == 0 {
		return false
	}
	itr.item, itr.infos = itr.infos[0], itr.infos[1:]
	return true
}

func (itr *sliceIterator) Item() *ltx.FileInfo { return itr.item }

func (itr *sliceIterator) Err() error { return nil }

func (itr *sliceIterator) Close() error {
	if itr.closeErr != nil {
		return itr.closeErr(len(itr.infos))
	}
	return nil
}
