"""News from the clearinghouse, in order and each once: what was posted, money that came back, windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from custodian import schema as custodian_schema
from custodian.campaigns import SignedChange
from custodian.deny_lists import keep_deny_list
from custodian.limit_warnings import warning_row
from custodian.suspensions import SignedSuspension
from node import schema
from node.desk import Desk
from node.publishing import take_change
from node.redeeming import count_away, keep_clearing_item, used_away
from pki.denylist import DenyList
from quanlian import wire
from quanlian.accounts import clearing_account, settlement_account
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.v1 import custody_pb2, signed_pb2

SEQUENCE = "feed"


@dataclass(slots=True)
class News:
    """Events of the feed, signatures checked; what was signed, read, by the event's sequence.

    What was stored before is passed over.
    """

    events: Sequence[custody_pb2.FeedEvent]
    changes: Mapping[int, SignedChange] = field(default_factory=dict)
    suspensions: Mapping[int, SignedSuspension] = field(default_factory=dict)
    deny_lists: Mapping[int, DenyList] = field(default_factory=dict)

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        """Raises InvalidInput for a gap, for nothing may be lost."""
        for event in self.events:
            known = desk.books.counter(SEQUENCE)
            if event.sequence <= known:
                continue
            if event.sequence != known + 1:
                raise InvalidInput(f"event {event.sequence} follows {known}", place="feed", remedy="follow again")
            desk.books.next_number(SEQUENCE)
            self._take(desk, event)

    def _take(self, desk: Desk, event: custody_pb2.FeedEvent) -> None:
        kind = event.WhichOneof("event")
        if kind == "posting":
            keep_clearing_item(desk, "funder", event.posting)
            legs = wire.legs_of(event.posting.legs)
            desk.books.move(used_away(desk.name, legs, event.posting.redeeming_region))
            if event.posting.redeeming_region != desk.name:
                count_away(desk, event.posting)
        elif kind == "fund_return":
            _take_fund_return(desk, event.fund_return)
        elif kind == "campaign_change":
            take_change(desk, self.changes[event.sequence])
        elif kind == "suspension":
            desk.suspensions.append(self.suspensions[event.sequence])
        elif kind == "deny_list":
            keep_deny_list(desk.transaction, self.deny_lists[event.sequence].number, event.deny_list)
        elif kind == "limit_warning":
            desk.transaction.insert(custodian_schema.limit_warning, [warning_row(event.limit_warning)])
        elif kind == "statement_ready":
            _open_window(desk, event.statement_ready)
        elif kind == "window_settled":
            _settle(desk, event.window_settled)


def _take_fund_return(desk: Desk, message: signed_pb2.SignedMessage) -> None:
    """Accepted like a hand-over: the issuer's limit grows by what the clearinghouse gave back."""
    fund_return = wire.parse(custody_pb2.FundReturn, message.body, "fund return")
    desk.transaction.insert(
        schema.fund_return,
        [{"number": fund_return.number, "body": message.body, "signature": message.signature}],
    )
    desk.books.move(Movement(leg.account, "", limit_fen=leg.amount_fen) for leg in wire.legs_of(fund_return.legs))


def _open_window(desk: Desk, number: int) -> None:
    desk.transaction.insert(
        schema.settlement_window,
        [
            {
                "number": number,
                "statement": None,
                "matched": 0,
                "missing": 0,
                "extra": 0,
                "different": 0,
                "net_fen": 0,
                "confirmed": False,
                "settled": False,
            }
        ],
    )


def _settle(desk: Desk, number: int) -> None:
    """SETTLED clears `clearing` against this node's mirror of `settlement`."""
    table = schema.settlement_window
    row = desk.transaction.select_keys(table, [table.c.number], [(number,)])[0]
    desk.books.move(
        [
            Movement(settlement_account(desk.name), "", posted_fen=row.net_fen),
            Movement(clearing_account(desk.name), "", posted_fen=-row.net_fen),
        ]
    )
    desk.transaction.connection.execute(table.update().where(table.c.number == number).values(settled=True))
