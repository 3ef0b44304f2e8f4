"""A node whose database was restored from a backup learns again what the clearinghouse holds of it.

Hand-overs that it gave after the copy was made, and answers to what it sent on; the feed brings the rest by itself.
What it decided alone in that time only the platforms hold: their receipts are booked first (`platform_receipts.py`).
What is in none of these is told to the operator, not guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from chassis.database import Query
from custodian.books import Books
from custodian.continuity import Continuity
from custodian.decisions import expire_overdue
from custodian.evidence import SignedBatch, shown_batch
from custodian.incarnations import known, learn
from node import schema
from node.desk import Desk, Sent, Work
from node.directory import Directory
from node.engine import Engine
from node.feed import SEQUENCE
from node.platform_receipts import PlatformReceipts
from node.ports import Clearinghouse
from node.receipts import receipts_held
from node.redeeming import ClearinghouseAnswer, keep_quote
from pki.trust import Keyring
from quanlian import custody, hand_overs, redemptions, wire
from quanlian.custody import CLEARINGHOUSE, EMPTY, VoucherState
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, QuanlianError, Unavailable
from quanlian.evidence import ANSWER_KIND, Message
from quanlian.ids import uuid7
from quanlian.ledger import Movement, is_limited
from quanlian.redemptions import State
from quanlian.v1 import custody_pb2, node_operator_pb2, recovery_pb2, redemption_pb2, signed_pb2
from quanlian.wire import Later, Purchase

_HAND_OVER = schema.hand_over.c
_OLDEST_OPEN = Query(select(func.min(_HAND_OVER.number).label("number")).where(_HAND_OVER.taken.is_(False)))
RECOVERY_MARGIN_SECONDS = 600
"""How much earlier than the copy's last commit the answers are asked for: ids and clocks may differ a little."""


class Recovery:
    """Notices that the clearinghouse knows more of this node than it does itself, and learns it again."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        keyring: Keyring,
        clearinghouse: Clearinghouse,
        continuity: Continuity,
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._keyring = keyring
        self._clearinghouse = clearinghouse
        self._continuity = continuity
        self._one_at_a_time = asyncio.Lock()

    async def position(self) -> custody_pb2.Position:
        """Where this node stands with the clearinghouse."""

        def load() -> custody_pb2.Position:
            with self._engine.database.snapshot() as transaction:
                books = Books(transaction)
                heard = known(transaction, CLEARINGHOUSE)
                last, feed = books.counter("hand-over"), books.counter(SEQUENCE)
            incarnation = self._continuity.incarnation
            return custody_pb2.Position(incarnation=incarnation, hand_overs=last, feed=feed, peer_incarnation=heard)

        return await asyncio.to_thread(load)

    async def compare(self, theirs: custody_pb2.Position) -> None:
        """Raises RecoveryNeeded where the clearinghouse has taken what this node does not know to have given.

        One that has begun a new life since may have lost what this node confirmed: it is confirmed again.
        """
        ours = await self.position()
        if theirs.hand_overs > ours.hand_overs:
            raise self._continuity.breaks(
                f"清分平台已收第 {theirs.hand_overs} 号移交，本方最后一号为 {ours.hand_overs} · "
                f"the clearinghouse took hand-over {theirs.hand_overs}, {ours.hand_overs} is the last here"
            )
        self._continuity.require_newest(CLEARINGHOUSE, theirs.peer_incarnation)
        await asyncio.to_thread(self._meet, theirs.incarnation)

    def _meet(self, incarnation: int) -> None:
        """What older incarnations of the clearinghouse say is void; to a new one, what is not settled is confirmed."""
        with self._engine.database.snapshot() as transaction:
            heard = known(transaction, CLEARINGHOUSE)
        if incarnation > heard:
            with self._engine.database.transaction() as transaction:
                learn(transaction, CLEARINGHOUSE, incarnation)
                transaction.update(schema.settlement_window, {"settled": False}, {"confirmed": False})

    async def run(self) -> recovery_pb2.RecoveryReport:
        """Learn again what the clearinghouse holds, begin a new incarnation, and serve again.

        Raises InvalidInput where nothing needs it, Unavailable while the clearinghouse does not answer. One that was
        restored itself is given what this copy holds of it, so that of two restored parties none waits for the other.
        """
        async with self._one_at_a_time:
            return await self._run()

    async def _run(self) -> recovery_pb2.RecoveryReport:
        lineage = self._continuity.require_broken()
        await self.hand_receipts()
        await self._directory.refresh()
        report = recovery_pb2.RecoveryReport()
        position = await self.position()
        asked = custody_pb2.GetReceiptsRequest(
            after_hand_over=await asyncio.to_thread(self._last_taken, position.hand_overs),
            after_request_id=uuid7(max(0, lineage.restored.at - RECOVERY_MARGIN_SECONDS) * 1000, bytes(10)),
        )
        response = custody_pb2.GetReceiptsResponse()
        while response.incarnation >= asked.incarnation:
            asked.incarnation = lineage.coming(response.incarnation)
            response = await self._clearinghouse.receipts(asked)
        while True:
            await asyncio.to_thread(self._relearn, response, report)
            if not response.HasField("next"):
                break
            response = await self._clearinghouse.receipts(response.next)
        report.feed_events = max(0, response.feed - position.feed)
        await self._continuity.go_on(report)
        return report

    async def book_receipts(
        self, request: node_operator_pb2.BookReceiptsRequest
    ) -> node_operator_pb2.BookReceiptsResponse:
        """Before `run`: book again what this node decided alone, from the signed answers that platforms hold.

        Raises InvalidInput where nothing needs to be recovered, TrustError for a chain that does not lead to the root.
        """
        self._continuity.require_broken()
        for chain in request.chains:
            self._keyring.add(chain)
        return await PlatformReceipts(self._engine, self._keyring).book(request.receipts)

    def _last_taken(self, last: int) -> int:
        """The last hand-over up to which all are known to be taken."""
        with self._engine.database.snapshot() as transaction:
            oldest = transaction.rows(_OLDEST_OPEN)[0].number
        return last if oldest is None else int(oldest) - 1

    def _relearn(self, response: custody_pb2.GetReceiptsResponse, report: recovery_pb2.RecoveryReport) -> None:
        for message in response.hand_overs:
            head = hand_overs.signed_head(message)
            key = self._keyring.verify(head.key_id, hand_overs.KIND, head.body, head.signature)
            name = f"hand-over {hand_overs.read_head(head.body).number}"
            if key.owner != self._engine.region.code:
                raise BadSignature(f"{name} is signed by {key.owner}")
            vouchers = self._decide(RelearnHandOver(message), name, report)
            report.hand_overs, report.vouchers = report.hand_overs + bool(vouchers), report.vouchers + vouchers
        for each in response.answered:
            name = wire.answer_request_id(each.answer).hex()
            report.answers += self._decide(RelearnAnswer(each), name, report)

    def _decide(self, work: Work, name: str, report: recovery_pb2.RecoveryReport) -> int:
        """What a work learned; what it cannot is disputed."""
        try:
            return int(self._engine.decide_together([work])[0])
        except (Unavailable, ConfigurationError):
            raise
        except QuanlianError as error:
            report.disputed.add(region=self._engine.region.code, id=name, reason=str(error))
            return 0

    async def hand_receipts(self) -> None:
        """Give a clearinghouse that recovers what this node holds of it."""
        heard = (await self.position()).peer_incarnation
        point = await self._clearinghouse.hand_receipts(custody_pb2.HandReceiptsRequest(incarnation=heard))
        if point.wanted:
            await asyncio.to_thread(self._meet, point.incarnation)
            region = self._engine.region
            for page in await asyncio.to_thread(receipts_held, self._engine.database, region, point):
                await self._clearinghouse.hand_receipts(page)


@dataclass(slots=True)
class RelearnHandOver:
    """A hand-over that this node signed and no longer has, or does not know to be taken; returns how many vouchers it
    gave that are news.
    """

    message: signed_pb2.SignedMessage

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> int:
        given = hand_overs.read(self.message.body)
        table, number = schema.hand_over, given.head.number
        if rows := desk.transaction.select_keys(table, [table.c.number], [(number,)]):
            if hand_overs.kept(rows[0].body).head.root != given.head.root:
                raise InvalidInput("other vouchers were given under its number", place=f"hand-over {number}")
            desk.transaction.update(table, {"number": number}, {**_signed(self.message), "taken": True})
            return 0
        handed = given.vouchers()
        for voucher in handed:
            _give_again(desk, voucher)
        _keep(desk, number, self.message, handed)
        while desk.books.counter("hand-over") < number:
            desk.books.next_number("hand-over")
        return len(handed)


def _give_again(desk: Desk, handed: VoucherState) -> None:
    """The voucher is the clearinghouse's, whatever the copy says; so is its money, reserved here or not."""
    known = _without_hold(desk, handed)
    if known is not None and known.epoch >= handed.epoch:
        return
    reserved = known.reservation if known is not None else EMPTY
    gone = handed._replace(reservation=EMPTY, status=custody.USABLE, hold=None)
    desk.books.put_voucher(gone)
    dropped = [leg for leg in reserved.legs() if is_limited(leg.account)]
    handed_legs = [leg for leg in handed.reservation.legs() if is_limited(leg.account)]
    desk.books.move(Movement(leg.account, "", reserved_fen=-leg.amount_fen) for leg in dropped)
    desk.books.move(Movement(leg.account, "", limit_fen=-leg.amount_fen) for leg in handed_legs)


def _without_hold(desk: Desk, handed: VoucherState) -> VoucherState | None:
    """A hold that the copy still has was over when the voucher was given."""
    known = desk.books.voucher(handed.key)
    if known is None or known.hold is None or known.epoch >= handed.epoch:
        return known
    expire_overdue(known, desk.books, desk)
    redemption = desk.books.redemption(known.hold)
    current = desk.books.voucher(handed.key)
    assert current is not None
    if redemption is not None and redemption.state is State.AUTHORIZED:
        outcome = redemptions.release_hold(redemption, current, State.VOIDED)
        desk.books.apply(outcome)
        desk.applied(redemption, outcome)
        current = outcome.voucher
    return current


def _keep(desk: Desk, number: int, message: signed_pb2.SignedMessage, handed: Sequence[VoucherState]) -> None:
    row = {"number": number, **_signed(message), "given_at": desk.at, "taken": True}
    desk.transaction.insert(schema.hand_over, [row])
    desk.transaction.upsert(
        schema.handed_voucher,
        [{"pack_id": each.key.pack_id, "voucher_index": each.key.voucher_index, "number": number} for each in handed],
    )


def _signed(message: signed_pb2.SignedMessage) -> dict[str, Any]:
    return {"body": message.body, "key_id": message.key_id, "signature": message.signature}


@dataclass(slots=True)
class RelearnAnswer:
    """An item that this node sent on, as the clearinghouse has it, and its answer. Returns whether it was news."""

    answered: custody_pb2.AnsweredItem

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> bool:
        """Raises InvalidInput for an item that does not say whose request it is."""
        message = wire.parse(redemption_pb2.RedemptionItem, self.answered.item, "item")
        if message.HasField("quote") and message.HasField("origin"):
            return self._keep_quote(desk, message.origin)
        known = desk.sent_as(message.request_id)
        if known is not None and known.answered:
            return False
        if known is None:
            self._send_again(desk, message)
        ClearinghouseAnswer(self.answered.answer, self._signed(desk.at)).decide(desk)
        return True

    def _signed(self, at: int) -> SignedBatch | None:
        """The clearinghouse's signature, for it to be shown if that has to recover in its turn."""
        told = self.answered
        if not told.signature:
            return None
        return shown_batch(Message(ANSWER_KIND, told.answer, told.hashes, told.key_id, told.signature), at)

    def _keep_quote(self, desk: Desk, origin: redemption_pb2.Origin) -> bool:
        if desk.books.request((origin.participant, origin.request_id)) is not None:
            return False
        key = wire.Origin(origin.participant, origin.request_id, origin.body_hash)
        keep_quote(desk, key, self.answered.answer, None)
        return True

    def _send_again(self, desk: Desk, message: redemption_pb2.RedemptionItem) -> None:
        """The row of the outbox as it was, the order taken as it was."""
        if not message.HasField("origin"):
            raise InvalidInput("does not say whose request it is", place=f"item {message.request_id.hex()}")
        item, origin = wire.bytes_to_item(self.answered.item), message.origin
        merchant = order_id = ""
        if isinstance(item.subject, Purchase):
            merchant, order_id = item.subject.sale.merchant, item.subject.sale.order_id
            desk.load_orders([(merchant, order_id)])
            desk.take_order(merchant, order_id, item.request_id, None)
        elif isinstance(item.subject, Later):
            away = desk.away(item.subject.redemption_id)
            merchant, order_id = (away.merchant, away.order_id) if away else ("", "")
        else:
            original = desk.sent_as(item.subject)
            merchant, order_id = (original.merchant, original.order_id) if original else ("", "")
        answer = redemption_pb2.RedemptionAnswer.FromString(self.answered.answer)
        desk.put_outbox(
            Sent(
                caller=origin.participant,
                request_id=origin.request_id,
                own_id=item.request_id,
                operation=item.operation,
                body_hash=origin.body_hash,
                content=self.answered.item,
                merchant=merchant,
                order_id=order_id,
                redemption_id=item.subject.redemption_id if isinstance(item.subject, Later) else None,
                sent_at=answer.decided_at,
                answered=False,
            )
        )
