"""Many connections, many threads."""

import contextlib
import faulthandler
import json
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import litestream_vfs

from .support import Case, FolderStore, S3Store, one

READER = """
import json, sys, litestream_vfs
conn = litestream_vfs.connect(sys.argv[1])
rows = conn.execute("SELECT conn, n, count(*) FROM t GROUP BY conn, n ORDER BY conn, n").fetchall()
print(json.dumps([rows, *conn.execute("PRAGMA integrity_check").fetchone()]))
"""


class Threads:
    def setUp(self):
        super().setUp()
        # A deadlock is no failure otherwise, but the end of patience.
        faulthandler.dump_traceback_later(60, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    def test_pool(self):
        """Connections that go from thread to thread."""
        url = self.replica()
        with contextlib.closing(litestream_vfs.connect(url, write_enabled=True)) as conn:
            conn.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x)")
            conn.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"{n:0500}") for n in range(2000)])
            conn.commit()
        pool = queue.Queue()
        for _ in range(6):
            pool.put(self.connect(url, check_same_thread=False, cache_size=64 << 10))

        def look_up(n):
            conn = pool.get()
            try:
                return n, one(conn, "SELECT x FROM t WHERE n = ?", [n]), threading.get_ident()
            finally:
                pool.put(conn)

        numbers = [n * 7 % 2000 for n in range(400)]
        with ThreadPoolExecutor(12) as executor:
            found = list(executor.map(look_up, numbers))
        self.assertEqual([f[:2] for f in found], [(n, f"{n:0500}") for n in numbers])
        self.assertGreater(len({f[2] for f in found}), 1)

    def test_threads_open_at_once(self):
        """Also the library is loaded by several threads at once, in a process that has not loaded it."""
        url = self.replica()
        with contextlib.closing(litestream_vfs.connect(url, write_enabled=True)) as conn:
            conn.execute("CREATE TABLE t (x)")
            conn.execute("INSERT INTO t VALUES (42)")
            conn.commit()
        script = """
            import json, sys, threading, litestream_vfs
            barrier, found = threading.Barrier(16), []
            def work():
                barrier.wait()
                for _ in range(5):
                    conn = litestream_vfs.connect(sys.argv[1])
                    found.append(conn.execute("SELECT x FROM t").fetchone()[0])
                    conn.close()
            threads = [threading.Thread(target=work) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            print(json.dumps(found))
            """
        self.assertEqual(self.run_script(script, url)[0], [42] * 80)

    def test_100_connections(self):
        """8 threads write and read on 100 connections, while another keeps Python busy."""
        # Else each call of SQLite, after which its thread wants Python's lock back, would take 5 ms.
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(0.0001)
        url, connections, threads, each = self.replica(), 100, 8, 8
        options = {"write_enabled": True, "isolation_level": None, "timeout": 50, "check_same_thread": False}
        with contextlib.closing(litestream_vfs.connect(url, **options)) as conn:
            conn.execute("CREATE TABLE t (conn, n)")
        conns = [self.connect(url, **options) for _ in range(connections)]
        for conn in conns:
            conn.create_function("same", 1, lambda x: x)  # SQLite calls Python within a transaction
        written = [0] * connections
        ended = threading.Event()
        spins = 0

        def spin():
            nonlocal spins
            while not ended.is_set():
                spins += 1

        def work(thread):
            mine = range(thread, connections, threads)
            for n in range(each):
                for at, i in enumerate(mine):
                    conn = conns[i]
                    conn.execute("BEGIN IMMEDIATE")
                    before = one(conn, "SELECT count(*) FROM t")
                    conn.execute("INSERT INTO t VALUES (?, same(?))", [i, n])
                    after = one(conn, "SELECT count(*) FROM t")
                    if n == 1:
                        conn.execute("ROLLBACK")
                    else:
                        conn.execute("COMMIT")
                        written[i] += 1
                    self.assertEqual(after, before + 1)
                    # Any connection sees what this one has committed.
                    other = conns[mine[(at + 5 * n + 1) % len(mine)]]
                    seen = one(other, "SELECT count(*) FROM t WHERE conn = ?", [i])
                    self.assertEqual(seen, written[i])

        spinner = threading.Thread(target=spin)
        spinner.start()
        try:
            with ThreadPoolExecutor(threads) as executor:
                for result in [executor.submit(work, thread) for thread in range(threads)]:
                    result.result()
        finally:
            ended.set()
            spinner.join()
        self.assertGreater(spins, 1000)

        rows = [[i, n, 1] for i in range(connections) for n in range(each) if n != 1]
        for conn in conns[::13]:
            found = conn.execute("SELECT conn, n, count(*) FROM t GROUP BY conn, n ORDER BY conn, n")
            self.assertEqual([*map(list, found)], rows)
        write = json.loads(one(conns[0], "PRAGMA litestream_status"))["write"]
        self.assertEqual([write["commits"], write["failures"], write["error"]], [len(rows), 0, ""])
        one(conns[0], "PRAGMA litestream_sync")
        self.assertEqual(self.run_script(READER, url)[0], [rows, "ok"])


class TestFolderThreads(FolderStore, Threads, Case):
    pass


class TestS3Threads(S3Store, Threads, Case):
    pass
