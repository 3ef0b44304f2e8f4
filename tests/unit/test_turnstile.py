"""Of the processes that write one SQLite file, whoever asks for its lock is the next to have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.database import Database
from chassis.turns import Turnstile
from quanlian.errors import Unavailable

AT_ONCE = 0.0


def test_who_is_in_it_goes_first_and_then_the_next(tmp_path: Path) -> None:
    """Each has a file handle of its own, as processes have."""
    first, second = (Turnstile(str(tmp_path / "party.db-turn"), AT_ONCE) for _ in range(2))
    with first.turn("a"), pytest.raises(Unavailable, match=r"^b: other processes"), second.turn("b"):
        pass
    with second.turn("b"):
        pass
    first.close()
    second.close()


def test_a_file_that_cannot_be_opened_is_named_and_tried_again(tmp_path: Path) -> None:
    place = tmp_path / "not mounted"
    turnstile = Turnstile(str(place / "party.db-turn"), AT_ONCE)
    told = r"not mounted/party.db-turn: cannot be opened \(No such file"
    with pytest.raises(Unavailable, match=told), turnstile.turn("a"):
        pass
    place.mkdir()
    with turnstile.turn("a"):
        pass
    turnstile.close()


def test_a_service_that_writes_on_end_lets_in_the_process_that_asks(tmp_path: Path) -> None:
    path = tmp_path / "party.db"
    service = Database.open(f"sqlite:///{path}", lock_wait_seconds=AT_ONCE)
    with service.transaction():
        asking = Turnstile(f"{path}-turn", AT_ONCE)
        with asking.turn("another process"):
            pass
    with asking.turn("another process"), pytest.raises(Unavailable, match="other processes"), service.transaction():
        pass
    with service.transaction():
        pass
    asking.close()
    service.close()
