"""The module by itself, and the wheel that it comes in."""

import base64
import contextlib
import csv
import hashlib
import io
import math
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import unittest
import zipfile
from datetime import timedelta
from pathlib import Path

import litestream_vfs

from .support import ROOT, Case, one

HERE = Path(__file__).resolve().parents[1]
WHEEL = Path(os.environ["LITESTREAM_TEST_WHEEL"])

# It takes a newer Python than the package does.
with contextlib.suppress(ImportError):
    sys.path.insert(0, str(HERE))
    import backend
    import platform_tag
sys.path.remove(str(HERE))
needs_backend = unittest.skipIf(sys.version_info < (3, 11), "building takes Python 3.11")


class TestLoad(Case):
    def not_authorized(self, conn):
        with self.assertRaises(sqlite3.OperationalError) as caught:
            conn.execute("SELECT load_extension(?)", [litestream_vfs.loadable_path()]).fetchall()
        return str(caught.exception) == "not authorized"

    def test_it_is_the_installed_one(self):
        self.assertNotIn(HERE, Path(litestream_vfs.__file__).parents)

    def test_loadable_path(self):
        path = litestream_vfs.loadable_path()
        self.assertEqual(os.path.basename(path), "litestream")
        with contextlib.closing(sqlite3.connect(":memory:")) as conn:
            conn.enable_load_extension(True)
            conn.load_extension(path)
            conn.load_extension(path + ".so")

    def test_load_enables_it_for_the_moment(self):
        with contextlib.closing(sqlite3.connect(":memory:")) as conn:
            litestream_vfs.load(conn)
            litestream_vfs.load(conn)
            self.assertTrue(self.not_authorized(conn))

    def test_load_leaves_it_enabled(self):
        with contextlib.closing(sqlite3.connect(":memory:")) as conn:
            conn.enable_load_extension(True)
            litestream_vfs.load(conn)
            conn.execute("SELECT load_extension(?)", [litestream_vfs.loadable_path()]).fetchall()

    def test_load_that_fails_restores_it(self):
        script = """
            import json, sqlite3, litestream_vfs
            texts = []
            for enabled in (False, True):
                conn = sqlite3.connect(":memory:")
                conn.enable_load_extension(enabled)
                for load in (litestream_vfs.load, lambda conn: conn.load_extension(litestream_vfs.loadable_path())):
                    try:
                        load(conn)
                    except sqlite3.OperationalError as e:
                        texts.append(str(e))
            print(json.dumps(texts))
            """
        texts, _ = self.run_script(script, env={"LITESTREAM_WRITE_ENABLED": "perhaps"})
        malformed = 'error during initialization: litestream: LITESTREAM_WRITE_ENABLED: invalid value "perhaps", want true or false'
        self.assertEqual(texts, [malformed, "not authorized", malformed, malformed])

    def test_sqlite3_without_extensions(self):
        class Connection:
            pass

        with self.assertRaisesRegex(sqlite3.NotSupportedError, "without the loading of extensions.*Debian"):
            litestream_vfs.load(Connection())

    def test_package_without_library(self):
        shutil.copy(litestream_vfs.__file__, self.dir / "alone.py")
        script = """
            import json, alone
            try:
                alone.connect("s3://bucket/path")
            except FileNotFoundError as e:
                print(json.dumps(str(e)))
            """
        text, _ = self.run_script(script)
        self.assertEqual(text, f"{self.dir}/litestream.so is missing: this is not an installed wheel for linux")

    def test_connection_of_ones_own(self):
        with contextlib.closing(sqlite3.connect(":memory:")) as conn:
            litestream_vfs.load(conn)
        uri = litestream_vfs.uri(self.sandwiches())
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as conn:
            self.assertEqual(one(conn, "SELECT count(*) FROM sandwich_ratings"), 4988)


class TestURI(unittest.TestCase):
    def test_everything_is_encoded(self):
        self.assertEqual(
            litestream_vfs.uri("s3://bucket/a b?endpoint=http://h:1&x=%41#é", name="a/ü?.db", buffer_path=b"/t\xff/&="),
            "file:a%2F%C3%BC%3F.db?vfs=litestream&replica_url=s3%3A%2F%2Fbucket%2Fa%20b%3Fendpoint%3Dhttp%3A%2F%2Fh%3A1"
            "%26x%3D%2541%23%C3%A9&buffer_path=%2Ft%FF%2F%26%3D",
        )

    def test_names(self):
        for url, name in {
            "s3://bucket/databases/app.db?endpoint=http://host/x": "/litestream/app.db",
            "file:///backups/42/": "/litestream/42",
            "abs://account:secret@container": "/litestream/container",
            "s3://": "/litestream/database",
            "file:42": "/litestream/42",
            "s3://bucket/": "/litestream/bucket",
            None: "/litestream/database",
        }.items():
            self.assertEqual(litestream_vfs.uri(url).split("?")[0], "file:" + name.replace("/", "%2F"))
        for name in ("", ":memory:", "a\0b"):
            with self.assertRaises(ValueError):
                litestream_vfs.uri("s3://bucket", name=name)

    def test_values(self):
        for option, value, text in [
            ("poll_interval", 5, "5s"),
            ("poll_interval", 1.5, "1.5s"),
            ("poll_interval", 0.1, "0.1s"),
            ("poll_interval", 1e-9, "0.000000001s"),
            ("poll_interval", -1, "-1s"),
            ("poll_interval", 0, "0s"),
            ("poll_interval", 86400.0, "86400s"),
            ("poll_interval", timedelta(milliseconds=-1500), "-1.5s"),
            ("poll_interval", timedelta(days=1, microseconds=1), "86400.000001s"),
            ("poll_interval", "250ms", "250ms"),
            ("compaction_levels", [30, timedelta(minutes=5), "1h"], "30s%2C300s%2C1h"),
            ("compaction_levels", (0.5,), "0.5s"),
            ("compaction_levels", "30s,5m", "30s%2C5m"),
            ("cache_size", 1 << 20, "1048576"),
            ("cache_size", "1MiB", "1MiB"),
            ("hydration_concurrency", 4, "4"),
            ("write_enabled", True, "true"),
            ("write_enabled", False, "false"),
            ("hydration_path", Path("/a b"), "%2Fa%20b"),
            ("buffer_path", "/\udcff", "%2F%FF"),
            ("mode", "ro", "ro"),
            ("mode", "rw", "rw"),
        ]:
            with self.subTest(option, value=value):
                uri = litestream_vfs.uri("s3://b", name="n", **{option: value})
                self.assertEqual(uri, f"file:n?vfs=litestream&replica_url=s3%3A%2F%2Fb&{option}={text}")

    def test_none_is_as_good_as_none(self):
        uri = litestream_vfs.uri(name="n", poll_interval=None, mode=None)
        self.assertEqual(uri, "file:n?vfs=litestream")

    def test_unknown_options(self):
        for function, option, more in [
            ("connect", "pol_interval", ". Did you mean 'poll_interval'?"),
            ("connect", "uri", ""),
            ("connect", "vfs", ""),
            ("connect", "replica_url", ""),
            ("uri", "timeout", ""),
        ]:
            with self.assertRaises(TypeError) as caught:
                getattr(litestream_vfs, function)("s3://bucket", **{option: 1})
            want = f"{function}() got an unexpected keyword argument '{option}'{more}"
            self.assertEqual(str(caught.exception), want)

    def test_wrong_values(self):
        for option, value, error in [
            ("poll_interval", True, TypeError),
            ("poll_interval", b"1s", TypeError),
            ("poll_interval", math.nan, TypeError),
            ("poll_interval", math.inf, TypeError),
            ("compaction_levels", 30, TypeError),
            ("cache_size", 1.5, TypeError),
            ("cache_size", True, TypeError),
            ("write_enabled", 1, TypeError),
            ("hydration_path", 1, TypeError),
            ("buffer_path", "a\0b", ValueError),
            ("mode", 1, TypeError),
            ("mode", "rwc", ValueError),
        ]:
            with self.subTest(option, value=value), self.assertRaisesRegex(error, option):
                litestream_vfs.uri("s3://bucket", **{option: value})
        for url, error in [("", ValueError), (b"s3://bucket", TypeError), (Path("/x"), TypeError), ("a\0b", ValueError)]:
            with self.subTest(url), self.assertRaisesRegex(error, "url"):
                litestream_vfs.uri(url)

    def test_options_are_those_of_the_library(self):
        source = (ROOT / "options_text.go").read_text()
        names = re.findall(r'^\t\{"([a-z0-9_]+)", "[A-Z]', source, re.MULTILINE)
        self.assertGreater(len(names), 20)
        self.assertEqual(sorted(litestream_vfs.Options.__annotations__), sorted([*names, "mode"]))
        self.assertEqual(sorted(litestream_vfs._OPTIONS), sorted([*names, "mode"]))

    def test_arguments_of_sqlite3(self):
        """All of them are known, but for those that connect() decides."""
        arguments = set(litestream_vfs.ConnectOptions.__annotations__) - set(litestream_vfs.Options.__annotations__)
        if sys.version_info < (3, 12):
            arguments.remove("autocommit")
        self.assertEqual(sorted(arguments), sorted(litestream_vfs._SQLITE_ARGUMENTS))
        values = {"factory": sqlite3.Connection, "isolation_level": None}
        with contextlib.closing(sqlite3.connect(":memory:", **{name: values.get(name, False) for name in arguments})):
            pass


class TestConnect(Case):
    def test_arguments_of_sqlite3(self):
        class Connection(sqlite3.Connection):
            pass

        conn = self.connect(
            self.sandwiches(), factory=Connection, isolation_level=None, timeout=1.5, detect_types=sqlite3.PARSE_COLNAMES
        )
        self.assertIs(type(conn), Connection)
        self.assertIsNone(conn.isolation_level)
        self.assertEqual(one(conn, "PRAGMA busy_timeout"), 1500)

    def test_database_list(self):
        conn = self.connect(self.sandwiches())
        self.assertEqual(conn.execute("PRAGMA database_list").fetchall(), [(0, "main", "/litestream/sandwiches")])

    def test_a_local_file_of_the_same_name(self):
        """Without a name given, ATTACH finds local files as it always does."""
        with contextlib.closing(sqlite3.connect(self.dir / "sandwiches.db")) as local, local:
            local.execute("CREATE TABLE bread (name)")
            local.execute("INSERT INTO bread VALUES ('ciabatta'), ('focaccia')")
        conn = self.connect(self.sandwiches())
        conn.execute("ATTACH ? AS local", [str(self.dir / "sandwiches.db")])
        join = "SELECT name, count(*) FROM sandwich_ratings JOIN local.bread ON sandwich LIKE '% on ' || name GROUP BY name"
        self.assertEqual(conn.execute(join).fetchall(), [("ciabatta", 507), ("focaccia", 517)])


class TestReadme(Case):
    def test_examples(self):
        """The code in the README runs, on replicas and with a path of here."""
        blocks = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
        self.assertEqual(len(blocks), 4)
        users = self.folder("users")
        with contextlib.closing(litestream_vfs.connect(users, write_enabled=True)) as conn:
            conn.execute("CREATE TABLE users (name)")
        for block, url in zip(blocks, [self.sandwiches(), self.folder("sandwiches"), users, self.folder("sandwiches")]):
            block = block.replace("s3://bucket/app.db", url).replace("/var/lib/app/buffer", str(self.dir / "buffer"))
            variables = {"litestream_vfs": litestream_vfs}
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                exec(block, variables)
            variables["conn"].close()
            self.assertEqual(out.getvalue(), "(5,)\n(5,)\n" if "print" in block else "")
            self.assertEqual("100%" in err.getvalue(), "progress" in block)
        self.assertEqual(self.connect(users).execute("SELECT name FROM users").fetchall(), [("Ada",)])


class TestWheel(unittest.TestCase):
    def setUp(self):
        self.wheel = zipfile.ZipFile(WHEEL)
        self.addCleanup(self.wheel.close)
        self.version = (HERE.parent / "VERSION").read_text().strip()
        self.info = f"litestream_vfs-{self.version}.dist-info"

    def test_record(self):
        record = list(csv.reader(io.StringIO(self.wheel.read(f"{self.info}/RECORD").decode())))
        self.assertEqual([row[0] for row in record], self.wheel.namelist())
        self.assertEqual(record.pop(), [f"{self.info}/RECORD", "", ""])
        for name, digest, size in record:
            data = self.wheel.read(name)
            self.assertEqual(size, str(len(data)))
            sha256 = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            self.assertEqual(digest, f"sha256={sha256}", name)

    def test_metadata(self):
        metadata = self.wheel.read(f"{self.info}/METADATA").decode()
        self.assertIn(f"\nName: litestream-vfs\nVersion: {self.version}\n", metadata)
        self.assertTrue(metadata.endswith("\n\n" + (HERE / "README.md").read_text()))
        for name in ("LICENSE", "NOTICE"):
            self.assertEqual(self.wheel.read(f"{self.info}/licenses/{name}"), (ROOT / name).read_bytes())

    def test_tag(self):
        name, version, tag = WHEEL.stem.split("-", 2)
        self.assertEqual([name, version], ["litestream_vfs", self.version])
        self.assertIn(f"\nTag: {tag}\n", self.wheel.read(f"{self.info}/WHEEL").decode())
        self.assertIn("\nRoot-Is-Purelib: false\n", self.wheel.read(f"{self.info}/WHEEL").decode())

    @unittest.skipUnless(shutil.which("readelf"), "readelf of binutils is missing")
    def test_tag_is_what_readelf_finds(self):
        library = litestream_vfs.loadable_path() + ".so"
        text = subprocess.run(["readelf", "--wide", "--version-info", library], check=True, stdout=subprocess.PIPE).stdout
        newest = max(int(minor) for minor in re.findall(rb"Name: GLIBC_2\.(\d+)", text))
        self.assertIn(f"-manylinux_2_{newest}_", WHEEL.name)


@needs_backend
class TestBackend(Case):
    def library(self, machine=62):
        data = bytearray(Path(litestream_vfs.loadable_path() + ".so").read_bytes())
        data[18] = machine
        return bytes(data)

    def test_linux(self):
        tag = platform_tag.platform_tag(self.library(), platform_tag.TARGETS["linux-amd64"])
        self.assertIn(f"-{tag}.whl", WHEEL.name)
        arm64 = platform_tag.TARGETS["linux-arm64"]
        self.assertEqual(platform_tag.platform_tag(self.library(183), arm64), tag.replace("x86_64", "aarch64"))
        with self.assertRaisesRegex(platform_tag.LibraryError, "another machine"):
            platform_tag.platform_tag(self.library(), arm64)

    def test_linux_with_a_library_that_not_all_have(self):
        data = self.library().replace(b"\0libc.so.6\0", b"\0libx.so.6\0")
        self.assertEqual(platform_tag.platform_tag(data, platform_tag.TARGETS["linux-amd64"]), "linux_x86_64")

    def test_macos(self):
        def macho(code, command, version):
            header = struct.pack("<8I", 0xFEEDFACF, code, 0, 6, 2, 0, 0, 0)
            other = struct.pack("<4I", 0x19, 16, 0, 0)
            at = [version] if command == 0x24 else [1, version]
            return header + other + struct.pack(f"<{len(at) + 2}I", command, 4 * len(at) + 8, *at)

        for target, data, tag in [
            ("darwin-arm64", macho(0x100000C, 0x32, 12 << 16), "macosx_12_0_arm64"),
            ("darwin-arm64", macho(0x100000C, 0x32, 12 << 16 | 3 << 8), "macosx_13_0_arm64"),
            ("darwin-amd64", macho(0x1000007, 0x24, 10 << 16 | 15 << 8), "macosx_10_15_x86_64"),
        ]:
            self.assertEqual(platform_tag.platform_tag(data, platform_tag.TARGETS[target]), tag)
        with self.assertRaises(platform_tag.LibraryError):
            platform_tag.platform_tag(self.library(), platform_tag.TARGETS["darwin-arm64"])

    def test_wheels_are_reproducible(self):
        library = self.dir / "library"
        library.write_bytes(self.small())
        wheels = [backend.make_wheel(self.dir / name, "linux-amd64", library) for name in "ab"]
        self.assertEqual(wheels[0].name, f"litestream_vfs-{backend.version()}-py3-none-linux_x86_64.whl")
        self.assertEqual(wheels[0].read_bytes(), wheels[1].read_bytes())

    def small(self):
        """Return an ELF file without sections."""
        return (b"\x7fELF\x02\x01" + bytes(12) + b"\x3e").ljust(64, b"\0")

    def test_command(self):
        build = [sys.executable, str(HERE / "backend.py"), "linux-mips"]
        done = subprocess.run(build, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual([done.returncode, done.stdout], [1, ""])
        self.assertIn("no target linux-mips, want one of linux-amd64", done.stderr)
