"""A small network whose books are right: two nodes and a clearinghouse, built with the real books and domain functions.

Hangzhou (330100) and Suzhou (320500) issue, redeem at home and away, refund, hold, hand over and settle a window; one
hold lives, one hand-over and one fund return are under way, a second window is open. Tests tamper with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chassis.database import Database, Transaction
from clearinghouse import schema as clearinghouse_schema
from clearinghouse.domain.exposure import Position, owed_change
from clearinghouse.domain.prefund import use_movements, uses
from clearinghouse.domain.windows import Flow, Turnover, bilateral, settlement_movements, statement_lines, totals
from custodian import schema as custodian_schema
from custodian.book_rows import legs_to_json
from custodian.books import Books
from custodian.totals import HourlyKey
from node import schema as node_schema
from node.desk import voucher_of_pack
from node.redeeming import used_away
from quanlian import custody, hand_overs, netting, redemptions, wire
from quanlian.accounts import (
    bank_account,
    clearing_account,
    payable_account,
    reimbursement_account,
    settlement_account,
    visitors_account,
)
from quanlian.agreements import Agreement, parse_agreement
from quanlian.apportionment import FundingPlan, Leg, Reservation, reserve, split
from quanlian.custody import VoucherState
from quanlian.discounts import Order
from quanlian.hand_overs import Head, Incarnations
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import Outcome, Redemption, RefundRule, Sale, State
from quanlian.statements import Statement, statement_to_json
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2
from quanlian.vouchers import VoucherKey
from simulations.auditor import Party

AT = 1_780_000_000
HANGZHOU, SUZHOU, CLEARINGHOUSE = "330100", "320500", "clearinghouse"
NODES = (SUZHOU, HANGZHOU)
FACE_FEN = 1000
VISITORS_YEAR = 2026
PURSE, PAID_AHEAD_FEN = "prefund/330100/2026/hangzhou/city", 500
"""What the city of Hangzhou paid ahead at the clearinghouse: less than it uses."""

AGREEMENT = b"""
number = "TEST"
version = 1
title = { zh = "test", en = "test" }
effective_from = 2020-01-01T00:00:00+08:00
method = "fixed"
when_visitors_run_out = "issuer-pays"

[parameters]
issuer = 70
redeemer = 30
"""

TERMS = """
[campaign]
id = "{id}"
title_zh = "{title_zh}"
title_en = "{title_en}"
issuer = "{issuer}"
fiscal_year = 2026
budget_document = "test"
starts_at = 2026-01-01T00:00:00+08:00
ends_at = 2027-01-01T00:00:00+08:00
roaming = "{roaming}"
regions = ["*"]
channels = ["shop"]
hold_seconds = 900
refund_policy = "pro-rata"

[funding]
shortfall_rule = "refuse"

[[funder]]
name = "city"
title_zh = "市财政"
level = "city"
weight = 2
budget = 800.00

[[funder]]
name = "county"
title_zh = "县财政"
level = "county"
weight = 1
budget = 400.00

[[cofunder]]
kind = "platform"
name = "alipay"
share_percent = 20
public_pays_if_dry = false
budget = 300.00

[[cofunder]]
kind = "merchant"
name = "merchants"
share_percent = 10

[[voucher_type]]
id = "ten"
title_zh = "满40元减10元"
title_en = "10 yuan off 40"
kind = "threshold"
categories = ["retail"]
face = 10.00
minimum_spend = 40.00

[[pack]]
id = "two"
title_zh = "两张"
title_en = "Two"
vouchers = ["ten", "ten"]
valid_days = 7

[[round]]
id = "r1"
pack = "two"
mode = "first-come"
opens_at = 2026-01-01T00:00:00+08:00
closes_at = 2026-12-01T00:00:00+08:00
quota = 100
per_person = 5
"""

Row = dict[str, Any]


class SoundNetwork:
    """Builds the network; every step commits like the real parties do."""

    def __init__(self, open_database: Callable[[str], Database]) -> None:
        self.databases = {name: open_database(name) for name in (CLEARINGHOUSE, *NODES)}
        self.terms: dict[str, Terms] = {}
        self._ids = 0
        self._regions: dict[bytes, str] = {}
        self._agreement: Agreement = parse_agreement(AGREEMENT, "test")
        for name, database in self.databases.items():
            own = clearinghouse_schema if name == CLEARINGHOUSE else node_schema
            with database.transaction() as transaction:
                custodian_schema.METADATA.create_all(transaction.connection)
                own.METADATA.create_all(transaction.connection)
        self._found()

    def close(self) -> None:
        for database in self.databases.values():
            database.close()

    # The story

    def live(self) -> None:
        """Everything that happened in this network."""
        self.publish(HANGZHOU, "hangzhou", "on-demand", "杭州", "Hangzhou <first>")
        self.publish(SUZHOU, "suzhou", "at-issue", "苏州", "Suzhou")
        first, second, third, fourth = (self.claim(HANGZHOU, "hangzhou") for _ in range(4))
        roaming = self.claim(SUZHOU, "suzhou")
        self.claim(HANGZHOU, "hangzhou")
        self.take(SUZHOU, 1)
        self.redeem_at_home(first[0], 5800)
        self.refund_at_home(self.redeem_at_home(first[1], 4000), 1500)
        self.authorize_at_home(second[0])
        self.void_at_home(self.authorize_at_home(fourth[0]))
        self.take(HANGZHOU, self.release([second[1]]))
        self.redeem_away(second[1], SUZHOU, 6000)
        self.take(HANGZHOU, self.release([third[0]]))
        self.authorize_away(third[0], SUZHOU)
        self.refund_away(self.redeem_away(roaming[0], HANGZHOU, 4100), 2050)
        self.settle_window(1)
        self.redeem_away(roaming[1], SUZHOU, 9900)
        self.take(HANGZHOU, self.release([fourth[1]]))
        self.refund_away(self.redeem_away(fourth[1], SUZHOU, 4000), 4000)
        self.release([third[1]])
        self.give_back(HANGZHOU)

    # Foundations

    def _found(self) -> None:
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            transaction.insert(
                clearinghouse_schema.participant,
                [
                    {
                        "region": region,
                        "name_zh": region,
                        "name_en": region,
                        "net_debit_cap_fen": 10**8,
                        "credit_line_fen": 0,
                        "credit_offset_bp": 0,
                        "funding_mode": "prefunded",
                        "credit_days": 0,
                        "owed_held_fen": 0,
                        "owed_posted_fen": 0,
                        "due_posted_fen": 0,
                        "limit_percent": 0,
                        "credit_percent": 0,
                        "withheld_fen": 0,
                        "prefund_fen": PAID_AHEAD_FEN if region == HANGZHOU else 0,
                    }
                    for region in NODES
                ],
            )
            self._open_window(transaction, 1)
            books = Books(transaction)
            for region in NODES:
                transaction.insert(
                    clearinghouse_schema.visitors_funder,
                    [
                        {
                            "region": region,
                            "fiscal_year": VISITORS_YEAR,
                            "position": 1,
                            "name": "city",
                            "weight": 1,
                            "rule": "refuse",
                            "budget_fen": 50_000,
                        }
                    ],
                )
                books.move([Movement(visitors_account(region, VISITORS_YEAR, "city"), "", limit_fen=50_000)])
                books.move(
                    [
                        Movement(bank_account(CLEARINGHOUSE), "", posted_fen=100_000),
                        Movement(settlement_account(region), "", posted_fen=-100_000),
                    ]
                )
            books.book(
                "deposit",
                AT,
                "ahead",
                [
                    Movement(bank_account(CLEARINGHOUSE), "", posted_fen=PAID_AHEAD_FEN),
                    Movement(PURSE, "", posted_fen=-PAID_AHEAD_FEN),
                ],
            )
            paid = {"bank_reference": "ahead", "region": HANGZHOU, "account": PURSE, "amount_fen": PAID_AHEAD_FEN}
            rest = {"received_at": AT, "settlement_window": 1, "memo": "", "assigned": False}
            transaction.insert(clearinghouse_schema.deposit, [{**paid, **rest}])
            books.save("deposit", AT)

    def publish(self, region: str, id: str, roaming: str, title_zh: str, title_en: str) -> None:
        fields = {"id": id, "issuer": region, "roaming": roaming, "title_zh": title_zh, "title_en": title_en}
        document = TERMS.format(**fields).encode()
        terms = self.terms[id] = parse_terms(document, id)
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": id,
            "issuer": region,
            "document": document,
            "key_id": b"key",
            "signature": b"signature",
        }
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            transaction.insert(clearinghouse_schema.terms, [row])
        with self.databases[region].transaction() as transaction:
            transaction.insert(node_schema.terms, [row])
            published = {"campaign": id, "terms_hash": terms.terms_hash, "published_at": AT}
            transaction.insert(node_schema.campaign, [published])
            books = Books(transaction)
            books.move(Movement(account, "", limit_fen=fen) for account, fen in terms.budgets().items())
            books.save("campaign", AT, reference=id)

    # Claims and custody

    def claim(self, region: str, campaign: str) -> list[VoucherKey]:
        """One pack of two vouchers; its keys."""
        terms, pack_id = self.terms[campaign], self._fresh(15)
        pack = terms.pack("two")
        with self.databases[region].transaction() as transaction:
            books = Books(transaction, self._origin(transaction))
            reservations = []
            for _ in pack.vouchers:
                reservation = reserve(FACE_FEN, terms.cofunder_plan(), terms.funding_plan(), books.free_fen)
                assert reservation is not None
                books.move(_reserved(reservation, 1))
                reservations.append(reservation)
            transaction.insert(node_schema.pack, [_pack_row(terms, pack_id, reservations)])
            keys = [VoucherKey(region, pack_id, index) for index in range(len(reservations))]
            if terms.roaming == "at-issue":
                states = [_state(terms, key, each) for key, each in zip(keys, reservations, strict=True)]
                self._give(transaction, books, region, states, with_rows=False)
            books.save("batch", AT)
        return keys

    def release(self, keys: list[VoucherKey]) -> int:
        """A hand-over of these vouchers; its number."""
        region = keys[0].issuer
        with self.databases[region].transaction() as transaction:
            books = Books(transaction, self._origin(transaction))
            states = [state for key in keys if (state := books.voucher(key))]
            number = self._give(transaction, books, region, states, with_rows=True)
            books.save("batch", AT)
        return number

    def _give(
        self, transaction: Transaction, books: Books, region: str, states: list[VoucherState], with_rows: bool
    ) -> int:
        number = books.next_number("hand-over")
        head = Head(region, CLEARINGHOUSE, number, AT, Incarnations(1, 1))
        body = hand_overs.sign(head, [hand_overs.leaf(state) for state in states], _Signer()).body
        for state in states:
            if with_rows:
                books.put_voucher(custody.give(state))
            books.move(_reserved(state.reservation, -1, with_limit=True))
        row = {"number": number, "body": body, **_SIGNED, "given_at": AT, "taken": False}
        transaction.insert(node_schema.hand_over, [row])
        return number

    def take(self, region: str, number: int) -> None:
        """The clearinghouse takes a hand-over and the node hears of it."""
        table = node_schema.hand_over
        with self.databases[region].transaction() as transaction:
            body = transaction.select_keys(table, [table.c.number], [(number,)])[0].body
            transaction.update(table, {"number": number}, {"taken": True})
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            books = Books(transaction)
            for voucher in hand_overs.read(body).vouchers():
                books.put_voucher(voucher)
                books.move(_reserved(voucher.reservation, 1, with_limit=True))
            row = {"issuer": region, "number": number, "body": body, **_SIGNED, "taken_at": AT}
            transaction.insert(clearinghouse_schema.hand_over, [row])
            books.save("batch", AT, self._window(transaction))

    # Redemptions

    def redeem_at_home(self, key: VoucherKey, order_fen: int) -> bytes:
        return self._at_home(self.authorize_at_home(key, order_fen), "capture")

    def authorize_at_home(self, key: VoucherKey, order_fen: int = 4000) -> bytes:
        id = self._fresh(16)
        self._regions[id] = key.issuer
        with self.databases[key.issuer].transaction() as transaction:
            books = Books(transaction, self._origin(transaction))
            books.apply(self._authorize(books, key, id, key.issuer, order_fen))
            books.save("batch", AT)
        return id

    def void_at_home(self, id: bytes) -> None:
        self._at_home(id, "void")

    def refund_at_home(self, id: bytes, order_fen: int) -> None:
        self._at_home(id, "refund", order_fen)

    def _at_home(self, id: bytes, operation: str, order_fen: int = 0) -> bytes:
        with self.databases[self._regions[id]].transaction() as transaction:
            books = Books(transaction, self._origin(transaction))
            redemption = books.redemption(id)
            assert redemption is not None
            books.apply(_operate(books, redemption, operation, order_fen, payable_account("alipay"), 0))
            books.save("batch", AT)
        return id

    def redeem_away(self, key: VoucherKey, region: str, order_fen: int) -> bytes:
        """Decided by the clearinghouse, at a merchant of `region`, which may be the issuer."""
        return self._away(self.authorize_away(key, region, order_fen), "capture")

    def authorize_away(self, key: VoucherKey, region: str, order_fen: int = 4000) -> bytes:
        id = self._fresh(16)
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            books = Books(transaction)
            outcome = self._authorize(books, key, id, region, order_fen)
            books.apply(outcome)
            self._position(transaction, None, outcome)
            books.save("batch", AT, self._window(transaction))
        return id

    def refund_away(self, id: bytes, order_fen: int) -> None:
        self._away(id, "refund", order_fen)

    def _away(self, id: bytes, operation: str, order_fen: int = 0) -> bytes:
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            books, window = Books(transaction), self._window(transaction)
            before = books.redemption(id)
            assert before is not None
            credit = reimbursement_account(before.redeeming_region)
            outcome = _operate(books, before, operation, order_fen, credit, window)
            books.apply(outcome)
            self._position(transaction, before, outcome)
            self._tell(transaction, books, before.voucher.issuer)
            books.save("batch", AT, window)
        self._mirror_as_funder(outcome)
        self._mirror_as_merchant(outcome)
        return id

    def _authorize(self, books: Books, key: VoucherKey, id: bytes, region: str, order_fen: int) -> Outcome:
        voucher = books.voucher(key)
        assert voucher is not None
        plan = FundingPlan((visitors_account(region, VISITORS_YEAR, "city"),), (1,), "refuse")
        agreement = self._agreement if region != key.issuer else None
        paid = split(FACE_FEN, order_fen, voucher.reservation, agreement, region, key.issuer, plan, books.free_fen)
        assert paid is not None
        draft = Redemption(
            id=id,
            voucher=key,
            campaign=voucher.campaign,
            terms_hash=voucher.terms_hash,
            redeeming_region=region,
            participant=f"spiffe://{region}.quanlian/node",
            acquirer="alipay",
            sale=Sale(f"merchant-{region}", id.hex(), Order(order_fen, "retail", "shop")),
            order_fen=order_fen,
            discount_fen=FACE_FEN,
            legs=paid.legs,
            standing=paid.legs,
            rest=paid.released,
            expires_at=AT + 900,
            authorized_at=AT,
        )
        return redemptions.authorize(draft, voucher, paid)

    # The nodes' side

    def _mirror_as_funder(self, outcome: Outcome) -> None:
        redemption = outcome.redemption
        assert outcome.posting is not None
        with self.databases[redemption.voucher.issuer].transaction() as transaction:
            books = Books(transaction)
            books.next_number("feed")
            legs, issuer = outcome.posting.legs, redemption.voucher.issuer
            books.move(used_away(issuer, legs, redemption.redeeming_region))
            transaction.insert(node_schema.clearing_item, [_item("funder", outcome, books.next_entry)])
            if issuer != redemption.redeeming_region:
                _count(books, outcome)
            books.save("batch", AT)

    def _mirror_as_merchant(self, outcome: Outcome) -> None:
        redemption, posting = outcome.redemption, outcome.posting
        assert posting is not None
        region, issuer = redemption.redeeming_region, redemption.voucher.issuer
        owed = sum(leg.amount_fen for leg in posting.legs if is_limited(leg.account))
        with self.databases[region].transaction() as transaction:
            books = Books(transaction)
            books.move(
                [
                    Movement(clearing_account(region), issuer, posted_fen=owed),
                    Movement(payable_account("alipay"), issuer, posted_fen=-owed),
                ]
            )
            if issuer != region:
                books.move(used_away(region, posting.legs, issuer))
            transaction.insert(node_schema.clearing_item, [_item("merchant", outcome, books.next_entry)])
            _count(books, outcome)
            transaction.upsert(node_schema.away, [_away_row(redemption, posting.number)])
            books.save("batch", AT)

    # Windows and money that goes back

    def settle_window(self, number: int) -> None:
        self._calculate(number)
        self._settle_at_clearinghouse(number)
        for region in NODES:
            self._settle_at_node(region, number)

    def _calculate(self, number: int) -> None:
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            turnovers, flows = _totals(transaction, number)
            pairs = bilateral(turnovers)
            nets = dict.fromkeys(NODES, 0) | netting.net_positions(pairs)
            transaction.insert(
                clearinghouse_schema.bilateral,
                [
                    {"settlement_window": number, "debtor": debtor, "creditor": creditor, "amount_fen": fen}
                    for (debtor, creditor), fen in pairs.items()
                ],
            )
            positions = [
                {
                    "settlement_window": number,
                    "region": region,
                    "net_fen": fen,
                    "payout_fen": max(0, fen),
                    "bank_reference": "paid",
                }
                for region, fen in nets.items()
            ]
            transaction.insert(clearinghouse_schema.net_position, positions)
            for region in NODES:
                lines, funders = statement_lines(region, totals(turnovers, flows))
                statement = Statement(number, region, AT, AT, 100_000, lines, funders)
                document = statement_to_json(statement)
                row = {
                    "settlement_window": number,
                    "region": region,
                    "closing_fen": statement.closing_fen,
                    "document": document,
                    **_SIGNED,
                }
                transaction.insert(clearinghouse_schema.statement, [row])
            gross = netting.figures(pairs).gross_fen
            table = clearinghouse_schema.settlement_window
            transaction.update(table, {"number": number}, {"state": "CALCULATED", "gross_fen": gross})
            self._open_window(transaction, number + 1)

    def _settle_at_clearinghouse(self, number: int) -> None:
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            books = Books(transaction)
            turnovers, _ = _totals(transaction, number)
            for region in NODES:
                books.move(settlement_movements(region, turnovers))
                self._tell(transaction, books, region, events=2)
            for (debtor, creditor), fen in bilateral(turnovers).items():
                self._move_position(transaction, debtor, posted_fen=-fen)
                self._move_position(transaction, creditor, due_fen=-fen)
            used = min(uses(HANGZHOU, turnovers)[PURSE], -books.posted_fen(PURSE))
            if used > 0:
                books.book("prefund", AT, f"window {number}", use_movements({PURSE: used}))
                left = {"prefund_fen": -books.posted_fen(PURSE)}
                transaction.update(clearinghouse_schema.participant, {"region": HANGZHOU}, left)
            books.save("settlement", AT)
            table = clearinghouse_schema.settlement_window
            transaction.update(table, {"number": number}, {"state": "SETTLED"})

    def _settle_at_node(self, region: str, number: int) -> None:
        statement = clearinghouse_schema.statement
        with self.databases[CLEARINGHOUSE].snapshot() as snapshot:
            keys = [statement.c.settlement_window, statement.c.region]
            document = snapshot.select_keys(statement, keys, [(number, region)])[0].document
        said = json.loads(document)
        net_fen = said["net_fen"]
        with self.databases[region].transaction() as transaction:
            books = Books(transaction)
            books.next_number("feed")
            books.next_number("feed")
            books.move(
                [
                    Movement(settlement_account(region), "", posted_fen=net_fen),
                    Movement(clearing_account(region), "", posted_fen=-net_fen),
                ]
            )
            books.save("batch", AT)
            counts = dict.fromkeys(("matched", "missing", "extra", "different"), 0)
            transaction.insert(
                node_schema.settlement_window,
                [
                    {
                        "number": number,
                        "statement": document,
                        **counts,
                        "net_fen": net_fen,
                        "closed_at": said["closed_at"],
                        "closing_fen": said["closing_fen"],
                        "lodged_fen": said["lodged_fen"],
                        "paid_out_fen": said["paid_out_fen"],
                        "reservation": "",
                        "confirmed": True,
                        "confirmation": None,
                        "settled": True,
                    }
                ],
            )

    def give_back(self, region: str) -> None:
        """What is free at the clearinghouse goes back in two fund returns; the second has not arrived yet."""
        with self.databases[CLEARINGHOUSE].transaction() as transaction:
            books = Books(transaction)
            legs = [
                Leg(account, books.free_fen(account))
                for account in self.terms["hangzhou"].budgets()
                if books.free_fen(account)
            ]
            returns = [[legs[0]], legs[1:]]
            for number, part in enumerate(returns, 1):
                messages = wire.legs_messages(part)
                body = custody_pb2.FundReturn(region=region, number=number, legs=messages).SerializeToString()
                row = {"region": region, "number": number, "body": body, "signature": b"signature"}
                transaction.insert(clearinghouse_schema.fund_return, [row])
                books.move(Movement(leg.account, "", limit_fen=-leg.amount_fen) for leg in part)
                if number == 1:
                    first = {"number": 1, "body": body, "signature": b"signature"}
            self._tell(transaction, books, region)
            books.save("batch", AT, self._window(transaction))
        with self.databases[region].transaction() as transaction:
            books = Books(transaction)
            books.next_number("feed")
            transaction.insert(node_schema.fund_return, [first])
            books.move([Movement(returns[0][0].account, "", limit_fen=returns[0][0].amount_fen)])
            books.save("batch", AT)

    def _open_window(self, transaction: Transaction, number: int) -> None:
        row = {"number": number, "state": "OPEN", "opened_at": AT, "closed_at": 0, "gross_fen": 0}
        transaction.insert(clearinghouse_schema.settlement_window, [row])

    def _window(self, transaction: Transaction) -> int:
        table = clearinghouse_schema.settlement_window
        row = transaction.connection.execute(table.select().where(table.c.state == "OPEN")).one()
        return int(row.number)

    def _tell(self, transaction: Transaction, books: Books, region: str, events: int = 1) -> None:
        for _ in range(events):
            sequence = books.next_number(f"feed/{region}")
            event = custody_pb2.FeedEvent(sequence=sequence).SerializeToString()
            row = {"region": region, "sequence": sequence, "event": event}
            transaction.insert(clearinghouse_schema.feed, [row])

    def _position(self, transaction: Transaction, before: Redemption | None, outcome: Outcome) -> None:
        redemption = outcome.redemption
        held, posted = owed_change(before, redemption)
        self._move_position(transaction, redemption.voucher.issuer, held, posted)
        self._move_position(transaction, redemption.redeeming_region, due_fen=posted)

    def _move_position(
        self, transaction: Transaction, region: str, held_fen: int = 0, posted_fen: int = 0, due_fen: int = 0
    ) -> None:
        table = clearinghouse_schema.participant
        row = transaction.connection.execute(table.select().where(table.c.region == region)).one()
        position = Position(region, 0, 0, 0, row.owed_held_fen, row.owed_posted_fen, row.due_posted_fen)
        moved = position.moved(held_fen, posted_fen, due_fen)
        figures = {
            "owed_held_fen": moved.owed_held_fen,
            "owed_posted_fen": moved.owed_posted_fen,
            "due_posted_fen": moved.due_posted_fen,
        }
        transaction.update(table, {"region": region}, figures)

    def _fresh(self, size: int) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(size, "big")

    def _origin(self, transaction: Transaction) -> Callable[[list[VoucherKey]], dict[VoucherKey, VoucherState]]:
        table = node_schema.pack

        def from_packs(keys: list[VoucherKey]) -> dict[VoucherKey, VoucherState]:
            ids = [(key.pack_id,) for key in keys]
            packs = {row.pack_id: row for row in transaction.select_keys(table, [table.c.pack_id], ids)}
            found = {key: voucher_of_pack(key, packs[key.pack_id]) for key in keys}
            return {key: state for key, state in found.items() if state}

        return from_packs


_SIGNED: Row = {"key_id": b"key", "signature": b"signature"}


class _Signer:
    """Books do not look at signatures."""

    key_id = b"key"

    def sign(self, kind: str, payload: bytes) -> bytes:
        return b"signature"


def parties(database_url: Callable[[str], str], schema: Callable[[str], str]) -> list[Party]:
    """The network's databases as the auditor opens them."""
    return [Party(name, database_url(name), schema(name)) for name in (CLEARINGHOUSE, *NODES)]


def _operate(books: Books, redemption: Redemption, operation: str, order_fen: int, credit: str, window: int) -> Outcome:
    voucher = books.voucher(redemption.voucher)
    assert voucher is not None
    if operation == "capture":
        outcome = redemptions.capture(redemption, voucher, order_fen, credit, window, AT)
    elif operation == "void":
        outcome = redemptions.void(redemption, voucher, AT)
    else:
        rule = RefundRule("pro-rata", 4000)
        outcome = redemptions.refund(redemption, voucher, order_fen, rule, credit, window, AT)
    assert isinstance(outcome, Outcome)
    return outcome


def _reserved(reservation: Reservation, sign: int, with_limit: bool = False) -> list[Movement]:
    return [
        Movement(
            leg.account,
            "",
            reserved_fen=sign * leg.amount_fen,
            limit_fen=sign * leg.amount_fen if with_limit else 0,
        )
        for leg in reservation.legs()
        if is_limited(leg.account)
    ]


def _state(terms: Terms, key: VoucherKey, reservation: Reservation) -> VoucherState:
    return VoucherState(key, terms.campaign, terms.terms_hash, 1, b"t" * 16, AT, AT + 7 * 86_400, reservation)


def _pack_row(terms: Terms, pack_id: bytes, reservations: list[Reservation]) -> Row:
    by_index = [[[list(leg) for leg in each.cofunders], [list(leg) for leg in each.public]] for each in reservations]
    return {
        "pack_id": pack_id,
        "campaign": terms.campaign,
        "round": "r1",
        "terms_hash": terms.terms_hash,
        "holder_tag": b"t" * 16,
        "voucher_types": json.dumps([1] * len(reservations)),
        "issued_at": AT,
        "not_before": AT,
        "not_after": AT + 7 * 86_400,
        "roaming": terms.roaming,
        "reservations": json.dumps(by_index),
        "reserved_fen": sum(each.total_fen for each in reservations),
        "swept": False,
    }


def _count(books: Books, outcome: Outcome) -> None:
    """A posting of the clearinghouse in a node's running totals."""
    redemption, posting = outcome.redemption, outcome.posting
    assert posting is not None
    category = redemption.sale.order.category
    key = HourlyKey(posting.at, redemption.voucher.issuer, redemption.redeeming_region, redemption.campaign, category)
    books.hourly.count(key, posting.order_fen, posting.discount_fen)


def _item(side: str, outcome: Outcome, entry: int) -> Row:
    redemption, posting = outcome.redemption, outcome.posting
    assert posting is not None
    return {
        "side": side,
        "redemption_id": posting.redemption_id,
        "number": posting.number,
        "settlement_window": posting.window,
        "issuer": redemption.voucher.issuer,
        "redeeming_region": redemption.redeeming_region,
        "campaign": redemption.campaign,
        "order_fen": posting.order_fen,
        "discount_fen": posting.discount_fen,
        "legs": legs_to_json(posting.legs),
        "category": redemption.sale.order.category,
        "at": posting.at,
        "pack_id": redemption.voucher.pack_id,
        "voucher_index": redemption.voucher.voucher_index,
        "request_id": b"",
        "entry": entry,
    }


def _away_row(redemption: Redemption, number: int) -> Row:
    return {
        "redemption_id": redemption.id,
        "caller": "alipay",
        "merchant": redemption.sale.merchant,
        "order_id": redemption.sale.order_id,
        "state": State(redemption.state).name,
        "order_fen": redemption.order_fen,
        "discount_fen": redemption.standing_fen,
        "refunded_order_fen": redemption.refunded_order_fen,
        "expires_at": redemption.expires_at,
        "number": number,
        "particulars": b"",
    }


def _totals(transaction: Transaction, number: int) -> tuple[list[Turnover], list[Flow]]:
    turnover, flow = custodian_schema.turnover, custodian_schema.flow
    run = transaction.connection.execute
    turnovers = [Turnover(*row[1:]) for row in run(turnover.select().where(turnover.c.settlement_window == number))]
    return turnovers, [Flow(*row[1:]) for row in run(flow.select().where(flow.c.settlement_window == number))]
