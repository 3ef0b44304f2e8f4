"""A node whose database was restored from a backup learns again what the clearinghouse holds of it.

What it published after the copy was made comes first, for money rests on that, then the hand-overs that it gave and the
answers to what it sent on; the feed brings the rest by itself.
What it decided alone in that time only the platforms hold: their receipts are booked first (`platform_receipts.py`).
What is in none of these is told to the operator, not guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import func, select

from chassis.database import Query
from custodian.books import last_numbers
from custodian.campaigns import verify_change
from custodian.continuity import Continuity
from custodian.feed_heads import read_head
from custodian.incarnations import known, learn
from custodian.recovering import Recovering
from custodian.suspensions import verify_suspension
from node import schema
from node.desk import Work
from node.directory import Directory
from node.disputes import DISPUTE, RelearnDispute, require_taken, send_again
from node.engine import Engine
from node.feed import SEQUENCE
from node.feed_heads import keep_head, kept_head, shows_more
from node.platform_receipts import PlatformReceipts
from node.ports import Clearinghouse
from node.receipts import receipts_held
from node.reconciling import confirm_again
from node.relearning import (
    CountHandOvers,
    RelearnAnswer,
    RelearnChange,
    RelearnHandOver,
    RelearnSuspension,
    RelearnTerms,
)
from pki.trust import Keyring
from quanlian import hand_overs, wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, ConfigurationError, InvalidInput, QuanlianError, Unavailable
from quanlian.ids import uuid7
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import custody_pb2, node_operator_pb2, recovery_pb2, settlement_pb2, signed_pb2

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
        self.job = Recovering(engine.database, continuity)
        self._booked = 0
        self._refused: dict[str, recovery_pb2.Disputed] = {}
        self._shown: set[str] = set()

    async def position(self) -> custody_pb2.Position:
        """Where this node stands with the clearinghouse."""

        def load() -> custody_pb2.Position:
            with self._engine.database.snapshot() as transaction:
                heard = known(transaction, CLEARINGHOUSE)
                last, feed = last_numbers(transaction, "hand-over", SEQUENCE)
                head = kept_head(transaction)
            return custody_pb2.Position(
                incarnation=self._continuity.incarnation,
                hand_overs=last,
                feed=feed,
                peer_incarnation=heard,
                head=head,
            )

        return await self._engine.database.read(load)

    async def compare(self, theirs: custody_pb2.Position) -> None:
        """Raises RecoveryNeeded where the clearinghouse has taken what this node does not know to have given.

        One that has begun a new life since may have lost what this node confirmed and disputed: it is told again.
        """
        ours = await self.position()
        if theirs.hand_overs > ours.hand_overs:
            raise self._continuity.breaks(
                f"清分平台已收第 {theirs.hand_overs} 号移交，本方最后一号为 {ours.hand_overs} · "
                f"the clearinghouse took hand-over {theirs.hand_overs}, {ours.hand_overs} is the last here"
            )
        self._continuity.require_newest(CLEARINGHOUSE, theirs.peer_incarnation)
        await asyncio.to_thread(self._meet, theirs.head)

    def _meet(self, told: signed_pb2.SignedMessage) -> None:
        """What older incarnations of the clearinghouse say is void; a new one is told again what it may have lost."""
        incarnation = read_head(told).incarnation
        with self._engine.database.snapshot() as transaction:
            is_known = incarnation <= known(transaction, CLEARINGHOUSE) and not shows_more(transaction, told)
        if is_known:
            return
        with self._engine.database.transaction() as transaction:
            keep_head(transaction, told)
            if learn(transaction, CLEARINGHOUSE, incarnation):
                confirm_again(transaction)
                send_again(transaction)

    async def run(self, within: int | None = None) -> recovery_pb2.RecoveryReport | None:
        """Learn again what the clearinghouse holds, begin a new incarnation, and serve again; None if that takes more
        than `within` seconds, and it goes on.

        Raises InvalidInput where nothing needs it, Unavailable while the clearinghouse does not answer. One that was
        restored itself is given what this copy holds of it, so that of two restored parties none waits for the other.
        """
        return await self.job.report(self._run, within)

    async def _run(self) -> recovery_pb2.RecoveryReport:
        lineage = self._continuity.require_broken()
        self._engine.shelf.clear()
        await self.hand_receipts()
        await self._directory.refresh()
        position = await self.position()
        asked = custody_pb2.GetReceiptsRequest(
            after_hand_over=await asyncio.to_thread(self._last_taken, position.hand_overs),
            after_request_id=uuid7(max(0, lineage.restored.at - RECOVERY_MARGIN_SECONDS) * 1000, bytes(10)),
        )
        response = custody_pb2.GetReceiptsResponse()
        while response.incarnation >= asked.incarnation:
            asked.incarnation = lineage.coming(response.incarnation)
            response = await self._clearinghouse.receipts(asked)
        learning = _Learning(self._engine, self.job)
        while True:
            await asyncio.to_thread(learning.learn, self._documents(response))
            if not response.HasField("next"):
                break
            response = await self._clearinghouse.receipts(response.next)
        report = await asyncio.to_thread(learning.end)
        report.feed_events = max(0, response.feed - position.feed)
        report.receipts = self._booked
        report.disputed.extend(self._refused.values())
        await self._continuity.go_on(report)
        self._booked, self._refused, self._shown = 0, {}, set()
        return report

    async def require_receipts(self, without: Sequence[str]) -> None:
        """Raises InvalidInput for platforms of which no receipt came: what this node decided alone after the copy only
        they hold, and its vouchers would be good again.
        """
        if not self._continuity.broken or self.job.state().under_way:
            return
        platforms = {str(row.name) for row in await self._engine.read(schema.platform.select())}
        missing = sorted(platforms - self._shown - set(without))
        if missing:
            raise InvalidInput(
                f"尚无 {', '.join(missing)} 的回执，备份之后在本地核销的券将可再次使用 · no receipt of "
                f"{', '.join(missing)} came, and what was redeemed here after the copy could be redeemed again",
                place="recover",
                remedy="用 --receipts FILE 提供其证据文件；确无可提供的，用 --without PLATFORM 写明 · "
                "give its evidence files with --receipts FILE, or name it with --without PLATFORM where it has none",
            )

    async def book_receipts(
        self, request: node_operator_pb2.BookReceiptsRequest
    ) -> node_operator_pb2.BookReceiptsResponse:
        """Before `run`: book again what this node decided alone, from the signed answers that platforms hold.

        Raises InvalidInput where nothing needs to be recovered, TrustError for a chain that does not lead to the root.
        """
        self._continuity.require_broken()
        for chain in request.chains:
            self._keyring.add(chain)
        receipts = PlatformReceipts(self._engine, self._keyring)
        response = await receipts.book(request.receipts)
        self._shown |= receipts.platforms
        self._booked += response.booked
        self._refused |= {each.id: each for each in response.disputed}
        return response

    def _last_taken(self, last: int) -> int:
        """The last hand-over up to which all are known to be taken."""
        with self._engine.database.snapshot() as transaction:
            oldest = transaction.rows(_OLDEST_OPEN)[0].number
        return last if oldest is None else int(oldest) - 1

    def _documents(self, response: custody_pb2.GetReceiptsResponse) -> Iterator[Document]:
        """What the clearinghouse holds, in its order, each signature that was not checked before checked."""
        for each in response.documents:
            yield self._published(each)
        for message in response.hand_overs:
            head = hand_overs.signed_head(message)
            name = f"移交 hand-over {hand_overs.read_head(head.body).number}"
            self._require_own(head, hand_overs.KIND, "message", name)
            yield Document(name, RelearnHandOver(message))
        for answered in response.answered:
            yield Document(wire.answer_request_id(answered.answer).hex(), RelearnAnswer(answered))

    def _published(self, document: custody_pb2.RegionDocument) -> Document:
        if document.HasField("terms"):
            self._require_own(document.terms, "terms", "terms", "terms")
            return Document(parse_terms(document.terms.body, "terms").campaign, RelearnTerms(document.terms))
        if document.HasField("change"):
            signed = verify_change(document.change, self._keyring)
            return Document(f"变更 change {signed.change.number} of {signed.change.campaign}", RelearnChange(signed))
        if document.HasField("dispute"):
            return self._dispute(document.dispute)
        decided = verify_suspension(document.suspension, self._keyring)
        return Document(f"暂停 suspension {decided.suspension.number}", RelearnSuspension(decided))

    def _dispute(self, told: settlement_pb2.TakenDispute) -> Document:
        name = f"异议 dispute {settlement_pb2.Dispute.FromString(told.dispute.body).number}"
        self._require_own(told.dispute, DISPUTE, "message", name)
        require_taken(self._keyring, told.dispute, told.taken)
        return Document(name, RelearnDispute(told))

    def _require_own(self, message: signed_pb2.SignedMessage, kind: str, purpose: str, name: str) -> None:
        key = self._keyring.verify(message.key_id, kind, message.body, message.signature)
        if (key.owner, key.purpose) != (self._engine.region.code, purpose):
            raise BadSignature(
                f"{name}：由 {key.owner} 的 {key.purpose} 密钥签名 · is signed by {key.owner}'s key for {key.purpose}"
            )

    async def hand_receipts(self) -> None:
        """Give a clearinghouse that recovers what this node holds of it."""
        shown = (await self.position()).head
        point = await self._clearinghouse.hand_receipts(custody_pb2.HandReceiptsRequest(head=shown))
        if point.wanted:
            await asyncio.to_thread(self._meet, point.head)
            held = receipts_held(self._engine.database, self._engine.region, point)
            while page := await asyncio.to_thread(next, held, None):
                await self._clearinghouse.hand_receipts(page)


class Document(NamedTuple):
    """Something that the clearinghouse holds of this node, and what an operator calls it."""

    name: str
    work: Work


class _Learning:
    """Learns documents in the order in which they come, then again what depended on a later one; counts the news."""

    def __init__(self, engine: Engine, job: Recovering) -> None:
        self._engine = engine
        self._job = job
        self._report = recovery_pb2.RecoveryReport()
        self._left: list[tuple[Document, str]] = []
        self._last_hand_over = 0

    def learn(self, documents: Iterable[Document]) -> None:
        for each in documents:
            if isinstance(each.work, RelearnHandOver):
                number = hand_overs.read(each.work.message.body).head.number
                self._last_hand_over = max(self._last_hand_over, number)
            self._try(each)
            self._job.done += 1

    def end(self) -> recovery_pb2.RecoveryReport:
        """What was learned, and what could not be, with why."""
        before = len(self._left) + 1
        while 0 < len(self._left) < before:
            again, before, self._left = self._left, len(self._left), []
            for each, _ in again:
                self._try(each)
        for each, why in self._left:
            if isinstance(each.work, RelearnHandOver):
                why = f"{self._give_up(each.work)}: {why}"
            self._report.disputed.add(region=self._engine.region.code, id=each.name, reason=why)
        self._engine.decide_together([CountHandOvers(self._last_hand_over)])
        return self._report

    def _try(self, document: Document) -> None:
        try:
            self._count(document.work, int(self._engine.decide_together([document.work])[0] or 0))
        except (Unavailable, ConfigurationError):
            raise
        except QuanlianError as error:
            self._left.append((document, str(error)))

    def _give_up(self, work: RelearnHandOver) -> str:
        """The vouchers of a hand-over are the clearinghouse's, though these books cannot take its money."""
        try:
            self._count(work, int(self._engine.decide_together([replace(work, limit=False)])[0]))
        except (Unavailable, ConfigurationError):
            raise
        except QuanlianError as error:
            return f"券与资金均未取回，请核对 · its vouchers and money could not be taken ({error})"
        return (
            "券已归清分平台，其资金未从出资限额中扣减，请核对 · its vouchers are the clearinghouse's, their money was "
            "not taken off the funders' limits: go through them"
        )

    def _count(self, work: Work, learned: int) -> None:
        report = self._report
        if isinstance(work, RelearnHandOver):
            report.hand_overs, report.vouchers = report.hand_overs + bool(learned), report.vouchers + learned
        elif isinstance(work, RelearnChange):
            report.changes += learned
        elif isinstance(work, RelearnSuspension):
            report.suspensions += learned
        elif isinstance(work, RelearnDispute):
            report.disputes += learned
        elif isinstance(work, RelearnAnswer):
            report.answers += learned
