"""Answers queries as worker/main.go does, by Python's sqlite3 and the package."""

import json
import os
import sqlite3
import sys
import time

import litestream_vfs

litestream_vfs.load()
dbs = {}


def connection(plain):
    if plain not in dbs:
        if plain:
            dbs[plain] = sqlite3.connect(os.environ["WORKER_PLAIN"])
        else:
            options = {"hydration_enabled": True, "poll_interval": os.environ["WORKER_POLL"]}
            if os.environ["WORKER_PATH"]:
                options["hydration_path"] = os.environ["WORKER_PATH"]
            dbs[plain] = litestream_vfs.connect(os.environ["WORKER_URL"], **options)
    return dbs[plain]


def ask(request):
    total, text = 0, ""
    db = connection(request["Plain"])
    start = time.monotonic()
    for key in [[key] for key in request["Keys"] or []] or [[]]:
        (value,) = db.execute(request["SQL"], key).fetchone()
        if isinstance(value, int):
            total += value
        else:
            text = value
    return {"sum": total, "text": text, "seconds": time.monotonic() - start}


print("{}", flush=True)  # it runs
for line in sys.stdin:
    try:
        reply = ask(json.loads(line))
    except (sqlite3.Error, TypeError) as err:
        reply = {"error": str(err)}
    print(json.dumps(reply), flush=True)
