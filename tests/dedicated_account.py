"""Money through Hangzhou's dedicated account, as its department moves it, with the vouchers that it pays for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from department import Department, linked
from local_parties import HANGZHOU, OPERATOR, LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase

from clearinghouse.custody import overdue
from clearinghouse.windows import Confirm
from custodian.ledger.check import check_books
from node.redeeming import ClearinghouseAnswer, Forwarded
from quanlian.campaign_changes import ChangeKind
from quanlian.signing import digest
from quanlian.v1 import clearing_operator_pb2, payment_pb2, settlement_pb2, signed_pb2
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1 import redemption_pb2 as redemption
from simulations.auditor import Check, Party, audit

CALENDAR = b"year = 2027\nholidays = [2027-01-01]\nworkdays = []\n"


class Treasury:
    """Hangzhou's department with its voucher story; fails as soon as the books do not hold."""

    def __init__(self, department: Department) -> None:
        self.department = department
        self.node, self.clearinghouse = department.node, department.clearinghouse
        self._requests = 0

    def check(self) -> None:
        with self.node.database.snapshot() as transaction:
            assert check_books(transaction) == []

    def audited(self) -> list[Check]:
        databases = {HANGZHOU: self.node.database, "clearinghouse": self.clearinghouse.database}
        parties = [
            Party(
                name,
                each.engine.url.set(drivername=each.dialect).render_as_string(hide_password=False),
                each.schema,
            )
            for name, each in databases.items()
        ]
        return audit(parties, quiescent=True)

    def posted(self, account: str) -> int:
        return next((row["posted_fen"] for row in self.node.rows("account") if row["account"] == account), 0)

    def prefunded(self, funder: str, campaign: str = "spring") -> int:
        return -self.posted(f"prefund/{HANGZHOU}/2026/{campaign}/{funder}")

    def fund(self, funder: str, fen: int, reference: str, campaign: str = "spring") -> int:
        return self.receive(fen, reference, campaign=campaign, funder=funder)

    def receive(self, fen: int, reference: str, **payer: Any) -> int:
        request = pb.RecordDedicatedReceiptRequest(
            payer=pb.Payer(**payer), amount_fen=fen, bank_reference=reference, memo="as the bank says"
        )
        return self.department.do(self.department.treasury.record_receipt(request))

    def assign(self, reference: str, **payer: Any) -> int:
        request = pb.AssignDedicatedReceiptRequest(bank_reference=reference, payer=pb.Payer(**payer))
        return self.department.do(self.department.treasury.assign_receipt(request))

    def lodge(self, fen: int, reference: str, at: int = 0) -> int:
        request = pb.RecordLodgingRequest(amount_fen=fen, bank_reference=reference, at=at)
        return self.department.do(self.department.treasury.lodge(OPERATOR, request))

    def reverse(self, reference: str, why: str = "typed wrongly") -> pb.ReverseBankEntryResponse:
        request = pb.ReverseBankEntryRequest(bank_reference=reference, why=why)
        return self.department.do(self.department.treasury.reverse(OPERATOR, request))

    def instruct(self) -> pb.InstructPaymentsResponse:
        return self.department.do(self.department.treasury.instruct(OPERATOR))

    def pay(self, number: int, reference: str) -> payment_pb2.Payment:
        request = pb.MarkPaymentMadeRequest(number=number, bank_reference=reference)
        return self.department.do(self.department.treasury.mark_made(request))

    def send_back(self, number: int, reference: str) -> payment_pb2.Payment:
        """As the bank does with a payment that it could not credit."""
        request = pb.MarkPaymentReturnedRequest(number=number, bank_reference=reference)
        return self.department.do(self.department.treasury.mark_returned(request))

    def listed(self, made: bool = False) -> list[payment_pb2.Payment]:
        return self.department.do(self.department.treasury.payments(made))

    def balances(self) -> dict[str, int]:
        return {row["account"]: row["posted_fen"] for row in self.node.rows("account") if row["posted_fen"]}

    def close_out(self, working_days: bytes = CALENDAR) -> payment_pb2.CloseOut:
        request = pb.CloseOutCampaignRequest(campaign="spring", working_days=working_days, file_name="2027.toml")
        return self.department.do(self.department.treasury.close_out(OPERATOR, request))

    def learn(self) -> None:
        """The clearinghouse takes what the node told through its link and through its operator's calls."""
        told = [*self.node.clearinghouse.changes, *self.department.link.changes]
        for message in told:
            self.clearinghouse.do(self.clearinghouse.service.publish_change(HANGZHOU, message))

    # Vouchers

    def request(self, **operation: Any) -> bytes:
        self._requests += 1
        return item(b"money" + self._requests.to_bytes(11, "big"), **operation)

    def redeem_here(self, token: bytes, index: int = 0, platform: str = "alipay") -> bytes:
        content = self.request(redeem=purchase(token, index, f"order-{self._requests}"))
        (reply,) = self.node.decide(self.node.intake(content, platform))
        return answer_of(reply.content).redemption_id

    def refund_here(self, redemption_id: bytes, order_fen: int, platform: str = "alipay") -> None:
        refund = redemption.Refund(redemption_id=redemption_id, order_fen=order_fen)
        (reply,) = self.node.decide(self.node.intake(self.request(refund=refund), platform))
        assert not answer_of(reply.content).HasField("refusal")

    def release(self, *tokens: bytes) -> None:
        keys = [key for token in tokens for key in keys_of(token)]
        self.clearinghouse.decide(*self.clearinghouse.hand_overs(self.node.release(*keys)))

    def redeem_in_shanghai(self, token: bytes, index: int = 0) -> bytes:
        content = self.request(redeem=purchase(token, index, f"order-{self._requests}"))
        (answer,) = self.clearinghouse.redeem(content)
        assert not answer_of(answer).HasField("refusal")
        return answer_of(answer).redemption_id

    def redeem_here_by_the_clearinghouse(self, token: bytes, index: int = 0) -> None:
        content = self.request(redeem=purchase(token, index, f"order-{self._requests}"))
        (sent,) = self.node.decide(self.node.intake(content))
        assert isinstance(sent, Forwarded)
        assert sent.content is not None
        (answer,) = self.clearinghouse.redeem(sent.content, region=HANGZHOU)
        self.node.decide(ClearinghouseAnswer(answer))

    # Windows

    def settle_window(self) -> int:
        """Close the open window and settle it; the node hears of it."""
        service, do = self.clearinghouse.service.settlement, self.clearinghouse.do
        number: int = do(service.close_window())
        self.department.hear()
        self.department.do(self.department.service.reconciler.reconcile_open_windows())
        for row in self.clearinghouse.rows("statement"):
            if row["settlement_window"] == number and row["region"] != HANGZHOU:
                word = settlement_pb2.Confirmation(
                    region=row["region"], window=number, statement_digest=digest("statement", row["document"])
                )
                message = signed_pb2.SignedMessage(body=word.SerializeToString())
                self.clearinghouse.decide(Confirm(row["region"], message, word))
        do(service.instruct(number))
        for row in self.clearinghouse.rows("net_position"):
            if row["settlement_window"] == number and row["net_fen"] > 0:
                reference = f"net-{number}-{row['region']}"
                paid = clearing_operator_pb2.MarkPaidRequest(
                    window=number, region=row["region"], bank_reference=reference
                )
                do(service.mark_paid(paid))
        do(service.settle(number))
        self.department.hear()
        return number

    def pass_days(self, days: int) -> None:
        for party in (self.node, self.clearinghouse):
            party.pass_seconds(days * 86_400)

    def sweep(self) -> None:
        self.department.do(self.department.service.sweep())
        with self.clearinghouse.database.snapshot() as transaction:
            found = overdue(transaction, 500)
        self.clearinghouse.decide(found)


@pytest.fixture
def treasury(node: LocalNode, clearinghouse: LocalClearinghouse) -> Iterator[Treasury]:
    """A campaign of 4,000 and 2,000 yuan, published; nobody has paid anything ahead."""
    node.publish()
    clearinghouse.learn(node)
    department = linked(node, clearinghouse)
    department.service.start()
    yield Treasury(department)
    department.service.close()


@pytest.fixture
def funded(treasury: Treasury) -> Treasury:
    """Both funders have paid a tenth of their budgets ahead, the city in two parts."""
    treasury.fund("city", 10_000, "city-1")
    treasury.fund("city", 30_000, "city-2")
    treasury.fund("county", 20_000, "county-1")
    return treasury


def spend_and_end(funded: Treasury, notice: bytes = b"") -> tuple[bytes, bytes]:
    """One voucher of two packs is used at home, one in Shanghai; the campaign is withdrawn, the rest expire, all is
    settled and the acquirer paid. Gives the redemptions' ids. A `notice` may extend the vouchers to the year's end.
    """
    home, away = funded.node.claim(2)
    funded.release(away)
    used_here, used_there = funded.redeem_here(home), funded.redeem_in_shanghai(away)
    if notice:
        funded.node.change(ChangeKind.NOTICE, notice)
        funded.clearinghouse.learn(funded.node)
    funded.node.change(ChangeKind.WITHDRAW)
    funded.pass_days(206 if notice else 14)
    funded.sweep()
    funded.settle_window()
    for each in funded.instruct().payments:
        funded.pay(each.number, f"paid-{each.number}")
    funded.check()
    return used_here, used_there
