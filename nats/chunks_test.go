package nats_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/nats"
)

// pieces is a reader that returns parts of random sizes, as the pipe from an encoder
// does. The library makes a message of each.
type pieces struct {
	data []byte
	rnd  *rand.Rand
	most int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(len(p.data), 1+p.rnd.IntN(p.most))])
	p.data = p.data[n:]
	return n, nil
}

// Chunks may have any size, and those of two writers may be mixed. Every range is
// read right, from clients that begin with any range.
func TestChunks(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	bucket := newBucket(t, url)
	store := objectStore(t, url, bucket)
	const size = 200_000
	bodies := map[ltx.TXID][]byte{}
	group, ctx := errgroup.WithContext(t.Context())
	for txid := ltx.TXID(1); txid <= 6; txid++ {
		body := make([]byte, size+rnd.IntN(1000))
		for i := range body {
			body[i] = byte(rnd.Uint32())
		}
		bodies[txid] = body
		most := []int{1 << 20, 600, 5000, 70_000}[int(txid)%4]
		meta := jetstream.ObjectMeta{Name: fmt.Sprintf("some/path/ltx/0/%s", ltx.FormatFilename(txid, txid))}
		if txid == 6 {
			meta.Opts = &jetstream.ObjectMetaOptions{ChunkSize: 5000}
		}
		source := &pieces{body, rand.New(rand.NewPCG(seed, uint64(txid))), most}
		group.Go(func() error {
			_, err := store.Put(ctx, meta, source)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for txid, body := range bodies {
		for range 3 {
			client := newClient(t, url, bucket)
			if rnd.IntN(2) == 0 {
				client.ChunkCacheSize = -1
			}
			for range 20 {
				offset, n := rnd.Int64N(size+2000), rnd.Int64N(50_000)
				if rnd.IntN(4) == 0 {
					n = rnd.Int64N(2 * size)
				}
				want := body[min(offset, int64(len(body))):]
				if n > 0 {
					want = want[:min(n, int64(len(want)))]
				}
				if got := readRange(t, client, txid, offset, n); !bytes.Equal(got, want) {
					t.Fatalf("file %d: %d bytes at %d come out as %d others", txid, n, offset, len(got))
				}
			}
		}
	}
}

func readRange(t testing.TB, client *nats.ReplicaClient, txid ltx.TXID, offset, size int64) []byte {
	t.Helper()
	r, err := client.OpenLTXFile(t.Context(), 0, txid, txid, offset, size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// An object of chunks of any size is measured by the headers of its messages, and a
// range of it transfers the chunks of the range.
func TestChunks_Measure(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	body := make([]byte, 4<<20)
	store := objectStore(t, url, bucket)
	if _, err := store.Put(t.Context(), jetstream.ObjectMeta{Name: "some/path/ltx/0/" + ltx.FormatFilename(1, 1)},
		&pieces{body, rand.New(rand.NewPCG(1, 2)), 20_000}); err != nil {
		t.Fatal(err)
	}
	rec := newRecorder(t, url)
	client := newClient(t, rec.url, bucket)
	if got := readRange(t, client, 1, 2<<20, 4096); len(got) != 4096 {
		t.Errorf("%d bytes", len(got))
	}
	_, _, received := rec.take()
	t.Logf("the first read transfers %d bytes", received)
	if received > len(body)/16 {
		t.Errorf("the first read transfers %d bytes", received)
	}
	for range 3 {
		readRange(t, client, 1, 1<<20, 4096)
		if text, requests, received := rec.take(); received > 64<<10 || requests > 5 {
			t.Errorf("a read transfers %d bytes with %d requests:\n%s", received, requests, text)
		}
	}
}

// A program may store chunks of other sizes than its description says, of which the last
// one tells nothing.
func TestChunks_OtherSizes(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	js := library(t, url)
	publish := func(subject string, data []byte) {
		if _, err := js.Publish(t.Context(), subject, data); err != nil {
			t.Fatal(err)
		}
	}
	body := ltxFile(1, 3*128)
	for i := range body {
		body[i] = byte(i)
	}
	publish("$O."+bucket+".C.x", body[:100])
	publish("$O."+bucket+".C.x", body[100:256])
	publish("$O."+bucket+".C.x", body[256:])
	key := "some/path/ltx/0/" + ltx.FormatFilename(1, 1)
	publish("$O."+bucket+".M."+base64.URLEncoding.EncodeToString([]byte(key)),
		fmt.Appendf(nil, `{"name":%q,"bucket":%q,"nuid":"x","size":%d,"chunks":3,"options":{"max_chunk_size":128}}`, key, bucket, len(body)))
	if got := readRange(t, newClient(t, url, bucket), 1, 0, 0); !bytes.Equal(got, body) {
		t.Errorf("%d bytes come out as %d others", len(body), len(got))
	}
}

// A version that was read and is replaced is missing for a reader of that version,
// and not a mixture.
func TestReplaced(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	writer, reader := newClient(t, url, bucket), newClient(t, url, bucket)
	write(t, writer, 1, 300_000)
	var version string
	ctx := clientio.WithReadNoter(t.Context(), func(v string) { version = v })
	r, err := reader.OpenLTXFile(ctx, 0, 1, 1, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	write(t, writer, 1, 400_000)
	_, err = reader.OpenLTXFile(clientio.WithVersion(t.Context(), version), 0, 1, 1, 150_000, 10)
	if other := new(clientio.OtherVersionError); !asError(err, &other) || other.Want != version {
		t.Errorf("got error %v, want that the file was replaced", err)
	}
	if got := readRange(t, reader, 1, 0, 0); len(got) != 400_000 {
		t.Errorf("%d bytes of the new version", len(got))
	}
	if err := writer.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}); err != nil {
		t.Fatal(err)
	}
	if info, err := library(t, url).Stream(t.Context(), "OBJ_"+bucket); err != nil || info.CachedInfo().State.Msgs != 0 {
		t.Errorf("%d messages are left after a deletion, %v", info.CachedInfo().State.Msgs, err)
	}
}

// A bucket that was made anew numbers its messages from 1 again. A reader that has chunks
// of the old one does not take them for those of the new one.
func TestReplaced_Bucket(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	for _, size := range []int{300_000, 299_000, 150_000} {
		bucket := newBucket(t, url)
		reader := newClient(t, url, bucket)
		put := func(fill byte, size int) []byte {
			body := ltxFile(1, size)
			for i := size / 2; i < size; i++ {
				body[i] = fill
			}
			if _, err := newClient(t, url, bucket).WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err != nil {
				t.Fatal(err)
			}
			return body
		}
		old := put(1, 300_000)
		if got := readRange(t, reader, 1, 0, 0); !bytes.Equal(got, old) {
			t.Fatalf("read %d other bytes", len(got))
		}
		if err := library(t, url).DeleteObjectStore(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		if _, err := library(t, url).CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: bucket, Storage: jetstream.MemoryStorage}); err != nil {
			t.Fatal(err)
		}
		want := put(2, size)
		if got := readRange(t, reader, 1, 0, 0); !bytes.Equal(got, want) {
			t.Errorf("%d bytes of a file of %d bytes in the new bucket are other ones", len(got), size)
		}
	}
}

// Sixteen clients create one file. One succeeds, and nothing of the others is left.
func TestCreate_Race(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	for _, before := range []string{"nothing", "a mark of a deletion"} {
		bucket := newBucket(t, url)
		if before != "nothing" {
			store := objectStore(t, url, bucket)
			name := "some/path/ltx/0/" + ltx.FormatFilename(1, 1)
			if _, err := store.PutBytes(t.Context(), name, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if err := store.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		var errs [16]error
		var group errgroup.Group
		for i := range errs {
			client := newClient(t, url, bucket)
			group.Go(func() error {
				_, errs[i] = client.CreateLTXFile(context.Background(), 0, 1, 1, bytes.NewReader(ltxFile(1, 200_000+i)))
				return nil
			})
		}
		_ = group.Wait() // the errors are in errs
		won := -1
		for i, err := range errs {
			switch {
			case err == nil && won >= 0:
				t.Errorf("%s: clients %d and %d created the file", before, won, i)
			case err == nil:
				won = i
			case !isExist(err):
				t.Errorf("%s: client %d: %v", before, i, err)
			}
		}
		if won < 0 {
			t.Fatalf("%s: no client created the file: %v", before, errs)
		}
		if got := readRange(t, newClient(t, url, bucket), 1, 0, 0); len(got) != 200_000+won {
			t.Errorf("%s: the file has %d bytes, and not those of client %d", before, len(got), won)
		}
		stream, err := library(t, url).Stream(t.Context(), "OBJ_"+bucket)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().State.Msgs; n != 3 {
			t.Errorf("%s: %d messages are stored, want two chunks and a description", before, n)
		}
	}
}
