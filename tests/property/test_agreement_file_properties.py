"""Whatever an agreement's file holds, reading it gives an agreement or one clear error."""

from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from quanlian.agreement_check import check_agreement
from quanlian.agreements import parse_agreement
from quanlian.errors import InvalidInput

FIELDS = {
    "number": '"HZ-SH-1"',
    "version": "1",
    "title": '{ zh = "协议", en = "Agreement" }',
    "effective_from": "2026-01-01T00:00:00+08:00",
    "effective_until": "2027-01-01T00:00:00+08:00",
    "fraud_losses": '"issuer"',
    "dispute_days": "15",
    "termination.notice_days": "60",
    "party": '[{ region = "330100", commerce = { zh = "商", en = "C" }, finance = { zh = "财", en = "F" }, '
    'yearly_ceiling = 5.00 }, { region = "310000", commerce = { zh = "商", en = "C" }, '
    'finance = { zh = "财", en = "F" } }]',
    "method": '"fixed"',
    "source": '"公报"',
    "year": "2025",
    "parameters.issuer": "70",
    "parameters.redeemer": "30",
    "parameters.tiers": "[{ leverage = { order = 26, discount = 3 }, issuer = 7, redeemer = 2 }]",
    "parameters.rate_ppm": "57500",
    "parameters.cap_bp": "3000",
    "parameters.derivation": '"增值税"',
    "parameters.capacities": '[{ region = "330100", figure = 3 }, { region = "310000", figure = 1 }]',
}
VALUE = st.sampled_from(
    [
        "0",
        "-1",
        "10001",
        "1.5",
        "nan",
        "true",
        '""',
        '"x"',
        "[]",
        "{}",
        "[1]",
        "[{}]",
        "[[]]",
        '["330100", 1]',
    ]
    + [
        "2026-01-01",
        "9999999999999",
        "[{ leverage = { order = 1, discount = 0 }, issuer = 0, redeemer = 0 }]",
    ]
    + [f'"{method}"' for method in ("issuer-pays", "fixed", "leverage-tiered", "order-rate", "fiscal-capacity")]
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "campaign", "colour"]), VALUE, max_size=3), st.booleans())
@example({"method": '"leverage-tiered"', "parameters.tiers": "[{ leverage = { discount = 0 } }]"}, False)
def test_odd_fields_give_an_agreement_or_invalid_input(changes: dict[str, str], drop: bool) -> None:
    fields = {key: value for key, value in FIELDS.items() if not (drop and key in changes)}
    fields |= {} if drop else changes
    text = "\n".join(f"{key} = {value}" for key, value in fields.items())
    with contextlib.suppress(InvalidInput):
        parse_agreement(text.encode(), "odd.toml")
    report = check_agreement(text.encode(), "odd.toml")
    assert all(each.rule_zh and each.remedy_zh for each in (*report.errors, *report.warnings))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_an_agreement_or_invalid_input(content: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        parse_agreement(content, "odd.toml")
