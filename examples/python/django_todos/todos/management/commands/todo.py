import sys

import todo_cli
from django.core.management import BaseCommand, call_command
from django.db import connection

from todos.models import Todo


class Command(BaseCommand):
    help = todo_cli.__doc__

    def run_from_argv(self, argv):
        sys.argv[:2] = ["manage.py todo"]
        todo_cli.run(add, titles, wait)
        connection.close()


def titles():
    return list(Todo.objects.order_by("id").values_list("title", flat=True))


def add(title):
    call_command("migrate", verbosity=0)
    Todo.objects.create(title=title)
    return sql("SELECT litestream_sync()")


def wait(txid):
    sql("SELECT litestream_wait(%s, 10)", txid)


def sql(statement, *args):
    with connection.cursor() as cursor:
        cursor.execute(statement, args)
        return cursor.fetchone()[0]
