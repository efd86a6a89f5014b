package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/memory"
)

// Weather says how bad the network is. Numbers are of a thousand requests.
type Weather struct {
	Latency time.Duration // longest time of a request or a reply on its way

	Refuse int // the store does nothing and says that it is not available
	Lose   int // the store does what it is asked for, and the reply is lost
	Repeat int // the reply is lost, and the client repeats the request by itself
	Late   int // the client repeats the request, and the first one arrives later as well
	Cut    int // a body, a listing or a list of deletes ends in the middle
}

// Break is a way in which a bucket breaks its contract. A world that does not
// notice it tests nothing.
type Break string

// The breaks. Each of them is for one client or for all.
const (
	BreakNothing   Break = ""
	BreakOverwrite Break = "a create replaces a file"
	BreakDrop      Break = "a file of level 0 is acknowledged and not stored"
	BreakVanish    Break = "a merged file vanishes"
	BreakPage      Break = "the store changes a page and its checksum"
	BreakMerge     Break = "a merged file lacks a page"
	BreakStamp     Break = "a transaction has the time of an hour before"
	BreakStale     Break = "what is newer than ten minutes is hidden"
)

// Bucket is the storage of a replica with its network. It is safe for concurrent
// use.
type Bucket struct {
	seed   uint64
	breaks Break
	files  *memory.ReplicaClient
	trace  *Trace
	clock  *Clock         // dates files when they come; nil: they are dated as their transactions
	wire   sync.WaitGroup // requests that arrive after the call that made them has returned

	mu struct {
		sync.Mutex
		weather  Weather
		calls    map[string]int // number of calls by name
		history  History
		violated *Violation            // the first one
		stored   map[fileKey]time.Time // when a file came
		merged   map[ltx.TXID]bool     // last transactions of files above level 0 that ever came
		broken   int                   // number of times that the contract was broken
	}
}

// fileKey is the name of a file.
type fileKey struct {
	level            int
	minTXID, maxTXID ltx.TXID
}

// String returns the name for traces.
func (k fileKey) String() string {
	return fmt.Sprintf("%d/%s", k.level, ltx.FormatFilename(k.minTXID, k.maxTXID))
}

// NewBucket returns an empty bucket, which breaks its contract in one way or not.
func NewBucket(seed uint64, breaks Break, trace *Trace) *Bucket {
	b := &Bucket{seed: seed, breaks: breaks, files: memory.NewReplicaClient(), trace: trace}
	if rng := NewRand(seed, "clock of the store"); rng.IntN(2) == 0 {
		clock := NewClock(rng)
		b.clock = &clock
	}
	b.mu.calls = make(map[string]int)
	b.mu.stored = make(map[fileKey]time.Time)
	b.mu.merged = make(map[ltx.TXID]bool)
	return b
}

// Files is the bucket without a network, for looking at what is there.
func (b *Bucket) Files() *memory.ReplicaClient { return b.files }

// SetWeather changes the network for calls that begin later.
func (b *Bucket) SetWeather(w Weather) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.weather = w
}

// AllowAnyStamp says that a primary of Litestream writes, which takes the times of
// transactions from its clock as they are.
func (b *Bucket) AllowAnyStamp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.history.AnyStamp = true
}

// Settle waits until no request is on its way any more.
func (b *Bucket) Settle() { b.wire.Wait() }

// Newest returns the newest transaction that ever came to the bucket, and the state
// that it gives.
func (b *Bucket) Newest() (ltx.TXID, Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	txid := b.mu.history.Newest()
	return txid, b.mu.history.Node(txid)
}

// Node returns the state that a transaction gave.
func (b *Bucket) Node(txid ltx.TXID) Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.history.Node(txid)
}

// Image returns the database file as of a transaction.
func (b *Bucket) Image(txid ltx.TXID) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.history.Image(txid)
}

// Broken returns how often the bucket has broken its contract on purpose.
func (b *Bucket) Broken() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.broken
}

// Violated returns the first violation by a file that came to the bucket, nil if
// there was none.
func (b *Bucket) Violated() *Violation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.violated
}

// Merged returns the last transactions of the files above level 0 that ever came to
// the bucket, in ascending order.
func (b *Bucket) Merged() []ltx.TXID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.mu.merged))
}

// Reachable returns the transactions whose state the files that are there give, in
// ascending order. It looks at names only.
func (b *Bucket) Reachable() ([]ltx.TXID, error) {
	infos, err := b.list(context.Background(), allLevels(), 0)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(infos, func(x, y *versioned) int { return cmp.Compare(x.MaxTXID, y.MaxTXID) })
	reached := map[ltx.TXID]bool{0: true}
	for _, info := range infos { // what a file is put on has a smaller transaction
		for txid := range reached {
			if info.MinTXID <= txid+1 && txid < info.MaxTXID {
				reached[info.MaxTXID] = true
				break
			}
		}
	}
	delete(reached, 0)
	return slices.Sorted(maps.Keys(reached)), nil
}

// Late returns the transactions whose file of level 0 has another content than the
// history, although a merged file has the transaction. A request may arrive after
// the process that made it has died, and after the file of that name was merged and
// deleted: no store can refuse that.
func (b *Bucket) Late() (late []ltx.TXID, err error) {
	infos, err := b.list(context.Background(), allLevels(), 0)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		merged := slices.ContainsFunc(infos, func(o *versioned) bool {
			return o.Level > 0 && o.MinTXID <= info.MinTXID && info.MaxTXID <= o.MaxTXID
		})
		if info.Level > 0 || !merged {
			continue
		}
		v, err := b.checkFile(&info.FileInfo)
		if err != nil {
			return nil, err
		}
		if v != nil {
			late = append(late, info.MinTXID)
		}
	}
	return late, nil
}

// checkFile compares a file with the history.
func (b *Bucket) checkFile(info *ltx.FileInfo) (*Violation, error) {
	body, err := b.read(context.Background(), keyOf(info), 0, 0)
	if err != nil {
		return nil, err
	}
	f, err := decode(body)
	if err != nil {
		return Violated(RuleOneFile, "%s: %v", keyOf(info), err), nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.history.check(keyOf(info).String(), f), nil
}

// RollBack brings the bucket and its history back to a transaction, which must be
// reachable. No request may be under way.
func (b *Bucket) RollBack(txid ltx.TXID) error {
	infos, err := b.list(context.Background(), allLevels(), 0)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.MaxTXID > txid {
			if err := b.delete(context.Background(), []*ltx.FileInfo{&info.FileInfo}, -1); err != nil {
				return err
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.history.states = b.mu.history.states[:txid:txid]
	maps.DeleteFunc(b.mu.merged, func(merged ltx.TXID, _ bool) bool { return merged > txid })
	return nil
}

// Check compares every file that is in the bucket with the history.
func (b *Bucket) Check() *Violation {
	infos, err := b.list(context.Background(), allLevels(), 0)
	if err != nil {
		return Violated(RuleOneFile, "%v", err)
	}
	for _, info := range infos {
		v, err := b.checkFile(&info.FileInfo)
		if err != nil {
			return Violated(RuleOneFile, "%v", err)
		}
		if v != nil {
			return v
		}
	}
	return nil
}

func keyOf(info *ltx.FileInfo) fileKey { return fileKey{info.Level, info.MinTXID, info.MaxTXID} }

func allLevels() (levels []int) {
	for level := range clientio.MaxLevel + 1 {
		levels = append(levels, level)
	}
	return levels
}

// versioned is an item of a listing.
type versioned struct {
	ltx.FileInfo
	version string
}

// list lists levels, in their order.
func (b *Bucket) list(ctx context.Context, levels []int, seek ltx.TXID) (items []*versioned, err error) {
	var version string
	ctx = clientio.WithVersionNoter(ctx, func(_ *ltx.FileInfo, v string) { version = v })
	for _, level := range levels {
		itr, err := b.files.LTXFiles(ctx, level, seek, false)
		if err != nil {
			return nil, err
		}
		for itr.Next() {
			items = append(items, &versioned{*itr.Item(), version})
		}
		if err := itr.Close(); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// read reads a part of a file.
func (b *Bucket) read(ctx context.Context, k fileKey, offset, size int64) ([]byte, error) {
	r, err := b.files.OpenLTXFile(ctx, k.level, k.minTXID, k.maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// put stores a file.
func (b *Bucket) put(ctx context.Context, k fileKey, body []byte, create bool) (*ltx.FileInfo, error) {
	b.mu.Lock() // so that files come to the history in the order in which they are stored
	defer b.mu.Unlock()
	stored := b.tamper(&k, body)
	info, err := b.store(ctx, k, stored, create && b.breaks != BreakOverwrite)
	if err != nil {
		return nil, err
	}
	b.mu.stored[k] = time.Now()
	told := body
	if b.breaks == BreakMerge || b.breaks == BreakStamp {
		told = stored
	}
	newest := b.mu.history.Newest()
	v := b.mu.history.Put(k.level, k.minTXID, k.maxTXID, told)
	twice := k.level == 0 && k.maxTXID <= newest // it may go again: Check looks at what stays
	if v != nil && b.mu.violated == nil && !twice {
		b.mu.violated = v
	}
	if k.level > 0 {
		b.mu.merged[k.maxTXID] = true
	}
	return info, nil
}

// store passes a file on, unless it is dropped.
func (b *Bucket) store(ctx context.Context, k fileKey, body []byte, create bool) (*ltx.FileInfo, error) {
	if b.breaks == BreakDrop && k.level == 0 && k.maxTXID%3 == 0 {
		b.mu.broken++
		return &ltx.FileInfo{Level: k.level, MinTXID: k.minTXID, MaxTXID: k.maxTXID, Size: int64(len(body)), CreatedAt: time.Now()}, nil
	}
	put := b.files.WriteLTXFile
	if create {
		put = b.files.CreateLTXFile
	}
	return put(ctx, k.level, k.minTXID, k.maxTXID, bytes.NewReader(body))
}

// delete deletes files. It fails before the n-th one.
func (b *Bucket) delete(ctx context.Context, infos []*ltx.FileInfo, n int) error {
	for i, info := range infos {
		if i == n {
			return errCut
		}
		if err := b.files.DeleteLTXFiles(ctx, infos[i:i+1]); err != nil {
			return err
		}
		b.mu.Lock()
		delete(b.mu.stored, keyOf(info))
		b.mu.Unlock()
	}
	return nil
}

// tamper returns what is stored in the place of a file. The caller holds b.mu.
func (b *Bucket) tamper(k *fileKey, body []byte) []byte {
	var change func(f *ltxFile) bool
	switch {
	case b.breaks == BreakPage && k.level == 0 && k.maxTXID > 1:
		change = func(f *ltxFile) bool {
			pgno := slices.Max(keys(f.pages))
			f.pages[pgno] = bytes.Clone(f.pages[pgno])
			f.pages[pgno][len(f.pages[pgno])-1] ^= 1
			return pgno > 1
		}
	case b.breaks == BreakMerge && k.level > 0 && k.minTXID > 1:
		change = func(f *ltxFile) bool {
			n := len(f.pages)
			delete(f.pages, slices.Max(keys(f.pages)))
			return n > 1
		}
	case b.breaks == BreakStamp && k.level == 0 && k.maxTXID > 1:
		change = func(f *ltxFile) bool {
			f.header.Timestamp -= time.Hour.Milliseconds()
			return true
		}
	default:
		return body
	}
	f, err := decode(body)
	if err != nil || !change(f) {
		return body
	}
	b.mu.broken++
	return encode(f)
}

func keys(pages map[uint32][]byte) (pgnos []uint32) {
	for pgno := range pages {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// encode returns the bytes of an LTX file.
func encode(f *ltxFile) []byte {
	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err == nil {
		err = enc.EncodeHeader(f.header)
	}
	pgnos := keys(f.pages)
	slices.Sort(pgnos)
	for _, pgno := range pgnos {
		if err == nil {
			err = enc.EncodePage(ltx.PageHeader{Pgno: pgno}, f.pages[pgno])
		}
	}
	if err == nil {
		err = enc.Close()
	}
	if err != nil {
		panic(fmt.Errorf("encode a file that was decoded: %w", err))
	}
	return buf.Bytes()
}

// Vanish deletes the newest file above level 0 that is the only one with its
// transactions, if there is one and the bucket is to break this way.
func (b *Bucket) Vanish() {
	if b.breaks != BreakVanish {
		return
	}
	infos, err := b.list(context.Background(), allLevels(), 0)
	if err != nil {
		return
	}
	for _, info := range slices.Backward(infos) {
		if info.Level > 0 {
			err = b.delete(context.Background(), []*ltx.FileInfo{&info.FileInfo}, -1)
			b.mu.Lock()
			b.mu.broken++
			b.mu.Unlock()
			b.trace.Add("bucket: %s vanishes, %v", keyOf(&info.FileInfo), err)
			return
		}
	}
}

// date sets the dates of listed files to those of the store, if it has a clock.
func (b *Bucket) date(items []*versioned) {
	if b.clock == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, item := range items {
		if at, ok := b.mu.stored[keyOf(&item.FileInfo)]; ok {
			item.CreatedAt = b.clock.at(at)
		}
	}
}

// isHidden reports whether a client does not see a file, although it should.
func (b *Bucket) isHidden(party string, k fileKey) bool {
	if b.breaks != BreakStale || party != Fresh {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at, known := b.mu.stored[k]
	if known && time.Since(at) < 10*time.Minute {
		b.mu.broken++
		return true
	}
	return false
}

var (
	errDead        = errors.New("the process is dead")
	errUnavailable = errors.New("503 slow down")
	errLost        = errors.New("connection reset by peer")
	errCut         = errors.New("unexpected end of the connection")
	errUnsupported = fmt.Errorf("list all levels: %w", errors.ErrUnsupported)
)

// errGone is what the store says of a file that does not exist.
func errGone(k fileKey) error { return fmt.Errorf("read %s: %w", k, fs.ErrNotExist) }
