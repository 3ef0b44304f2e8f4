"""Vouchers that come back from the clearinghouse with their money, because this region recalled them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from custodian.incarnations import require_present
from node import schema
from node.custody import given_before
from node.desk import Desk
from quanlian import custody, hand_overs
from quanlian.apportionment import Reservation
from quanlian.custody import CLEARINGHOUSE, VoucherState, in_custody, may_take
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement, is_limited
from quanlian.v1 import signed_pb2
from quanlian.vouchers import VoucherKey


@dataclass(slots=True)
class TakeReturns:
    """Returns signed by the clearinghouse, checked before; each is taken once, however often it comes.

    What is void here comes by the feed, if the clearinghouse as it is now has given it.
    """

    messages: Sequence[signed_pb2.SignedMessage]

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        """Raises Void for a return of, or to, an older incarnation, InvalidInput for what this region did not give."""
        for message in self.messages:
            returned = hand_overs.read(message.body)
            if not _is_known(desk, returned.head.number):
                require_present(desk.transaction, returned.head)
                take_return(desk, message)


def take_return(desk: Desk, message: signed_pb2.SignedMessage) -> None:
    """Take vouchers back whose epoch is news. Raises InvalidInput for what this region did not give."""
    returned = hand_overs.read(message.body)
    if (returned.head.giver, returned.head.taker) != (CLEARINGHOUSE, desk.name):
        raise InvalidInput(
            f"由 {returned.head.giver} 退给 {returned.head.taker} · "
            f"goes from {returned.head.giver} to {returned.head.taker}",
            place="custody return",
        )
    if _is_known(desk, returned.head.number):
        return
    offered = returned.vouchers()
    desk.books.load_vouchers([each.key for each in offered])
    for voucher in offered:
        _take(desk, voucher)
    row = {
        "number": returned.head.number,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
        "taken_at": desk.at,
    }
    desk.transaction.insert(schema.custody_return, [row])


def _is_known(desk: Desk, number: int) -> bool:
    table = schema.custody_return
    return bool(desk.transaction.select_keys(table, [table.c.number], [(number,)]))


def _take(desk: Desk, offered: VoucherState) -> None:
    """One that a recovery found dead stays so when it comes home, and its money is free."""
    known = desk.books.voucher(offered.key)
    if known is None or not in_custody(offered, desk.name):
        raise InvalidInput(
            "所列的券并非本地移交 · names a voucher that this region did not give", place="custody return"
        )
    if offered.epoch < known.epoch:
        _return_money(desk, offered, reserved=False)
        return
    if not may_take(known.epoch, offered.epoch):
        return
    _require_same_money(desk, offered)
    if known.status != custody.USABLE:
        desk.books.put_voucher(known._replace(epoch=offered.epoch))
        _return_money(desk, offered, reserved=False)
        return
    desk.books.put_voucher(offered)
    _return_money(desk, offered, reserved=True)


def _return_money(desk: Desk, offered: VoucherState, reserved: bool) -> None:
    """The limit grows by what came back. It is not reserved for a voucher that was given again since: that happens
    where a recovery learned of the second hand-over before the feed told of this return.
    """
    desk.books.move(
        Movement(leg.account, "", reserved_fen=leg.amount_fen if reserved else 0, limit_fen=leg.amount_fen)
        for leg in offered.reservation.legs()
        if is_limited(leg.account)
    )


def _require_same_money(desk: Desk, offered: VoucherState) -> None:
    """A voucher comes back with the very money it was given with."""
    given = hand_overs.kept(given_before(desk, offered.key).body).money().reservation(offered.key)
    if given is None or _by_account(given) != _by_account(offered.reservation):
        raise InvalidInput("退回的资金与移交的不同 · brings back other money than was given", place="custody return")


def _by_account(reservation: Reservation) -> dict[str, int]:
    return {leg.account: leg.amount_fen for leg in reservation.legs()}


class Given:
    """Vouchers that this region gave and has not got back, with the hand-overs that gave them."""

    def __init__(self, desk: Desk, keys: Sequence[VoucherKey]) -> None:
        self._desk = desk
        desk.books.load_vouchers(keys)
        states = [state for key in keys if (state := desk.books.voucher(key))]
        self.vouchers = [state for state in states if not in_custody(state, desk.name)]

    def releases(self, limit_bytes: int) -> list[signed_pb2.SignedMessage]:
        """The hand-overs that gave them, those first that the clearinghouse has not acknowledged, up to a size."""
        handed, kept = schema.handed_voucher, schema.hand_over
        keys = [(each.key.pack_id, each.key.voucher_index) for each in self.vouchers]
        numbers = {
            row.number
            for row in self._desk.transaction.select_keys(handed, [handed.c.pack_id, handed.c.voucher_index], keys)
        }
        rows = self._desk.transaction.select_keys(kept, [kept.c.number], [(each,) for each in sorted(numbers)])
        messages: list[signed_pb2.SignedMessage] = []
        for row in sorted(rows, key=lambda row: (row.taken, row.number)):
            limit_bytes -= len(row.body)
            if row.taken and limit_bytes < 0:
                break
            messages.append(signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature))
        return messages


def given_page(desk: Desk, campaign: str, after: VoucherKey | None, limit: int) -> list[VoucherKey]:
    """At most `limit` vouchers of a campaign that were ever handed over, in the order of their ids."""
    handed, pack = schema.handed_voucher, schema.pack
    query = (
        handed.select()
        .join(pack, pack.c.pack_id == handed.c.pack_id)
        .where(pack.c.campaign == campaign)
        .order_by(handed.c.pack_id, handed.c.voucher_index)
        .limit(limit)
    )
    if after is not None:
        same_pack = (handed.c.pack_id == after.pack_id) & (handed.c.voucher_index > after.voucher_index)
        query = query.where((handed.c.pack_id > after.pack_id) | same_pack)
    rows = desk.transaction.connection.execute(query).all()
    return [VoucherKey(desk.name, row.pack_id, row.voucher_index) for row in rows]
