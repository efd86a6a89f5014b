"""What the tests have in common."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import uuid
from pathlib import Path

import litestream_vfs

ROOT = Path(__file__).resolve().parents[3]
SANDWICHES = ROOT / "testdata" / "replicas" / "sandwiches"
MANIFEST = json.loads((SANDWICHES / "manifest.json").read_text())

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testkey", "AWS_SECRET_ACCESS_KEY": "testsecret"}

# Options of tests that wait for news.
QUICK = {"poll_interval": 0.05, "sync_interval": 0.05}


def points():
    """Return the points in time of the sandwiches that can be gone to, by TXID."""
    return {p["txid"]: p for p in MANIFEST["points"]}


def wait_until(condition, what, seconds=20):
    """Poll until a condition returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s: no {what}")
        time.sleep(0.01)


# A process that runs statements in write mode and syncs. It prints the TXID.
WRITER = """
import json, sys, litestream_vfs
conn = litestream_vfs.connect(sys.argv[1], write_enabled=True)
for statement in sys.argv[2:]:
    conn.execute(statement)
conn.commit()
((txid,),) = conn.execute("PRAGMA litestream_sync").fetchall()
conn.close()
print(json.dumps(txid))
"""


def one(conn, sql, args=()):
    """Return the one value that a statement gives."""
    ((value,),) = conn.execute(sql, args).fetchall()
    return value


class Case(unittest.TestCase):
    """A test with a temporary folder, in which its scripts are."""

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="litestream-python-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def folder(self, name="replica"):
        """Return the URL of a replica in a folder, which is empty."""
        return (self.dir / name).as_uri()

    def sandwiches(self):
        """Return the URL of a copy of the example replica."""
        shutil.copytree(SANDWICHES / "ltx", self.dir / "sandwiches" / "ltx")
        return self.folder("sandwiches")

    def connect(self, url, **options):
        """Open a database until the end of the test."""
        conn = litestream_vfs.connect(url, **options)
        self.addCleanup(conn.close)
        return conn

    def enter(self, context):
        """Enter a context until the end of the test."""
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return stack.enter_context(context)

    @contextlib.contextmanager
    def environment(self, **variables):
        """Set variables of this process."""
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def start(self, script, *args, env=None, **options):
        """Start a script in a process of its own, with its temporary files in self.dir/tmp.

        env has variables that are set, or with None are not.
        """
        path = self.dir / f"script-{uuid.uuid4().hex}.py"
        path.write_text(textwrap.dedent(script))
        tmp = self.dir / "tmp"
        tmp.mkdir(exist_ok=True)
        variables = {**os.environ, "TMPDIR": str(tmp), **(env or {})}
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", str(path), *args],
            env={name: value for name, value in variables.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that it ends with the processes that it starts
            **options,
        )

        def stop():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

        self.addCleanup(stop)
        return process

    def finish(self, process, status=0, seconds=30):
        """Wait for a script that has printed one line of JSON, and return that and standard error.

        Anything else on standard output would be of the library.
        """
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # faulthandler says where it hangs
            out, err = process.communicate(timeout=seconds)
            self.fail(f"it hangs:\n{out}{err}")
        self.assertEqual(process.returncode, status, out + err)
        lines = out.splitlines()
        self.assertEqual(len(lines), 1, f"standard output: {out!r}, standard error: {err}")
        return json.loads(lines[0]), err

    def run_script(self, script, *args, status=0, seconds=30, **options):
        """Run a script as start does, and return what finish does."""
        return self.finish(self.start(script, *args, **options), status=status, seconds=seconds)

    def assert_no_temporary_files(self):
        self.assertEqual(os.listdir(self.dir / "tmp"), [])


class FolderStore:
    """Mixin of a Case: replicas in folders."""

    def replica(self, name="replica"):
        return self.folder(name)


@unittest.skipUnless(
    os.environ.get("LITESTREAM_TEST_S3") and os.environ.get("LITESTREAM_TEST_S3_BUCKET"),
    'LITESTREAM_TEST_S3 and LITESTREAM_TEST_S3_BUCKET name no S3 server: eval "$(scripts/servers start)"',
)
class S3Store:
    """Mixin of a Case: replicas on the S3 server that runs."""

    def setUp(self):
        super().setUp()
        self.prefix = f"python/{uuid.uuid4().hex}"
        self.enter(self.environment(**CREDENTIALS))

    def replica(self, name="replica"):
        bucket, endpoint = os.environ["LITESTREAM_TEST_S3_BUCKET"], os.environ["LITESTREAM_TEST_S3"]
        return f"s3://{bucket}/{self.prefix}/{name}?endpoint={endpoint}"
