"""What goes wrong reaches the user as text."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import threading
import time

import litestream_vfs

from .support import CREDENTIALS, Case, one

# Loads the library with the variables of argv, and again without.
LOADER = """
import json, os, sqlite3, sys, litestream_vfs
def load():
    conn = sqlite3.connect(":memory:")
    try:
        litestream_vfs.load(conn)
    except sqlite3.OperationalError as e:
        return str(e)
    finally:
        conn.close()
for name, value in (argument.split("=", 1) for argument in sys.argv[1:]):
    os.environ[name] = value
errors = [load()]
for argument in sys.argv[1:]:
    del os.environ[argument.split("=", 1)[0]]
errors.append(load())
print(json.dumps(errors))
"""


class TestOpen(Case):
    def assert_open_fails(self, url, text, **options):
        """Check that an open fails with just this text."""
        with self.assertRaises(sqlite3.OperationalError) as caught:
            self.connect(url, name="app.db", **options)
        self.assertEqual(str(caught.exception), f"litestream: open {os.getcwd()}/app.db: {text}")

    def test_urls(self):
        for url, text in {
            "bogus://bucket": 'bogus://bucket: no replica client is registered for url scheme "bogus"',
            "no url": "a replica with a malformed URL: parse replica url: it has no scheme, want one like s3://bucket/path or file:///path",
            "file:": "file://: replica url of scheme file: a file url needs a path",
            "s3://": "s3://: replica url of scheme s3: bucket is not set",
            self.folder("nothing"): f"replica holds no database: nothing lies at {self.folder('nothing')}",
        }.items():
            with self.subTest(url):
                self.assert_open_fails(url, text, wait_for_replica=0)

    def test_unknown_parameter_of_a_url(self):
        with self.assertRaisesRegex(sqlite3.OperationalError, '"bogus"'):
            self.connect("s3://bucket/path?bogus=1")

    def test_malformed_options(self):
        url = self.sandwiches()
        text = url + ': parameter poll_interval: invalid duration "soon", want one like 500ms or 1m30s, from -876000h to 876000h'
        self.assert_open_fails(url, text, poll_interval="soon")

    def test_options_of_a_database_that_is_open(self):
        url = self.sandwiches()
        self.connect(url, name="app.db", cache_size=1 << 20)
        with self.assertRaisesRegex(sqlite3.OperationalError, f"^litestream: open .*/app.db: {url}: it is open with other options: cache_size is 1MiB, not 2MiB$"):
            self.connect(url, name="app.db", cache_size=2 << 20)
        self.assertEqual(one(self.connect(url, cache_size="1MiB"), "SELECT count(*) FROM sandwich_ratings"), 4988)

    def test_no_url(self):
        text = "no replica: set LITESTREAM_REPLICA_URL, or give replica_url=... in the file name"
        self.assert_open_fails(None, text)

    def test_uri_that_is_taken_for_a_name(self):
        litestream_vfs.load()
        url = self.sandwiches()
        # SQLite would make a local file of that name.
        with self.assertRaises(sqlite3.OperationalError) as caught:
            sqlite3.connect(f"{self.dir}/file:app.db?vfs=litestream&replica_url=s3%3A%2F%2Fuser:secret@bucket")
        self.assertTrue(str(caught.exception).endswith(
            f"litestream: open {self.dir}/file:app.db?...: it is a local file, not a replica, since the program opens names without SQLITE_OPEN_URI"
        ), caught.exception)
        with contextlib.closing(sqlite3.connect(litestream_vfs.uri(url), uri=True)) as conn:
            self.assertEqual(one(conn, "SELECT count(*) FROM sandwich_ratings"), 4988)

    def test_uri_that_is_taken_for_a_name_with_the_default_vfs(self):
        """It does not take the replica, and its parameters are not logged."""
        script = """
            import json, os, sqlite3, litestream_vfs
            os.chdir(os.environ["TMPDIR"])
            litestream_vfs.load(sqlite3.connect(":memory:"))
            text = None
            try:
                # With the dot it is a name everywhere: Debian's SQLite reads all URIs.
                sqlite3.connect("./file:uri.db?vfs=litestream&replica_url=sftp%3A%2F%2Fu%3Asecret99%40h%2Fdb")
            except sqlite3.Error as e:
                text = str(e)
            conn = sqlite3.connect("app.db")
            print(json.dumps([text, litestream_vfs.is_replica(conn), os.path.exists("app.db")]))
            """
        for url, logged in (self.sandwiches(), "open failed"), (None, "a new local file is made"):
            with self.subTest(logged):
                env = {"LITESTREAM_DEFAULT_VFS": "true", "LITESTREAM_REPLICA_URL": url, "LITESTREAM_LOG_FILE": None}
                (text, replica, there), err = self.run_script(script, env=env)
                self.assertIn("/file:uri.db?...: it is a local file, not a replica, since the program opens names without SQLITE_OPEN_URI", text)
                self.assertEqual([replica, there], [url is not None, url is None], err)
                self.assertIn(logged, err)
                self.assertIn("/file:uri.db?...", err)
                self.assertNotIn("secret99", err + text)

    def test_storage_is_down(self):
        # A port that is taken, and that nobody listens on.
        with socket.socket() as taken, self.environment(**CREDENTIALS):
            taken.bind(("127.0.0.1", 0))
            url = f"s3://bucket/path?endpoint=http://127.0.0.1:{taken.getsockname()[1]}"
            start = time.monotonic()
            with self.assertRaisesRegex(sqlite3.OperationalError, "^litestream: open .*connection refused"):
                self.connect(url, open_timeout=1)
            self.assertLess(time.monotonic() - start, 5)

    def test_storage_hangs(self):
        """Python goes on while an open waits."""
        ticks = []
        ended = threading.Event()

        def tick():
            while not ended.wait(0.01):
                ticks.append(time.monotonic())

        with socket.create_server(("127.0.0.1", 0)) as server, self.environment(**CREDENTIALS):
            url = f"s3://bucket/path?endpoint=http://127.0.0.1:{server.getsockname()[1]}"
            thread = threading.Thread(target=tick)
            thread.start()
            start = time.monotonic()
            try:
                with self.assertRaisesRegex(sqlite3.OperationalError, "^litestream: open .*deadline exceeded"):
                    self.connect(url, open_timeout=0.5)
                took = time.monotonic() - start
            finally:
                ended.set()
                thread.join()
        self.assertGreaterEqual(took, 0.5)
        self.assertLess(took, 5)
        self.assertGreaterEqual(len([t for t in ticks if start < t < start + 0.5]), 10)


class TestUse(Case):
    def test_write_without_write_mode(self):
        conn = self.connect(self.sandwiches())
        with self.assertRaises(sqlite3.OperationalError) as caught:
            conn.execute("UPDATE sandwich_ratings SET stars = 5")
        self.assertEqual(str(caught.exception), "attempt to write a readonly database")

    def test_write_with_mode_ro(self):
        url = self.sandwiches()
        conn, reader = (self.connect(url, write_enabled=True, mode=mode) for mode in ("rw", "ro"))
        with self.assertRaises(sqlite3.OperationalError) as caught:
            reader.execute("UPDATE sandwich_ratings SET stars = 5")
        self.assertEqual(str(caught.exception), "attempt to write a readonly database")
        reader.rollback()
        with conn:
            conn.execute("UPDATE sandwich_ratings SET stars = 5")
        self.assertEqual(one(reader, "SELECT avg(stars) FROM sandwich_ratings"), 5.0)

    def test_write_to_the_past(self):
        url = self.sandwiches()
        conn = self.connect(url, write_enabled=True)
        one(conn, "SELECT litestream_set_txid('000000000000003f')")
        with self.assertRaises(sqlite3.OperationalError):
            conn.execute("UPDATE sandwich_ratings SET stars = 5")
        self.assertEqual(litestream_vfs.last_error(conn), f"{url}: database is read-only: the connection looks at the past")

    def test_unknown_time(self):
        url = self.sandwiches()
        conn = self.connect(url)
        self.assertIsNone(litestream_vfs.last_error(conn))
        for value, text in {
            "teatime": f'^{url}: invalid value: parse time "teatime": unknown form; try ',
            "1999-12-31": f"^{url}: travel to 1999-12-31T00:00:00Z: transaction not available: the oldest is younger: 0000000000000001 of [0-9-]+T[0-9:.]+Z$",
        }.items():
            for sql in ("SELECT litestream_set_time(?)", f"PRAGMA litestream_time = '{value}'"):
                with self.assertRaisesRegex(sqlite3.OperationalError, text):
                    conn.execute(sql, [value] if "?" in sql else []).fetchall()
            self.assertRegex(litestream_vfs.last_error(conn), text)

    def test_files_are_gone(self):
        """An error of which SQLite has only a code."""
        url = self.folder()
        with contextlib.closing(litestream_vfs.connect(url, write_enabled=True)) as writer, writer:
            writer.execute("CREATE TABLE t (x)")
            writer.executemany("INSERT INTO t VALUES (randomblob(4000))", [()] * 500)
        conn = self.connect(url, read_timeout=1, cache_size=-1)
        shutil.rmtree(self.dir / "replica")
        with self.assertRaises(sqlite3.OperationalError) as caught:
            one(conn, "SELECT sum(length(x)) FROM t")
        self.assertEqual(str(caught.exception), "disk I/O error")
        text = litestream_vfs.last_error(conn)
        self.assertIn("0000000000000001-0000000000000001", text)

    def test_last_error_whatever_the_connection_makes_of_rows(self):
        url = self.sandwiches()
        conn = self.connect(url)
        with self.assertRaises(sqlite3.OperationalError):
            conn.execute("SELECT litestream_set_txid('x')").fetchall()
        conn.row_factory = lambda cursor, row: {column[0]: value for column, value in zip(cursor.description, row)}
        conn.text_factory = bytes
        want = f"{url}: invalid value: \"x\" is no transaction id of 16 hex digits"
        self.assertEqual(litestream_vfs.last_error(conn), want)

    def test_last_error_of_another_database(self):
        with contextlib.closing(sqlite3.connect(":memory:")) as conn:
            litestream_vfs.load(conn)
            self.assertIsNone(litestream_vfs.last_error(conn))
            with self.assertRaises(sqlite3.OperationalError) as caught:
                conn.execute("SELECT litestream_status()").fetchall()
            self.assertEqual(str(caught.exception), "the main database is not served by litestream")


class TestLoad(Case):
    def test_malformed_variables(self):
        for variable, value, text in [
            ("LITESTREAM_CACHE_SIZE", "plenty", "plenty"),
            ("LITESTREAM_POLL_INTERVAL", "5", 'invalid duration "5", want one like 500ms or 1m30s'),
            ("LITESTREAM_WRITE_ENABLED", "perhaps", 'invalid value "perhaps", want true or false'),
            ("LITESTREAM_DEFAULT_VFS", "perhaps", 'invalid value "perhaps", want true or false'),
            ("LITESTREAM_REPLICA_URL", "bogus://x", 'no replica client is registered for url scheme "bogus"'),
            ("LITESTREAM_LOG_LEVEL", "shout", 'invalid level "shout", want debug, info, warn or error'),
            ("LITESTREAM_LOG_FILE", str(self.dir), "is a directory"),
        ]:
            with self.subTest(variable):
                (first, second), _ = self.run_script(LOADER, f"{variable}={value}", env={"LITESTREAM_LOG_FILE": None})
                self.assertTrue(first.startswith(f"error during initialization: litestream: {variable}: "), first)
                self.assertIn(text, first)
                self.assertIsNone(second, "it does not load once the variable is gone")

    def test_variable_that_is_malformed_later(self):
        url = self.sandwiches()
        self.connect(url).close()  # the library is loaded
        with self.environment(LITESTREAM_CACHE_SIZE="plenty"):
            with self.assertRaisesRegex(sqlite3.OperationalError, "^litestream: open .*: LITESTREAM_CACHE_SIZE: .*plenty"):
                self.connect(url)
        self.assertEqual(json.loads(one(self.connect(url), "PRAGMA litestream_status"))["txid"], "0000000000000045")
