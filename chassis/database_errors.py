"""Turns what SQLite, psycopg and SQLAlchemy raise into one clear sentence of the project's own error tree.

A fault that the operator must mend is a ConfigurationError, one that may pass by itself Unavailable, a
unique key that another transaction took KeyTaken. Anything else (a bad statement, a broken constraint) is a
fault of the program and stays as it was raised.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy.exc

from quanlian.errors import ConfigurationError, QuanlianError, Unavailable

DRIVER_ERRORS = (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, psycopg.Error, sqlite3.Error)


class KeyTaken(QuanlianError):
    """A unique key was already in the database. Nothing was committed; read what exists and decide again."""


_SQLITE_MENDABLE = {
    "SQLITE_NOTADB": (
        "the file is not an SQLite database",
        "check the path, or restore the file from a backup",
    ),
    "SQLITE_CORRUPT": ("the database file is damaged", "restore it from a backup"),
    "SQLITE_CANTOPEN": ("the database file cannot be opened", "check the path and its permissions"),
    "SQLITE_READONLY": ("the database is read-only", "make the file and its folder writable for this user"),
    "SQLITE_PERM": ("access to the database file is not permitted", "check the file's owner and mode"),
    "SQLITE_AUTH": ("access to the database file is not permitted", "check the file's owner and mode"),
}
_SQLITE_PASSING = {
    "SQLITE_BUSY": ("the database is locked by another writer", "try again, or stop the other process"),
    "SQLITE_LOCKED": ("the database is locked by another writer", "try again, or stop the other process"),
    "SQLITE_FULL": ("the disk is full", "make room and try again"),
    "SQLITE_IOERR": ("the disk does not read or write", "check the disk and its free space, then try again"),
}
_POSTGRESQL_MENDABLE = {
    "28P01": ("the server refuses the password", "correct user and password in the database URL"),
    "28000": (
        "the server refuses the user",
        "correct the user in the database URL, or the server's pg_hba.conf",
    ),
    "3D000": ("the database does not exist", "create it, or correct its name in the database URL"),
    "3F000": ("the schema does not exist", "run the migrations first"),
    "42501": ("the user lacks a permission", "grant it, or use the role that owns the schema"),
    "25006": ("the database is read-only", "connect to the primary server, not to a standby"),
}
_POSTGRESQL_PASSING = {
    "53100": ("the server's disk is full", "make room and try again"),
    "53300": ("the server has no free connection", "raise max_connections, or try again"),
    "55P03": ("another writer held the database for too long", "try again, or stop the other process"),
    "40001": ("the transaction collided with another", "try again"),
    "40P01": ("the transaction collided with another", "try again"),
    "57014": ("the server cancelled the statement", "try again"),
}
_CONNECT_MESSAGES = {
    r"password authentication failed|no password supplied": "28P01",
    r"no pg_hba.conf entry|role .* does not exist|authentication failed": "28000",
    r"database .* does not exist": "3D000",
    r"too many clients|remaining connection slots": "53300",
}


@contextmanager
def plain_errors(where: str) -> Iterator[None]:
    """Raises the block's database errors as one sentence that begins with `where` and shows no password."""
    try:
        yield
    except DRIVER_ERRORS as error:
        translated = translate(error, where)
        if translated is None:
            raise
        raise translated from error


def translate(error: Exception, where: str) -> QuanlianError | None:
    """The error that a person should see, or None where it is a fault of the program."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, sqlalchemy.exc.TimeoutError):
        return Unavailable(f"{where}: all connections are in use — try again")
    if isinstance(cause, sqlite3.Error):
        return _from_sqlite(cause, where)
    if isinstance(cause, psycopg.Error):
        return _from_postgresql(cause, where)
    return None


def _from_sqlite(error: sqlite3.Error, where: str) -> QuanlianError | None:
    name = getattr(error, "sqlite_errorname", "")
    if name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return KeyTaken(f"{where}: {error}")
    primary = "_".join(name.split("_")[:2])
    if primary in _SQLITE_MENDABLE:
        what, remedy = _SQLITE_MENDABLE[primary]
        return ConfigurationError(what, place=where, remedy=remedy)
    if primary in _SQLITE_PASSING:
        what, remedy = _SQLITE_PASSING[primary]
        return Unavailable(f"{where}: {what} — {remedy}")
    return None


def _from_postgresql(error: psycopg.Error, where: str) -> QuanlianError | None:
    state = error.sqlstate or _state_of_failed_connection(error)
    if state == "23505":
        return KeyTaken(f"{where}: {_first_line(error)}")
    if state in _POSTGRESQL_MENDABLE:
        what, remedy = _POSTGRESQL_MENDABLE[state]
        return ConfigurationError(f"{what} ({_first_line(error)})", place=where, remedy=remedy)
    if state in _POSTGRESQL_PASSING:
        what, remedy = _POSTGRESQL_PASSING[state]
        return Unavailable(f"{where}: {what} ({_first_line(error)}) — {remedy}")
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Unavailable(
            f"{where}: the server does not answer ({_first_line(error)}) — "
            "check that it runs and that host and port in the database URL are right"
        )
    if state is not None and state[:2] in ("08", "57"):
        return Unavailable(f"{where}: the server ended the connection ({_first_line(error)}) — try again")
    return None


def _state_of_failed_connection(error: psycopg.Error) -> str | None:
    """libpq tells why a connection failed in words only."""
    words = str(error)
    return next((state for pattern, state in _CONNECT_MESSAGES.items() if re.search(pattern, words)), None)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
