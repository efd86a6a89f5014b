"""SQLite databases opened in place on object storage, for Python's own sqlite3.

    import litestream_vfs

    conn = litestream_vfs.connect("s3://bucket/app.db")
    conn.execute("SELECT count(*) FROM users").fetchone()

connect() opens a replica that Litestream v0.5 wrote, or this library. Nothing is downloaded or
restored: a query reads the pages that it needs. load() and uri() are for connections made in
other ways, and for ATTACH. The options are those of Options.

Connections may be made and used in any thread, as sqlite3 allows it. A process that was forked
from one that had loaded the library can only tell so; start processes anew, as
multiprocessing does with its start method "spawn".
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import sqlite3
import sys
import threading
import time
import warnings
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, TypedDict, Union
from urllib.parse import quote

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "ConnectOptions",
    "LocalFileWarning",
    "Options",
    "connect",
    "is_replica",
    "last_error",
    "load",
    "loadable_path",
    "uri",
    "wait_for_hydration",
]

Duration = Union[float, timedelta, str]
"""Seconds, or text such as "500ms" or "1m30s"."""

Size = Union[int, str]
"""Bytes, or text such as "10MB" or "10MiB"."""

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class Options(TypedDict, total=False):
    """Options of a database. None is as good as none.

    The first open of a database in a process fixes them; until its last connection is closed,
    another open with others fails. Options that are not given are those of the environment,
    LITESTREAM_POLL_INTERVAL and so on, or else the defaults.
    """

    mode: str
    """"ro" for reading only, or "rw"."""

    poll_interval: Duration
    poll_idle_after: Duration
    cache_size: Size
    index_size: Size
    read_ahead_size: Size
    hedge_requests: bool
    open_timeout: Duration
    read_timeout: Duration
    close_timeout: Duration
    wait_for_replica: Duration
    close_delay: Duration

    hydration_enabled: bool
    hydration_mode: str
    """"all" copies the whole database, "pages" keeps the pages that queries fetch."""
    hydration_path: Path
    offline_after: Duration
    hydration_concurrency: int
    hydration_rate_limit: Size

    write_enabled: bool
    sync_interval: Duration
    buffer_path: Path
    buffer_max_size: Size
    sync_on_commit: bool
    compaction_disabled: bool
    compaction_levels: Union[str, Sequence[Duration]]
    snapshot_interval: Duration
    snapshot_retention: Duration
    l0_retention: Duration


class ConnectOptions(Options, total=False):
    """Options of a database, and keyword arguments of sqlite3.connect()."""

    timeout: float
    detect_types: int
    isolation_level: Optional[str]
    check_same_thread: bool
    factory: Any
    cached_statements: int
    autocommit: Any  # from Python 3.12 on


def loadable_path() -> str:
    """Return the path of the library without its suffix, as sqlite3's load_extension() takes it."""
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "litestream")
    if not os.path.exists(path + suffix):
        raise FileNotFoundError(
            f"{path}{suffix} is missing: this is not an installed wheel for {sys.platform}"
        )
    return path


_NO_EXTENSIONS = (
    f"the sqlite3 module of {sys.executable} was built without the loading of extensions. Use another Python: "
    "that of Debian, Ubuntu or Homebrew, or of Docker's python images. pyenv builds one that will do with "
    "PYTHON_CONFIGURE_OPTS=--enable-loadable-sqlite-extensions"
)

# Held while the library is loaded. A fork waits for that: in its child, the
# thread that loads would not be there to go on.
_loading = threading.RLock()
_loaded = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_loading.release)


class LocalFileWarning(UserWarning):
    """A connection is to a local file, where the environment names a replica."""


def load(conn: Optional[sqlite3.Connection] = None) -> None:
    """Load the library, with a connection if one is given, which gets its SQL functions.

    From then on any connection of the process can be to a name that uri() gives. Whether the
    connection may load extensions is as before afterwards. A connection that is open stays what
    it is: if it is to a local file, and the environment has a LITESTREAM_REPLICA_URL, that is a
    LocalFileWarning.
    """
    if conn is None:
        _load_once()
        return
    if not hasattr(conn, "load_extension"):
        raise sqlite3.NotSupportedError(_NO_EXTENSIONS)
    path = loadable_path()
    with _loading:
        try:
            conn.load_extension(path)
        except sqlite3.OperationalError as e:
            if str(e) != "not authorized":  # SQLite tells only so that it is not enabled
                raise
            conn.enable_load_extension(True)
            try:
                conn.load_extension(path)
            finally:
                conn.enable_load_extension(False)
    if os.environ.get("LITESTREAM_REPLICA_URL"):
        _warn_of_local_file(conn)


def _warn_of_local_file(conn: sqlite3.Connection) -> None:
    file = _row(conn, "SELECT file FROM pragma_database_list WHERE name = 'main'")
    if file and file[0] and not is_replica(conn):
        # Parameters of a URI that was not read as one may contain secrets.
        shown = re.sub(r"\?.*=.*", "?...", file[0], flags=re.DOTALL)
        warnings.warn(
            f"{shown} is a local file, not the replica of LITESTREAM_REPLICA_URL: it was open before the "
            "library was loaded. Open the replica with connect(), or by a name that uri() gives",
            LocalFileWarning,
            stacklevel=3,
        )


def _row(conn: sqlite3.Connection, sql: str) -> Any:
    """Return the first row of a statement as a tuple, None if there is none."""
    cursor = conn.cursor()
    try:
        cursor.row_factory = None
        return cursor.execute(sql).fetchone()
    finally:
        cursor.close()


def is_replica(conn: sqlite3.Connection) -> bool:
    """Return whether the main database of a connection is a replica, and not a local file."""
    return _row(conn, "PRAGMA main.litestream_txid") is not None


def _load_once() -> None:
    """Load the library into the process."""
    global _loaded
    with _loading:
        if not _loaded:
            conn = sqlite3.connect(":memory:")
            try:
                load(conn)
            finally:
                conn.close()
            _loaded = True


def connect(
    url: Optional[str] = None, *, name: Optional[str] = None, **options: Unpack[ConnectOptions]
) -> sqlite3.Connection:
    """Open the database whose replica is at a URL, such as "s3://bucket/app.db".

    Without a URL it is that of the environment's LITESTREAM_REPLICA_URL. The name is what logs
    call the database; databases are told apart by URL.

    Options are those of a database and of sqlite3.connect(), where timeout is the time that
    a writer waits for another. Raises TypeError for others, and sqlite3.OperationalError
    with the reason if the database cannot be opened.
    """
    rest: Dict[str, Any] = dict(options)
    arguments = {key: rest.pop(key) for key in _SQLITE_ARGUMENTS if key in rest}
    database = _uri("connect", url, name, rest)
    _load_once()
    try:
        return sqlite3.connect(database, uri=True, **arguments)
    except sqlite3.Error as e:
        # The library could only tell SQLite so in the place of an extension.
        text, prefix = str(e), "automatic extension loading failed: "
        if text.startswith(prefix):
            e.args = (text[len(prefix) :],)
        raise


def uri(url: Optional[str] = None, *, name: Optional[str] = None, **options: Unpack[Options]) -> str:
    """Return the file name that connect() opens, for ATTACH, or for other ways to connect.

    It is for connections that take URIs, as those of connect() do, once the library is loaded:

        conn.execute("ATTACH ? AS past", [litestream_vfs.uri(url)])
    """
    return _uri("uri", url, name, dict(options))


def last_error(conn: sqlite3.Connection) -> Optional[str]:
    """Return the text of the last error of a connection's main database, None if there was none.

    SQLite has only a code of most errors of a file: "disk I/O error" says nothing of storage
    that is down. Errors that SQLite finds itself are not among them.
    """
    status = _status(conn)
    error = None if status is None else status["last_error"]
    return None if error is None else str(error["text"])


def _status(conn: sqlite3.Connection) -> Optional[Dict[str, Any]]:
    row = _row(conn, "PRAGMA main.litestream_status")
    return None if row is None else json.loads(row[0])


def wait_for_hydration(
    conn: sqlite3.Connection,
    progress: Union[bool, Callable[[Dict[str, Any]], Any], None] = None,
    *,
    interval: float = 0.1,
) -> Dict[str, Any]:
    """Wait until the whole database is in a local file, and return the last progress.

    The progress is a dictionary: what PRAGMA litestream_status says of hydration. If progress is
    True, a bar on standard error shows it, of tqdm if that is installed. A function gets it
    whenever it has changed. Raises sqlite3.OperationalError if hydration fails, and
    sqlite3.ProgrammingError if it is not enabled or does not copy the whole database, or if the
    connection is to a local file.
    """
    report: Callable[[Dict[str, Any]], Any] = lambda hydration: None
    bar = None
    if progress is True:
        bar = _bar()
        report = bar.report
    elif progress:
        report = progress
    last = None
    try:
        while True:
            status = _status(conn)
            if status is None:
                raise sqlite3.ProgrammingError("the main database is a local file, and no replica that could be hydrated")
            hydration = status["hydration"]
            if hydration != last:
                report(hydration)
            last = hydration
            if hydration["status"] == "complete":
                return dict(hydration)
            if hydration["status"] == "failed":
                raise sqlite3.OperationalError(f"hydration failed: {hydration['error']}")
            if hydration["status"] == "on_demand":
                raise sqlite3.ProgrammingError("hydration does not copy the database, because the option hydration_mode is pages")
            if not hydration["enabled"]:
                raise sqlite3.ProgrammingError("hydration is not enabled, set the option hydration_enabled")
            time.sleep(interval)
    finally:
        if bar is not None:
            bar.close()


def _bar() -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return _Lines()
    return _Tqdm(tqdm)


class _Tqdm:
    """A bar of tqdm, in pages."""

    def __init__(self, tqdm: Any) -> None:
        self.bar = tqdm(desc="hydration", unit=" pages", total=0)

    def report(self, hydration: Dict[str, Any]) -> None:
        self.bar.total = hydration["total_pages"]
        self.bar.n = hydration["pages"]
        self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


class _Lines:
    """Lines of text, one for each tenth."""

    tenth = -1

    def report(self, hydration: Dict[str, Any]) -> None:
        tenth = int(hydration["progress"] / 10)
        if tenth != self.tenth:
            self.tenth = tenth
            pages, total = hydration["pages"], hydration["total_pages"]
            print(f"hydration: {hydration['progress']:.0f} %, {pages} of {total} pages", file=sys.stderr)

    def close(self) -> None:
        pass


def _duration(value: Any) -> str:
    if isinstance(value, timedelta):
        seconds = Fraction(value // timedelta(microseconds=1), 1_000_000)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        seconds = Fraction(value)
    else:
        raise TypeError("seconds, a timedelta, or text such as '500ms'")
    nanoseconds = round(seconds * 1_000_000_000)
    whole, part = divmod(abs(nanoseconds), 1_000_000_000)
    text = f"{whole}.{part:09}".rstrip("0").rstrip(".")
    return ("-" if nanoseconds < 0 else "") + text + "s"


def _durations(value: Any) -> str:
    if not isinstance(value, Sequence):
        raise TypeError("a list of durations, or text such as '30s,5m,1h'")
    return ",".join(v if isinstance(v, str) else _duration(v) for v in value)


def _int(value: Any) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("an integer, or text")
    return str(value)


def _bool(value: Any) -> str:
    if not isinstance(value, bool):
        raise TypeError("True or False")
    return "true" if value else "false"


def _path(value: Any) -> bytes:
    if not isinstance(value, (bytes, os.PathLike)):
        raise TypeError("a path")
    return os.fsencode(value)


def _mode(value: Any) -> str:
    raise TypeError("'ro' or 'rw'")


def _hydration_mode(value: Any) -> str:
    raise TypeError("'all' or 'pages'")


# How values of each option are written, other than text, which goes as it is.
_OPTIONS: Dict[str, Callable[[Any], Union[str, bytes]]] = {
    "mode": _mode,
    "poll_interval": _duration,
    "poll_idle_after": _duration,
    "cache_size": _int,
    "index_size": _int,
    "read_ahead_size": _int,
    "hedge_requests": _bool,
    "open_timeout": _duration,
    "read_timeout": _duration,
    "close_timeout": _duration,
    "wait_for_replica": _duration,
    "close_delay": _duration,
    "hydration_enabled": _bool,
    "hydration_mode": _hydration_mode,
    "hydration_path": _path,
    "offline_after": _duration,
    "hydration_concurrency": _int,
    "hydration_rate_limit": _int,
    "write_enabled": _bool,
    "sync_interval": _duration,
    "buffer_path": _path,
    "buffer_max_size": _int,
    "sync_on_commit": _bool,
    "compaction_disabled": _bool,
    "compaction_levels": _durations,
    "snapshot_interval": _duration,
    "snapshot_retention": _duration,
    "l0_retention": _duration,
}

_SQLITE_ARGUMENTS = [
    "timeout",
    "detect_types",
    "isolation_level",
    "check_same_thread",
    "factory",
    "cached_statements",
    *(["autocommit"] if sys.version_info >= (3, 12) else []),
]


def _uri(function: str, url: Optional[str], name: Optional[str], options: Dict[str, Any]) -> str:
    """uri() for a function of a name, which is for the message of an error."""
    params = [("vfs", "litestream")]
    if url is not None:
        if not isinstance(url, str):
            raise TypeError(f"{function}() url must be text such as 's3://bucket/path', not {url!r}")
        if not url:
            raise ValueError(f"{function}() url is empty")
        params.append(("replica_url", _quote("replica_url", url)))
    for key, value in options.items():
        if key not in _OPTIONS:
            close = difflib.get_close_matches(key, _OPTIONS, 1, 0.8)
            meant = f". Did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {key!r}{meant}")
        if value is None:
            continue
        if not isinstance(value, str):
            try:
                value = _OPTIONS[key](value)
            except TypeError as e:
                raise TypeError(f"{function}() option {key} must be {e}, not {value!r}") from None
        if key == "mode" and value not in ("ro", "rw"):
            raise ValueError(f"{function}() option mode must be 'ro' or 'rw', not {value!r}")
        params.append((key, _quote(key, value)))
    if name is None:
        name = _name(url)
    elif name in ("", ":memory:"):
        raise ValueError(f"{name!r} is not a name of a file to SQLite")
    return "file:" + _quote("name", name) + "?" + "&".join(f"{key}={value}" for key, value in params)


def _name(url: Optional[str]) -> str:
    """The name of a database for logs: the end of its URL's path.

    It is absolute, not to be that of a local file, and need not be there.
    """
    path = "" if url is None else re.split("[?#]", url)[0].rstrip("/")
    end = re.split("[/:@]", path)[-1]  # not a password, and not the scheme
    return "/litestream/" + (end[-100:] or "database")


def _quote(key: str, value: Union[str, bytes]) -> str:
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if b"\0" in data:
        raise ValueError(f"{key} contains a null character")
    return quote(data, safe="")
