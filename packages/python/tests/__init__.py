"""Tests of the installed wheel; packages/python/test installs it and runs them."""

import os

# What is logged to standard error, tests ask for.
os.environ["LITESTREAM_LOG_FILE"] = os.devnull
