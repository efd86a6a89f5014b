#!/usr/bin/env python3
"""A to-do list on object storage, with pandas. todo_cli.py has the commands."""

import litestream_vfs
import pandas

from todo_cli import IS_WRITER, URL, run

conn = litestream_vfs.connect(URL, write_enabled=IS_WRITER)


def titles():
    frame = pandas.read_sql("SELECT id, title FROM todos ORDER BY id", conn, index_col="id")
    return frame["title"].tolist()


def add(title):
    frame = pandas.DataFrame({"title": [title]})
    conn.execute("CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    frame.to_sql("todos", conn, if_exists="append", index=False)
    return pandas.read_sql("SELECT litestream_sync() AS txid", conn)["txid"][0]


def wait(txid):
    pandas.read_sql("SELECT litestream_wait(?, 10)", conn, params=[txid])


if __name__ == "__main__":
    run(add, titles, wait)
    conn.close()
