#!/usr/bin/env python3
"""A to-do list on object storage, with Django. todo_cli.py has the commands.

    python3 manage.py todo list
"""

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
