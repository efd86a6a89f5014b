"""Runs the requests of a causes.Child with the Python package.

The argument is the path of the library without its suffix.
"""

import json
import sys

import litestream_vfs

litestream_vfs.loadable_path = lambda: sys.argv[1]
connections = {}


def answer(request):
    number = request["conn"]
    if request["op"] == "open":
        connections[number] = litestream_vfs.connect(request["url"], isolation_level=None, **request.get("options", {}))
        return {}
    conn = connections[number]
    if request["op"] == "close":
        conn.close()
        return {}
    try:
        rows = conn.execute(request["statement"]).fetchall()
    except Exception as error:
        text, last = str(error), litestream_vfs.last_error(conn)
        if last is not None and last not in text:
            text += ": " + last
        return {"error": text}
    return {"value": str(rows[0][0])} if request["op"] == "query" else {}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as error:
        reply = {"error": str(error)}
    print(json.dumps(reply), flush=True)
