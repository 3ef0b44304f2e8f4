"""Noticing that a database is an older copy: each commit is numbered, and the last number is kept beside it too.

The file lies with the keys, not with the database, so that a backup of the one does not bring back the other. It is
written after each commit and before any answer leaves; that it reaches the disk a little later does not matter, for a
crash of the machine can only leave it behind the database, which is no sign of an older copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from chassis.database import Database, Transaction
from custodian import schema
from quanlian.errors import ConfigurationError, Unavailable

_TABLE = schema.lineage
_KEY = [_TABLE.c.id]
_ONLY = 1


class RecoveryNeeded(Unavailable):
    """This party's database is an older copy than the one it answered from; its operator must have it recovered."""

    def __init__(self, why: str, command: str) -> None:
        super().__init__(f"RECOVERY_NEEDED: {why} — the operator runs: {command}")


class Mark(NamedTuple):
    """How far a database has come: its life, the number of its last commit, and when that was (UTC seconds)."""

    incarnation: int
    commits: int
    at: int


class Lineage:
    """Numbers a database's commits from `begin` on."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._file = -1
        self._goes_on = False
        self._coming = 0
        self.restored = Mark(1, 0, 0)
        self.known = Mark(1, 0, 0)

    def begin(self) -> bool:
        """Whether the database is the one that was answered from last. Raises ConfigurationError for a bad file."""
        with self._database.snapshot() as transaction:
            self.restored = _stored(transaction)
        try:
            fresh, content = self._open()
            self.known = Mark(*map(int, content.split())) if content.strip() else self.restored
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"cannot be used: {error}", place=str(self._path), remedy="restore it, or remove it and recover"
            ) from error
        if fresh and self.restored.commits:
            self.known = Mark(self.restored.incarnation, self.restored.commits + 1, 0)
        same_life = self.restored.incarnation == self.known.incarnation
        if not same_life or self.restored.commits < self.known.commits:
            return False
        self._go_on(self.restored)
        return True

    @property
    def lost_commits(self) -> int:
        """How many commits were answered for that the database does not have."""
        return max(0, self.known.commits - self.restored.commits)

    def coming(self, heard: int = 0) -> int:
        """The incarnation that `renew` will begin: above all that this party was in, as it knows or a peer heard."""
        self._coming = max(self._coming, 1 + max(self.restored.incarnation, self.known.incarnation, heard))
        return self._coming

    def renew(self) -> Mark:
        """A new life, numbered on from the highest that was answered for: the database is recovered."""
        with self._database.transaction() as transaction:
            commits = max(self.restored.commits, self.known.commits) + 1
            mark = Mark(self.coming(), commits, transaction.now())
            transaction.upsert(_TABLE, [_row(mark)])
        self._go_on(mark)
        return mark

    def mark_as_behind(self) -> None:
        """A peer has what this database does not: it stays in need of recovery over a restart too."""
        if self._goes_on:
            self._goes_on = False
            self._database.number_commits(None)
            self._write(self.known._replace(commits=self.known.commits + 1))

    def _go_on(self, mark: Mark) -> None:
        self._goes_on = True
        self._write(mark)
        self._database.number_commits(self._number)

    def _number(self, transaction: Transaction) -> Callable[[], None]:
        """One statement if the row still says what this process wrote last; else another process committed since."""
        last = self.known
        mark = Mark(last.incarnation, last.commits + 1, transaction.now())
        if not transaction.update(_TABLE, _row(last), _row(mark)):
            last = _stored(transaction)
            mark = Mark(last.incarnation, last.commits + 1, transaction.now())
            transaction.upsert(_TABLE, [_row(mark)])
        return lambda: self._write(mark)

    def _open(self) -> tuple[bool, str]:
        """Whether the file is new, and what it says."""
        fresh = not self._path.exists()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        return fresh, os.pread(self._file, 200, 0).decode("ascii")

    def _write(self, mark: Mark) -> None:
        self.known = mark
        os.pwrite(self._file, f"{mark.incarnation:020d} {mark.commits:020d} {mark.at:020d}\n".encode(), 0)


def _row(mark: Mark) -> dict[str, int]:
    return {"id": _ONLY, "incarnation": mark.incarnation, "commits": mark.commits, "at": mark.at}


def _stored(transaction: Transaction) -> Mark:
    rows = transaction.select_keys(_TABLE, _KEY, [(_ONLY,)])
    return Mark(rows[0].incarnation, rows[0].commits, rows[0].at) if rows else Mark(1, 0, 0)
