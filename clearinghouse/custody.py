"""The clearinghouse's side of custody: vouchers taken with their money, and money given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from chassis.database import Query, Transaction
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import funding
from custodian import schema as custodian_schema
from custodian.decisions import expire_overdue
from custodian.incarnations import require_present
from custodian.overdue import overdue_holds, overdue_vouchers
from quanlian import hand_overs, wire
from quanlian.apportionment import Leg
from quanlian.custody import CAPTURED, CLEARINGHOUSE, VoucherState, may_take
from quanlian.errors import InvalidInput
from quanlian.hand_overs import Head
from quanlian.ledger import Movement, is_limited
from quanlian.money import allocate
from quanlian.terms import Terms
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import VoucherKey

_ACCOUNT = custodian_schema.account.c
_WITH_LIMITS = Query(select(_ACCOUNT.account).where(_ACCOUNT.limit_fen > 0))


@dataclass(slots=True)
class TakeHandOver:
    """An issuer's signed hand-over, checked before. Taken once, however often it comes."""

    head: Head
    message: signed_pb2.SignedMessage
    vouchers: Sequence[VoucherState]

    @property
    def number(self) -> int:
        return self.head.number

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=[each.key for each in self.vouchers])

    def decide(self, desk: Desk) -> list[VoucherKey]:
        """The vouchers that the message names, now here. Raises Void for one of, or to, an older incarnation."""
        if not self._is_known(desk):
            require_present(desk.transaction, self.head)
            self._take_all(desk)
        return [voucher.key for voucher in self.vouchers]

    def relearn(self, desk: Desk) -> list[VoucherKey]:
        """The same for a hand-over of the past, which a recovery brings: it counts whoever lived then.

        Documents come in no certain order, so the money of each moves, also of one that a later one overtook.
        """
        if not self._is_known(desk):
            for voucher in self.vouchers:
                known = desk.books.voucher(voucher.key)
                if known is not None and voucher.epoch < known.epoch:
                    _take_money(desk, voucher)
            self._take_all(desk, past=True)
        return [voucher.key for voucher in self.vouchers]

    def _is_known(self, desk: Desk) -> bool:
        """Raises Void or InvalidInput where other vouchers came under its number."""
        table = schema.hand_over
        key = (self.head.giver, self.number)
        rows = desk.transaction.select_keys(table, [table.c.issuer, table.c.number], [key])
        if rows and hand_overs.kept(rows[0].body).head.root != self.head.root:
            require_present(desk.transaction, self.head)
            raise InvalidInput(
                "该号已移交别的券 · other vouchers came under its number", place=f"hand-over {self.number} of {key[0]}"
            )
        return bool(rows)

    def _take_all(self, desk: Desk, past: bool = False) -> None:
        for voucher in self.vouchers:
            self._take(desk, voucher, past)
        self._keep(desk)

    def _take(self, desk: Desk, offered: VoucherState, past: bool) -> None:
        """Raises InvalidInput for one that is captured here, which nobody has to give."""
        known = desk.books.voucher(offered.key)
        if may_take(known.epoch if known else None, offered.epoch):
            if known is not None and known.status == CAPTURED:
                voucher = f"{offered.key.pack_id.hex()}/{offered.key.voucher_index}"
                raise InvalidInput("已核销，无从移交 · is captured, nobody has it to give", place=f"voucher {voucher}")
            _require_terms(desk, offered, past)
            desk.books.put_voucher(offered)
            _take_money(desk, offered)

    def _keep(self, desk: Desk) -> None:
        desk.transaction.insert(
            schema.hand_over,
            [
                {
                    "issuer": self.head.giver,
                    "number": self.number,
                    "body": self.message.body,
                    "key_id": self.message.key_id,
                    "signature": self.message.signature,
                    "taken_at": desk.at,
                }
            ],
        )
        desk.transaction.upsert(
            schema.handed_voucher,
            [{**each.key._asdict(), "number": self.number} for each in self.vouchers],
        )


def _take_money(desk: Desk, offered: VoucherState) -> None:
    desk.books.move(
        Movement(leg.account, "", reserved_fen=leg.amount_fen, limit_fen=leg.amount_fen)
        for leg in offered.reservation.legs()
        if is_limited(leg.account)
    )


def _require_terms(desk: Desk, offered: VoucherState, past: bool) -> None:
    """An issuer hands over what its published terms reserve, within their budgets: those of now, in the `past` the
    highest there ever were. Raises InvalidInput.
    """
    terms = desk.terms(offered.terms_hash)
    if terms is None or terms.issuer != offered.key.issuer or terms.campaign != offered.campaign:
        raise InvalidInput(
            f"活动 {offered.campaign} 无此规则 · campaign {offered.campaign} has no such terms",
            place="hand-over",
            remedy="先发布 · publish them",
        )
    if not 0 < offered.voucher_type <= len(terms.voucher_types) or offered.epoch % 2 == 0:
        raise InvalidInput(
            "所列不是可移交的券 · names no voucher that could be given",
            place="hand-over",
            remedy="写明券种与期数 · send type and epoch",
        )
    highest_fen = terms.voucher_types[offered.voucher_type - 1].max_discount_fen
    if offered.reservation.total_fen != highest_fen or not _merchants_share_fits(terms, offered, highest_fen):
        raise InvalidInput(
            f"预留与规则对 {highest_fen} 分的预留不符 · "
            f"the reservation is not what the terms reserve of {highest_fen} fen",
            place="hand-over",
            remedy="按规则的分担比例预留 · reserve by the terms' shares",
        )
    current = desk.campaigns.standing(offered.key.issuer, offered.campaign).terms_hash
    in_force = desk.versions(offered.key.issuer, offered.campaign) if past else [desk.terms(current) or terms]
    budgets = [each.budgets() for each in in_force]
    for leg in offered.reservation.legs():
        limit = max(each.get(leg.account, 0) for each in budgets)
        if is_limited(leg.account) and desk.books.balance(leg.account).limit_fen + leg.amount_fen > limit:
            raise InvalidInput(
                f"{leg.account} 将超过已发布的预算 {limit} 分 · would pass its published budget of {limit} fen",
                place="hand-over",
                remedy="在规则预算内预留 · reserve within the budget of the terms",
            )


def _merchants_share_fits(terms: Terms, offered: VoucherState, highest_fen: int) -> bool:
    """No more falls on the redeeming region's merchants than the terms say."""
    plan = terms.cofunder_plan()
    shares = [each.share_ppm for each in plan]
    parts = allocate(highest_fen, [*shares, 1_000_000 - sum(shares)])
    expected = sum(part for each, part in zip(plan, parts, strict=False) if each.kind == "merchant")
    borne = sum(leg.amount_fen for leg in offered.reservation.legs() if not is_limited(leg.account))
    return borne == expected


def read_hand_over(issuer: str, message: signed_pb2.SignedMessage) -> TakeHandOver:
    """A hand-over whose signature was checked.

    Raises InvalidInput for one that is not `issuer`'s to give, BadSignature for vouchers that it did not sign.
    """
    given = hand_overs.read(message.body)
    if (given.head.giver, given.head.taker) != (issuer, CLEARINGHOUSE):
        raise InvalidInput(
            f"由 {given.head.giver} 移交 {given.head.taker} · goes from {given.head.giver} to {given.head.taker}",
            place="hand-over",
            remedy=f"以 {issuer} 签名 · sign as {issuer}",
        )
    return TakeHandOver(given.head, message, given.vouchers())


@dataclass(slots=True)
class Sweep:
    """Holds and vouchers in our custody whose time has passed; `is_full`: there may be more than it takes."""

    vouchers: Sequence[VoucherKey]
    is_full: bool

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=self.vouchers)

    def decide(self, desk: Desk) -> None:
        for key in self.vouchers:
            voucher = desk.books.voucher(key)
            if voucher is not None:
                expire_overdue(voucher, desk.books, desk)


def overdue(transaction: Transaction, limit: int) -> Sweep:
    """At most `limit` holds and `limit` vouchers that the clock has passed and nobody has recorded yet."""
    holds, ended = (look(transaction, CLEARINGHOUSE, limit) for look in (overdue_holds, overdue_vouchers))
    return Sweep([*holds, *ended], limit in (len(holds), len(ended)))


def return_free_money(desk: Desk, window: int) -> None:
    """Give what is free on this book back to the issuers, by a numbered, signed fund return for each region."""
    free: dict[str, list[Leg]] = {}
    for row in desk.transaction.rows(_WITH_LIMITS):
        dimensions = funding(row.account)
        amount = desk.books.free_fen(row.account)
        if dimensions and dimensions.is_issuers and amount > 0:
            free.setdefault(dimensions.region, []).append(Leg(row.account, amount))
    for region, legs in sorted(free.items()):
        number = desk.books.next_number(f"fund-return/{region}")
        body = custody_pb2.FundReturn(
            region=region, number=number, legs=wire.legs_messages(sorted(legs)), window=window
        ).SerializeToString()
        signature = desk.signer.sign("fund-return", body)
        desk.transaction.insert(
            schema.fund_return, [{"region": region, "number": number, "body": body, "signature": signature}]
        )
        desk.books.move(Movement(leg.account, "", limit_fen=-leg.amount_fen) for leg in legs)
        message = signed_pb2.SignedMessage(body=body, key_id=desk.signer.key_id, signature=signature)
        desk.tell(region, fund_return=message)
