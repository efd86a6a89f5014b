"""Reading, following, time travel, writing and hydration, in folders and on an S3 server."""

import contextlib
import json
import sqlite3

import litestream_vfs

from .support import QUICK, WRITER, Case, FolderStore, S3Store, one, wait_until

ROWS = [(i, f"row {i}") for i in range(1, 501)]


class Databases:
    def write(self, url, *statements):
        """Run statements in another process, and return the TXID that has them."""
        txid, _ = self.run_script(WRITER, url, *statements)
        return txid

    def make(self, url, rows=ROWS):
        """Make a database with a table t."""
        with contextlib.closing(litestream_vfs.connect(url, write_enabled=True)) as conn:
            conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
            conn.executemany("INSERT INTO t VALUES (?, ?)", rows)
            conn.commit()
            return one(conn, "PRAGMA litestream_sync")

    def rows(self, conn, schema="main"):
        return conn.execute(f"SELECT id, text FROM {schema}.t ORDER BY id").fetchall()

    def test_writes_and_reads(self):
        url = self.replica()
        txid = self.make(url)
        conn = self.connect(url)
        self.assertEqual(self.rows(conn), ROWS)
        self.assertEqual(one(conn, "PRAGMA integrity_check"), "ok")
        self.assertEqual(one(conn, "PRAGMA litestream_txid"), txid)
        self.assertEqual(one(conn, "SELECT litestream_txid()"), txid)
        self.assertEqual(one(conn, "SELECT litestream_write_enabled()"), 0)

    def test_follows_another_process(self):
        url = self.replica()
        self.make(url, ROWS[:1])
        conn = self.connect(url, isolation_level=None, **QUICK)
        conn.execute("BEGIN")
        self.assertEqual(self.rows(conn), ROWS[:1])
        txid = self.write(url, "INSERT INTO t VALUES (2, 'row 2')")
        status = lambda: json.loads(one(conn, "PRAGMA litestream_status"))
        wait_until(lambda: status()["txid"] == txid, "news")
        self.assertEqual(self.rows(conn), ROWS[:1], "the transaction sees what is newer than it")
        conn.execute("COMMIT")
        self.assertEqual(self.rows(conn), ROWS[:2])
        self.write(url, "INSERT INTO t VALUES (3, 'row 3')")
        wait_until(lambda: self.rows(conn) == ROWS[:3], "third row")

    def test_connections_of_a_process_see_commits_at_once(self):
        url = self.replica()
        options = {"write_enabled": True, "sync_interval": -1, "poll_interval": -1}
        writer, reader = self.connect(url, **options), self.connect(url, **options)
        with writer:
            writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        for i, row in enumerate(ROWS[:20], 1):
            with writer:
                writer.execute("INSERT INTO t VALUES (?, ?)", row)
            self.assertEqual(self.rows(reader), ROWS[:i])

    def test_travels_in_time(self):
        url = self.replica()
        first = self.make(url, ROWS[:1])
        second = self.write(url, "INSERT INTO t VALUES (2, 'row 2')")
        last = self.write(url, "UPDATE t SET text = 'oops'")
        oops = [(1, "oops"), (2, "oops")]
        conn = self.connect(url)
        history = {point["txid"]: point["time"] for point in json.loads(one(conn, "PRAGMA litestream_history"))}
        self.assertEqual(list(history), [first, second, last])

        self.assertEqual(self.rows(conn), oops)
        self.assertEqual(one(conn, "SELECT litestream_set_txid(?)", [first]), first)
        self.assertEqual(self.rows(conn), ROWS[:1])
        one(conn, "SELECT litestream_set_time(?)", [history[second]])
        self.assertEqual(one(conn, "SELECT litestream_txid()"), second)
        self.assertEqual(self.rows(conn), ROWS[:2])
        one(conn, "SELECT litestream_set_time('latest')")
        self.assertEqual(self.rows(conn), oops)

        # The present and the past side by side.
        conn.execute("ATTACH ? AS past", [litestream_vfs.uri(url)])
        conn.execute(f"PRAGMA past.litestream_txid = '{second}'")
        self.assertEqual(one(conn, "PRAGMA past.litestream_txid"), second)
        changed = "SELECT now.text, past.text FROM main.t AS now JOIN past.t AS past USING (id) ORDER BY id"
        self.assertEqual(conn.execute(changed).fetchall(), [("oops", "row 1"), ("oops", "row 2")])

    def test_tells_what_has_changed(self):
        url = self.replica()
        first = self.make(url, ROWS[:3])
        self.write(url, "UPDATE t SET text = 'TWO' WHERE id = 2", "DELETE FROM t WHERE id = 3", "INSERT INTO t VALUES (4, NULL)")
        conn = self.connect(url)
        query = "SELECT kind, rowid, old, new FROM litestream_changes('t', ?)"
        rows = [(kind, rowid, *(v and json.loads(v) for v in values)) for kind, rowid, *values in conn.execute(query, [first])]
        self.assertEqual(
            rows,
            [
                ("update", 2, {"id": 2, "text": "row 2"}, {"id": 2, "text": "TWO"}),
                ("delete", 3, {"id": 3, "text": "row 3"}, None),
                ("insert", 4, None, {"id": 4, "text": None}),
            ],
        )
        cursor = conn.execute(query, [first])
        self.assertEqual(cursor.fetchone()[0], "update")
        cursor.close()  # in the middle
        with self.assertRaisesRegex(sqlite3.OperationalError, "litestream_changes: no such table: u"):
            conn.execute("SELECT * FROM litestream_changes('u', ?)", [first])
        self.assertEqual(len(conn.execute(query, [first]).fetchall()), 3)

    def test_sync(self):
        url = self.replica()
        conn = self.connect(url, write_enabled=True, sync_interval=-1)
        with conn:
            conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        reader = "import json, sys, litestream_vfs\nconn = litestream_vfs.connect(sys.argv[1])\n" + (
            "print(json.dumps([conn.execute('PRAGMA litestream_txid').fetchone(), *conn.execute('SELECT * FROM t')]))"
        )
        for i, row in enumerate(ROWS[:2], 1):
            with conn:
                conn.execute("INSERT INTO t VALUES (?, ?)", row)
            txid = one(conn, "PRAGMA litestream_sync")
            found, _ = self.run_script(reader, url)
            self.assertEqual(found, [[txid], *map(list, ROWS[:i])])
        self.assertEqual(one(conn, "SELECT litestream_sync()"), txid, "nothing was committed since")

    def test_sync_on_commit(self):
        url = self.replica()
        conn = self.connect(url, write_enabled=True, sync_interval=-1, sync_on_commit=True)
        with conn:
            conn.execute("CREATE TABLE t (id)")
        write = json.loads(one(conn, "PRAGMA litestream_status"))["write"]
        self.assertEqual([write["commits"], write["unsynced"]], [1, 0])

    def test_write_enabled_is_switched(self):
        url = self.replica()
        self.make(url, ROWS[:1])
        conn = self.connect(url, mode="rw")
        with self.assertRaisesRegex(sqlite3.OperationalError, "readonly"):
            conn.execute("DELETE FROM t")
        conn.rollback()
        self.assertEqual(one(conn, "SELECT litestream_set_write_enabled(1)"), 1)
        with conn:
            conn.execute("INSERT INTO t VALUES (?, ?)", ROWS[1])
        self.assertEqual(one(conn, "SELECT litestream_set_write_enabled(0)"), 0)
        self.assertEqual(self.rows(conn), ROWS[:2])
        with self.assertRaisesRegex(sqlite3.OperationalError, "readonly"):
            conn.execute("DELETE FROM t")

    def test_hydrates(self):
        url = self.replica()
        self.make(url)
        path = self.dir / "a copy?.db"
        conn = self.connect(url, hydration_enabled=True, hydration_path=path)
        self.assertEqual(self.rows(conn), ROWS)
        wait_until(lambda: one(conn, "PRAGMA litestream_hydration_status") == "complete", "end of hydration")
        self.assertEqual(one(conn, "SELECT litestream_hydration_progress()"), 100.0)
        self.assertEqual(one(conn, "PRAGMA litestream_hydration_file"), str(path))
        self.assertEqual(self.rows(conn), ROWS)
        conn.close()
        with contextlib.closing(sqlite3.connect(path)) as copy:
            self.assertEqual(self.rows(copy), ROWS)

    def test_backup_and_vacuum_into(self):
        url = self.replica()
        self.make(url)
        conn = self.connect(url)
        with contextlib.closing(sqlite3.connect(self.dir / "backup.db")) as copy:
            conn.backup(copy)
            self.assertEqual(self.rows(copy), ROWS)
        conn.execute("VACUUM INTO ?", [str(self.dir / "vacuum.db")])
        with contextlib.closing(sqlite3.connect(self.dir / "vacuum.db")) as copy:
            self.assertEqual(self.rows(copy), ROWS)

    def test_backup_to_a_replica(self):
        """A local database becomes a replica."""
        url = self.replica()
        for rows, page_size in ((ROWS, 1024), (ROWS[100:200], 1024)):
            with contextlib.closing(sqlite3.connect(":memory:")) as local:
                local.execute(f"PRAGMA page_size = {page_size}")
                local.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
                local.executemany("INSERT INTO t VALUES (?, ?)", rows)
                local.commit()
                with contextlib.closing(litestream_vfs.connect(url, write_enabled=True)) as conn:
                    local.backup(conn)
            with contextlib.closing(litestream_vfs.connect(url)) as conn:
                self.assertEqual(self.rows(conn), rows)
                self.assertEqual(one(conn, "PRAGMA integrity_check"), "ok")
                self.assertEqual(one(conn, "PRAGMA page_size"), page_size)

    def test_databases_are_told_apart_by_url(self):
        """Those of one name keep to themselves, also when they are written in turn."""
        options = {"write_enabled": True, "isolation_level": None, "name": "same.db"}
        conns = [self.connect(self.replica(f"replica {i}"), **options) for i in range(3)]
        for i, conn in enumerate(conns):
            conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
            conn.execute(f"PRAGMA journal_mode = {['delete', 'truncate', 'persist'][i]}")
        for row in ROWS[:20]:
            for conn in conns:
                conn.execute("BEGIN IMMEDIATE")
            for i, conn in enumerate(conns):
                conn.execute("INSERT INTO t VALUES (?, ?)", (row[0], f"{i}: {row[1]}"))
            for i, conn in enumerate(conns):
                conn.execute("ROLLBACK" if (row[0] + i) % 3 == 0 else "COMMIT")
        for i, conn in enumerate(conns):
            conn.close()
            reader = self.connect(self.replica(f"replica {i}"))
            kept = [(id, f"{i}: {text}") for id, text in ROWS[:20] if (id + i) % 3]
            self.assertEqual(self.rows(reader), kept)

    def test_transaction_over_two_databases(self):
        url, other = self.replica(), self.replica("other")
        conn = self.connect(url, write_enabled=True, isolation_level=None)
        conn.execute("ATTACH ? AS other", [litestream_vfs.uri(other, write_enabled=True)])
        conn.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        conn.execute("CREATE TABLE other.t (id INTEGER PRIMARY KEY, text TEXT)")
        for end in ("ROLLBACK", "COMMIT"):
            conn.execute("BEGIN")
            conn.executemany("INSERT INTO t VALUES (?, ?)", ROWS[:5])
            conn.executemany("INSERT INTO other.t VALUES (?, ?)", ROWS[5:9])
            conn.execute(end)
        conn.close()
        self.assertEqual(self.rows(self.connect(url)), ROWS[:5])
        self.assertEqual(self.rows(self.connect(other)), ROWS[5:9])


class TestFolder(FolderStore, Databases, Case):
    pass


class TestS3(S3Store, Databases, Case):
    pass


class TestPragmas(Case):
    def test_set(self):
        conn = self.connect(self.sandwiches())
        conn.execute("PRAGMA litestream_txid = '000000000000003f'")
        self.assertEqual(one(conn, "PRAGMA litestream_txid"), "000000000000003f")
        conn.execute("PRAGMA litestream_time = 'latest'")
        self.assertEqual(one(conn, "PRAGMA litestream_txid"), "0000000000000045")

    def test_get_again(self):
        """sqlite3 keeps statements; a PRAGMA's value is not of the first time."""
        conn = self.connect(self.sandwiches())
        for txid in ("000000000000003f", "0000000000000045"):
            one(conn, "SELECT litestream_set_txid(?)", [txid])
            for get in ("PRAGMA litestream_txid", "SELECT litestream_txid()"):
                self.assertEqual(one(conn, get), txid)
