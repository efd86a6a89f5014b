package sqlsuite

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var readCases = []testCase{
	{name: "the rows are those of plain SQLite", run: func(e *env) {
		r, p, content := e.filled()
		p.compare(content.queries...)
		p.replica.close()
		for _, params := range [][]string{nil, {"cache_size=-1"}, {"mode=ro"}, writing} {
			in := e.start()
			p.replica = in.reader(r, params...)
			p.compare(content.queries...)
			if e.hydrated {
				p.replica.complete()
			}
			p.replica = in.reader(r, params...) // its SQLite has no page yet
			p.compare(content.queries...)
		}
	}},

	{name: "the rows are those of Litestream", run: func(e *env) {
		r := e.replicaAt(e.copyReplica("sandwiches"))
		in := e.start()
		for range 2 {
			c := in.reader(r)
			c.want("SELECT count(*), min(stars), max(stars) FROM sandwich_ratings", "4988|1|1")
			c.want("PRAGMA litestream_txid", "0000000000000045")
			c.want("PRAGMA journal_mode", "delete")
			c.check()
			if e.hydrated {
				c.complete()
			}
		}
	}},

	{name: "formats after WAL are as unknown as to plain SQLite", run: func(e *env) {
		in := e.start()
		path := filepath.Join(e.TempDir(), "plain.db")
		w := in.connect(fileURI(path))
		w.runAll("PRAGMA page_size = 1024", "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		w.close()
		image, err := os.ReadFile(path)
		if err != nil {
			e.Fatal(err)
		}
		results := func(uri string) string {
			c, err := in.tryConnect(uri) // some drivers read the header at once
			if err != nil {
				return fmt.Sprintf("open: error %d", e.code(err))
			}
			return c.result("SELECT * FROM t") + "\n" + c.result("INSERT INTO t VALUES (2)") + "\n" + c.result("SELECT * FROM t")
		}
		for _, version := range []struct {
			write, read byte
			want        string
		}{{1, 1, "1\n\n1\n2"}, {3, 1, "readonly"}, {3, 3, "error 26"}} {
			const writeVersion, readVersion = 18, 19 // offsets in SQLite's header
			image[writeVersion], image[readVersion] = version.write, version.read
			if err := os.WriteFile(path, image, 0o600); err != nil {
				e.Fatal(err)
			}
			got, want := results(in.uri(e.replicaOf(image, 1024), writing...)), results(fileURI(path))
			if got != want || !strings.Contains(want, version.want) {
				e.Errorf("write version %d, read version %d: got %q, plain SQLite gives %q", version.write, version.read, got, want)
			}
		}
	}},

	{name: "a transaction sees one state", run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.runAll("CREATE TABLE t (v, pad)", numbers("500")+"INSERT INTO t SELECT i, zeroblob(200) FROM n")
		const query = "SELECT count(*), sum(v) FROM t"
		reader := in.writer(r)
		reader.runAll("PRAGMA cache_size = 5", "BEGIN") // so that it reads pages again
		reader.want(query, "500|125250")
		w.runAll("UPDATE t SET v = v + 1", "DELETE FROM t WHERE v % 2", "CREATE TABLE u (v)", "VACUUM")
		w.sync()
		reader.want(query, "500|125250")
		reader.fails(codeError, "no such table", "SELECT * FROM u")
		reader.check()
		reader.run("COMMIT")
		reader.want(query, w.run(query))
		reader.want("SELECT count(*) FROM u", "0")
	}},

	{name: "a connection reads a blob in parts", run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.runAll("CREATE TABLE b (k INTEGER PRIMARY KEY, v BLOB)", "CREATE TABLE pad (v)")
		blob := make([]byte, 150_000)
		for i := range blob {
			blob[i] = byte(i * i >> 7)
		}
		for k := range 3 {
			w.run("INSERT INTO b VALUES (?, ?)", k, blob[:len(blob)-k])
			w.run("INSERT INTO pad VALUES (?)", blob[:5000+k])
		}
		w.sync()
		c := e.start().reader(r)
		if e.hydrated {
			c.complete()
		}
		for k := range 3 {
			var got []byte
			if err := c.c.QueryRowContext(e.ctx, "SELECT v FROM b WHERE k = ?", k).Scan(&got); err != nil || string(got) != string(blob[:len(blob)-k]) {
				e.Errorf("blob %d has %d bytes, %v", k, len(got), err)
			}
			const at = 123_456
			if got, want := c.run("SELECT substr(v, ?, 50) FROM b WHERE k = ?", at+1, k), valueText(blob[at:at+50]); got != want {
				e.Errorf("part of blob %d is %s, want %s", k, got, want)
			}
		}
	}},

	{name: "types and arguments keep their values", run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.run("CREATE TABLE t (v)")
		for _, v := range []any{nil, int64(-1 << 63), int64(1<<63 - 1), 0.1, -1e308, "", "text\x01 with ' and \"", []byte{}, []byte{0, 1, 255}} {
			w.run("INSERT INTO t VALUES (?)", v)
		}
		w.sync()
		e.start().reader(r).want("SELECT typeof(v), quote(v) FROM t ORDER BY rowid", "null|NULL\ninteger|-9223372036854775808\ninteger|9223372036854775807\n"+
			"real|0.1\nreal|-1.0e+308\ntext|''\ntext|'text\x01 with '' and \"'\nblob|X''\nblob|X'0001FF'")
	}},
}
