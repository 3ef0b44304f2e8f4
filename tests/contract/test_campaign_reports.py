"""A campaign's report on both databases: use by funder and what others bear come to the redeemed amount."""

from __future__ import annotations

import pytest
from department import linked
from local_parties import TERMS, LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase

from quanlian.v1 import redemption_pb2
from quanlian.v1.report_pb2 import CampaignFigures

MERCHANTS = '[[cofunder]]\nkind = "merchant"\nname = "merchants"\nshare_percent = 10\n\n[[voucher_type]]'


def borne(figures: CampaignFigures) -> dict[str, tuple[int, int]]:
    """Used at home and away, by who bears it."""
    funders = {each.funder: (each.used_home_fen, each.used_away_fen) for each in figures.funders}
    return funders | {each.bearer: (each.used_home_fen, each.used_away_fen) for each in figures.others}


def refund(redemption_id: bytes, order_fen: int, id: bytes) -> bytes:
    return item(id, refund=redemption_pb2.Refund(redemption_id=redemption_id, order_fen=order_fen))


@pytest.fixture
def used(node: LocalNode, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of vouchers of 10.00, whose merchants bear 1.00: two used at home and two in Shanghai, half an order of each
    pair taken back, and one more taken back in full.
    """
    monkeypatch.setattr("local_parties.TERMS", TERMS.replace("[[voucher_type]]", MERCHANTS))
    node.publish()
    clearinghouse.learn(node)
    away, home, more = node.claim(3)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(away))))
    for party, token, order in ((clearinghouse, away, "away"), (node, home, "home")):
        ids = []
        for index in (0, 1):
            bought = purchase(token, index, f"{order}-{index}")
            (answer,) = party.redeem(item(f"{order}{index}".encode().rjust(16), redeem=bought))
            assert not answer_of(answer).HasField("refusal")
            ids.append(answer_of(answer).redemption_id)
        party.redeem(refund(ids[0], 2900, f"{order}-back".encode().rjust(16)))
    (answer,) = node.redeem(item(b"more".rjust(16), redeem=purchase(more, 0, "more")))
    node.redeem(refund(answer_of(answer).redemption_id, 5800, b"more-back".rjust(16)))


@pytest.mark.usefixtures("used")
def test_what_funders_and_others_bore_comes_to_the_redeemed_amount(
    node: LocalNode, clearinghouse: LocalClearinghouse
) -> None:
    there = clearinghouse.do(clearinghouse.service.settlement.campaign_figures("spring", ""))
    assert there.redeemed_fen == sum(away for _, away in borne(there).values()) == 1500
    assert not any(each.HasField("used_home_fen") for each in (*there.funders, *there.others))
    issuing = linked(node, clearinghouse)
    issuing.service.start()
    figures = issuing.do(issuing.settling.report("spring"))
    issuing.service.close()
    found = borne(figures)
    assert (found["merchant"], found["visitors"][0]) == ((150, 150), 0)
    assert found["visitors"][1] > 0
    assert figures.redeemed_fen == sum(map(sum, found.values())) == 3000
