"""wait_for_hydration(), and is_replica()."""

import contextlib
import io
import sqlite3
import sys
import unittest.mock
import warnings

import litestream_vfs

from .support import Case


class TestWait(Case):
    def wait(self, conn, progress=None):
        """Wait, and return what is printed to standard error meanwhile."""
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            last = litestream_vfs.wait_for_hydration(conn, progress, interval=0.005)
        self.assertEqual([last["status"], last["progress"], last["pages"]], ["complete", 100, 72])
        return printed.getvalue()

    def test_function(self):
        conn = self.connect(self.sandwiches(), hydration_enabled=True)
        seen = []
        self.assertEqual(self.wait(conn, seen.append), "")
        self.assertEqual(seen, [p for i, p in enumerate(seen) if i == 0 or p != seen[i - 1]], "the same twice")
        percents = [p["progress"] for p in seen]
        self.assertEqual([percents, percents[-1]], [sorted(percents), 100])
        self.assertEqual(self.wait(conn), "")

    def test_tqdm(self):
        conn = self.connect(self.sandwiches(), hydration_enabled=True)
        printed = self.wait(conn, True)
        self.assertIn("hydration: 100%|", printed)
        self.assertIn("| 72/72 [", printed)
        self.assertTrue(printed.endswith("\n"), printed)

    def test_without_tqdm(self):
        conn = self.connect(self.sandwiches(), hydration_enabled=True)
        with unittest.mock.patch.dict(sys.modules, {"tqdm": None}):
            lines = self.wait(conn, True).splitlines()
        self.assertEqual(lines[-1], "hydration: 100 %, 72 of 72 pages")
        self.assertLessEqual(len(lines), 11)

    def test_any_row_factory(self):
        conn = self.connect(self.sandwiches(), hydration_enabled=True)
        conn.row_factory = lambda cursor, row: "of the user"
        self.wait(conn)
        self.assertTrue(litestream_vfs.is_replica(conn))

    def test_failure(self):
        path = self.dir / "not-ours"
        path.write_text("of the user")
        conn = self.connect(self.sandwiches(), hydration_enabled=True, hydration_path=path)
        with self.assertRaisesRegex(sqlite3.OperationalError, "hydration failed: .*not-ours"):
            litestream_vfs.wait_for_hydration(conn)

    def test_off(self):
        conn = self.connect(self.sandwiches())
        with self.assertRaisesRegex(sqlite3.ProgrammingError, "hydration is not enabled"):
            litestream_vfs.wait_for_hydration(conn)

    def test_local_file(self):
        with contextlib.closing(sqlite3.connect(self.dir / "app.db")) as conn:
            self.assertFalse(litestream_vfs.is_replica(conn))
            with self.assertRaisesRegex(sqlite3.ProgrammingError, "the main database is a local file"):
                litestream_vfs.wait_for_hydration(conn)


class TestLocalFiles(Case):
    def warnings(self, conn):
        """Load the library through a connection, and return the warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            litestream_vfs.load(conn)
        for warning in caught:
            self.assertEqual([warning.category, warning.filename], [litestream_vfs.LocalFileWarning, __file__])
        return [str(warning.message) for warning in caught]

    def test_meant_to_be_a_replica(self):
        path = self.dir / "app.db"
        with contextlib.closing(sqlite3.connect(path)) as conn:
            self.assertEqual(self.warnings(conn), [])
            with self.environment(LITESTREAM_REPLICA_URL="s3://bucket/app.db"):
                (text,) = self.warnings(conn)
        self.assertTrue(text.startswith(f"{path} is a local file, not the replica of LITESTREAM_REPLICA_URL: "), text)

    def test_parameters_are_not_shown(self):
        """Those of a URI that was not read as one may contain secrets."""
        path = self.dir / "file:app.db?replica_url=sftp%3A%2F%2Fu%3Asecret%40h%2Fdb"
        with contextlib.closing(sqlite3.connect(path)) as conn, self.environment(LITESTREAM_REPLICA_URL="s3://bucket/app.db"):
            (text,) = self.warnings(conn)
        self.assertTrue(text.startswith(f"{self.dir}/file:app.db?... is a local file"), text)

    def test_replicas_and_memory(self):
        replica = self.connect(self.sandwiches())
        with contextlib.closing(sqlite3.connect(":memory:")) as memory:
            with self.environment(LITESTREAM_REPLICA_URL="s3://bucket/app.db"):
                self.assertEqual([self.warnings(replica), self.warnings(memory)], [[], []])

    def test_load_alone(self):
        script = """
            import json, sqlite3, sys, litestream_vfs
            litestream_vfs.load()
            litestream_vfs.load()
            conn = sqlite3.connect(litestream_vfs.uri(sys.argv[1]), uri=True)
            print(json.dumps(conn.execute("SELECT count(*) FROM sandwich_ratings").fetchone()))
            """
        self.assertEqual(self.run_script(script, self.sandwiches())[0], [4988])
