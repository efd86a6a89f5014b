#!/usr/bin/env python3
"""A to-do list on object storage, with SQLAlchemy. todo_cli.py has the commands."""

import litestream_vfs
from sqlalchemy import Column, Integer, String, create_engine, func, select
from sqlalchemy.orm import Session, declarative_base
from sqlalchemy.pool import QueuePool

from todo_cli import IS_WRITER, URL, run


def connect():
    # The pool hands connections from thread to thread.
    return litestream_vfs.connect(URL, write_enabled=IS_WRITER, check_same_thread=False)


engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
Base = declarative_base()


class Todo(Base):
    __tablename__ = "todos"
    id = Column(Integer, primary_key=True)
    title = Column(String, nullable=False)


def titles():
    with Session(engine) as session:
        return session.scalars(select(Todo.title).order_by(Todo.id)).all()


def add(title):
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Todo(title=title))
        session.commit()
        return session.scalar(select(func.litestream_sync()))


def wait(txid):
    with Session(engine) as session:
        session.scalar(select(func.litestream_wait(txid, 10)))


if __name__ == "__main__":
    run(add, titles, wait)
    engine.dispose()
