#!/usr/bin/env python3
"""A to-do list on object storage, with Flask. todo_cli.py has the commands.

    flask --app flask_todos run     # serves the list of LITESTREAM_REPLICA_URL at /todos, for reading only
"""

import litestream_vfs
from flask import Flask, g, jsonify, request

from todo_cli import IS_WRITER, URL, run

app = Flask(__name__)


def db():
    # A connection for each request is cheap: the database stays open for a minute after the last one.
    if "db" not in g:
        g.db = litestream_vfs.connect(URL, write_enabled=IS_WRITER)
    return g.db


@app.teardown_appcontext
def close_db(error):
    if "db" in g:
        g.db.close()


@app.get("/todos")
def list_todos():
    # A client that has written names its transaction, and sees it.
    if "after" in request.args:
        db().execute("SELECT litestream_wait(?, 10)", [request.args["after"]]).fetchone()
    return jsonify([title for (title,) in db().execute("SELECT title FROM todos ORDER BY id")])


@app.post("/todos")
def add_todo():
    with db():
        db().execute("CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
        db().execute("INSERT INTO todos (title) VALUES (?)", [request.form["title"]])
    (txid,) = db().execute("SELECT litestream_sync()").fetchone()
    return jsonify(after=txid), 201


def titles(**query):
    return app.test_client().get("/todos", query_string=query).get_json()


def add(title):
    return app.test_client().post("/todos", data={"title": title}).get_json()["after"]


if __name__ == "__main__":
    run(add, titles, lambda txid: titles(after=txid))
