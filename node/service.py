"""A node's use cases: claim, redeem, release, follow the clearinghouse, reconcile.

Everything that changes the books goes through one group commit; this file prepares what a batch needs from outside
(signatures, terms and keys of other regions) and takes the results where they must go after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import select, true

from chassis import telemetry
from chassis.commit import GroupCommit, Overloaded
from chassis.database import Database
from chassis.ids import FreshIds
from custodian import lookup
from custodian import schema as custodian_schema
from custodian.batching import decide_apart, raised
from custodian.books import Books, json_to_legs
from custodian.campaigns import Campaigns, SignedChange, verify_change
from custodian.custody_messages import CustodyRefused, read_refused
from custodian.decisions import Answered, Received
from custodian.deny_lists import newest_deny_list
from custodian.evidence import SignedBatch
from custodian.lineage import Lineage, RecoveryNeeded
from custodian.receiving import receive
from custodian.servicer import Emit
from custodian.suspensions import SignedSuspension, Suspensions, verify_suspension
from custodian.verification import RootMemory
from node import schema
from node.claiming import Claim
from node.custody import HandOverTaken, Release, overdue
from node.desk import Desk, Region, TermsShelf, Work
from node.engine import decide_batch
from node.feed import SEQUENCE, FeedGap, Park, Read, TakeParked, kind_of, news_of
from node.ports import Clearinghouse
from node.publishing import TakeChange
from node.recall import Given, TakeReturns
from node.receipts import receipts_held
from node.recovery import RelearnAnswer, RelearnHandOver
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake
from pki.denylist import DenyList, load_denylist
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import statements, vouchers, wire
from quanlian.errors import (
    BadSignature,
    ConfigurationError,
    InvalidInput,
    QuanlianError,
    TrustError,
    Unavailable,
    UnknownKey,
)
from quanlian.ids import uuid7
from quanlian.redemptions import Redemption
from quanlian.signing import Signer, digest
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import claim_pb2, custody_pb2, directory_pb2, recovery_pb2, settlement_pb2, signed_pb2
from quanlian.vouchers import VoucherKey
from quanlian.wire import Purchase

SWEEP_LIMIT = 500
ASK_AGAIN_SECONDS = 5.0
UNREACHABLE_SECONDS = 5.0
MAX_WAITING = 50_000
"""Requests that wait for the clearinghouse; with so many open, new ones are refused at once."""

RECOVERY_MARGIN_SECONDS = 600
"""How much earlier than the copy's last commit the answers are asked for: ids and clocks may differ a little."""

RECOVER = "quanlian node recover"
MAX_RELEASE_BYTES = 1024 * 1024
"""Of hand-overs that go with one recall, beside those that the clearinghouse has not acknowledged."""

ANNOUNCED = "suspensions-announced"
_log = telemetry.logger("node")


@dataclass(frozen=True, slots=True)
class Signers:
    """The node's private keys, by purpose."""

    voucher: Signer
    terms: Signer
    message: Signer


class Recalled(NamedTuple):
    """How many vouchers came back, and why the others did not."""

    returned: int
    refused: list[CustodyRefused]


class NodeService:
    """One region's node. Methods are safe to call from one event loop.

    `commit` runs the group commit and `ids` gives fresh ids: this machine's, unless a simulation brings its own.
    """

    def __init__(
        self,
        database: Database,
        region: Region,
        signers: Signers,
        keyring: Keyring,
        clearinghouse: Clearinghouse,
        ids: FreshIds | None = None,
        commit: Callable[..., GroupCommit[Work, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.region = region
        self.keyring = keyring
        self._roots = RootMemory(keyring)
        self._asking = asyncio.Lock()
        self._directory_asked_at = float("-inf")
        self._lost_at: float | None = None
        self._recovery = ""
        self._serving = asyncio.Event()
        self._serving.set()
        self.lineage: Lineage | None = None
        self._signers = signers
        self._clearinghouse = clearinghouse
        self.shelf = TermsShelf()
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self.ids = ids or FreshIds()
        self._engine = commit(self._decide, name=f"node {region.code}")

    def start(self) -> None:
        self._engine.start()

    def close(self) -> None:
        """Decide what was accepted, then stop."""
        self._engine.close()

    # Recovery

    @property
    def recovery(self) -> str:
        """Why this node answers nothing until it has recovered; empty while it need not."""
        return self._recovery

    def needs_recovery(self, why: str) -> None:
        """The database is an older copy than the one that was answered from."""
        self._recovery = str(RecoveryNeeded(why, RECOVER))
        self._serving.clear()
        if self.lineage is not None:
            self.lineage.mark_as_behind()
        _log.error("recovery is needed", why=why, remedy=RECOVER)

    async def until_serving(self) -> None:
        """Returns once the node need not be recovered."""
        await self._serving.wait()

    async def position(self) -> custody_pb2.Position:
        """Where this node stands with the clearinghouse."""

        def load() -> custody_pb2.Position:
            with self.database.snapshot() as transaction:
                books = Books(transaction)
                hand_overs, feed = books.counter("hand-over"), books.counter(SEQUENCE)
            incarnation = self.lineage.known.incarnation if self.lineage else 1
            return custody_pb2.Position(incarnation=incarnation, hand_overs=hand_overs, feed=feed)

        return await asyncio.to_thread(load)

    async def compare(self, theirs: custody_pb2.Position) -> None:
        """Raises RecoveryNeeded where the clearinghouse has taken what this node does not know to have given."""
        ours = await self.position()
        if theirs.hand_overs > ours.hand_overs:
            why = f"the clearinghouse took hand-over {theirs.hand_overs}, {ours.hand_overs} is the last here"
            self.needs_recovery(why)
            raise RecoveryNeeded(why, RECOVER)

    async def recover(self) -> recovery_pb2.RecoveryReport:
        """Learn again what the clearinghouse holds, begin a new incarnation, and serve again.

        Raises InvalidInput where nothing needs it, Unavailable while the clearinghouse does not answer.
        """
        if not self._recovery or self.lineage is None:
            raise InvalidInput("nothing needs to be recovered", place="recovery")
        await self.refresh_directory()
        report = recovery_pb2.RecoveryReport()
        position = await self.position()
        asked = custody_pb2.GetReceiptsRequest(
            after_hand_over=position.hand_overs,
            after_request_id=uuid7(max(0, self.lineage.restored.at - RECOVERY_MARGIN_SECONDS) * 1000, bytes(10)),
        )
        while True:
            response = await self._clearinghouse.receipts(asked)
            await asyncio.to_thread(self._relearn, response, report)
            if not response.HasField("next"):
                break
            asked = response.next
        report.feed_events = max(0, response.feed - position.feed)
        report.lost_commits, report.last_commit_at = self.lineage.lost_commits, self.lineage.restored.at
        report.incarnation = (await asyncio.to_thread(self.lineage.renew)).incarnation
        self._recovery = ""
        self._serving.set()
        return report

    def _relearn(self, response: custody_pb2.GetReceiptsResponse, report: recovery_pb2.RecoveryReport) -> None:
        def decide(work: Work, name: str) -> int:
            try:
                return int(decide_batch(self.database, self.region, self.shelf, [work])[0])
            except (Unavailable, ConfigurationError):
                raise
            except QuanlianError as error:
                report.disputed.add(region=self.region.code, id=name, reason=str(error))
                return 0

        for message in response.hand_overs:
            key = self.keyring.verify(message.key_id, "hand-over", message.body, message.signature)
            name = f"hand-over {custody_pb2.HandOver.FromString(message.body).number}"
            if key.owner != self.region.code:
                raise BadSignature(f"{name} is signed by {key.owner}")
            report.vouchers += decide(RelearnHandOver(message), name)
            report.hand_overs += 1
        for each in response.answered:
            report.answers += decide(RelearnAnswer(each), wire.answer_request_id(each.answer).hex())

    async def hand_receipts(self) -> None:
        """Give a clearinghouse that recovers what this node holds of it."""
        point = await self._clearinghouse.hand_receipts(custody_pb2.HandReceiptsRequest())
        if point.wanted:
            for page in await asyncio.to_thread(receipts_held, self.database, point):
                await self._clearinghouse.hand_receipts(page)

    def _decide(self, works: list[Work]) -> list[Any]:
        if self._recovery:
            raise RecoveryNeeded("its books are behind", RECOVER)
        return decide_apart(lambda some: decide_batch(self.database, self.region, self.shelf, some), works)

    # Redemptions

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        """Decide a platform's items. Answers of this node are emitted after their commit, the others when they come."""
        if len(self._waiting) + len(items) > MAX_WAITING:
            raise Overloaded(f"{len(self._waiting)} requests wait for the clearinghouse — send it again later")
        received = [await self._receive(caller, content, batch) for content in items]
        unreachable = self._clearinghouse_unreachable()
        intakes = [Intake(each, self.ids.uuid7(), unreachable) for each in received]
        replies = [raised(reply) for reply in await self._engine.submit_many(intakes)]
        emit([reply.content for reply in replies if isinstance(reply, Answered)])
        forwarded = [reply for reply in replies if isinstance(reply, Forwarded)]
        waiting = [self._wait_for(reply.own_id) for reply in forwarded]
        self._clearinghouse.send([reply.content for reply in forwarded if reply.content is not None])
        for answer in asyncio.as_completed(waiting):
            emit([await answer])

    async def clearinghouse_answered(self, answers: Sequence[bytes], batch: SignedBatch | None = None) -> None:
        """Book answers, then let those who wait for them go on.

        Raises what kept one from being booked, once the others are: its request is unanswered still, and only a new
        stream sends it again.
        """
        results = await self._engine.submit_many([ClearinghouseAnswer(each, batch) for each in answers])
        for result in results:
            if not isinstance(result, Exception):
                own_id, answer = result
                future = self._waiting.pop(own_id, None)
                if future is not None and not future.done():
                    future.set_result(answer)
        for result in results:
            raised(result)

    async def unanswered(self) -> list[bytes]:
        """Items that the clearinghouse has not answered yet, oldest first: to be sent again after a break."""
        table = schema.outbox
        query = select(table.c.content).where(table.c.answered.is_(False)).order_by(table.c.own_id)
        return [row.content for row in await self.read(query)]

    def _wait_for(self, own_id: bytes) -> asyncio.Future[bytes]:
        future = self._waiting.get(own_id)
        if future is None:
            future = self._waiting[own_id] = asyncio.get_running_loop().create_future()
        return asyncio.shield(future)

    async def _receive(self, caller: Identity, content: bytes, batch: SignedBatch | None) -> Received:
        return await receive(
            content,
            participant=caller.name,
            acquirer=caller.name,
            redeeming_region=self.region.code,
            redemption_id=self.ids.uuid7(),
            verifier=self._roots,
            batch=batch,
            acquaint=self._acquaint,
        )

    async def _acquaint(self, purchase: Purchase) -> None:
        """Fetch the keys and terms of a visitor's voucher that this node has not met yet.

        The directory is asked at most once in `ASK_AGAIN_SECONDS`, and terms only for a voucher whose signature holds,
        so that made-up vouchers cost the clearinghouse nothing.
        """
        voucher = purchase.voucher
        if not self._knows(voucher.key_id):
            await self._ask_for_keys(voucher.key_id)
        if voucher.issuer == self.region.code or self.shelf.get(voucher.terms_hash) is not None:
            return
        if await asyncio.to_thread(self._load_terms, voucher.terms_hash):
            return
        vouchers.verify(purchase.token, voucher, self._roots)
        response = await self._clearinghouse.terms(voucher.terms_hash)
        if response.HasField("terms"):
            message = response.terms
            key = self.keyring.verify(message.key_id, "terms", message.body, message.signature)
            terms = parse_terms(message.body, "terms")
            if key.owner == terms.issuer and key.purpose == "terms" and terms.terms_hash == voucher.terms_hash:
                await self.keep_terms(message)
                for change in response.changes:
                    await self.submit_work(TakeChange(verify_change(change, self.keyring)))

    def _knows(self, key_id: bytes) -> bool:
        try:
            self.keyring.key(key_id)
        except UnknownKey:
            return False
        return True

    async def _ask_for_keys(self, key_id: bytes) -> None:
        """Ask for the directory, unless somebody just did; who comes meanwhile waits for that answer.

        One that did not come is not asked for again at once either: a queue of unknown keys would wait for it in turn.
        """
        async with self._asking:
            loop = asyncio.get_running_loop()
            if not self._knows(key_id) and loop.time() - self._directory_asked_at >= ASK_AGAIN_SECONDS:
                try:
                    await self.refresh_directory()
                except Unavailable as error:
                    _log.warning("an unknown key could not be asked for", key=key_id.hex(), error=str(error))
                finally:
                    self._directory_asked_at = loop.time()

    def _load_terms(self, terms_hash: bytes) -> bool:
        """Take terms from the database, where they are since before the last start; whether they were there."""
        table = schema.terms
        with self.database.snapshot() as transaction:
            rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
        for row in rows:
            self.shelf.put(row.document)
        return bool(rows)

    async def find(self, caller: Identity, redemption_id: bytes) -> Redemption | None:
        """A redemption that this node decided, for the platform that made it or the operator."""
        found = await asyncio.to_thread(lookup.find, self.database, redemption_id)
        return found if found and (caller.role == "operator" or found.participant == caller.name) else None

    async def page(self, caller: Identity, after: bytes, size: int) -> list[Redemption]:
        visible = custodian_schema.redemption.c.participant == caller.name if caller.role != "operator" else true()
        return await asyncio.to_thread(lookup.page, self.database, visible, after, size)

    # Claims

    async def claim(self, caller: Identity, contents: Sequence[bytes]) -> list[bytes]:
        """Decide claims, in order; packs that roam from their issue on are handed over at once."""
        claims = [self._claim(caller, content) for content in contents]
        answers = [raised(answer) for answer in await self._engine.submit_many(claims)]
        self._clearinghouse.hand_overs_waiting()
        return answers

    def _claim(self, caller: Identity, content: bytes) -> Claim:
        item = wire.parse(claim_pb2.ClaimItem, content, "claim")
        if len(item.request_id) != wire.REQUEST_ID_BYTES or not item.holder_id:
            raise InvalidInput("needs a request id of 16 bytes and a holder id", place="claim")
        pack_id = vouchers.make_pack_id(self.ids.milliseconds(), self.ids.random(9))
        return Claim(caller.name, content, item, pack_id)

    # Custody and feed

    async def release(self, request: custody_pb2.ReleaseRequest) -> list[custody_pb2.CustodyStreamRequest]:
        """Hand-overs and refusals for the clearinghouse; what it gave back is taken first, in the same commit."""
        epochs = {(each.pack_id, each.index): each.epoch for each in request.vouchers}
        for message in request.returns:
            self.verify_clearinghouse(message, "hand-over")
        works: list[Work] = [TakeReturns([each]) for each in request.returns]
        *_, messages = await self._engine.submit_many([*works, Release(list(epochs), epochs)])
        given: list[custody_pb2.CustodyStreamRequest] = raised(messages)
        return given

    async def recall(self, keys: Sequence[VoucherKey]) -> Recalled:
        """Take vouchers back from the clearinghouse, with their money. Raises Unavailable when it does not answer;
        what it gave back then comes by the feed.
        """

        def load() -> custody_pb2.RecallRequest:
            with self.database.snapshot() as transaction:
                given = Given(Desk(transaction, self.region, self.shelf), keys)
                request = custody_pb2.RecallRequest(releases=given.releases(MAX_RELEASE_BYTES))
            for each in given.vouchers:
                request.vouchers.add(pack_id=each.key.pack_id, index=each.key.voucher_index, epoch=each.epoch)
            return request

        request = await asyncio.to_thread(load)
        if not request.vouchers:
            return Recalled(0, [])
        response = await self._clearinghouse.recall(request)
        refusals = [read_refused(each, CLEARINGHOUSE, self.keyring) for each in response.refused]
        for message in response.returns:
            self.verify_clearinghouse(message, "hand-over")
        raised(await self._engine.submit(TakeReturns(list(response.returns))))
        return Recalled(len(request.vouchers) - len(refusals), refusals)

    def clearinghouse_lost(self) -> None:
        """The stream of redemptions is not open."""
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()

    def clearinghouse_found(self) -> None:
        """The stream of redemptions is open and holds."""
        self._lost_at = None

    def _clearinghouse_unreachable(self) -> bool:
        """Whether it has been away for longer than a restart or a renewed connection takes."""
        now = asyncio.get_running_loop().time()
        return self._lost_at is not None and now - self._lost_at > UNREACHABLE_SECONDS

    async def hand_over_taken(self, number: int) -> None:
        raised(await self._engine.submit(HandOverTaken(number)))

    async def open_hand_overs(self, after: int) -> list[tuple[int, signed_pb2.SignedMessage]]:
        """Hand-overs given and not known to be taken, in order."""
        table = schema.hand_over
        query = table.select().where(table.c.taken.is_(False), table.c.number > after).order_by(table.c.number)
        return [
            (row.number, signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature))
            for row in await self.read(query)
        ]

    async def feed_position(self) -> int:
        table = custodian_schema.counter
        rows = await self.read(select(table.c.value).where(table.c.name == SEQUENCE))
        return rows[0].value if rows else 0

    async def take_news(self, events: Sequence[custody_pb2.FeedEvent]) -> None:
        """Take events of the feed; one that never can be is parked. Raises FeedGap, or Unavailable to follow again."""
        try:
            await self._take_together(events)
        except (Unavailable, ConfigurationError, FeedGap):
            raise
        except Exception:
            for event in events:
                await self._take_or_park(event)
        if any(event.HasField("deny_list") for event in events):
            self._deny(await asyncio.to_thread(self._newest_deny_list))

    async def _take_or_park(self, event: custody_pb2.FeedEvent) -> None:
        try:
            await self._take_together([event])
        except (Unavailable, ConfigurationError, FeedGap):
            raise
        except Exception as error:
            reason = str(error) or repr(error)
            raised(await self._engine.submit(Park(event, reason)))
            _alarm_parked(event.sequence, kind_of(event), reason)

    async def _take_together(self, events: Sequence[custody_pb2.FeedEvent]) -> None:
        read = {event.sequence: found for event in events if (found := await self._verified(event))}
        for sequence in raised(await self._engine.submit(news_of(events, read))):
            _alarm_parked(sequence, "", "one that it depends on is parked")

    async def _verified(self, event: custody_pb2.FeedEvent) -> Read:
        """The signed document that an event brings, if it does. Raises BadSignature for what is not signed so."""
        kind = kind_of(event)
        if kind not in ("fund_return", "campaign_change", "custody_return", "suspension", "deny_list"):
            return None
        message: signed_pb2.SignedMessage = getattr(event, kind)
        if not self._knows(message.key_id):
            await self.refresh_directory()
        if kind == "campaign_change":
            return verify_change(message, self.keyring)
        if kind == "suspension":
            return verify_suspension(message, self.keyring)
        if kind == "deny_list":
            return load_denylist(message.body, message.signature, message.key_id, self.keyring)
        self.verify_clearinghouse(message, "fund-return" if kind == "fund_return" else "hand-over")
        return None

    async def parked_events(self) -> Sequence[Any]:
        """Events that could not be taken, oldest first."""
        table = schema.parked_event
        return await self.read(table.select().where(table.c.taken_at.is_(None)).order_by(table.c.sequence))

    async def retry_parked(self) -> dict[int, str]:
        """Try every parked event again, in order. Returns why each was not taken, empty where it was, by sequence."""
        outcome = {}
        for row in await self.parked_events():
            event = custody_pb2.FeedEvent.FromString(row.event)
            try:
                raised(await self._engine.submit(TakeParked(event, await self._verified(event))))
                outcome[event.sequence] = ""
            except (Unavailable, ConfigurationError):
                raise
            except Exception as error:
                outcome[event.sequence] = str(error) or repr(error)
        self._deny(await asyncio.to_thread(self._newest_deny_list))
        return outcome

    # Trust

    def load_deny_list(self) -> None:
        """Deny what the database's newest list denies, at start."""
        self._deny(self._newest_deny_list())

    def _newest_deny_list(self) -> DenyList | None:
        with self.database.snapshot() as transaction:
            known = newest_deny_list(transaction)
        return known.denylist if known else None

    def _deny(self, newest: DenyList | None) -> None:
        if newest is not None and newest.number > self.keyring.denylist.number:
            self.keyring.deny(newest)

    async def sweep(self) -> None:
        """Expire what the clock has passed."""

        def look() -> Any:
            with self.database.snapshot() as transaction:
                return overdue(transaction, self.region.code, SWEEP_LIMIT)

        found = await asyncio.to_thread(look)
        if found.vouchers or found.packs:
            raised(await self._engine.submit(found))

    def verify_clearinghouse(self, message: signed_pb2.SignedMessage, kind: str) -> None:
        """Raises UnknownKey, or BadSignature for what the clearinghouse did not sign."""
        key = self.keyring.verify(message.key_id, kind, message.body, message.signature)
        purpose = "statement" if kind == "statement" else "message"
        if key.owner != CLEARINGHOUSE or key.purpose != purpose:
            raise BadSignature(f"{kind} is not signed by the clearinghouse")

    # Settlement

    async def reconcile_open_windows(self) -> None:
        """Fetch, compare and, when fully matched, confirm each statement that is ready and not confirmed."""
        table = schema.settlement_window
        for row in await self.read(select(table.c.number).where(table.c.confirmed.is_(False))):
            await self._reconcile(row.number)

    async def _reconcile(self, window: int) -> None:
        message = (await self._clearinghouse.statement(window)).statement
        self.verify_clearinghouse(message, "statement")
        statement = statements.json_to_statement(message.body)
        if await self._awaits_answers_from(statement.closed_at):
            return
        result = statements.reconcile(statement, *await asyncio.to_thread(self.own_sums, (window,)))
        # Kept before it is confirmed: once it is, the window may settle, and settling books what is kept here.
        await asyncio.to_thread(self.keep_reconciliation, statement, message.body, result)
        if result.fully_matched:
            await self.confirm(message.body, statement, result)
            await asyncio.to_thread(self.mark_confirmed, window)
        else:
            _log.warning("statement does not match", window=window, differences=str(result[1:]))

    async def confirm(
        self, document: bytes, statement: statements.Statement, result: statements.Reconciliation, by: str = ""
    ) -> int:
        """Give this region's signed word on a statement; `by` is the person who does, empty for the node itself.

        Returns the window's state.
        """
        confirmation = settlement_pb2.Confirmation(
            region=self.region.code,
            window=statement.window,
            month=statement.month,
            statement_digest=digest("statement", document),
            matched=len(result.matched),
            missing=len(result.missing),
            extra=len(result.extra),
            different=len(result.different),
            by=by,
        )
        body = confirmation.SerializeToString()
        return await self._clearinghouse.confirm(signed(body, "confirmation", self._signers.message))

    async def _awaits_answers_from(self, closed_at: int) -> bool:
        """Whether a request that may belong to a window is unanswered still: then its books are not complete here."""
        table = schema.outbox
        query = select(table.c.own_id).where(table.c.answered.is_(False), table.c.sent_at <= closed_at).limit(1)
        return bool(await self.read(query))

    def own_sums(self, windows: Sequence[int]) -> statements.Sums:
        """This node's own lines and funders of some windows, from its single captures and refunds."""
        table = schema.clearing_item
        with self.database.snapshot() as transaction:
            query = table.select().where(table.c.settlement_window.in_(windows))
            rows = transaction.connection.execute(query).all()
        items = (
            statements.ItemFigures(
                row.side,
                row.issuer,
                row.redeeming_region,
                row.campaign,
                row.order_fen,
                row.discount_fen,
                json_to_legs(row.legs),
            )
            for row in rows
        )
        return statements.add_up(self.region.code, items)

    def keep_reconciliation(
        self, statement: statements.Statement, document: bytes, result: statements.Reconciliation
    ) -> None:
        table = schema.settlement_window
        with self.database.transaction() as transaction:
            transaction.connection.execute(
                table.update()
                .where(table.c.number == statement.window)
                .values(
                    statement=document,
                    matched=len(result.matched),
                    missing=len(result.missing),
                    extra=len(result.extra),
                    different=len(result.different),
                    net_fen=statement.net_fen,
                )
            )

    def mark_confirmed(self, window: int) -> None:
        table = schema.settlement_window
        with self.database.transaction() as transaction:
            transaction.connection.execute(table.update().where(table.c.number == window).values(confirmed=True))

    # Directory

    async def refresh_directory(self) -> directory_pb2.GetDirectoryResponse:
        """Learn every participant's signing keys; what does not lead to the root is passed over with a warning."""
        directory = await self._clearinghouse.directory()
        chains = [chain for each in directory.participants for chain in each.signing_chains]
        rows = []
        for chain in (*directory.clearinghouse_chains, *chains):
            try:
                rows.append({"key_id": self.keyring.add(chain).key_id, "chain": chain})
            except (TrustError, InvalidInput) as error:
                _log.warning("a signing key was not admitted", error=str(error))
        await asyncio.to_thread(self._keep_chains, rows)
        return directory

    def _keep_chains(self, rows: Sequence[dict[str, Any]]) -> None:
        """Store the chains that the database does not have yet."""
        table = schema.known_chain
        keys = [(row["key_id"],) for row in rows]
        with self.database.snapshot() as transaction:
            known = {(row.key_id, row.chain) for row in transaction.select_keys(table, [table.c.key_id], keys)}
        new = [row for row in rows if (row["key_id"], row["chain"]) not in known]
        if new:
            with self.database.transaction() as transaction:
                transaction.upsert(table, new)

    def load_keys(self) -> None:
        """Admit the keys that the database holds, at start: those of platforms, and of others met before."""
        with self.database.snapshot() as transaction:
            run = transaction.connection.execute
            for row in (*run(schema.known_chain.select()), *run(schema.platform.select())):
                self.keyring.add(row.chain)

    async def keep_terms(self, message: signed_pb2.SignedMessage) -> None:
        """Store a signed document of terms, whose signature was checked."""
        terms = parse_terms(message.body, "terms")
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": terms.campaign,
            "issuer": terms.issuer,
            "document": message.body,
            "key_id": message.key_id,
            "signature": message.signature,
        }

        def store() -> None:
            with self.database.transaction() as transaction:
                transaction.upsert(schema.terms, [row])

        await asyncio.to_thread(store)
        self.shelf.put(message.body)

    async def announce_changes(self) -> None:
        """Make own campaign changes known that the clearinghouse does not have yet, in order. Raises Unavailable."""
        for change, terms in await asyncio.to_thread(self._open_announcements):
            await self._clearinghouse.publish_terms(terms)
            await self._clearinghouse.publish_change(change.message)
            await asyncio.to_thread(self._mark_announced, change)

    async def all_announced(self) -> bool:
        """Whether the clearinghouse has every change of this region's campaigns."""
        table = schema.announcement
        return not await self.read(select(table.c.number).where(table.c.announced.is_(False)).limit(1))

    def _open_announcements(self) -> list[tuple[SignedChange, signed_pb2.SignedMessage]]:
        table, documents = schema.announcement, schema.terms
        query = table.select().where(table.c.announced.is_(False)).order_by(table.c.campaign, table.c.number)
        found = []
        with self.database.snapshot() as transaction:
            for row in transaction.connection.execute(query).all():
                change = Campaigns(transaction).changes(self.region.code, row.campaign)[row.number - 1]
                key = (change.change.terms_hash,)
                (terms,) = transaction.select_keys(documents, [documents.c.terms_hash], [key])
                message = signed_pb2.SignedMessage(body=terms.document, key_id=terms.key_id, signature=terms.signature)
                found.append((change, message))
        return found

    def _mark_announced(self, change: SignedChange) -> None:
        table = schema.announcement
        with self.database.transaction() as transaction:
            transaction.connection.execute(
                table.update()
                .where(table.c.campaign == change.change.campaign, table.c.number == change.change.number)
                .values(announced=True)
            )

    async def announce_suspensions(self) -> None:
        """Make own suspensions known that the clearinghouse does not have yet, in order. Raises Unavailable."""
        for each in await asyncio.to_thread(self._open_suspensions):
            await self._clearinghouse.publish_suspension(each.message)
            await asyncio.to_thread(self._mark_suspension_announced, each.suspension.number)

    async def suspensions_announced(self) -> int:
        """Number of the last own suspension that the clearinghouse has."""
        table = custodian_schema.counter
        rows = await self.read(select(table.c.value).where(table.c.name == ANNOUNCED))
        return rows[0].value if rows else 0

    def _open_suspensions(self) -> list[SignedSuspension]:
        table = custodian_schema.counter
        with self.database.snapshot() as transaction:
            rows = transaction.select_keys(table, [table.c.name], [(ANNOUNCED,)])
            return Suspensions(transaction).history(self.region.code, after=rows[0].value if rows else 0)

    def _mark_suspension_announced(self, number: int) -> None:
        with self.database.transaction() as transaction:
            transaction.upsert(custodian_schema.counter, [{"name": ANNOUNCED, "value": number}])

    # For the operator

    async def submit_work(self, work: Work) -> Any:
        """Decide one work with the next batch. Raises what it raises."""
        return raised(await self._engine.submit(work))

    async def read(self, query: Any) -> Sequence[Any]:
        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.connection.execute(query).all()

        return await asyncio.to_thread(run)


def _alarm_parked(sequence: int, kind: str, reason: str) -> None:
    _log.error(
        "an event of the clearinghouse's feed is parked",
        sequence=sequence,
        kind=kind,
        reason=reason,
        remedy="mend the cause, then run: quanlian node feed retry",
    )


def signed(body: bytes, kind: str, signer: Signer) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))
