"""Processes that are forked from one with the library, and those that are not."""

from .support import Case

# Runs use(queue, what) in a process of a start method, goes on meanwhile, and
# prints what came of it.
PARENT = """
import json, multiprocessing, os, queue, sqlite3, sys, time, litestream_vfs

def use(results, url, inherited):
    start = time.monotonic()
    texts = []
    def attempt(function):
        try:
            texts.append(function())
        except sqlite3.Error as e:
            texts.append(str(e))
    if inherited is not None:
        attempt(lambda: inherited.execute("SELECT count(*) FROM t").fetchone()[0])
        attempt(lambda: inherited.execute("INSERT INTO t VALUES (0)").rowcount)
        attempt(lambda: inherited.execute("PRAGMA litestream_txid").fetchone()[0])
        attempt(lambda: inherited.execute("SELECT litestream_txid()").fetchone()[0])
        attempt(inherited.close)
    def new():
        conn = litestream_vfs.connect(url, **options)
        count = conn.execute("SELECT count(*) FROM t").fetchone()[0]
        conn.close()
        return count
    attempt(new)
    def load():
        conn = sqlite3.connect(":memory:")
        litestream_vfs.load(conn)
        conn.close()
    attempt(load)
    def local():
        conn = sqlite3.connect(":memory:")
        return conn.execute("SELECT 6 * 7").fetchone()[0]
    attempt(local)
    results.put([texts, time.monotonic() - start])

options = {"write_enabled": True, "isolation_level": None, "sync_interval": 0.01} if sys.argv[2] == "fork" else {}

if __name__ == "__main__":
    url, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    conn = litestream_vfs.connect(url, write_enabled=True, isolation_level=None, sync_interval=0.01)
    conn.execute("CREATE TABLE t (x)")
    conn.execute("PRAGMA litestream_sync").fetchone()
    results = context.Queue()
    child = context.Process(target=use, args=(results, url, conn if method == "fork" else None))
    child.start()
    written, found = 0, None
    while found is None:
        conn.execute("INSERT INTO t VALUES (1)")
        written += 1
        try:
            found = results.get(timeout=0.01)
        except queue.Empty:
            pass
    child.join(10)
    for _ in range(10):
        conn.execute("INSERT INTO t VALUES (1)")
        written += 1
    conn.execute("PRAGMA litestream_sync").fetchone()
    conn.close()
    conn = litestream_vfs.connect(url)
    rows = conn.execute("SELECT count(*) FROM t").fetchone()[0]
    print(json.dumps([child.exitcode, *found, rows == written]))
"""

FORKED = (
    "litestream: this process was forked from one that had loaded the extension, which does not work after fork: "
    "start it anew, as multiprocessing does with its start method spawn, or load the extension after the fork"
)


class TestFork(Case):
    def test_forked_process(self):
        (status, texts, seconds, complete), err = self.run_script(PARENT, self.folder(), "fork")
        self.assertEqual(status, 0, err)
        self.assertEqual(texts[2:], [FORKED, FORKED, None, FORKED, f"error during initialization: {FORKED}", 42])
        # Of reading and writing SQLite has a code only.
        for text in texts[:2]:
            self.assertIn(text, ["bad parameter or other API misuse", "library routine called out of sequence"])
        self.assertIn(FORKED, err)
        self.assertLess(seconds, 5)
        self.assertTrue(complete, "the parent lost something")

    def test_other_start_methods(self):
        for method in ("spawn", "forkserver"):
            with self.subTest(method):
                (status, texts, seconds, complete), err = self.run_script(PARENT, self.folder(method), method)
                self.assertEqual(status, 0, err)
                count, loaded, local = texts
                self.assertIsInstance(count, int)
                self.assertEqual([loaded, local, complete], [None, 42, True])
                self.assertNotIn("forked", err)

    def test_load_after_fork(self):
        """A process whose parent has not loaded the library is like any other."""
        script = """
            import json, os, sys, litestream_vfs
            def rows():
                conn = litestream_vfs.connect(sys.argv[1])
                try:
                    return conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()
                finally:
                    conn.close()
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.write(writer, json.dumps(rows()).encode())
                os._exit(0)
            os.wait()
            print(json.dumps([json.loads(os.read(reader, 100)), rows()]))
            """
        self.assertEqual(self.run_script(script, self.sandwiches())[0], [[4988], [4988]])

    def test_end_of_a_forked_process(self):
        """One that uses nothing ends as it should, also by Python's own way, which closes connections."""
        script = """
            import json, os, sys, litestream_vfs
            conn = litestream_vfs.connect(sys.argv[1], write_enabled=True, isolation_level=None)
            conn.execute("BEGIN IMMEDIATE")
            conn.execute("DELETE FROM sandwich_ratings")
            child = os.fork()
            if child == 0:
                sys.exit(7)
            _, status = os.waitpid(child, 0)
            conn.execute("ROLLBACK")
            rows = conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()
            print(json.dumps([os.WEXITSTATUS(status), *rows]))
            """
        self.assertEqual(self.run_script(script, self.sandwiches())[0], [7, 4988])

    def test_default_vfs(self):
        """A name that is the replica's makes no local file, before it was first opened and after; others work."""
        script = """
            import json, os, sqlite3, sys, litestream_vfs
            os.chdir(os.environ["TMPDIR"])
            sqlite3.connect("there.db").execute("CREATE TABLE t (x)").connection.close()
            litestream_vfs.load(sqlite3.connect(":memory:"))
            def child():
                reader, writer = os.pipe()
                if os.fork() == 0:
                    found = []
                    for name in ("app.db", "there.db"):
                        try:
                            found.append(sqlite3.connect(name).execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
                        except sqlite3.Error as e:
                            found.append(str(e))
                    os.write(writer, json.dumps(found).encode())
                    os._exit(0)
                os.wait()
                return json.loads(os.read(reader, 10000))
            before = child()
            rows = sqlite3.connect("app.db").execute("SELECT count(*) FROM sandwich_ratings").fetchone()[0]
            after = child()
            os.remove("there.db")
            print(json.dumps([before, rows, after]))
            """
        env = {"LITESTREAM_DEFAULT_VFS": "true", "LITESTREAM_REPLICA_URL": self.sandwiches()}
        (before, rows, after), err = self.run_script(script, env=env)
        want = ["automatic extension loading failed: " + FORKED, 1]
        self.assertEqual([before, rows, after], [want, 4988, want], err)
        self.assert_no_temporary_files()

    def test_local_files_that_are_not_allowed(self):
        """LITESTREAM_LOCAL_FILES holds in a child, for databases that are attached as well."""
        script = """
            import json, os, sqlite3, litestream_vfs
            os.chdir(os.environ["TMPDIR"])
            sqlite3.connect("there.db").execute("CREATE TABLE IF NOT EXISTS t (x)").connection.close()
            litestream_vfs.load(sqlite3.connect(":memory:"))
            conn = sqlite3.connect("app.db")
            conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()
            def attempt(name, sql):
                try:
                    return sqlite3.connect(name).execute(sql).fetchone()
                except sqlite3.Error as e:
                    return str(e)
            reader, writer = os.pipe()
            if os.fork() == 0:
                found = [
                    attempt("there.db", "SELECT count(*) FROM sqlite_schema"),
                    attempt("new.db", "SELECT 1"),
                    attempt(":memory:", "ATTACH 'there.db' AS there"),
                    attempt(":memory:", "ATTACH 'new.db' AS new"),
                    attempt(":memory:", "VACUUM INTO 'new.db'"),
                ]
                os.write(writer, json.dumps(found).encode())
                os._exit(0)
            os.wait()
            print(json.dumps([json.loads(os.read(reader, 10000)), os.path.exists("new.db")]))
            """
        url = self.sandwiches()
        text = "automatic extension loading failed: litestream: LITESTREAM_LOCAL_FILES allows no {}local files"
        for allowed in ("existing", "none"):
            with self.subTest(allowed):
                env = {"LITESTREAM_DEFAULT_VFS": "true", "LITESTREAM_REPLICA_URL": url, "LITESTREAM_LOCAL_FILES": allowed}
                ((there, new, attached, attached_new, copied), made), err = self.run_script(script, env=env)
                self.assertFalse(made, err)
                self.assertEqual(new, text.format("new " if allowed == "existing" else ""), err)
                self.assertEqual(there, [1] if allowed == "existing" else text.format(""), err)
                self.assertEqual(attached is None, allowed == "existing", attached)
                self.assertIsInstance(attached_new, str)
                self.assertIsInstance(copied, str)

    def test_fork_waits_for_loading(self):
        """Else the child would wait for a thread that it has not."""
        script = """
            import json, os, signal, sys, threading, litestream_vfs
            held, forked = threading.Event(), threading.Event()
            def load():
                with litestream_vfs._loading:
                    held.set()
                    forked.wait(0.5)
            thread = threading.Thread(target=load)
            thread.start()
            held.wait()
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                litestream_vfs.connect(sys.argv[1]).close()
                os._exit(0)
            forked.set()
            thread.join()
            print(json.dumps(os.waitpid(child, 0)[1]))
            """
        self.assertEqual(self.run_script(script, self.sandwiches())[0], 0)

    def test_fork_while_the_library_is_loaded(self):
        """Whichever comes first, no process hangs.

        The thread only loads: a fork while one is in SQLite leaves SQLite's own locks taken.
        """
        script = """
            import json, os, sqlite3, sys, threading, litestream_vfs
            def count():
                try:
                    conn = litestream_vfs.connect(sys.argv[1])
                    return conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()[0]
                except sqlite3.OperationalError as e:
                    return str(e)
            go = threading.Barrier(2)
            def load():
                go.wait()
                litestream_vfs._load_once()
            thread = threading.Thread(target=load)
            thread.start()
            go.wait()
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.write(writer, json.dumps(count()).encode())
                os._exit(0)
            os.wait()
            thread.join()
            print(json.dumps([count(), json.loads(os.read(reader, 1000))]))
            """
        url = self.sandwiches()
        for _ in range(5):
            (parent, child), _ = self.run_script(script, url, seconds=20)
            self.assertEqual(parent, 4988)
            self.assertIn(child, [4988, FORKED])
