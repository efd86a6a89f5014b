import os
import sys

import litestream_vfs

os.environ.setdefault("LITESTREAM_LOG_LEVEL", "warn")
litestream_vfs.load()

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": litestream_vfs.uri(
            os.environ.get("LITESTREAM_REPLICA_URL", "file:///tmp/todos"),
            write_enabled="add" in sys.argv,  # one process at a time can write
        ),
    }
}

INSTALLED_APPS = ["todos"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "not one of a program that serves pages"
USE_TZ = True
