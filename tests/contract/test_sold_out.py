"""A round whose quota is gone: who comes too late is told so without a commit, and nobody loses what they have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from local_parties import HANGZHOU, PLATFORM, LocalNode, campaign, refusal_of

from chassis.commit import Overloaded
from node import engine
from node.service import NodeService
from pki.identity import Identity
from quanlian.campaign_changes import ChangeKind

ALIPAY = Identity(HANGZHOU, "platform", PLATFORM)


class Shopping:
    """Claims through one running service, message by message."""

    def __init__(self, node: LocalNode) -> None:
        self.service: NodeService = node.another_service()
        self.service.start()

    def claim(self, *contents: bytes) -> list[bytes]:
        return asyncio.run(self.service.claim(ALIPAY, contents))

    def told(self, *contents: bytes) -> list[str]:
        return [refusal_of(answer) for answer in self.claim(*contents)]


@contextmanager
def somebody_writing(node: LocalNode) -> Iterator[None]:
    """Another transaction excludes all other writers."""
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with node.database.transaction():
            begun.set()
            ended.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        ended.set()
        writer.join()


@pytest.fixture
def shopping(node: LocalNode) -> Shopping:
    """A round of two packs that both are gone, as this service has told somebody."""
    node.publish(quota=2, per_person=1)
    shopping = Shopping(node)
    claims = [node.claim_content(f"holder-{n}") for n in range(3)]
    assert shopping.told(*claims) == ["", "", "QUOTA_EXHAUSTED"]
    return shopping


def test_who_comes_too_late_is_told_so_while_somebody_else_writes(node: LocalNode, shopping: Shopping) -> None:
    with somebody_writing(node):
        late = [node.claim_content(f"late-{n}") for n in range(20)]
        assert shopping.told(*late) == ["QUOTA_EXHAUSTED"] * 20
    shopping.service.close()


def test_nothing_is_written_of_a_claim_that_found_nothing_left(node: LocalNode, shopping: Shopping) -> None:
    before = {name: node.rows(name) for name in node.tables}
    assert [row["operation"] for row in before["request"]] == ["claim"] * 2
    assert shopping.told(node.claim_content("late")) == ["QUOTA_EXHAUSTED"]
    shopping.service.close()
    assert {name: node.rows(name) for name in node.tables} == before
    node.check_books()


def test_a_claim_that_was_granted_gets_its_pack_again_byte_for_byte(node: LocalNode) -> None:
    node.publish(quota=1)
    shopping = Shopping(node)
    granted, late = node.claim_content("early"), node.claim_content("late")
    (pack,) = shopping.claim(granted)
    assert shopping.told(late) == ["QUOTA_EXHAUSTED"]
    node.pass_seconds(60)
    with somebody_writing(node):
        assert shopping.claim(granted)[0] == pack
    shopping.service.close()


def test_the_id_of_a_granted_claim_is_still_refused_to_another(node: LocalNode) -> None:
    node.publish(quota=1)
    shopping, id = Shopping(node), node.ids.fresh()
    claims = [node.claim_content("early", id), node.claim_content("late"), node.claim_content("somebody else", id)]
    assert [shopping.told(each) for each in claims] == [[""], ["QUOTA_EXHAUSTED"], ["REQUEST_ID_REUSED"]]
    shopping.service.close()


def test_who_has_a_pack_is_told_that_rather_than_that_none_is_left(node: LocalNode, shopping: Shopping) -> None:
    again = [node.claim_content("holder-0"), node.claim_content("late"), node.claim_content("holder-1")]
    assert shopping.told(*again) == ["CLAIM_LIMIT_REACHED", "QUOTA_EXHAUSTED", "CLAIM_LIMIT_REACHED"]
    with somebody_writing(node):
        assert shopping.told(node.claim_content("later")) == ["QUOTA_EXHAUSTED"], (
            "the round is no less sold out by that"
        )
    shopping.service.close()


def test_a_raised_quota_is_claimable_at_once_and_under_the_same_ids(node: LocalNode, shopping: Shopping) -> None:
    late = [node.claim_content(f"late-{n}") for n in range(3)]
    assert shopping.told(*late) == ["QUOTA_EXHAUSTED"] * 3
    node.change(ChangeKind.AMEND, campaign(quota=4, per_person=1))
    assert shopping.told(*late) == ["", "", "QUOTA_EXHAUSTED"]
    assert shopping.told(*late) == ["", "", "QUOTA_EXHAUSTED"], "repeated, each gets what it had"
    shopping.service.close()
    assert len(node.rows("pack")) == 4
    node.check_books()


def test_a_round_that_is_sold_out_holds_up_no_other(node: LocalNode, shopping: Shopping) -> None:
    mixed = [node.claim_content("late"), node.claim_content("holder-9", round_id="r9")]
    assert shopping.told(*mixed) == ["QUOTA_EXHAUSTED", "ROUND_UNKNOWN"]
    shopping.service.close()


def test_a_flood_of_late_claims_is_turned_away_once_too_many_wait(
    node: LocalNode, shopping: Shopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOOKED_AT", 5)

    async def flood() -> list[list[bytes] | BaseException]:
        calls = [shopping.service.claim(ALIPAY, [node.claim_content(f"late-{n}-{m}") for m in range(3)]) for n in "ab"]
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second = asyncio.run(flood())
    assert isinstance(first, list)
    assert _told(first) == ["QUOTA_EXHAUSTED"] * 3
    assert isinstance(second, Overloaded)
    assert shopping.told(node.claim_content("later")) == ["QUOTA_EXHAUSTED"]
    shopping.service.close()


def _told(answers: Sequence[bytes]) -> list[str]:
    return [refusal_of(answer) for answer in answers]
