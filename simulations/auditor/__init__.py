"""The independent auditor: proves a network's invariants from its databases, by SQL and plain arithmetic.

It shares no code with the ledger, the books or custody, so that an error there cannot hide itself here: this package
imports the standard library, SQLAlchemy and the generated stubs, reads the published terms by itself, and adds
everything up again from single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError
from sqlalchemy.exc import SQLAlchemyError

from simulations.auditor import (
    captures,
    discounts,
    funders,
    holds,
    ledgers,
    mirrors,
    orders,
    payments,
    positions,
    refunds,
    totals,
)
from simulations.auditor.databases import Network, Party, network_in_memory, open_network
from simulations.auditor.inquiry import Inquiry
from simulations.auditor.promises import Promise, examine_postings, examine_promises, posting_of, redemption_of
from simulations.auditor.reversals import examine_reversals
from simulations.auditor.suspended import Suspended, examine_suspended

__all__ = [
    "Check",
    "Network",
    "Party",
    "Promise",
    "Suspended",
    "audit",
    "audit_promises",
    "network_in_memory",
    "posting_of",
    "redemption_of",
]


class Check(NamedTuple):
    """One invariant: whether it holds, how many things were looked at, and what contradicts it.

    Each finding names database, row and amounts in fen. A check that found nothing to look at does not hold.
    """

    name: str
    title_zh: str
    title_en: str
    holds: bool
    examined: int
    findings: tuple[str, ...]


class _Invariant(NamedTuple):
    name: str
    title_zh: str
    title_en: str
    examine: Callable[[Network, Inquiry], None]


_INVARIANTS = (
    _Invariant(
        "voucher_captured_at_most_once",
        "每张券在所有数据库中至多核销一次",
        "Every voucher is captured at most once over all databases",
        captures.examine,
    ),
    _Invariant("ledgers_sum_to_zero", "每本账借贷平衡", "Every ledger sums to zero", ledgers.examine),
    _Invariant(
        "discounts_equal_legs",
        "每笔优惠等于各出资方之和",
        "Every discount equals its legs",
        discounts.examine,
    ),
    _Invariant(
        "captured_as_held",
        "核销未逾占用期，少核销部分按比例释放",
        "Every capture came before its hold's end, and released what it did not take, in proportion",
        holds.examine,
    ),
    _Invariant(
        "refunded_in_proportion",
        "退款按各出资方当时所承担的比例退回",
        "Every refund went back to the funders in proportion to what each then bore",
        refunds.examine,
    ),
    _Invariant(
        "one_voucher_an_order",
        "每笔订单至多使用一张券",
        "Every merchant's order took at most one voucher",
        orders.examine,
    ),
    _Invariant(
        "funders_conserved",
        "各出资方：可用＋预留＋占用＋已用＋退回＋在途＝预算",
        "Each funder's free + reserved + held + used + returned + in transit equals its budget",
        funders.examine,
    ),
    _Invariant(
        "net_positions_sum_to_zero",
        "每个清算场次的净额合计为零",
        "Net positions of every window sum to zero",
        positions.examine,
    ),
    _Invariant(
        "caps_kept",
        "各地应付不超过净借记限额",
        "No region owes more than its net debit cap",
        positions.examine_caps,
    ),
    _Invariant(
        "node_books_equal_clearinghouse",
        "各节点账与清分平台账一致",
        "Each node's books equal the clearinghouse's",
        mirrors.examine,
    ),
    _Invariant(
        "running_totals_equal_redemptions",
        "分时统计与逐笔核销一致",
        "Running totals by hour equal the single redemptions",
        totals.examine,
    ),
    _Invariant(
        "dedicated_accounts_hold",
        "专用账户：到账、兑付、退回与账面一致",
        "Each dedicated account: receipts, payments to acquirers and returns to funders equal the books",
        payments.examine,
    ),
)


def audit(parties: Sequence[Party], *, quiescent: bool = True, promises: Sequence[Promise] = ()) -> list[Check]:
    """Examine every invariant over the databases of one clearinghouse and its nodes, in a fixed order.

    `quiescent` says that nothing is under way: what the clearinghouse posted must then have reached the nodes, and no
    request may wait for an answer. What clients were told follows, as far as `promises` have something to look at. A
    database that cannot be read fails every check. Raises ValueError unless exactly one party is named `clearinghouse`.
    """
    try:
        with open_network(parties, quiescent) as network:
            checks = [_checked(invariant, network) for invariant in _INVARIANTS]
            kept = [_checked(invariant, network) for invariant in _of_promises(promises, promises)]
            return checks + [check for check in kept if check.examined]
    except SQLAlchemyError as error:
        return [_unreadable(invariant, error) for invariant in _INVARIANTS]


def audit_promises(
    network: Network, promises: Sequence[Promise], posted: Sequence[Promise], suspended: Sequence[Suspended] = ()
) -> list[Check]:
    """As `audit`, over books that are open already, and every check of what clients were told.

    What `posted` say was captured or refunded must still stand; `promises` need only be known. What is `suspended` was
    not accepted afterwards.
    """
    kept = _Invariant(
        "suspensions_kept",
        "已暂停的券不再核销",
        "What its issuer had suspended, that issuer did not accept afterwards",
        lambda books, inquiry: examine_suspended(suspended, promises, inquiry),
    )
    return [_checked(invariant, network) for invariant in (*_INVARIANTS, *_of_promises(promises, posted), kept)]


def _of_promises(promises: Sequence[Promise], posted: Sequence[Promise]) -> tuple[_Invariant, ...]:
    """What clients were told, against what the books say."""
    told = _Invariant(
        "promises_kept",
        "已答复的都已落账，同一请求号答复相同",
        "What was acknowledged is in the books, and one request id has one answer",
        lambda books, inquiry: examine_promises(books, promises, inquiry),
    )
    stands = _Invariant(
        "postings_stand",
        "已答复的核销与退款都在账上",
        "What was acknowledged as captured or refunded stands in the books",
        lambda books, inquiry: examine_postings(books, posted, inquiry),
    )
    undone = _Invariant(
        "reversals_kept",
        "已答复冲正的请求不留任何效果",
        "What was acknowledged as reversed has no effect, however late it comes",
        lambda books, inquiry: examine_reversals(books, promises, inquiry),
    )
    return told, stands, undone


def _checked(invariant: _Invariant, network: Network) -> Check:
    inquiry = Inquiry()
    try:
        invariant.examine(network, inquiry)
    except (ValueError, TypeError, LookupError, DecodeError) as error:
        inquiry.find(f"a row of these tables cannot be read: {type(error).__name__}: {error}")
    if not inquiry.examined:
        inquiry.find("nothing was found to examine, so nothing is proved")
    return Check(*invariant[:3], not inquiry.findings, inquiry.examined, tuple(inquiry.findings))


def _unreadable(invariant: _Invariant, error: SQLAlchemyError) -> Check:
    cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return Check(*invariant[:3], False, 0, (f"a database cannot be read: {cause}",))
