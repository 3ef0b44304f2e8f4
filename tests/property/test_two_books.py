"""No story of claims, redemptions, hand-overs, returns and payments makes or loses a fen over the two ledgers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_parties import (
    HANGZHOU,
    KEYRING,
    LocalClearinghouse,
    LocalNode,
    item,
    keys_of,
    open_standing,
    outcome,
    purchase,
    undone,
)

from clearinghouse.custody import overdue as overdue_here
from custodian.campaigns import verify_change
from custodian.ledger.check import check_books
from node.bank import Payer, RecordReceipt
from node.custody import overdue
from node.feed import News
from node.paying import InstructPayments, MarkPaid, MarkReturned
from quanlian import hand_overs, wire
from quanlian.v1 import custody_pb2
from quanlian.v1 import redemption_pb2 as pb

PACKS = 4
BUDGETS = {"city": 4000_00, "county": 10_00}
OPERATIONS = (
    "home",
    "home-hold",
    "release",
    "take",
    "away",
    "away-hold",
    "capture",
    "refund",
    "void",
    "close",
    "hear",
    "day",
    "fund",
    "pay",
    "pay-back",
)
STEP = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 2 * PACKS - 1), st.sampled_from((5800, 4000, 1234)))
Pair = tuple[LocalNode, LocalClearinghouse]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("two-books")
    databases = [open_standing(f"sqlite:///{folder / name}.db", "") for name in ("node", "clearinghouse")]
    node, clearinghouse = LocalNode(databases[0]), LocalClearinghouse(databases[1], visitors_fen=700)
    node.publish(cascade="advanced", city=4000, county=10, quota=50)
    clearinghouse.learn(node)
    yield node, clearinghouse
    for database in databases:
        database.close()


class Story:
    """The two parties with what is under way between them."""

    def __init__(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        self.node, self.clearinghouse = node, clearinghouse
        self.tokens = node.claim(PACKS)
        self.given: list[custody_pb2.CustodyStreamRequest] = []
        self.heard = 0
        self.count = 0
        self.done: dict[str, list[bytes]] = {"node": [], "clearinghouse": []}

    def step(self, what: str, which: int, fen: int) -> None:
        token, index = self.tokens[which // 2], which % 2
        match what:
            case "home" | "home-hold" | "away" | "away-hold":
                operation = "authorize" if what.endswith("hold") else "redeem"
                content = item(self._id(), **{operation: purchase(token, index, f"order-{self.count}", max(fen, 4000))})
                self._ask(content, home=what.startswith("home"))
            case "capture" | "refund" | "void":
                for party, ids in self.done.items():
                    if ids:
                        later = self._later(what, ids[which % len(ids)], fen)
                        self._ask(item(self._id(), **{what: later}), home=party == "node")
            case "release":
                self.given += self.node.release(keys_of(token)[index])
            case "take":
                self.clearinghouse.decide(*self.clearinghouse.hand_overs(self.given))
            case "close":
                self.clearinghouse.do(self.clearinghouse.service.settlement.close_window())
            case "hear":
                self._hear()
            case "day":
                self._pass_a_day()
            case "fund":
                self.count += 1
                payer = Payer("spring", "city" if which % 2 else "county")
                self.node.decide(RecordReceipt(payer, fen, f"in-{self.count}"))
            case "pay":
                (instructed,) = self.node.decide(InstructPayments("operator"))
                for number in instructed.numbers:
                    self.node.decide(MarkPaid(number, f"out-{number}"))
            case "pay-back":
                self._pay_back(which)

    def lacking(self) -> Counter[str]:
        """What refunds gave back to funders in payments that the bank returned: it may be used again already."""
        lacking: Counter[str] = Counter()
        for row in self.node.rows("payment"):
            for _, account, fen in json.loads(row["items"]) if row["returned_reference"] else ():
                lacking[account.replace("funding/", "prefund/")] += max(0, -fen)
        return lacking

    def in_transit(self, funder: str) -> int:
        """Hand-overs given and not taken, fund returns given and not heard."""
        taken = {row["number"] for row in self.clearinghouse.rows("hand_over")}
        fen = 0
        for row in self.node.rows("hand_over"):
            if row["number"] not in taken:
                for each in hand_overs.read(row["body"]).vouchers():
                    legs = each.reservation.legs()
                    fen += sum(leg.amount_fen for leg in legs if leg.account.endswith(funder))
        heard = {row["number"] for row in self.node.rows("fund_return")}
        for row in self.clearinghouse.rows("fund_return"):
            if row["number"] not in heard:
                legs = wire.legs_of(custody_pb2.FundReturn.FromString(row["body"]).legs)
                fen += sum(leg.amount_fen for leg in legs if leg.account.endswith(funder))
        return fen

    def _ask(self, content: bytes, home: bool) -> None:
        party = self.node if home else self.clearinghouse
        work = self.node.intake(content) if home else self.clearinghouse.request(content)
        (reply,) = party.decide(work)
        answer = getattr(reply, "content", None)
        if answer and outcome(answer) in ("AUTHORIZED", "CAPTURED"):
            id = pb.RedemptionAnswer.FromString(answer).redemption_id
            self.done["node" if home else "clearinghouse"].append(id)

    def _later(self, what: str, id: bytes, fen: int) -> pb.Capture | pb.Refund | pb.Void:
        if what == "void":
            return pb.Void(redemption_id=id)
        return pb.Capture(redemption_id=id) if what == "capture" else pb.Refund(redemption_id=id, order_fen=fen)

    def _hear(self) -> None:
        events = [each for each in self.clearinghouse.feed(HANGZHOU) if each.sequence > self.heard]
        changes = {
            each.sequence: verify_change(each.campaign_change, KEYRING)
            for each in events
            if each.HasField("campaign_change")
        }
        self.node.decide(News(events, self.clearinghouse.feed_head(HANGZHOU), changes))
        self.heard = max([self.heard, *(each.sequence for each in events)])

    def _pass_a_day(self) -> None:
        """Holds expire, after some days vouchers too."""
        for party in (self.node, self.clearinghouse):
            party.pass_seconds(2 * 86_400)
        with self.node.database.snapshot() as transaction:
            found = overdue(transaction, HANGZHOU, 500)
        self.node.decide(found)
        with self.clearinghouse.database.snapshot() as transaction:
            passed = overdue_here(transaction, 500)
        self.clearinghouse.decide(passed)

    def _pay_back(self, which: int) -> None:
        """The bank returns a payment."""
        standing = [row["number"] for row in self.node.rows("payment") if not row["returned_reference"]]
        if standing:
            number = standing[which % len(standing)]
            self.node.decide(MarkReturned(number, f"back-{number}"))

    def _id(self) -> bytes:
        self.count += 1
        return b"2" * 12 + self.count.to_bytes(4, "big")


def account(party: LocalNode | LocalClearinghouse, funder: str) -> tuple[int, int, int, int]:
    rows = [
        row
        for row in party.rows("account")
        if row["account"].endswith(f"spring/{funder}") and row["account"].startswith("funding/")
    ]
    if not rows:
        return 0, 0, 0, 0
    (row,) = rows
    return row["posted_fen"], row["reserved_fen"], row["held_fen"], row["limit_fen"]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=5, max_size=30))
def test_each_funders_money_is_conserved_over_both_books(pair: Pair, steps: list[tuple[str, int, int]]) -> None:
    node, clearinghouse = pair
    with undone(node, clearinghouse):
        story = Story(node, clearinghouse)
        for step in steps:
            story.step(*step)
            lacking = story.lacking()
            for row in node.rows("account"):
                if row["account"].startswith("prefund/"):
                    assert row["posted_fen"] <= lacking[row["account"]], step
            for funder, budget in BUDGETS.items():
                books = [account(party, funder) for party in (node, clearinghouse)]
                assert sum(limit for *_, limit in books) + story.in_transit(f"spring/{funder}") == budget, step
                for posted, reserved, held, limit in books:
                    assert min(reserved, held, limit - posted - reserved - held) >= 0, step
        for party in (node, clearinghouse):
            with party.database.snapshot() as transaction:
                assert check_books(transaction) == []
