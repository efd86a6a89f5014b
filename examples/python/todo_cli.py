"""The command line that the programs of this folder have in common.

    PROGRAM add TITLE    # adds to the list in write mode, and prints the transaction
    PROGRAM list         # prints the list
    PROGRAM follow       # prints the list, then waits for each transaction on standard input and prints it again
"""

import os
import sys

os.environ.setdefault("LITESTREAM_LOG_LEVEL", "warn")

URL = os.environ.get("LITESTREAM_REPLICA_URL", "file:///tmp/todos")
"""Where the replica is: file:///path, s3://bucket/path, gs://bucket/path or abs://container/path."""

IS_WRITER = sys.argv[1:2] == ["add"]
"""Whether this process writes. One process at a time can."""


def run(add, titles, wait):
    """Run the command. add() takes a title and returns a transaction, titles() returns a list, and
    wait() takes a transaction."""
    command, *arguments = sys.argv[1:] or [""]
    if command == "add" and len(arguments) == 1:
        print(add(arguments[0]))
    elif command in ("list", "follow") and not arguments:
        print(", ".join(titles()), flush=True)
        for line in sys.stdin if command == "follow" else ():
            wait(line.strip())
            print(", ".join(titles()), flush=True)
    else:
        sys.exit(__doc__.replace("PROGRAM", sys.argv[0]))
