"""A node whose database was restored from a backup learns again what the clearinghouse holds of it.

What it published after the copy was made comes first, for money rests on that. The rest is replayed in the order of
time (`replaying.py`): what it decided alone, which only the platforms hold (`platform_receipts.py`), the hand-overs
that it gave, what came back, and the answers to what it sent on. The feed brings what else there is by itself.
What is in none of these is told to the operator, not guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from sqlalchemy import bindparam, exists, func, select

from chassis.database import Query
from custodian import schema as custodian_schema
from custodian.books import last_numbers
from custodian.campaigns import verify_change
from custodian.continuity import Continuity
from custodian.feed_heads import read_head
from custodian.incarnations import known, learn
from custodian.lineage import Lineage
from custodian.recovering import Recovering
from custodian.suspensions import verify_suspension
from node import schema
from node.announcing import Announcements
from node.directory import Directory
from node.disputes import DISPUTE, require_taken, send_again
from node.engine import Engine
from node.feed import SEQUENCE
from node.feed_heads import keep_head, kept_head, shows_more
from node.learned import ANSWER, DOCUMENT, HAND_OVER, RETURN, Learned, Receipt
from node.platform_receipts import PlatformReceipts
from node.ports import Clearinghouse
from node.receipts import receipts_held
from node.reconciling import confirm_again
from node.replaying import Replaying
from node.signatures import require_clearinghouse
from pki.trust import Keyring
from quanlian import hand_overs, wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, InvalidInput
from quanlian.ids import uuid7
from quanlian.v1 import custody_pb2, node_operator_pb2, recovery_pb2, redemption_pb2, settlement_pb2, signed_pb2

_HAND_OVER = schema.hand_over.c
_OLDEST_OPEN = Query(select(func.min(_HAND_OVER.number).label("number")).where(_HAND_OVER.taken.is_(False)))
_RETURN, _NEXT_RETURN = schema.custody_return.c, schema.custody_return.alias().c
_FIRST_RETURN = Query(select(func.min(_RETURN.number).label("number")))
_END_OF_RETURNS = Query(
    select(func.min(_RETURN.number).label("number")).where(~exists().where(_NEXT_RETURN.number == _RETURN.number + 1))
)
_OUTBOX, _REQUEST = schema.outbox.c, custodian_schema.request.c
_UNANSWERED = Query(
    select(_OUTBOX.own_id)
    .where(
        _OUTBOX.own_id > bindparam("after"),
        _OUTBOX.own_id <= bindparam("until"),
        ~exists().where(_REQUEST.participant == _OUTBOX.caller, _REQUEST.request_id == _OUTBOX.request_id),
    )
    .order_by(_OUTBOX.own_id)
    .limit(bindparam("most"))
)
"""What was sent on and has no answer that is kept: those that were refused by reasons 1-5 among them."""
ASKED_AT_ONCE = 500
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
        learned = Learned(self._engine.database, lineage.recovery)
        self._engine.shelf.clear()
        await self.hand_receipts()
        await self._directory.refresh()
        position = await self.position()
        feed = await self._learn(learned, lineage, position)
        replaying = Replaying(self._engine, self._keyring, learned, self.job)
        report = await asyncio.to_thread(replaying.replay)
        report.feed_events = max(0, feed - position.feed)
        report.disputed.extend(self._refused.values())
        await Announcements(self._engine, self._clearinghouse).announce_suspensions()
        await self._continuity.go_on(report)
        await asyncio.to_thread(learned.forget)
        self._refused, self._shown = {}, set()
        return report

    async def _learn(self, learned: Learned, lineage: Lineage, position: custody_pb2.Position) -> int:
        """Keep what the clearinghouse holds, until it is replayed; returns the last event of its feed."""
        asked = custody_pb2.GetReceiptsRequest(
            after_hand_over=await asyncio.to_thread(self._last_taken, position.hand_overs),
            after_return=await asyncio.to_thread(self._last_returned),
            after_request_id=uuid7(max(0, lineage.restored.at - RECOVERY_MARGIN_SECONDS) * 1000, bytes(10)),
        )
        response = custody_pb2.GetReceiptsResponse()
        while response.incarnation >= asked.incarnation:
            asked.incarnation = lineage.coming(response.incarnation)
            response = await self._clearinghouse.receipts(asked)
        documents = 0
        while True:
            await asyncio.to_thread(self._keep, learned, response, documents)
            if not response.HasField("next"):
                break
            documents += len(response.documents)
            response = await self._clearinghouse.receipts(response.next)
        async for older in self._answers_to_older(asked.after_request_id):
            await asyncio.to_thread(self._keep, learned, older, documents)
        return response.feed

    async def _answers_to_older(self, until: bytes) -> AsyncIterator[custody_pb2.GetReceiptsResponse]:
        """Of requests with ids up to `until`, which this copy has and no answer to them."""
        after = b""
        while rows := await self._engine.rows(_UNANSWERED, after=after, until=until, most=ASKED_AT_ONCE):
            after = rows[-1].own_id
            asked = custody_pb2.GetReceiptsRequest(request_ids=[row.own_id for row in rows])
            while asked.request_ids:
                response = await self._clearinghouse.receipts(asked)
                yield response
                asked = response.next

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
        """Before `run`: take the signed answers that platforms hold, from which what was decided here is booked again.

        Raises InvalidInput where nothing needs to be recovered, TrustError for a chain that does not lead to the root.
        """
        lineage = self._continuity.require_broken()
        for chain in request.chains:
            self._keyring.add(chain)
        learned = Learned(self._engine.database, lineage.recovery)
        receipts = PlatformReceipts(learned, self._keyring, self._engine.region.code)
        response = await receipts.keep(request.receipts)
        self._shown |= receipts.platforms
        self._refused |= {each.id: each for each in response.disputed}
        return response

    def _last_taken(self, last: int) -> int:
        """The last hand-over up to which all are known to be taken."""
        with self._engine.database.snapshot() as transaction:
            oldest = transaction.rows(_OLDEST_OPEN)[0].number
        return last if oldest is None else int(oldest) - 1

    def _last_returned(self) -> int:
        """The last return before one that is missing: an answer may have brought one ahead of the feed."""
        with self._engine.database.snapshot() as transaction:
            first, last = (transaction.rows(query)[0].number for query in (_FIRST_RETURN, _END_OF_RETURNS))
        return int(last) if first == 1 else 0

    def _keep(self, learned: Learned, response: custody_pb2.GetReceiptsResponse, documents: int) -> None:
        learned.keep(list(self._receipts(response, documents)))

    def _receipts(self, response: custody_pb2.GetReceiptsResponse, documents: int) -> Iterator[Receipt]:
        """What a page brings after so many documents, each signature that was not checked before checked."""
        for place, document in enumerate(response.documents, documents):
            self._check_published(document)
            yield Receipt(CLEARINGHOUSE, DOCUMENT, place.to_bytes(8, "big"), place, document.SerializeToString())
        for message in response.hand_overs:
            head = hand_overs.signed_head(message)
            given = hand_overs.read_head(head.body)
            self._require_own(head, hand_overs.KIND, "message", f"移交 hand-over {given.number}")
            yield _moved(HAND_OVER, given, message)
        for message in response.returns:
            head = hand_overs.signed_head(message)
            require_clearinghouse(self._keyring, head, hand_overs.KIND)
            yield _moved(RETURN, hand_overs.read_head(head.body), message)
        for answered in response.answered:
            answer = wire.parse(redemption_pb2.RedemptionAnswer, answered.answer, "answer")
            yield Receipt(CLEARINGHOUSE, ANSWER, answer.request_id, answer.decided_at, answered.SerializeToString())

    def _check_published(self, document: custody_pb2.RegionDocument) -> None:
        if document.HasField("terms"):
            self._require_own(document.terms, "terms", "terms", "terms")
        elif document.HasField("change"):
            verify_change(document.change, self._keyring)
        elif document.HasField("dispute"):
            self._check_dispute(document.dispute)
        else:
            verify_suspension(document.suspension, self._keyring)

    def _check_dispute(self, told: settlement_pb2.TakenDispute) -> None:
        name = f"异议 dispute {settlement_pb2.Dispute.FromString(told.dispute.body).number}"
        self._require_own(told.dispute, DISPUTE, "message", name)
        require_taken(self._keyring, told.dispute, told.taken)

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


def _moved(kind: str, head: hand_overs.Head, message: signed_pb2.SignedMessage) -> Receipt:
    return Receipt(CLEARINGHOUSE, kind, head.number.to_bytes(8, "big"), head.at, message.SerializeToString())
