"""examples/python/analytics.py"""

import os
import re
import subprocess
import sys

from .support import ROOT, Case, FolderStore, S3Store

CITIES = ["Helsinki", "Lisbon", "London", "Naples"]


class Example:
    def example(self, *args, **env):
        """Run the example, and return its status and what it printed."""
        (self.dir / "tmp").mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "python" / "analytics.py"), *args],
            env={**os.environ, "TMPDIR": str(self.dir / "tmp"), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
            text=True,
        )
        self.assert_no_temporary_files()
        return done.returncode, done.stdout, done.stderr

    def check_demonstration(self, status, out, err):
        self.assertEqual([status, err], [0, ""])
        tables = re.findall(r"^  (\w+) +(\d+) +(\d\.\d\d)$", out, re.MULTILINE)
        want = [(city, "5000", stars) for stars in ("1.00", "1.00", "3.00", "3.00") for city in CITIES]
        self.assertEqual(tables, want)
        progress = [float(p) for p in re.findall(r"^  hydration: +([\d.]+) %", out, re.MULTILINE)]
        self.assertGreater(len(progress), 0)
        self.assertEqual([progress, progress[-1]], [sorted(progress), 100.0])
        self.assertIn("Mended, and on the replica as transaction 0000000000000003:", out)

    def test_demonstration_at_a_url(self):
        url = self.replica()
        self.check_demonstration(*self.example(LITESTREAM_REPLICA_URL=url))
        want = [1, f"A demonstration at {url}\n\n", f"analytics: there is a database at {url} already\n"]
        self.assertEqual([*self.example(LITESTREAM_REPLICA_URL=url)], want)


class TestS3Example(S3Store, Example, Case):
    pass


class TestFolderExample(FolderStore, Example, Case):
    def test_demonstration(self):
        self.check_demonstration(*self.example())

    def test_replica(self):
        status, out, err = self.example(self.sandwiches())
        self.assertEqual([status, err], [0, ""])
        self.assertIn("until transaction 000000000000003f, of 2026-03-14T11:59:48.309Z:", out)
        self.assertEqual(re.findall(r"^  Bogota +(.*)$", out, re.MULTILINE), ["131   1.00", "131   1.00", "131   3.15"])

    def test_no_replica(self):
        status, out, err = self.example(self.folder("nothing"))
        self.assertEqual([status, out], [1, ""])
        last = err.splitlines()[-1]
        text = f"replica holds no database: nothing lies at {self.folder('nothing')}"
        self.assertEqual(last, f"analytics: litestream: open /litestream/nothing: {text}")
