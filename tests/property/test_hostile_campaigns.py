"""Whatever a campaign file holds, reading it gives an answer in bounded time (`make fuzz` searches longer)."""

from __future__ import annotations

import random

import pytest
from hostile_campaigns import SEED_FILE, must_hold, mutated, search_by_chance, work_limited
from hypothesis import given, settings
from hypothesis import strategies as st

from quanlian.campaign_check import check_campaign, check_notice_file
from quanlian.notices import is_notice
from quanlian.terms_file import MAX_FILE_BYTES


def test_the_file_that_the_search_starts_from_is_sound() -> None:
    assert must_hold(SEED_FILE) == "sound"


@pytest.mark.parametrize("seed", range(4))
def test_files_gone_wrong_are_answered_problem_by_problem(seed: int) -> None:
    found = search_by_chance(400, seed, [SEED_FILE])
    assert set(found) == {"sound", "wrong", "unreadable"}, f"seed {seed} reached only {dict(found)}"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_answered(content: bytes) -> None:
    must_hold(content)


NOTICE = b'[notice]\ncampaign = "a"\nvalid_until = 2026-07-11T00:00:00+08:00\nregions = ["yrd"]\nchannels = ["shop"]\n'


@pytest.mark.parametrize("seed", range(2))
def test_notices_gone_wrong_are_answered_problem_by_problem(seed: int) -> None:
    chance, found = random.Random(seed), set()
    for _ in range(400):
        content = mutated(NOTICE, chance)
        is_notice(content)
        report = check_notice_file(content, "hostile.toml")
        assert all(str(problem).isprintable() and all(problem[3:]) for problem in report.errors), (seed, content)
        found.add(bool(report.errors))
    assert found == {True, False}, f"seed {seed}"


def filled(unit: str, head: str = "") -> bytes:
    return (head + unit * (MAX_FILE_BYTES // len(unit)))[:MAX_FILE_BYTES].encode()


LARGEST = {
    "a field without a value on each line": filled("a = \n"),
    "the same field on each line": filled("a = 1\n"),
    "as many tiers as fit": filled("[[voucher_type.tier]]\n", "[[voucher_type]]\n"),
    "as many wrong entries as fit": filled("[[pack]]\nvouchers = [" + '"x",' * 240 + "]\n"),
    "lists in lists": filled("[", "a = "),
    "tables in tables": filled("{a=", "a = "),
    "long names": "".join(f"a{number}.{'.'.join('b' * 90)} = 1\n" for number in range(1300)).encode() + b"x\n" * 900,
    "one long name": b"x" * (MAX_FILE_BYTES - 4) + b" = 1",
    "names near to a known one": b"[campaign]\n" + b"".join(b"regions%d = 1\n" % n for n in range(14_000)),
    "a number of many digits": b"a = " + b"9" * 200_000,
    "a list of many lines": b"a = [\n" + b"1,\n" * 80_000 + b"]",
    "more than may be": b"#" * (MAX_FILE_BYTES + 1),
}


@pytest.mark.parametrize("content", LARGEST.values(), ids=LARGEST)
def test_the_largest_files_are_answered_in_bounded_time(content: bytes) -> None:
    with work_limited():
        report = check_campaign(content, "large.toml")
    assert report.errors
