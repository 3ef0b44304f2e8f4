"""The issuer's side of custody: releases, bulk hand-overs, and money that comes back (protocol.md, Custody)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from chassis.database import Query, Transaction
from custodian.custody_messages import refused
from custodian.decisions import expire_overdue
from custodian.incarnations import giving
from custodian.overdue import overdue_holds, overdue_vouchers
from custodian.paging import pages
from node import schema
from node.desk import Desk
from quanlian import custody, hand_overs
from quanlian.custody import CLEARINGHOUSE, VoucherState, give, in_custody
from quanlian.hand_overs import Head
from quanlian.ledger import Movement, is_limited
from quanlian.refusals import RefusalReason
from quanlian.suspensions import SuspensionKind, voucher_subject
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

if TYPE_CHECKING:
    from node.claiming import Draft

PACKS_PER_HAND_OVER = 200
HANDED_BYTES = 512
"""What one voucher with its legs may come to in a hand-over, which must stay well under the message size limit."""
_PACK = schema.pack.c
_PACKS = Query(
    select(_PACK.pack_id, _PACK.voucher_types)
    .where(_PACK.swept.is_(False), _PACK.not_after <= bindparam("at"))
    .order_by(_PACK.not_after, _PACK.pack_id)
    .limit(bindparam("most"))
)


@dataclass(slots=True)
class Release:
    """The clearinghouse asks for vouchers that appeared away. Answers with hand-overs and refusals to send.

    `epochs` are those that it knows of vouchers that it gave back before: a question from before that return is stale.
    """

    refs: Sequence[tuple[bytes, int]]
    epochs: Mapping[tuple[bytes, int], int] = field(default_factory=dict)

    def load(self, desk: Desk) -> None:
        keys = [VoucherKey(desk.name, *ref) for ref in self.refs]
        desk.books.want(vouchers=keys)
        desk.suspensions.want(*((SuspensionKind.VOUCHER, voucher_subject(key)) for key in keys))

    def decide(self, desk: Desk) -> list[custody_pb2.CustodyStreamRequest]:
        """One hand-over for all that can be given, earlier ones again for what was given before, and refusals."""
        giving: list[VoucherState] = []
        earlier: dict[bytes, signed_pb2.SignedMessage] = {}
        refusals = []
        for key in (VoucherKey(desk.name, *ref) for ref in self.refs):
            found = _releasable(desk, key)
            if isinstance(found, RefusalReason):
                message = refused(desk.region.message_signer, desk.name, key, found, desk.at)
                refusals.append(custody_pb2.CustodyStreamRequest(release_refused=message))
            elif in_custody(found, desk.name) and found.epoch <= self.epochs.get((key.pack_id, key.voucher_index), 0):
                giving.append(found)
            else:
                again = given_before(desk, key)
                earlier[again.signature] = again
        messages = list(earlier.values()) + ([hand_over(desk, giving)] if giving else [])
        return [*(custody_pb2.CustodyStreamRequest(hand_over=each) for each in messages), *refusals]


def _releasable(desk: Desk, key: VoucherKey) -> VoucherState | RefusalReason:
    """A voucher that is here to give or was given before, or why it cannot be released (protocol.md, Custody 3)."""
    voucher = desk.books.voucher(key)
    if voucher is None:
        return RefusalReason.VOUCHER_UNKNOWN
    if not in_custody(voucher, desk.name):
        return voucher
    if desk.suspensions.since(SuspensionKind.VOUCHER, voucher_subject(key)) is not None:
        return RefusalReason.VOUCHER_SUSPENDED
    if voucher.status == custody.HELD:
        expire_overdue(voucher, desk.books, desk)
        voucher = desk.books.voucher(key)
        assert voucher is not None
    return custody.spent_reason(voucher) or voucher


@dataclass(slots=True)
class HandOverTaken:
    """The clearinghouse has taken a hand-over; it need not be sent again."""

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        table = schema.hand_over
        desk.transaction.update(table, {"number": self.number}, {"taken": True})


@dataclass(slots=True)
class HandOverVoid:
    """The clearinghouse has not got a hand-over and will not take it, for one of both was restored since.

    It is given anew, the same vouchers under the same number, as of the incarnations that both are in now.
    """

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> signed_pb2.SignedMessage | None:
        """The message to send; None for one that is not void, which some other sent under its number was."""
        table = schema.hand_over
        rows = desk.transaction.select_keys(table, [table.c.number], [(self.number,)])
        given = hand_overs.kept(rows[0].body) if rows else None
        incarnations = giving(desk.transaction, CLEARINGHOUSE)
        if given is None or given.head.incarnations == incarnations:
            return None
        head = given.head._replace(at=desk.at, incarnations=incarnations)
        message = hand_overs.sign(head, given.leaves, desk.region.message_signer)
        signed = {"body": message.body, "key_id": message.key_id, "signature": message.signature}
        desk.transaction.update(table, {"number": self.number}, {**signed, "taken": False})
        return message


@dataclass(slots=True)
class Sweep:
    """Holds and vouchers whose time has passed, as a look at the tables found them; `is_full`: there may be more."""

    vouchers: Sequence[VoucherKey]
    packs: Sequence[bytes]
    is_full: bool

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=self.vouchers)

    def decide(self, desk: Desk) -> None:
        for key in self.vouchers:
            voucher = desk.books.voucher(key)
            if voucher is not None:
                expire_overdue(voucher, desk.books, desk)
        for pack_id in self.packs:
            desk.transaction.update(schema.pack, {"pack_id": pack_id}, {"swept": True})


def overdue(transaction: Transaction, region: str, limit: int) -> Sweep:
    """At most `limit` holds, vouchers and packs that the clock has passed and nobody has recorded yet."""
    holds, ended = (look(transaction, region, limit) for look in (overdue_holds, overdue_vouchers))
    packs = transaction.rows(_PACKS, at=transaction.now(), most=limit)
    inside = [
        VoucherKey(region, row.pack_id, index) for row in packs for index in range(len(json.loads(row.voucher_types)))
    ]
    is_full = limit in (len(holds), len(ended), len(packs))
    return Sweep([*holds, *ended, *inside], [row.pack_id for row in packs], is_full)


def hand_over(desk: Desk, vouchers: Sequence[VoucherState]) -> signed_pb2.SignedMessage:
    """Give custody of `vouchers` with their money, in this commit. Returns the signed message to send after it."""
    message = _sign(desk, vouchers)
    for voucher in vouchers:
        desk.books.put_voucher(give(voucher))
        desk.books.move(_handed_money(voucher))
    return message


def hand_over_packs(desk: Desk, drafts: Iterable[Draft]) -> None:
    """Packs that roam from their issue on: given with their money in the claim's own commit.

    Their vouchers need no row here: the pack's row says that they were given (`voucher_of_pack`).
    """
    packs = (list(_states(draft, desk)) for draft in drafts)
    for page in pages(packs, lambda pack: HANDED_BYTES * len(pack), PACKS_PER_HAND_OVER):
        states = [state for pack in page for state in pack]
        _sign(desk, states)
        for state in states:
            desk.books.move(_handed_money(state))


def given_before(desk: Desk, key: VoucherKey) -> signed_pb2.SignedMessage:
    """The hand-over that gave this voucher, as it was signed: a repeated request gets its answer again."""
    handed, kept = schema.handed_voucher, schema.hand_over
    rows = desk.transaction.select_keys(
        handed, [handed.c.pack_id, handed.c.voucher_index], [(key.pack_id, key.voucher_index)]
    )
    row = desk.transaction.select_keys(kept, [kept.c.number], [(rows[0].number,)])[0]
    return signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)


def _sign(desk: Desk, vouchers: Sequence[VoucherState]) -> signed_pb2.SignedMessage:
    """The next hand-over, signed and kept, to be sent until it is taken."""
    number, incarnations = desk.books.next_number("hand-over"), giving(desk.transaction, CLEARINGHOUSE)
    message = hand_overs.sign(
        Head(desk.name, CLEARINGHOUSE, number, desk.at, incarnations),
        [hand_overs.leaf(each) for each in vouchers],
        desk.region.message_signer,
    )
    row = {
        "number": number,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
        "given_at": desk.at,
        "taken": False,
    }
    desk.transaction.insert(schema.hand_over, [row])
    desk.transaction.upsert(
        schema.handed_voucher,
        [{"pack_id": each.key.pack_id, "voucher_index": each.key.voucher_index, "number": number} for each in vouchers],
    )
    return message


def _handed_money(voucher: VoucherState) -> list[Movement]:
    """A hand-over drops the giver's reservation and lowers its limit by the same legs (money.md, Ledger)."""
    return [
        Movement(leg.account, "", reserved_fen=-leg.amount_fen, limit_fen=-leg.amount_fen)
        for leg in voucher.reservation.legs()
        if is_limited(leg.account)
    ]


def _states(draft: Draft, desk: Desk) -> list[VoucherState]:
    shared, reservations = draft.edition.voucher, draft.edition.issue.reservations
    return [
        VoucherState(
            VoucherKey(desk.name, draft.claim.pack_id, index),
            shared.campaign,
            shared.terms_hash,
            number,
            draft.claim.tag,
            shared.not_before,
            shared.not_after,
            reservation,
        )
        for index, (number, reservation) in enumerate(zip(shared.voucher_types, reservations, strict=True))
    ]
