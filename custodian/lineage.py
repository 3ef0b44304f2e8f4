"""Noticing that a database is an older copy: each commit is numbered, and the last number is kept beside it too.

The file lies with the keys, not with the database, so that a backup of the one does not bring back the other. It is
written after each commit and before any answer leaves; that it reaches the disk a little later does not matter, for a
crash of the machine can only leave it behind the database, which is no sign of an older copy. Each start compares the
two, and each commit does, for a database can be set back while its party runs. That the database was found to be an
older copy is a flag of its own in the file, which no commit touches, of whatever process.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from chassis.database import Database, Transaction
from custodian import schema
from quanlian.errors import ConfigurationError, Unavailable

_TABLE = schema.lineage
_KEY = [_TABLE.c.id]
_ONLY = 1
_MARK_BYTES = 63
_FLAG_BYTES = 2000


class RecoveryNeeded(Unavailable):
    """This party's database is an older copy than the one it answered from; its operator must have it recovered."""

    def __init__(self, why: str, command: str) -> None:
        super().__init__(f"RECOVERY_NEEDED: {why} — the operator runs: {command}")


class Mark(NamedTuple):
    """How far a database has come: its life, the number of its last commit, and when that was (UTC seconds)."""

    incarnation: int
    commits: int
    at: int


class Flag(NamedTuple):
    """That a database needs recovery: since when commits may be missing (UTC seconds), and why, in both languages."""

    since: int
    why: str


class Lineage:
    """Numbers a database's commits from `begin` on."""

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._file = -1
        self._writing = threading.Lock()
        self._goes_on = False
        self._coming = 0
        self.restored = Mark(1, 0, 0)
        self.known = Mark(1, 0, 0)
        self.why = ""
        """Why `begin` found the database to be an older copy."""
        self.on_set_back: Callable[[str], Unavailable] = Unavailable
        """Hears that a commit found the database set back, and why; gives what whoever wanted to commit is told."""

    def begin(self) -> bool:
        """Whether the database is the one that was answered from last. Raises ConfigurationError for a bad file.

        The file is read first: another process may commit meanwhile, and its mark is in the database before it is here.
        """
        try:
            self._open()
            kept, flag = self._mark_kept(), self._flag_kept()
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"cannot be used: {error}", place=str(self._path), remedy="restore it, or remove it and recover"
            ) from error
        with self._database.snapshot() as transaction:
            self.restored = _stored(transaction)
        self.known = kept or self.restored
        if flag is not None:
            self.restored = self.restored._replace(at=min(self.restored.at, flag.since))
            self.why = flag.why
        elif kept is None and self.restored.commits:
            self.why = (
                f"密钥旁的 {self._path.name} 文件缺失，无从得知数据库是否为旧副本 · "
                f"the file {self._path.name} beside its keys is missing: the database may be an older copy"
            )
            self._flag(Flag(self.restored.at, self.why))
        else:
            self.why = self._older()
        if self.why:
            return False
        self._go_on(self.restored)
        if kept is None:
            self._flag(None)
        return True

    def _older(self) -> str:
        """What the database lacks of what the file says; empty where it lacks nothing."""
        if self.restored.incarnation != self.known.incarnation:
            here, last = self.restored.incarnation, self.known.incarnation
            return (
                f"数据库属第 {here} 代，最近答复所据为第 {last} 代 · "
                f"its database is of incarnation {here}, and it answered from {last}"
            )
        if lost := self.lost_commits:
            return (
                f"数据库缺少已据以答复的 {lost} 次提交 · {lost} commits that were answered for are not in its database"
            )
        return ""

    @property
    def lost_commits(self) -> int:
        """How many commits were answered for that the database does not have; 0 where that is not known."""
        return max(0, self.known.commits - self.restored.commits)

    @property
    def recovery(self) -> str:
        """Names one: how far the party had come, by the file beside its keys, when its copy was found behind."""
        return f"{self.known.incarnation}/{self.known.commits}"

    def coming(self, heard: int = 0) -> int:
        """The incarnation that `renew` will begin: above all that this party was in, as it knows or a peer heard."""
        self._coming = max(self._coming, 1 + max(self.restored.incarnation, self.known.incarnation, heard))
        return self._coming

    def renew(self, kept: Callable[[Transaction, Mark], None] = lambda transaction, mark: None) -> Mark:
        """A new life, numbered on from the highest that was answered for: the database is recovered.

        What `kept` writes stands or falls with it.
        """
        with self._database.transaction() as transaction:
            commits = max(self.restored.commits, self.known.commits, _stored(transaction).commits) + 1
            mark = Mark(self.coming(), commits, transaction.now())
            transaction.upsert(_TABLE, [_row(mark)])
            kept(transaction, mark)
        self._go_on(mark)
        self._flag(None)
        return mark

    def mark_as_behind(self, why: str) -> None:
        """The database is an older copy: it stays in need of recovery, at every process and over a restart."""
        if self._goes_on:
            self._goes_on = False
            self._database.number_commits(None)
            self._flag(Flag(self.restored.at, why))

    def flagged(self) -> str:
        """Why another process of this party found that it needs recovery; empty where none did."""
        flag = self._flag_kept()
        return flag.why if flag else ""

    def _go_on(self, mark: Mark) -> None:
        self._goes_on = True
        self._write(mark)
        self._database.number_commits(self._number)

    def _number(self, transaction: Transaction) -> Callable[[], None]:
        """One statement if the row still says what was answered from last; else it tells what happened to it since.

        Another process has committed and not yet written the file, or the database was set back: then nothing of this
        transaction stands.
        """
        transaction.now()  # from here on no other process writes
        last = self._latest()
        mark = _next(last, transaction)
        if not transaction.update(_TABLE, _row(last), _row(mark)):
            stored = _stored(transaction)
            if stored[:2] < last[:2]:
                raise self._set_back(last, stored)
            mark = _next(stored, transaction)
            transaction.upsert(_TABLE, [_row(mark)])
        return lambda: self._write(mark)

    def look(self, transaction: Transaction) -> None:
        """Notice a database that was set back though nothing is written; the transaction has read nothing yet.

        Raises what `on_set_back` gives.
        """
        if self._goes_on:
            last = self._latest()
            stored = _stored(transaction)
            if stored[:2] < last[:2]:
                raise self._set_back(last, stored)

    def _latest(self) -> Mark:
        return max(self.known, self._mark_kept() or self.known)

    def _set_back(self, last: Mark, stored: Mark) -> Unavailable:
        self.known, self.restored = last, stored
        why = self._older()
        self.mark_as_behind(why)
        return self.on_set_back(why)

    # The file: the mark in its first line, which each commit writes; the flag after it, which only `renew` takes away

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread and no other process writes the mark meanwhile."""
        with self._writing:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _mark_kept(self) -> Mark | None:
        """None in a file that is new or empty."""
        with self._alone():
            return self._read()

    def _read(self) -> Mark | None:
        text = os.pread(self._file, _MARK_BYTES, 0).decode("ascii").strip("\0\n ")
        return Mark(*map(int, text.split())) if text else None

    def _flag_kept(self) -> Flag | None:
        since, _, why = os.pread(self._file, _FLAG_BYTES, _MARK_BYTES).decode(errors="replace").strip().partition(" ")
        return Flag(int(since), why) if why else None

    def _flag(self, flag: Flag | None) -> None:
        content = f"{flag.since} {flag.why}\n".encode()[:_FLAG_BYTES] if flag else b""
        os.pwrite(self._file, content, _MARK_BYTES)
        os.ftruncate(self._file, _MARK_BYTES + len(content))
        os.fsync(self._file)

    def _write(self, mark: Mark) -> None:
        """The latest mark stays: of two threads or processes the one that committed first may come here last."""
        with self._alone():
            self.known = max(self.known, mark, self._read() or mark)
            os.pwrite(self._file, "{:020d} {:020d} {:020d}\n".format(*self.known).encode(), 0)


def _next(mark: Mark, transaction: Transaction) -> Mark:
    return Mark(mark.incarnation, mark.commits + 1, transaction.now())


def _row(mark: Mark) -> dict[str, int]:
    return {"id": _ONLY, "incarnation": mark.incarnation, "commits": mark.commits, "at": mark.at}


def _stored(transaction: Transaction) -> Mark:
    rows = transaction.select_keys(_TABLE, _KEY, [(_ONLY,)])
    return Mark(rows[0].incarnation, rows[0].commits, rows[0].at) if rows else Mark(1, 0, 0)
