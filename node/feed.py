"""News from the clearinghouse, in order and each once: what was posted, money that came back, windows.

An event that the books cannot take is parked with the reason, and so is what depends on it; the rest goes on. An
operator has it tried again when the cause is gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chassis.database import Query
from custodian import schema as custodian_schema
from custodian.campaigns import SignedChange
from custodian.deny_lists import keep_deny_list, record_deny_list
from custodian.feed_heads import read_head
from custodian.incarnations import require_not_older
from custodian.limit_warnings import warning_row
from custodian.suspensions import SignedSuspension
from custodian.withdrawals import Withdrawal
from node import schema
from node.away import adjusted
from node.bank import draw_settled, draw_there
from node.desk import Desk
from node.disputes import keep_decision
from node.feed_heads import keep_head
from node.publishing import take_change
from node.recall import take_return
from node.redeeming import book_posting, book_used_away, count_away, keep_clearing_item
from node.withdrawing import take_back
from pki.denylist import DenyList
from quanlian import wire
from quanlian.accounts import clearing_account, settlement_account
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.v1 import custody_pb2, redemption_pb2, signed_pb2

SEQUENCE = "feed"
MAX_REASON_CHARACTERS = 500


_PARKED = Query(
    schema.parked_event.select()
    .where(schema.parked_event.c.taken_at.is_(None))
    .order_by(schema.parked_event.c.sequence.desc())
)

Read = SignedChange | SignedSuspension | DenyList | Withdrawal | None
"""What a signed event says, its signature checked."""


class FeedGap(InvalidInput):
    """An event is missing before this one: the feed must be followed again from the last that was stored."""


@dataclass(slots=True)
class News:
    """Events of the feed, signatures checked; what was signed, read, by the event's sequence.

    What was stored before is passed over. `head` tells in which incarnation of the clearinghouse, and how far it has
    come.
    """

    events: Sequence[custody_pb2.FeedEvent]
    head: signed_pb2.SignedMessage
    changes: Mapping[int, SignedChange] = field(default_factory=dict)
    suspensions: Mapping[int, SignedSuspension] = field(default_factory=dict)
    deny_lists: Mapping[int, DenyList] = field(default_factory=dict)
    withdrawals: Mapping[int, Withdrawal] = field(default_factory=dict)

    def load(self, desk: Desk) -> None:
        postings = [event.posting for event in self.events if kind_of(event) == "posting"]
        desk.want(clearing_items=[("funder", each.redemption_id, each.number) for each in postings])

    def decide(self, desk: Desk) -> list[int]:
        """Sequences of events that were parked because one that they depend on is.

        Raises FeedGap for a gap, Void for what an older incarnation of the clearinghouse told.
        """
        require_not_older(desk.transaction, CLEARINGHOUSE, read_head(self.head).incarnation)
        keep_head(desk.transaction, self.head)
        blocked, parked = _parked_subjects(desk), []
        for event in self.events:
            if not _is_next(desk, event):
                continue
            subject = subject_of(event)
            if subject in blocked:
                _park(desk, event, _behind(blocked[subject]))
                parked.append(event.sequence)
            else:
                _take(desk, event, self._read(event.sequence))
        return parked

    def _read(self, sequence: int) -> Read:
        documents = (self.changes, self.suspensions, self.deny_lists, self.withdrawals)
        return next((each[sequence] for each in documents if sequence in each), None)


def news_of(events: Sequence[custody_pb2.FeedEvent], head: signed_pb2.SignedMessage, read: Mapping[int, Read]) -> News:
    """The events with what was read and verified of them, by sequence."""
    changes = {sequence: each for sequence, each in read.items() if isinstance(each, SignedChange)}
    suspensions = {sequence: each for sequence, each in read.items() if isinstance(each, SignedSuspension)}
    deny_lists = {sequence: each for sequence, each in read.items() if isinstance(each, DenyList)}
    withdrawals = {sequence: each for sequence, each in read.items() if isinstance(each, Withdrawal)}
    return News(events, head, changes, suspensions, deny_lists, withdrawals)


@dataclass(slots=True)
class Park:
    """Set aside an event that could not be taken, so that those after it can."""

    event: custody_pb2.FeedEvent
    head: signed_pb2.SignedMessage
    reason: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        keep_head(desk.transaction, self.head)
        if _is_next(desk, self.event):
            _park(desk, self.event, self.reason)


@dataclass(slots=True)
class TakeParked:
    """Try a parked event again, its signature checked; it keeps its place behind others of its subject."""

    event: custody_pb2.FeedEvent
    read: Read

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        """Raises what the event runs into; it stays parked then."""
        table, sequence = schema.parked_event, self.event.sequence
        rows = desk.transaction.select_keys(table, [table.c.sequence], [(sequence,)])
        if not rows or rows[0].taken_at is not None:
            return
        first = _parked_subjects(desk).get(subject_of(self.event), sequence)
        if first < sequence:
            raise InvalidInput(_behind(first), place=f"event {sequence}")
        _take(desk, self.event, self.read)
        desk.transaction.update(table, {"sequence": sequence}, {"taken_at": desk.at})


def kind_of(event: custody_pb2.FeedEvent) -> str:
    """`posting`, `fund_return`, …; `unknown` for what a newer clearinghouse may tell."""
    return event.WhichOneof("event") or "unknown"


def subject_of(event: custody_pb2.FeedEvent) -> str:
    """What an event's order counts for: a campaign's changes, a window's course; empty where it can be taken alone."""
    kind = kind_of(event)
    if kind in ("statement_ready", "window_settled"):
        return f"window {getattr(event, kind)}"
    if kind == "prefund_used":
        return f"window {event.prefund_used.window}"
    if kind == "campaign_change":
        with contextlib.suppress(InvalidInput):
            change = wire.body_to_change(event.campaign_change.body)
            return f"campaign {change.issuer}/{change.campaign}"
    return ""


def _is_next(desk: Desk, event: custody_pb2.FeedEvent) -> bool:
    """Whether the event is news, counting it as received. Raises FeedGap, for nothing may be lost.

    What a restored clearinghouse forgot is passed over at once, also by a node that has heard a part of it.
    """
    known = desk.books.counter(SEQUENCE)
    if event.sequence <= known:
        return False
    if event.sequence - max(1, event.forgotten) > known:
        raise FeedGap(f"event {event.sequence} follows {known}", place="feed", remedy="follow again")
    desk.books.pass_numbers(SEQUENCE, event.sequence)
    return True


def _take(desk: Desk, event: custody_pb2.FeedEvent, read: Read) -> None:
    kind = kind_of(event)
    if kind == "posting":
        _take_posting(desk, event.posting)
    elif kind == "withdrawn":
        assert isinstance(read, Withdrawal)
        take_back(desk, event.sequence, read)
    elif kind == "adjustment":
        _take_adjustment(desk, event.adjustment)
    elif kind in ("month_ready", "statement_ready", "dispute_decided"):
        _take_statement_news(desk, event)
    elif kind == "fund_return":
        _take_fund_return(desk, event.fund_return)
    elif kind == "custody_return":
        take_return(desk, event.custody_return)
    elif kind == "campaign_change":
        assert isinstance(read, SignedChange)
        take_change(desk, read)
    elif kind == "suspension":
        assert isinstance(read, SignedSuspension)
        desk.suspensions.append(read)
    elif kind == "deny_list":
        assert isinstance(read, DenyList)
        keep_deny_list(desk.transaction, read.number, event.deny_list)
        record_deny_list(desk.books, desk.at, read.number, event.deny_list)
    elif kind == "limit_warning":
        desk.transaction.upsert(custodian_schema.limit_warning, [warning_row(event.limit_warning)])
    else:
        _take_money(desk, event)


def _take_statement_news(desk: Desk, event: custody_pb2.FeedEvent) -> None:
    if event.HasField("month_ready"):
        _open_month(desk, event.month_ready)
    elif event.HasField("statement_ready"):
        _open_window(desk, event.statement_ready)
    else:
        keep_decision(desk.transaction, event.dispute_decided)


def _take_money(desk: Desk, event: custody_pb2.FeedEvent) -> None:
    """What a settlement did, and what is of no kind that is known."""
    kind = kind_of(event)
    if kind == "prefund_used":
        used = event.prefund_used
        draw_there(desk, used.window, {part.account: part.amount_fen for part in used.parts})
    elif kind == "window_settled":
        _settle(desk, event.window_settled)
    elif kind != "forgotten":
        raise InvalidInput(
            "本版本不识此类通知 · is of a kind that this version does not know",
            place="feed",
            remedy="升级节点 · upgrade the node",
        )


def _park(desk: Desk, event: custody_pb2.FeedEvent, reason: str) -> None:
    row = {
        "sequence": event.sequence,
        "kind": kind_of(event),
        "subject": subject_of(event),
        "event": event.SerializeToString(),
        "reason": reason[:MAX_REASON_CHARACTERS],
        "parked_at": desk.at,
        "taken_at": None,
    }
    desk.transaction.insert(schema.parked_event, [row])


def _behind(first: int) -> str:
    return f"须待第{first}号通知，该通知已搁置 · depends on event {first}, which is parked"


def _parked_subjects(desk: Desk) -> dict[str, int]:
    """The first parked event of each subject."""
    return {row.subject: row.sequence for row in desk.transaction.rows(_PARKED) if row.subject}


def _has_posting(desk: Desk, posting: redemption_pb2.Posting, side: str = "funder") -> bool:
    """Whether it was told before: a clearinghouse that recovers tells its postings again.

    Raises InvalidInput for another one under its number, unless that was taken back first.
    """
    kept = desk.clearing_item((side, posting.redemption_id, posting.number))
    if kept is None:
        return False
    if (kept["order_fen"], kept["discount_fen"]) != (posting.order_fen, posting.discount_fen):
        redemption = posting.redemption_id.hex()
        raise InvalidInput(
            f"核销 {redemption} 第{posting.number}笔已另有入账 · "
            f"redemption {redemption} has another posting under number {posting.number}",
            place="posting",
            remedy="请清分平台核对其恢复报告 · let the clearinghouse go through the report of its recovery",
        )
    return True


def _take_posting(desk: Desk, posting: redemption_pb2.Posting) -> None:
    """Own funders' side of a capture or refund."""
    if _has_posting(desk, posting):
        return
    legs = wire.legs_of(posting.legs)
    keep_clearing_item(desk, "funder", posting, legs)
    book_used_away(desk, posting, legs, posting.redeeming_region)
    if posting.redeeming_region != desk.name:
        count_away(desk, posting)


def _take_fund_return(desk: Desk, message: signed_pb2.SignedMessage) -> None:
    """Accepted like a hand-over, each number once: the issuer's limit grows by what the clearinghouse gave back.

    Raises InvalidInput for other money under a number that is known.
    """
    fund_return = wire.parse(custody_pb2.FundReturn, message.body, "fund return")
    table = schema.fund_return
    known = desk.transaction.select_keys(table, [table.c.number], [(fund_return.number,)])
    if known and known[0].body != message.body:
        raise InvalidInput(
            f"第{fund_return.number}号资金退回另有所指 · other money came back under number {fund_return.number}",
            place="fund return",
            remedy="请清分平台核对其恢复报告 · let the clearinghouse go through the report of its recovery",
        )
    if known:
        return
    desk.transaction.insert(
        table,
        [{"number": fund_return.number, "body": message.body, "signature": message.signature}],
    )
    desk.books.move(Movement(leg.account, "", limit_fen=leg.amount_fen) for leg in wire.legs_of(fund_return.legs))


def _take_adjustment(desk: Desk, posting: redemption_pb2.Posting) -> None:
    """Our merchants' side of an adjusting entry; the acquirer that was credited too much is owed less."""
    if _has_posting(desk, posting, "merchant"):
        return
    known = desk.away(posting.redemption_id)
    assert known is not None, "an adjustment follows the answer that captured"
    book_posting(desk, known.caller, posting)
    desk.put_away(adjusted(known, posting))


def _open_month(desk: Desk, month: str) -> None:
    """Nothing new if it is known, as a window."""
    table = schema.statement_month
    if not desk.transaction.select_keys(table, [table.c.month], [(month,)]):
        nobodys = {"confirmed_by": "", "reservation": "", "confirmed": False, "confirmation": None}
        desk.transaction.insert(table, [{"month": month} | nobodys])


def _open_window(desk: Desk, number: int) -> None:
    """Nothing new if it is known: a clearinghouse that was restored to before it told of a statement tells it again."""
    table = schema.settlement_window
    if desk.transaction.select_keys(table, [table.c.number], [(number,)]):
        return
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
                "closed_at": 0,
                "closing_fen": 0,
                "lodged_fen": 0,
                "own_lodged_fen": None,
                "own_paid_out_fen": None,
                "reservation": "",
                "paid_out_fen": 0,
                "confirmed": False,
                "confirmation": None,
                "settled": False,
            }
        ],
    )


def book_settled(desk: Desk, net_fen: int) -> None:
    """A settled net position clears `clearing` against this node's mirror of `settlement`."""
    desk.books.move(
        [
            Movement(settlement_account(desk.name), "", posted_fen=net_fen),
            Movement(clearing_account(desk.name), "", posted_fen=-net_fen),
        ]
    )


def _settle(desk: Desk, number: int) -> None:
    """SETTLED books the window's net position, or leaves it to the statement: a restored node may not have that yet.

    Once: a clearinghouse that was restored to before it settled settles again, and tells it again.
    """
    table = schema.settlement_window
    rows = desk.transaction.select_keys(table, [table.c.number], [(number,)])
    if not rows:
        raise InvalidInput("对账单未到，场次已结清 · was settled before its statement came", place=f"window {number}")
    if rows[0].settled:
        return
    book_settled(desk, rows[0].net_fen)
    desk.transaction.update(table, {"number": number}, {"settled": True})
    draw_settled(desk)
