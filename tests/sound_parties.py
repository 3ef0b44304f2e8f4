"""A node and a clearinghouse whose books are sound and to which everything has happened, for tests that tamper."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_parties import (
    HANGZHOU,
    KEYRING,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    answer_of,
    item,
    keys_of,
    open_standing,
    purchase,
)

from custodian.campaigns import verify_change
from custodian.ledger.check import check_books
from custodian.ledger.findings import Finding
from node.bank import AssignReceipt, Payer, RecordReceipt
from node.feed import News
from node.paying import InstructPayments, Lodge, MarkPaid, MarkReturned
from node.redeeming import ClearinghouseAnswer, Forwarded
from node.reversing import Reverse
from quanlian.v1 import clearing_operator_pb2
from quanlian.v1 import redemption_pb2 as pb

NODE, CLEARING = "node", "clearinghouse"
BOTH = (NODE, CLEARING)


@dataclass(slots=True)
class Sound:
    """A node and a clearinghouse to which everything has happened."""

    parties: dict[str, Party]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sound]:
    mark = f"t{uuid.uuid4().hex[:12]}"
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("tampering")
        databases = {name: open_standing(f"sqlite:///{folder / name}.db", "") for name in BOTH}
    else:
        url = request.getfixturevalue("postgres_url")
        databases = {name: open_standing(url, f"{mark}_{name}") for name in BOTH}
    node, clearinghouse = LocalNode(databases[NODE]), LocalClearinghouse(databases[CLEARING])
    happen(node, clearinghouse)
    try:
        yield Sound({NODE: node, CLEARING: clearinghouse})
    finally:
        for name, database in databases.items():
            if database.dialect == "postgresql":
                with database.engine.begin() as connection:
                    connection.exec_driver_sql(f'DROP SCHEMA "{mark}_{name}" CASCADE')
            database.close()


def happen(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    """Claims, home and away captures, a refund on each book, a hold on each, a hold that was voided, a voucher that is
    released and not used, a home use by way of the clearinghouse, a closed and calculated window, its news taken.
    """
    node.publish()
    clearinghouse.learn(node)
    home, away, back, kept, free, spare = node.claim(6)
    node.redeem(_redeem(1, home, 0), item(_id(2), authorize=purchase(home, 1, "order-2")))
    captured = node.rows("redemption")[0]["id"]
    node.redeem(_redeem(3, kept, 0), item(_id(4), refund=pb.Refund(redemption_id=captured, order_fen=1000)))
    (held,) = node.redeem(item(_id(10), authorize=purchase(free, 0, "order-10")))
    node.redeem(item(_id(11), void=pb.Void(redemption_id=answer_of(held).redemption_id)))
    keys = [*keys_of(away), *keys_of(back), *keys_of(spare)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    answers = clearinghouse.redeem(
        _redeem(5, away, 0), item(_id(6), authorize=purchase(away, 1, "order-6")), _redeem(7, back, 1)
    )
    refund = pb.Refund(redemption_id=answer_of(answers[0]).redemption_id, order_fen=2000)
    clearinghouse.redeem(item(_id(8), refund=refund))
    (sent,) = node.decide(node.intake(_redeem(9, back, 0)))
    assert isinstance(sent, Forwarded)
    assert sent.content is not None
    (answer,) = clearinghouse.redeem(sent.content, region=HANGZHOU)
    node.decide(ClearinghouseAnswer(answer))
    paid = clearing_operator_pb2.RecordDepositRequest(region=HANGZHOU, amount_fen=500, bank_reference="ahead")
    paid.funder.CopyFrom(clearing_operator_pb2.Funder(campaign="spring", funder="city"))
    clearinghouse.do(clearinghouse.service.settlement.record_deposit(paid))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    _bank(clearinghouse)
    events = clearinghouse.feed(HANGZHOU)
    changes = {
        each.sequence: verify_change(each.campaign_change, KEYRING)
        for each in events
        if each.HasField("campaign_change")
    }
    node.decide(News(events, clearinghouse.feed_head(HANGZHOU), changes))
    _keep_statement(node, clearinghouse)
    _pay(node)


def _bank(clearinghouse: LocalClearinghouse) -> None:
    """A receipt that nobody knew and was assigned, and a pay-out at a region's wish that the bank returned once."""
    pb, service = clearing_operator_pb2, clearinghouse.service
    clearinghouse.do(service.settlement.record_deposit(pb.RecordDepositRequest(amount_fen=77, bank_reference="stray")))
    clearinghouse.do(
        service.settlement.assign_receipt(pb.AssignReceiptRequest(bank_reference="stray", region=SHANGHAI))
    )
    payout = pb.PayOutRequest(region=SHANGHAI, amount_fen=77, bank_reference="out")
    clearinghouse.do(service.settlement.pay_out(payout))
    returned = pb.MarkPayOutReturnedRequest(pay_out="out", bank_reference="out-back")
    clearinghouse.do(service.settlement.mark_returned(returned))
    again = pb.PayOutRequest(region=SHANGHAI, amount_fen=77, bank_reference="out-again")
    clearinghouse.do(service.settlement.pay_out(again))


def _pay(node: LocalNode) -> None:
    """Both funders paid ahead, one receipt was assigned later, and the acquirer was paid, at the second attempt. One
    receipt, one assignment and one lodging were mistyped and taken back.
    """
    city, county = Payer("spring", "city"), Payer("spring", "county")
    node.decide(RecordReceipt(city, 50_000, "in-city"), RecordReceipt(Payer(), 3000, "stray"))
    node.decide(AssignReceipt("stray", city))
    node.decide(*(Reverse(each, "operator", "typed wrongly") for each in ("in-city", "stray")))
    node.decide(RecordReceipt(city, 5000, "in-city"), AssignReceipt("stray", county))
    (instructed,) = node.decide(InstructPayments("operator"))
    node.decide(MarkPaid(instructed.numbers[0], "out-1"), MarkReturned(instructed.numbers[0], "out-1-back"))
    (again,) = node.decide(InstructPayments("operator"))
    node.decide(MarkPaid(again.numbers[0], "out-2"))
    node.decide(Lodge(900, "lodged", "operator"), Reverse("lodged", "operator", "typed wrongly"))


def _keep_statement(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    """The node has its statement, as reconciling leaves it."""
    message = clearinghouse.do(clearinghouse.service.settlement.statement(HANGZHOU, 1))
    net = next(row["net_fen"] for row in clearinghouse.rows("net_position") if row["region"] == HANGZHOU)
    table = node.tables["settlement_window"]
    with node.database.transaction() as transaction:
        transaction.update(table, {"number": 1}, {"statement": message.body, "net_fen": net})


def _id(number: int) -> bytes:
    return b"t" * 12 + number.to_bytes(4, "big")


def _redeem(number: int, token: bytes, index: int) -> bytes:
    return item(_id(number), redeem=purchase(token, index, f"order-{number}"))


def check(party: Party) -> list[Finding]:
    with party.database.snapshot() as transaction:
        return check_books(transaction)
