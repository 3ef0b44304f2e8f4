"""A network on this machine: authorities, keys, settings, and one process for each party."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from chassis.database import Database
from chassis.service import STOP_WITH_PARENT
from pki.authority import RegionAuthority, RootAuthority
from pki.identity import Identity
from pki.keystore import FileKeyStore
from quanlian.errors import ConfigurationError, Unavailable
from simulations.demo.held_port import HeldPort
from simulations.demo.setting import CLEARINGHOUSE, CODES, OPERATOR, PLATFORM, REGIONS

START_SECONDS = STOP_SECONDS = 60.0
"""Patience with a busy machine: a process that takes longer is ended."""

KEY_SECONDS = 30 * 86_400
RELEASE_SECONDS = 10.0
"""Longer than the protocol's 2 s: seven processes share one machine, and no figure may depend on how busy it is."""

MARKER = "quanlian-demo"
SCHEMA_PREFIX = "quanlian_demo_"


@dataclass(slots=True)
class Network:
    """The demonstration's parties on disk and, once started, as processes. `database_url` empty means SQLite."""

    directory: Path
    database_url: str = ""
    ports: dict[str, HeldPort] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def parties(self) -> tuple[str, ...]:
        return (CLEARINGHOUSE, *CODES)

    def address(self, party: str) -> str:
        return f"127.0.0.1:{self.ports[party].number}"

    def party_url(self, party: str) -> str:
        return self.database_url or f"sqlite:///{self.directory / party / 'books.sqlite'}"

    def party_schema(self, party: str) -> str:
        return f"{SCHEMA_PREFIX}{party}" if self.database_url else ""

    def operator_tls(self, party: str) -> Path:
        return self.directory / party / "operator"

    def platform_tls(self, region: str) -> Path:
        return self.directory / region / "platform" / "tls"

    def platform_keys(self, region: str) -> FileKeyStore:
        return FileKeyStore(self.directory / region / "platform" / "keys")

    # Before the start

    def create(self, at: int) -> str:
        """Make everything anew in the directory; returns the root's fingerprint.

        Replaces what an earlier demonstration left, and nothing else. Raises ConfigurationError for a directory that
        holds other things or cannot be written, or a database that cannot be reached.
        """
        with self._open_database() as database:
            self._clear_directory()
            if database is not None:
                self._clear_schemas(database)
        root = RootAuthority.create(self.directory / "root", at)
        self.ports = {party: HeldPort.take() for party in self.parties}
        for party in self.parties:
            authority = root.enrol(self.directory / party / "authority", party, at)
            self._identify(party, authority, at)
            self._write_settings(party)
            self._write_operator_settings(party)
        return root.fingerprint

    def signing_chains(self, party: str) -> list[bytes]:
        store = FileKeyStore(self.directory / party / "keys")
        return [store.chain(purpose) for purpose in _purposes(party)]

    def _identify(self, party: str, authority: RegionAuthority, at: int) -> None:
        """Certificates and keys of a party, its operator and, in a region, its payment platform."""
        folder = self.directory / party
        role = "server" if party == CLEARINGHOUSE else "node"
        authority.issue_tls(Identity(party, role), folder / "tls", at, KEY_SECONDS)
        authority.issue_tls(Identity(party, "operator", OPERATOR), folder / "operator", at, KEY_SECONDS)
        store = FileKeyStore(folder / "keys")
        for purpose in _purposes(party):
            store.install(purpose, authority.issue_signer(purpose, store.create(purpose), at, KEY_SECONDS))
        if party != CLEARINGHOUSE:
            authority.issue_tls(Identity(party, "platform", PLATFORM), self.platform_tls(party), at, KEY_SECONDS)
            keys, purpose = self.platform_keys(party), f"message.{PLATFORM}"
            keys.install(purpose, authority.issue_signer(purpose, keys.create(purpose), at, KEY_SECONDS))

    def _write_settings(self, party: str) -> None:
        settings: dict[str, str | float] = {
            "listen": self.address(party),
            "database_url": self.party_url(party),
            "database_schema": self.party_schema(party),
            "tls_directory": "tls",
            "keys_directory": "keys",
            "sweep_seconds": 1.0,
        }
        if party == CLEARINGHOUSE:
            settings |= {"release_seconds": RELEASE_SECONDS, "cut_off": ""}
        else:
            settings |= {"region": party, "clearinghouse": self.address(CLEARINGHOUSE)}
            settings |= next(region.node for region in REGIONS if region.code == party)
        path = self.directory / party / "settings.toml"
        write_toml(path, settings)
        path.chmod(0o600)

    def _write_operator_settings(self, party: str) -> None:
        """How `quanlian node` and `quanlian clearinghouse` reach the party while it runs."""
        settings = {"host": party, "address": self.address(party), "tls_directory": self.operator_tls(party).name}
        write_toml(self.directory / party / "operator.toml", settings)

    def _clear_directory(self) -> None:
        directory = self.directory
        try:
            if directory.exists() and any(directory.iterdir()):
                if not (directory / MARKER).is_file():
                    raise ConfigurationError(
                        "holds files that no demonstration wrote",
                        place=str(directory),
                        remedy="choose another --directory, or empty this one yourself",
                    )
                shutil.rmtree(directory)
            directory.mkdir(parents=True, exist_ok=True)
            (directory / MARKER).write_text("The next `quanlian demo` replaces this directory.\n", encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"cannot be written ({error.strerror})",
                place=str(directory),
                remedy="check its permissions or choose another --directory",
            ) from error

    @contextlib.contextmanager
    def _open_database(self) -> Iterator[Database | None]:
        """The PostgreSQL server, where one is asked for; opened first, so that without it nothing is removed."""
        if not self.database_url:
            yield None
            return
        if not self.database_url.startswith(("postgresql:", "postgresql+", "postgres:")):
            raise ConfigurationError(
                "is no PostgreSQL database",
                place="--database-url or QUANLIAN_DATABASE_URL",
                remedy="give postgresql://user:password@host/database, or leave it out for SQLite",
            )
        with contextlib.closing(Database.open(self.database_url)) as database:
            database.check_durability()
            yield database

    def _clear_schemas(self, database: Database) -> None:
        with database.transaction() as transaction:
            for party in self.parties:
                drop = sa.text(f'DROP SCHEMA IF EXISTS "{self.party_schema(party)}" CASCADE')
                transaction.connection.execute(drop)

    # Processes

    def start(self, *parties: str) -> None:
        """Start parties and wait until all serve. Raises ConfigurationError with what one said that ended instead."""
        for party in parties:
            self._launch(party)
        for party in parties:
            process = self.processes[party]
            if not _ready(process):
                process.wait()
                raise ConfigurationError(f"did not start: {self._last_words(party)}", place=party)

    def _launch(self, party: str) -> None:
        role = "clearinghouse" if party == CLEARINGHOUSE else "node"
        settings = self.directory / party / "settings.toml"
        with (self.directory / party / "log.txt").open("a", encoding="utf-8") as log:
            self.processes[party] = subprocess.Popen(
                [sys.executable, "-m", "chassis", role, "serve", "--config", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", STOP_WITH_PARENT: "1"},
            )

    def stop(self) -> None:
        """Ask every process to stop (SIGTERM), nodes first; end what does not."""
        order = sorted(self.processes, key=lambda party: party == CLEARINGHOUSE)
        for party in order:
            with contextlib.suppress(ProcessLookupError):
                self.processes[party].terminate()
        deadline = time.monotonic() + STOP_SECONDS
        stubborn = []
        for party in order:
            process = self.processes.pop(party)
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                stubborn.append(party)
            if process.stdout is not None:
                process.stdout.close()
        if stubborn:
            raise Unavailable(f"did not stop within {STOP_SECONDS:.0f} s and were ended: {', '.join(stubborn)}")

    def kill(self, party: str) -> None:
        """End a party as a crash would (SIGKILL)."""
        process = self.processes.pop(party)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """All parties up; all stopped at the end, whatever happens."""
        try:
            self.start(*self.parties)
            yield
        finally:
            self.stop()

    def _last_words(self, party: str) -> str:
        lines = (self.directory / party / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("错误 Error: ") if lines else "it said nothing"


def _purposes(party: str) -> tuple[str, ...]:
    return ("message", "statement") if party == CLEARINGHOUSE else ("voucher", "terms", "message")


def write_toml(path: Path, settings: Mapping[str, str | float]) -> None:
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items()]
    path.write_text("".join(lines), encoding="utf-8")


def _ready(process: subprocess.Popen[str]) -> bool:
    """Whether the process announced that it serves, before its output ended; one that does neither is ended."""
    assert process.stdout is not None
    impatience = threading.Timer(START_SECONDS, process.kill)
    impatience.start()
    try:
        return any(line.startswith("ready ") for line in iter(process.stdout.readline, ""))
    finally:
        impatience.cancel()
