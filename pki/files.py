"""Files that hold keys and certificates: written whole or not at all, private where they must be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quanlian.errors import ConfigurationError

PRIVATE = 0o600
PUBLIC = 0o644
_OTHERS = 0o077


def write_atomically(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Puts `data` at `path` in one step, durable on return; a crash leaves the old file or the new one."""
    with _explained(path), _finished_copy(path, data, mode) as copy:
        os.replace(copy, path)
        _sync_directory(path.parent)


def write_new(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """As `write_atomically`, but an existing file is kept and reported with ConfigurationError."""
    with _explained(path), _finished_copy(path, data, mode) as copy:
        os.link(copy, path)
        _sync_directory(path.parent)


def rename(source: Path, target: Path) -> None:
    """Moves a file over another in one step, durable on return."""
    with _explained(target):
        source.replace(target)
        _sync_directory(target.parent)


def refuse_existing(path: Path) -> None:
    """Raises ConfigurationError when there is something at `path`."""
    with _explained(path):
        if path.exists():
            raise FileExistsError(str(path))


def private_directory(path: Path) -> None:
    """Makes `path` and closes it to everyone but its owner."""
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)


def read(path: Path, remedy: str) -> bytes:
    """The file's bytes, or ConfigurationError with `remedy`."""
    with _explained(path, remedy):
        return path.read_bytes()


def read_private(path: Path, remedy: str) -> bytes:
    """As `read`, and refuses a private key that group or others can reach."""
    data = read(path, remedy)
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        raise ConfigurationError(
            f"the private key has mode {mode:04o}, so others than its owner can reach it",
            place=str(path),
            remedy=f"run `chmod 600 {path}`, and replace the key if anyone may have read it",
        )
    return data


@contextmanager
def _finished_copy(path: Path, data: bytes, mode: int) -> Iterator[str]:
    descriptor, copy = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield copy
    finally:
        Path(copy).unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path, remedy: str = "check the path and its permissions") -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ConfigurationError(
            "already exists and is not overwritten",
            place=str(path),
            remedy="choose another directory, or move the old one away",
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot be used: {reason}", place=str(path), remedy=remedy) from error
