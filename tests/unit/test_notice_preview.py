"""What `quanlian node notice` shows before it asks: what the node will say, and no more than it gives."""

from __future__ import annotations

from datetime import datetime

import pytest
from local_parties import campaign

from node.cli import notice_preview
from quanlian.campaign_changes import Change, ChangeKind
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.terms_parsing import parse_terms
from quanlian.v1.node_operator_pb2 import ListCampaignChangesResponse
from quanlian.wire import change_message

CONTENT = campaign()
TERMS = parse_terms(CONTENT, "terms.toml")


def postponed(day: str, *more: str) -> bytes:
    rows = ["[notice]", f'campaign = "{TERMS.campaign}"', f"valid_until = {day}T00:00:00+08:00", *more]
    return "\n".join(rows).encode()


def listed(*notices: bytes) -> ListCampaignChangesResponse:
    kinds = [ChangeKind.PUBLISH, *([ChangeKind.NOTICE] * len(notices))]
    changes = [
        Change("330100", TERMS.campaign, number, kind, TERMS.starts_at, "officer", "why", TERMS.terms_hash, notice)
        for number, (kind, notice) in enumerate(zip(kinds, (b"", *notices), strict=True), 1)
    ]
    return ListCampaignChangesResponse(changes=map(change_message, changes), terms=CONTENT)


def test_a_notice_that_an_earlier_one_made_idle_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(InvalidInput, match="postpones no pack's end"):
        notice_preview(listed(postponed("2027-03-01")), postponed("2027-02-01"), "n.toml", TERMS.starts_at)


def test_what_is_shown_is_what_comes_on_top_of_earlier_notices() -> None:
    (found,), _ = notice_preview(listed(postponed("2027-02-01")), postponed("2027-03-01"), "n.toml", TERMS.starts_at)
    assert found.before.zh == "7 天，且不早于 2027-01-31 24:00"


def test_an_end_after_the_campaigns_or_over_a_year_away_is_a_warning() -> None:
    _, none = notice_preview(listed(), postponed("2026-12-20"), "n.toml", TERMS.starts_at)
    assert none == []
    day = datetime.fromtimestamp(TERMS.starts_at, CHINA).replace(year=2029).strftime("%Y-%m-%d")
    _, doubts = notice_preview(listed(), postponed(day), "n.toml", TERMS.starts_at)
    assert [each.en.split(" is ")[1].split(",")[0].split(";")[0] for each in doubts] == [
        "after the campaign's end",
        "over a year away",
    ]
