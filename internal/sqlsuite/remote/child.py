"""Runs the statements of package remote with Python's sqlite3 module.

The argument is the path of a loadable extension, or empty. A line of standard input is a
request, a line of standard output the reply to one, both JSON. Each connection has
a thread, so that they do not wait for each other.
"""

import base64
import json
import queue
import sqlite3
import sys
import threading


class Text(bytes):
    """A text as SQLite has it, which need not be UTF-8."""


TO_JSON = {
    type(None): lambda v: None,
    int: lambda v: ["i", str(v)],
    float: lambda v: ["r", repr(v)],
    Text: lambda v: ["t", base64.b64encode(v).decode()],
    bytes: lambda v: ["b", base64.b64encode(v).decode()],
}
FROM_JSON = {"i": int, "r": float, "t": lambda v: base64.b64decode(v).decode(), "b": base64.b64decode}

writing = threading.Lock()


def reply(number, **fields):
    line = json.dumps({"id": number, **fields})
    with writing:
        print(line, flush=True)


class Connection(threading.Thread):
    """A connection of SQLite, which takes one request after another from a queue."""

    def __init__(self):
        super().__init__(daemon=True)
        self.requests = queue.SimpleQueue()
        self.db = None
        self.start()

    def run(self):
        while True:
            request = self.requests.get()
            if request is None:
                return
            try:
                reply(request["id"], **self.answer(request))
            except Exception as error:  # SQLite's, and those of the module itself
                reply(request["id"], error={"code": getattr(error, "sqlite_errorcode", 0), "message": str(error)})
            if request["op"] == "close":
                return

    def answer(self, request):
        if request["op"] == "open":
            self.db = sqlite3.connect(request["uri"], uri=True, isolation_level=None, check_same_thread=False)
            self.db.text_factory = Text
            return {}
        if request["op"] == "close":
            if self.db is not None:
                self.db.close()
            return {}
        args = [v if v is None else FROM_JSON[v[0]](v[1]) for v in request.get("args", [])]
        cursor = self.db.execute(request["query"], args)
        rows = [[TO_JSON[type(v)](v) for v in row] for row in cursor.fetchall()]
        columns = [column[0] for column in cursor.description or []]
        return {"columns": columns, "rows": rows, "changes": max(cursor.rowcount, 0), "last": cursor.lastrowid or 0}


def main():
    if sys.argv[1]:
        # The extension stays loaded, and serves the connections that are opened later.
        loader = sqlite3.connect(":memory:")
        loader.enable_load_extension(True)
        loader.load_extension(sys.argv[1])
        loader.close()
    reply(0)
    connections = {}
    for line in sys.stdin:
        request = json.loads(line)
        number = request["conn"]
        if request["op"] == "interrupt":
            if connections[number].db is not None:
                connections[number].db.interrupt()
            continue
        if request["op"] == "open":
            connections[number] = Connection()
        connections[number].requests.put(request)
    for connection in connections.values():
        connection.requests.put(None)
        connection.join()


main()
