"""A service that counts ratings, for servers of many processes: each worker reads the same copy.

    LITESTREAM_REPLICA_URL=s3://bucket/ratings gunicorn -c gunicorn.conf.py ratings:app
"""

import json
import os

import litestream_vfs

db = None


def open_db():
    """Open the database. Each worker does so for itself, after it was forked."""
    global db
    db = litestream_vfs.connect(
        os.environ["LITESTREAM_REPLICA_URL"],
        hydration_enabled=True,
        hydration_path=os.environ.get("RATINGS_COPY", "/tmp/ratings.copy"),
        check_same_thread=False,
    )


def app(environ, start_response):
    count, status = db.execute("SELECT count(*), litestream_status() FROM sandwich_ratings").fetchone()
    body = json.dumps({"pid": os.getpid(), "count": count, "hydration": json.loads(status)["hydration"]})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body.encode()]
