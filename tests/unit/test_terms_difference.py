"""The difference between two versions of terms, as a director reads it."""

from __future__ import annotations

from local_parties import campaign

from quanlian.terms import Terms
from quanlian.terms_difference import Difference, difference
from quanlian.terms_parsing import parse_terms

VOUCHER = (
    b'[[voucher_type]]\nid = "twenty"\ntitle_zh = "x"\ntitle_en = "y"\nkind = "threshold"\ncategories = ["retail"]\n'
)


def terms(content: bytes) -> Terms:
    return parse_terms(content, "spring.toml")


def test_nothing_changed_is_no_difference() -> None:
    assert difference(terms(campaign()), terms(campaign() + b"\n# a comment\n")) == []


def test_amounts_are_shown_in_yuan_and_entries_by_their_names() -> None:
    changed = difference(terms(campaign()), terms(campaign(city=5000, quota=300)))
    assert changed == [
        Difference("funders[city].budget_fen", "4,000.00", "5,000.00"),
        Difference("rounds[r1].quota", "200", "300"),
    ]


def test_times_are_shown_in_beijing_time() -> None:
    later = campaign().replace(b"closes_at = 2026-12-01", b"closes_at = 2026-12-15")
    (change,) = difference(terms(campaign()), terms(later))
    assert change == Difference("rounds[r1].closes_at", "2026-12-01 00:00:00", "2026-12-15 00:00:00")


def test_a_new_entry_is_shown_as_present() -> None:
    added = campaign().replace(b"[[pack]]", VOUCHER + b"face = 20.00\nminimum_spend = 100.00\n\n[[pack]]", 1)
    assert difference(terms(campaign()), terms(added)) == [Difference("voucher_types[twenty]", "", "有 present")]
