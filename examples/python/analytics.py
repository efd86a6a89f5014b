#!/usr/bin/env python3
"""Looks into a database on object storage, into its past, and mends it.

    python3 analytics.py                                         # a demonstration, in a temporary folder
    LITESTREAM_REPLICA_URL=s3://bucket/demo python3 analytics.py   # the same there, where nothing may be yet
    python3 analytics.py file:///backups/sandwiches              # only looks, at a table sandwich_ratings

It needs the package litestream-vfs, see packages/python. What it expects, it checks: its exit status
is 0 only if it was so.
"""

import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import litestream_vfs

RATINGS = 20_000
CITIES = ["Helsinki", "Lisbon", "London", "Naples"]
BY_CITY = "SELECT city, count(*), round(avg(stars), 2) FROM sandwich_ratings GROUP BY city ORDER BY city"
IN_ALL = "SELECT count(*), round(avg(stars), 2) FROM sandwich_ratings"


def check(is_so, what):
    if not is_so:
        sys.exit(f"analytics: {what}")


def demonstration(url):
    """Write a database to an empty replica, and run an UPDATE by mistake."""
    with closing(litestream_vfs.connect(url, write_enabled=True)) as conn:
        check(not conn.execute("SELECT * FROM sqlite_master").fetchall(), f"there is a database at {url} already")
        conn.execute("CREATE TABLE sandwich_ratings (id INTEGER PRIMARY KEY, city TEXT, stars INT, review TEXT)")
        conn.execute("CREATE INDEX sandwich_ratings_city ON sandwich_ratings (city, stars)")
        review = random.Random(1)
        ratings = ((i, CITIES[i % 4], i % 5 + 1, f"{review.getrandbits(800):x}") for i in range(RATINGS))
        conn.executemany("INSERT INTO sandwich_ratings VALUES (?, ?, ?, ?)", ratings)
        conn.commit()
        conn.execute("PRAGMA litestream_sync").fetchone()
        conn.execute("UPDATE sandwich_ratings SET stars = 1")  # the WHERE is missing
        conn.commit()
        conn.execute("PRAGMA litestream_sync").fetchone()


def report(conn, sql):
    start = time.perf_counter()
    rows = conn.execute(sql).fetchall()
    print(f"  {'city':<12}{'ratings':>8}{'stars':>7}   in {1000 * (time.perf_counter() - start):.1f} ms")
    for city, ratings, stars in rows[:8]:
        print(f"  {city:<12}{ratings:>8}{stars:>7.2f}")
    if len(rows) > 8:
        print(f"  and {len(rows) - 8} more")
    return rows


def hydrate(conn):
    """Wait until the whole database is in a local file, and show the progress."""
    shown = None

    def show(hydration):
        nonlocal shown
        if shown is None or hydration["progress"] >= min(100, shown + 20):
            shown = hydration["progress"]
            print(f"  hydration: {shown:5.1f} %, {hydration['status']}")

    hydration = litestream_vfs.wait_for_hydration(conn, show, interval=0.01)
    print(f"  {hydration['total_pages']} pages are local now, {hydration['bytes']} bytes were read for them\n")


def before_disaster(conn):
    """Return the newest point in time at which the average differs from the current one, or None."""
    now = conn.execute(IN_ALL).fetchone()
    points = json.loads(conn.execute("PRAGMA litestream_history").fetchone()[0])
    try:
        for point in reversed(points):
            conn.execute("SELECT litestream_set_txid(?)", [point["txid"]]).fetchone()
            ratings, stars = conn.execute(IN_ALL).fetchone()
            if ratings == now[0] and stars != now[1]:
                return point
    finally:
        conn.execute("SELECT litestream_set_time('latest')").fetchone()
    return None


def look(url, **options):
    """Print the present and the past, and return the point before the disaster and the rows at that point."""
    with closing(litestream_vfs.connect(url, hydration_enabled=True, wait_for_replica=0, **options)) as conn:
        txid, at = conn.execute("SELECT litestream_txid(), litestream_time()").fetchone()
        print(f"The newest transaction is {txid}, of {at}. From storage:\n")
        remote = report(conn, BY_CITY)
        print()
        hydrate(conn)
        print("From the local copy:\n")
        check(report(conn, BY_CITY) == remote, "the local copy has something else")

        point = before_disaster(conn)
        if point is None:
            print("\nThe average was never another, as far back as the replica goes.")
            return None, None
        conn.execute("SELECT litestream_set_txid(?)", [point["txid"]]).fetchone()
        print(f"\nThe average was another until transaction {point['txid']}, of {point['time']}:\n")
        return point, report(conn, BY_CITY)


def mend(url, point):
    """Restore the stars in write mode, from a connection that has travelled to the past."""
    with closing(litestream_vfs.connect(url, write_enabled=True)) as past, closing(
        litestream_vfs.connect(url, write_enabled=True, timeout=30)
    ) as conn:
        past.execute("SELECT litestream_set_txid(?)", [point["txid"]]).fetchone()
        stars = past.execute("SELECT stars, id FROM sandwich_ratings")
        with conn:
            conn.executemany("UPDATE sandwich_ratings SET stars = ? WHERE id = ?", stars)
        (txid,) = conn.execute("PRAGMA litestream_sync").fetchone()
        print(f"\nMended, and on the replica as transaction {txid}:\n")
        return report(conn, BY_CITY)


def demonstrate(url):
    print(f"A demonstration at {url}\n")
    demonstration(url)
    # Limit the rate, so that the progress is visible.
    point, then = look(url, hydration_rate_limit="5MB")
    want = [(city, RATINGS // 4, 3.0) for city in CITIES]
    check(point is not None and then == want, f"the past is {then}, not {want}")
    mended = mend(url, point)
    check(mended == want, f"mended it is {mended}, not {want}")
    with closing(litestream_vfs.connect(url)) as conn:
        found = conn.execute(BY_CITY).fetchall()
        check(found == want, f"the replica has {found}, not {want}")


def main():
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    if len(sys.argv) == 2:
        look(sys.argv[1])
    elif os.environ.get("LITESTREAM_REPLICA_URL"):
        demonstrate(os.environ["LITESTREAM_REPLICA_URL"])
    else:
        with tempfile.TemporaryDirectory() as folder:
            demonstrate((Path(folder) / "replica").as_uri())


if __name__ == "__main__":
    os.environ.setdefault("LITESTREAM_LOG_LEVEL", "warn")
    try:
        main()
    except sqlite3.Error as e:
        sys.exit(f"analytics: {e}")
