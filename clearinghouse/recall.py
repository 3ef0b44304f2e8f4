"""Custody given back to an issuer that asks for it: recalls, and what the issuer must have when it asks again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clearinghouse import schema
from clearinghouse.custody import TakeHandOver
from clearinghouse.desk import Desk
from custodian.custody_messages import refused
from custodian.decisions import expire_overdue
from custodian.incarnations import giving
from quanlian import custody, hand_overs
from quanlian.custody import CLEARINGHOUSE, EMPTY, VoucherState, give, in_custody
from quanlian.errors import InvalidInput
from quanlian.hand_overs import Head
from quanlian.ledger import Movement, is_limited
from quanlian.refusals import RefusalReason
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey


@dataclass(slots=True)
class Recall:
    """An issuer asks for vouchers back; `epochs` are those that it knows. It brings the hand-overs that gave them.

    What the issuer gave and has not arrived yet is taken first, in the same commit: a recall must not overtake it.
    """

    region: str
    epochs: Mapping[VoucherKey, int]
    releases: Sequence[TakeHandOver]

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=self.epochs)
        for release in self.releases:
            release.load(desk)

    def decide(self, desk: Desk) -> custody_pb2.RecallResponse:
        """One return for all that can be given back, earlier ones again for what was given before, and refusals."""
        for release in self.releases:
            release.decide(desk)
        giving: list[VoucherState] = []
        earlier: dict[bytes, signed_pb2.SignedMessage] = {}
        refusals = []
        for key, epoch in self.epochs.items():
            found = _returnable(desk, key, epoch)
            if isinstance(found, RefusalReason):
                refusals.append(refused(desk.signer, CLEARINGHOUSE, key, found, desk.at))
            elif isinstance(found, VoucherState):
                giving.append(found)
            else:
                earlier[found.signature] = found
        returns = [*earlier.values(), *([_give_back(desk, self.region, giving)] if giving else [])]
        return custody_pb2.RecallResponse(returns=returns, refused=refusals)


def _returnable(desk: Desk, key: VoucherKey, epoch: int) -> VoucherState | RefusalReason | signed_pb2.SignedMessage:
    """A voucher that can be given back, the return that did so before, or why not (protocol.md, Custody 3)."""
    voucher = desk.books.voucher(key)
    if voucher is None:
        return RefusalReason.VOUCHER_UNKNOWN
    if voucher.epoch > epoch or not in_custody(voucher, CLEARINGHOUSE):
        return last_return(desk, key) or RefusalReason.NOT_IN_CUSTODY
    if voucher.status == custody.HELD:
        expire_overdue(voucher, desk.books, desk)
        voucher = desk.books.voucher(key)
        assert voucher is not None
    return custody.spent_reason(voucher) or voucher


def last_return(desk: Desk, key: VoucherKey) -> signed_pb2.SignedMessage | None:
    """The return that gave a voucher back last, as it was signed."""
    returned, kept = schema.returned_voucher, schema.custody_return
    rows = desk.transaction.select_keys(
        returned, [returned.c.issuer, returned.c.pack_id, returned.c.voucher_index], [tuple(key)]
    )
    if not rows:
        return None
    row = desk.transaction.select_keys(kept, [kept.c.region, kept.c.number], [(key.issuer, rows[0].number)])[0]
    return signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)


def _give_back(desk: Desk, region: str, vouchers: Sequence[VoucherState]) -> signed_pb2.SignedMessage:
    """Give custody of vouchers back with their money, in this commit; the issuer's feed brings it for certain."""
    number = desk.books.next_number(f"custody-return/{region}")
    head = Head(CLEARINGHOUSE, region, number, desk.at, giving(desk.transaction, region))
    message = hand_overs.sign(head, [hand_overs.leaf(each) for each in vouchers], desk.signer)
    for voucher in vouchers:
        desk.books.put_voucher(give(voucher))
        _return_money(desk, voucher)
    _keep(desk, region, number, message, vouchers)
    desk.tell(region, custody_return=message)
    return message


def _keep(
    desk: Desk, region: str, number: int, message: signed_pb2.SignedMessage, vouchers: Sequence[VoucherState]
) -> None:
    row: dict[str, Any] = {
        "region": region,
        "number": number,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
        "given_at": desk.at,
    }
    desk.transaction.insert(schema.custody_return, [row])
    desk.transaction.upsert(
        schema.returned_voucher,
        [{**each.key._asdict(), "number": number} for each in vouchers],
    )


def relearn_return(desk: Desk, region: str, message: signed_pb2.SignedMessage) -> int:
    """A return that this party signed and no longer has. Raises InvalidInput where the voucher is not here to give.

    Of a voucher that was handed over again since, only the money goes back.
    """
    returned = hand_overs.read(message.body)
    if returned.head.taker != region:
        raise InvalidInput(f"退给 {returned.head.taker} · goes to {returned.head.taker}", place="custody return")
    table, number, vouchers = schema.custody_return, returned.head.number, returned.vouchers()
    if desk.transaction.select_keys(table, [table.c.region, table.c.number], [(region, number)]):
        return 0
    for offered in vouchers:
        known = desk.books.voucher(offered.key)
        if known is not None and known.epoch >= offered.epoch:
            if known.epoch > offered.epoch:
                _return_money(desk, offered)
            continue
        if known is None or not in_custody(known, CLEARINGHOUSE) or known.status != custody.USABLE:
            voucher = f"{offered.key.pack_id.hex()}/{offered.key.voucher_index}"
            raise InvalidInput("不在此，无从退回 · is not here to give back", place=f"voucher {voucher}")
        desk.books.put_voucher(give(known)._replace(epoch=offered.epoch, reservation=EMPTY))
        _return_money(desk, known)
    _keep(desk, region, number, message, vouchers)
    while desk.books.counter(f"custody-return/{region}") < number:
        desk.books.next_number(f"custody-return/{region}")
    return len(vouchers)


def _return_money(desk: Desk, voucher: VoucherState) -> None:
    desk.books.move(
        Movement(leg.account, "", reserved_fen=-leg.amount_fen, limit_fen=-leg.amount_fen)
        for leg in voucher.reservation.legs()
        if is_limited(leg.account)
    )
