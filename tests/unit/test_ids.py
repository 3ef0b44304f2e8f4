"""Ids in the order of time."""

from __future__ import annotations

import uuid

import pytest

from chassis.ids import FreshIds
from quanlian.errors import InvalidInput
from quanlian.ids import uuid7

RFC_9562_MILLISECONDS = 0x017F22E279B0


def test_the_example_of_rfc_9562_comes_out() -> None:
    random = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert uuid.UUID(bytes=uuid7(RFC_9562_MILLISECONDS, random)) == uuid.UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


@pytest.mark.parametrize("random", [bytes(10), b"\xff" * 10])
def test_version_and_variant_stand_whatever_the_random_bytes(random: bytes) -> None:
    made = uuid.UUID(bytes=uuid7(1, random))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)


def test_a_later_id_sorts_after_an_earlier_one() -> None:
    assert uuid7(1_000, b"\xff" * 10) < uuid7(1_001, bytes(10))


@pytest.mark.parametrize("length", [0, 9, 11])
def test_another_number_of_random_bytes_is_an_error(length: int) -> None:
    with pytest.raises(InvalidInput, match="uuid7: a UUIDv7 takes 10 random bytes"):
        uuid7(1, bytes(length))


def test_many_at_once_are_all_different_and_of_now() -> None:
    ids = FreshIds()
    before = ids.milliseconds()
    made = ids.uuid7s(500)
    assert len(set(made)) == 500
    assert {before <= int.from_bytes(each[:6], "big") <= ids.milliseconds() for each in made} == {True}
    assert ids.uuid7s(0) == []
