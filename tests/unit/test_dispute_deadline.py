"""Until when a statement may be disputed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from clearinghouse.domain.calendar_days import end_of_term, last_day
from clearinghouse.domain.dispute_deadline import DEFAULT_DISPUTE_DAYS, dispute_days
from quanlian.agreements import Agreement, Clauses, IssuerPays
from quanlian.statements import LineFigures, LineKey, Statement

CLOSED_AT = int(datetime.fromisoformat("2026-05-29T20:00:00+08:00").timestamp())


def agreement(number: str, days: int, *parties: str) -> Agreement:
    return Agreement(number, 1, "issuer-pays", IssuerPays(), parties=parties, clauses=Clauses("issuer", days, 30))


def statement(*lines: tuple[str, str, str]) -> Statement:
    return Statement(1, "330100", CLOSED_AT - 86_400, CLOSED_AT, 0, {LineKey(*line): LineFigures() for line in lines})


HZ_SH, HZ_SX, SH_SX = (
    agreement("HZ-SH", 15, "330100", "310000"),
    agreement("HZ-SX", 10, "330100", "330600"),
    agreement("SH-SX", 1, "310000", "330600"),
)


@pytest.mark.parametrize(
    ("lines", "days"),
    [
        ([("issuer", "310000", "spring")], 15),
        ([("redeemer", "330600", "spring")], 10),
        ([("issuer", "310000", "spring"), ("redeemer", "330600", "autumn")], 10),
        ([("home", "330100", "spring")], DEFAULT_DISPUTE_DAYS),
        ([], DEFAULT_DISPUTE_DAYS),
    ],
)
def test_the_earliest_of_the_agreements_that_apply_counts(lines: list[tuple[str, str, str]], days: int) -> None:
    assert dispute_days(statement(*lines), [HZ_SH, HZ_SX, SH_SX]) == days


def test_without_an_agreement_that_sets_days_the_default_counts() -> None:
    default = Agreement("DEFAULT", 1, "issuer-pays", IssuerPays())
    ended = replace(HZ_SH, effective_until=CLOSED_AT)
    for known in ([default], [default, ended], [ended], []):
        assert dispute_days(statement(("issuer", "310000", "spring")), known) == DEFAULT_DISPUTE_DAYS


def test_days_are_calendar_days_after_the_day_of_the_close_until_midnight_in_china() -> None:
    until = end_of_term(CLOSED_AT, 15)
    assert datetime.fromtimestamp(until).astimezone() == datetime.fromisoformat("2026-06-14T00:00:00+08:00")
    assert last_day(until) == "2026-06-13"
