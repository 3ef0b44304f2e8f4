"""A node's use cases: claim, redeem, release, follow the clearinghouse, reconcile.

Everything that changes the books goes through one group commit; this file prepares what a batch needs from outside
(signatures, terms and keys of other regions) and takes the results where they must go after the commit.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, true

from chassis import telemetry
from chassis.commit import GroupCommit
from chassis.database import Database
from chassis.ids import fresh_uuid7, unix_milliseconds
from custodian import lookup
from custodian import schema as custodian_schema
from custodian.batching import decide_apart, raised
from custodian.books import json_to_legs
from custodian.campaigns import Campaigns, SignedChange, verify_change
from custodian.decisions import Answered, Received
from custodian.receiving import receive
from custodian.servicer import Emit
from custodian.verification import RootMemory
from node import schema
from node.claiming import Claim
from node.custody import HandOverTaken, Release, overdue
from node.desk import Region, TermsShelf, Work
from node.engine import decide_batch
from node.feed import SEQUENCE, News
from node.ports import Clearinghouse
from node.publishing import TakeChange
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import statements, vouchers, wire
from quanlian.errors import BadSignature, InvalidInput, TrustError, UnknownKey
from quanlian.redemptions import Redemption
from quanlian.signing import Signer, digest
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import claim_pb2, custody_pb2, directory_pb2, settlement_pb2, signed_pb2
from quanlian.wire import Purchase

SWEEP_LIMIT = 500
ASK_AGAIN_SECONDS = 5.0
_log = telemetry.logger("node")


@dataclass(frozen=True, slots=True)
class Signers:
    """The node's private keys, by purpose."""

    voucher: Signer
    terms: Signer
    message: Signer


class NodeService:
    """One region's node. Methods are safe to call from one event loop."""

    def __init__(
        self,
        database: Database,
        region: Region,
        signers: Signers,
        keyring: Keyring,
        clearinghouse: Clearinghouse,
    ) -> None:
        self.database = database
        self.region = region
        self.keyring = keyring
        self._roots = RootMemory(keyring)
        self._asking = asyncio.Lock()
        self._directory_asked_at = float("-inf")
        self._signers = signers
        self._clearinghouse = clearinghouse
        self.shelf = TermsShelf()
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._engine: GroupCommit[Work, Any] = GroupCommit(self._decide, name=f"node {region.code}")

    def start(self) -> None:
        self._engine.start()

    def close(self) -> None:
        """Decide what was accepted, then stop."""
        self._engine.close()

    def _decide(self, works: list[Work]) -> list[Any]:
        return decide_apart(lambda some: decide_batch(self.database, self.region, self.shelf, some), works)

    # Redemptions

    async def submit(self, caller: Identity, items: Sequence[bytes], emit: Emit) -> None:
        """Decide a platform's items. Answers of this node are emitted after their commit, the others when they come."""
        received = [await self._receive(caller, content) for content in items]
        intakes = [Intake(each, fresh_uuid7()) for each in received]
        replies = [raised(reply) for reply in await self._engine.submit_many(intakes)]
        emit([reply.content for reply in replies if isinstance(reply, Answered)])
        forwarded = [reply for reply in replies if isinstance(reply, Forwarded)]
        waiting = [self._wait_for(reply.own_id) for reply in forwarded]
        self._clearinghouse.send([reply.content for reply in forwarded if reply.content is not None])
        for answer in asyncio.as_completed(waiting):
            emit([await answer])

    async def clearinghouse_answered(self, answers: Sequence[bytes]) -> None:
        """Book answers, then let those who wait for them go on."""
        for result in await self._engine.submit_many([ClearinghouseAnswer(each) for each in answers]):
            if isinstance(result, Exception):
                _log.error("an answer of the clearinghouse could not be booked", error=str(result))
                continue
            own_id, answer = result
            future = self._waiting.pop(own_id, None)
            if future is not None and not future.done():
                future.set_result(answer)

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

    async def _receive(self, caller: Identity, content: bytes) -> Received:
        return await receive(
            content,
            participant=caller.name,
            acquirer=caller.name,
            redeeming_region=self.region.code,
            redemption_id=fresh_uuid7(),
            verifier=self._roots,
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
        """Ask for the directory, unless somebody just did; who comes meanwhile waits for that answer."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if not self._knows(key_id) and now - self._directory_asked_at >= ASK_AGAIN_SECONDS:
                self._directory_asked_at = now
                await self.refresh_directory()

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
        pack_id = vouchers.make_pack_id(unix_milliseconds(), secrets.token_bytes(9))
        return Claim(caller.name, content, item, pack_id)

    # Custody and feed

    async def release(self, request: custody_pb2.ReleaseRequest) -> list[custody_pb2.CustodyStreamRequest]:
        refs = [(each.pack_id, each.index) for each in request.vouchers]
        messages: list[custody_pb2.CustodyStreamRequest] = raised(await self._engine.submit(Release(refs)))
        return messages

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
        """Raises BadSignature for money that the clearinghouse did not sign for, InvalidInput for a gap."""
        for event in events:
            if event.HasField("fund_return"):
                self._verify_clearinghouse(event.fund_return, "fund-return")
        raised(await self._engine.submit(News(events, await self._verified_changes(events))))

    async def _verified_changes(self, events: Sequence[custody_pb2.FeedEvent]) -> dict[int, SignedChange]:
        """Campaign changes among the events, by sequence, signatures checked."""
        changes = {}
        for event in events:
            if event.HasField("campaign_change"):
                message = event.campaign_change
                try:
                    self.keyring.key(message.key_id)
                except UnknownKey:
                    await self.refresh_directory()
                changes[event.sequence] = verify_change(message, self.keyring)
        return changes

    async def sweep(self) -> None:
        """Expire what the clock has passed."""

        def look() -> Any:
            with self.database.snapshot() as transaction:
                return overdue(transaction, self.region.code, SWEEP_LIMIT)

        found = await asyncio.to_thread(look)
        if found.vouchers or found.packs:
            raised(await self._engine.submit(found))

    def _verify_clearinghouse(self, message: signed_pb2.SignedMessage, kind: str) -> None:
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
        message = await self._clearinghouse.statement(window)
        self._verify_clearinghouse(message, "statement")
        statement = statements.json_to_statement(message.body)
        if await self._awaits_answers_from(statement.closed_at):
            return
        result = statements.reconcile(statement, *await asyncio.to_thread(self._own_sums, window))
        confirmation = settlement_pb2.Confirmation(
            region=self.region.code,
            window=window,
            statement_digest=digest("statement", message.body),
            matched=len(result.matched),
            missing=len(result.missing),
            extra=len(result.extra),
            different=len(result.different),
        )
        if result.fully_matched:
            body = confirmation.SerializeToString()
            await self._clearinghouse.confirm(signed(body, "confirmation", self._signers.message))
        else:
            _log.warning("statement does not match", window=window, differences=str(result[1:]))
        await asyncio.to_thread(self._keep_reconciliation, statement, message.body, confirmation)

    async def _awaits_answers_from(self, closed_at: int) -> bool:
        """Whether a request that may belong to a window is unanswered still: then its books are not complete here."""
        table = schema.outbox
        query = select(table.c.own_id).where(table.c.answered.is_(False), table.c.sent_at <= closed_at).limit(1)
        return bool(await self.read(query))

    def _own_sums(self, window: int) -> Any:
        table = schema.clearing_item
        with self.database.snapshot() as transaction:
            rows = transaction.connection.execute(table.select().where(table.c.settlement_window == window)).all()
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

    def _keep_reconciliation(
        self, statement: statements.Statement, document: bytes, confirmation: settlement_pb2.Confirmation
    ) -> None:
        table = schema.settlement_window
        bad = confirmation.missing + confirmation.extra + confirmation.different
        with self.database.transaction() as transaction:
            transaction.connection.execute(
                table.update()
                .where(table.c.number == statement.window)
                .values(
                    statement=document,
                    matched=confirmation.matched,
                    missing=confirmation.missing,
                    extra=confirmation.extra,
                    different=confirmation.different,
                    net_fen=statement.net_fen,
                    confirmed=bad == 0,
                )
            )

    # Directory

    async def refresh_directory(self) -> directory_pb2.GetDirectoryResponse:
        """Learn every participant's signing keys; what does not lead to the root is passed over with a warning."""
        directory = await self._clearinghouse.directory()
        chains = [chain for each in directory.participants for chain in each.signing_chains]
        for chain in (*directory.clearinghouse_chains, *chains):
            try:
                self.keyring.add(chain)
            except (TrustError, InvalidInput) as error:
                _log.warning("a signing key was not admitted", error=str(error))
        return directory

    def load_platforms(self) -> None:
        """Admit the platforms' keys that the database holds, at start."""
        with self.database.snapshot() as transaction:
            for row in transaction.connection.execute(schema.platform.select()):
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

    # For the operator

    async def submit_work(self, work: Work) -> Any:
        """Decide one work with the next batch. Raises what it raises."""
        return raised(await self._engine.submit(work))

    async def read(self, query: Any) -> Sequence[Any]:
        def run() -> Sequence[Any]:
            with self.database.snapshot() as transaction:
                return transaction.connection.execute(query).all()

        return await asyncio.to_thread(run)


def signed(body: bytes, kind: str, signer: Signer) -> signed_pb2.SignedMessage:
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(kind, body))
