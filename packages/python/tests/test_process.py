"""The library as a guest of a process: its environment, output, signals and end."""

import contextlib
import os
import signal
import subprocess
import sys
import unittest

import litestream_vfs

from .support import CREDENTIALS, WRITER, Case, FolderStore, S3Store, one, wait_until


class Environment:
    """os.environ is read when a database is opened, not only when the library is loaded."""

    SCRIPT = """
        import json, os, sqlite3, sys, litestream_vfs
        probe = sqlite3.connect(":memory:")
        litestream_vfs.load(probe)
        try:
            litestream_vfs.connect()
        except sqlite3.OperationalError as e:
            before = str(e)
        os.environ.update(LITESTREAM_REPLICA_URL=sys.argv[1], **json.loads(sys.argv[2]))
        by_name = sqlite3.connect("file:any.db?vfs=litestream", uri=True)
        by_module = litestream_vfs.connect(sys.argv[1])
        rows = [conn.execute("SELECT x FROM t").fetchall() for conn in (by_name, by_module, litestream_vfs.connect())]
        for name in ["LITESTREAM_REPLICA_URL", *json.loads(sys.argv[2])]:
            del os.environ[name]
        try:
            litestream_vfs.connect()
        except sqlite3.OperationalError as e:
            after = str(e)
        print(json.dumps([before == after, before, rows]))
        """

    def test_set_late(self):
        url = self.replica()
        self.run_script(WRITER, url, "CREATE TABLE t (x)", "INSERT INTO t VALUES (42)")
        names = [*CREDENTIALS, "LITESTREAM_REPLICA_URL"]
        (same, text, rows), _ = self.run_script(self.SCRIPT, url, self.credentials, env=dict.fromkeys(names))
        self.assertTrue(same, "the environment is remembered")
        self.assertIn("set LITESTREAM_REPLICA_URL", text)
        self.assertEqual(rows, [[[42]]] * 3)


class TestFolderEnvironment(FolderStore, Environment, Case):
    credentials = "{}"


class TestS3Environment(S3Store, Environment, Case):
    credentials = '{"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}'


class TestOutput(Case):
    # It opens, fails, writes and syncs.
    SCRIPT = """
        import json, os, sqlite3, sys, litestream_vfs
        conn = litestream_vfs.connect(sys.argv[1], write_enabled=True)
        with conn:
            conn.execute("CREATE TABLE t (x)")
        def fail(time):
            try:
                conn.execute("SELECT litestream_set_time(?)", [time]).fetchall()
            except sqlite3.OperationalError as e:
                pass
        fail("teatime")
        conn.execute("PRAGMA litestream_sync").fetchone()
        if len(sys.argv) > 2:
            os.environ["LITESTREAM_LOG_FILE"] = sys.argv[2]
            litestream_vfs.connect(sys.argv[1], write_enabled=True).close()
            fail("dinner time")
        conn.close()
        print(json.dumps("done"))
        """

    def test_log_on_standard_error(self):
        done, err = self.run_script(self.SCRIPT, self.folder(), env={"LITESTREAM_LOG_FILE": None})
        self.assertEqual(done, "done")
        self.assertIn('level=INFO msg="database opened"', err)
        self.assertIn('level=ERROR msg="pragma litestream_time failed"', err)

    def test_log_level(self):
        env = {"LITESTREAM_LOG_FILE": None, "LITESTREAM_LOG_LEVEL": "error"}
        _, err = self.run_script(self.SCRIPT, self.folder(), env=env)
        lines = err.splitlines()
        self.assertEqual(len(lines), 1, err)
        self.assertIn('level=ERROR msg="pragma litestream_time failed"', lines[0])
        env["LITESTREAM_LOG_LEVEL"] = "debug"
        _, err = self.run_script(self.SCRIPT, self.folder("other"), env=env)
        self.assertIn("level=DEBUG", err)

    def test_log_file(self):
        path = self.dir / "log"
        _, err = self.run_script(self.SCRIPT, self.folder(), env={"LITESTREAM_LOG_FILE": str(path)})
        self.assertEqual(err, "")
        text = path.read_text()
        self.assertIn('msg="database opened" db=/litestream/replica ', text)
        self.assertIn('level=ERROR msg="pragma litestream_time failed"', text)

    def test_log_file_that_is_named_late(self):
        path = self.dir / "log"
        _, err = self.run_script(self.SCRIPT, self.folder(), str(path), env={"LITESTREAM_LOG_FILE": None})
        self.assertIn("teatime", err)
        self.assertIn("dinner time", path.read_text())
        self.assertNotIn("dinner time", err)


class TestEnd(FolderStore, Case):
    """Nothing that was synced is lost, and no file stays, however a process ends."""

    SCRIPT = """
        import json, os, sys, litestream_vfs
        url, end, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
        conn = litestream_vfs.connect(url, write_enabled=True, **options)
        with conn:
            conn.execute("CREATE TABLE t (x)")
        conn.executemany("INSERT INTO t VALUES (?)", [(i,) for i in range(10_000)])
        conn.commit()
        if end != "unsynced":
            conn.execute("PRAGMA litestream_sync").fetchone()
        print(json.dumps("synced"), flush=True)
        conn.execute("BEGIN IMMEDIATE")
        conn.execute("DELETE FROM t")  # which ends with the process
        if end in ("os._exit", "unsynced"):
            os._exit(3)
        elif end == "kill":
            os.kill(os.getpid(), 9)
        elif end == "exception":
            raise SystemExit(3)
        """

    def check(self, url, **options):
        conn = self.connect(url, **options)
        self.assertEqual(conn.execute("SELECT count(*), sum(x) FROM t").fetchall(), [(10_000, 49_995_000)])
        self.assertEqual(one(conn, "PRAGMA integrity_check"), "ok")

    def test_ends(self):
        for end, status in {"return": 0, "exception": 3, "os._exit": 3, "kill": -9}.items():
            with self.subTest(end):
                url = self.replica(end)
                self.run_script(self.SCRIPT, url, end, "{}", status=status)
                self.assert_no_temporary_files()
                self.check(url)

    def test_hydration_and_end(self):
        url = self.replica()
        options = '{"hydration_enabled": true, "sync_interval": "-1s"}'
        self.run_script(self.SCRIPT, url, "os._exit", options, status=3)
        self.assert_no_temporary_files()
        self.check(url)

    def test_buffer(self):
        """Commits that were not synced are in the buffer."""
        url, path = self.replica(), str(self.dir / "buffer")
        options = f'{{"buffer_path": "{path}", "sync_interval": "-1s"}}'
        self.run_script(self.SCRIPT, url, "unsynced", options, status=3)
        with self.assertRaisesRegex(litestream_vfs.sqlite3.OperationalError, "replica holds no database"):
            litestream_vfs.connect(url, wait_for_replica=0)
        conn = litestream_vfs.connect(url, buffer_path=path, write_enabled=True)
        with contextlib.closing(conn):
            self.assertEqual(one(conn, "PRAGMA litestream_sync"), "0000000000000001")
        self.check(url)


@unittest.skipUnless(hasattr(signal, "SIGUSR1"), "there are no such signals")
class TestSignals(Case):
    def test_interrupt(self):
        """Control-C ends a query, and the connection goes on."""
        process = self.start(
            """
            import json, sys, litestream_vfs
            conn = litestream_vfs.connect(sys.argv[1])
            many = "SELECT a.id FROM sandwich_ratings a, sandwich_ratings b, sandwich_ratings c"
            interrupted = False
            try:
                for n, row in enumerate(conn.execute(many)):
                    if n == 10:
                        print("ready", file=sys.stderr, flush=True)
            except KeyboardInterrupt:
                interrupted = True
            print(json.dumps([interrupted, *conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()]))
            """,
            self.sandwiches(),
        )
        self.assertEqual(process.stderr.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        result, err = self.finish(process)
        self.assertEqual([result, err], [[True, 4988], ""])

    def test_interrupt_within_a_step(self):
        """A progress handler lets Control-C end a query that gives no row for long."""
        process = self.start(
            """
            import json, sqlite3, sys, litestream_vfs
            conn = litestream_vfs.connect(sys.argv[1])
            many = "SELECT sum(a.stars) FROM sandwich_ratings a, sandwich_ratings b, sandwich_ratings c"
            calls = 0
            def progress():
                global calls
                calls += 1
                if calls == 10:
                    print("ready", file=sys.stderr, flush=True)
            conn.set_progress_handler(progress, 10000)
            try:
                conn.execute(many).fetchone()
                interrupted = None
            except (KeyboardInterrupt, sqlite3.OperationalError) as e:
                interrupted = str(e) or "KeyboardInterrupt"
            conn.set_progress_handler(None, 0)
            print(json.dumps([interrupted, *conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()]))
            """,
            self.sandwiches(),
        )
        self.assertEqual(process.stderr.readline(), "ready\n")
        process.send_signal(signal.SIGINT)
        result, _ = self.finish(process)
        self.assertEqual(result, ["interrupted", 4988])

    def test_interrupt_of_a_connection(self):
        conn = self.connect(self.sandwiches(), check_same_thread=False)
        many = "SELECT sum(a.stars) FROM sandwich_ratings a, sandwich_ratings b, sandwich_ratings c"
        conn.set_progress_handler(conn.interrupt, 100_000)
        with self.assertRaisesRegex(litestream_vfs.sqlite3.OperationalError, "^interrupted$"):
            conn.execute(many).fetchone()
        conn.set_progress_handler(None, 0)
        self.assertEqual(one(conn, "SELECT count(*) FROM sandwich_ratings"), 4988)

    def test_handlers_stay(self):
        """Those that Python set before the library was loaded and after it get their signals."""
        script = """
            import json, os, signal, sys, litestream_vfs
            got = []
            def handler(number, frame):
                got.append(number)
            numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
                       signal.SIGCHLD, signal.SIGPROF, signal.SIGWINCH, signal.SIGVTALRM]
            early, late = numbers[::2], numbers[1::2]
            for number in early:
                signal.signal(number, handler)
            conn = litestream_vfs.connect(sys.argv[1])
            for number in late:
                signal.signal(number, handler)
            for number in numbers:
                for i in range(20):
                    os.kill(os.getpid(), number)
                    conn.execute("SELECT avg(stars) FROM sandwich_ratings").fetchone()
            kept = all(signal.getsignal(number) is handler for number in numbers)
            ignored = signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
            print(json.dumps([kept, ignored, {str(int(n)): got.count(n) for n in numbers}]))
            """
        (kept, ignored, got), _ = self.run_script(script, self.sandwiches())
        self.assertEqual([kept, ignored], [True, True])
        self.assertEqual(set(got.values()) - {20}, set(), got)

    def test_broken_pipe(self):
        """Writing to a pipe that nobody reads is an exception, and does not end the process."""
        script = """
            import json, os, sys, litestream_vfs
            conn = litestream_vfs.connect(sys.argv[1])
            reader, writer = os.pipe()
            os.close(reader)
            try:
                os.write(writer, b"x")
            except BrokenPipeError:
                print(json.dumps("BrokenPipeError"))
            """
        self.assertEqual(self.run_script(script, self.sandwiches())[0], "BrokenPipeError")

    def test_nobody_reads_the_log(self):
        """Standard error may be a pipe whose reader is gone, and standard input closed."""
        script = """
            import json, os, sqlite3, sys, litestream_vfs
            litestream_vfs.load(sqlite3.connect(":memory:"))
            reader, writer = os.pipe()
            os.dup2(writer, 2)
            os.close(writer)
            os.close(reader)
            os.close(0)
            try:
                litestream_vfs.connect("foo://bar")
            except sqlite3.OperationalError as e:
                text = str(e)
            conn = litestream_vfs.connect(sys.argv[1])
            print(json.dumps([text, conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()[0], os.readlink("/proc/self/fd/0")]))
            """
        text, rows, standard_input = self.run_script(script, self.sandwiches())[0]
        self.assertIn('no replica client is registered for url scheme "foo"', text)
        self.assertEqual([rows, standard_input], [4988, "/dev/null"])

    def test_crash_of_the_host(self):
        """A crash that is not the library's is reported by faulthandler, and ends the process as ever."""
        for order in ("before", "after"):
            with self.subTest(order):
                script = """
                    import ctypes, faulthandler, sys
                    if sys.argv[2] == "before":
                        faulthandler.enable()
                    import litestream_vfs
                    conn = litestream_vfs.connect(sys.argv[1])
                    if sys.argv[2] == "after":
                        faulthandler.enable()
                    ctypes.string_at(0)
                    """
                url = self.sandwiches() if order == "before" else self.folder("sandwiches")
                process = self.start(script, url, order)
                out, err = process.communicate(timeout=30)
                self.assertEqual([out, process.returncode], ["", -signal.SIGSEGV], err)
                self.assertIn("Fatal Python error: Segmentation fault", err)
                self.assertIn("ctypes", err)


class TestSubprocess(Case):
    def test_subprocesses(self):
        """A program that is started is no fork to speak of."""
        conn = self.connect(self.sandwiches())
        for preexec in (None, lambda: None):
            out = subprocess.run([sys.executable, "-c", "print(6 * 7)"], preexec_fn=preexec, check=True, stdout=subprocess.PIPE)
            self.assertEqual(out.stdout, b"42\n")
            self.assertEqual(one(conn, "SELECT count(*) FROM sandwich_ratings"), 4988)
        children = wait_until(lambda: [*map(int, os.listdir("/proc/self/task"))], "threads")
        self.assertGreater(len(children), 1)
