"""The clearinghouse's use cases: redeem, take custody, tell the nodes, keep the directory.

Everything that changes the books goes through one group commit. A request whose voucher is still with its issuer
leaves its batch, and is decided again when the issuer has answered.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from chassis import telemetry
from chassis.commit import GroupCommit
from chassis.database import Database, Query
from chassis.ids import FreshIds
from clearinghouse import schema
from clearinghouse.agreements import AgreementRegister, on_file
from clearinghouse.custody import Sweep, overdue, read_hand_over
from clearinghouse.desk import Work
from clearinghouse.engine import Engine
from clearinghouse.feed_heads import head_of
from clearinghouse.operations import ClearingOperations
from clearinghouse.publishing import PublishChange, keep_terms
from clearinghouse.recall import Recall
from clearinghouse.recovery import Recovery
from clearinghouse.redeeming import Redeem, wanted
from clearinghouse.settlement import Settlement
from clearinghouse.signatures import require_signed
from clearinghouse.suspending import TakeSuspension
from clearinghouse.windows import new_window
from custodian import evidence_file, lookup
from custodian import schema as custodian_schema
from custodian.batching import raised
from custodian.campaigns import Campaigns, verify_change
from custodian.continuity import Continuity
from custodian.custody_messages import CustodyRefused, read_refused
from custodian.decisions import Answered, Received
from custodian.evidence import Requests, SignedBatch
from custodian.feed_heads import sign_head
from custodian.incarnations import Void
from custodian.paging import first_page, pages
from custodian.receiving import receive
from custodian.servicer import Emit, require_not_denied
from custodian.suspensions import Suspensions, verify_suspension
from custodian.undecided import Undecided
from custodian.verification import RootMemory
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import hand_overs
from quanlian.errors import InvalidInput, Unavailable
from quanlian.refusals import RefusalReason
from quanlian.signing import Signer
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import (
    custody_pb2,
    directory_pb2,
    recovery_pb2,
    signed_pb2,
)
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.vouchers import VoucherKey
from quanlian.wire import MAX_FORWARDED_BYTES, record_message

SWEEP_LIMIT = 500
FEED_PAGE = 500
FEED_POLL_SECONDS = 1.0
RECOVER = "quanlian clearinghouse recover"
VOUCHERS_PER_MESSAGE = 1000
"""In a release request or a recall: the hand-over that answers it stays well under the message size limit."""

MAX_WAITING_MESSAGES = 1000
"""For an issuer that does not read its custody stream: beyond them it counts as unreachable, and is not read from."""

_FEED = schema.feed.c
_NEWS = Query(
    select(_FEED.event)
    .where(_FEED.region == bindparam("region"), _FEED.sequence > bindparam("after"))
    .order_by(_FEED.sequence)
    .limit(FEED_PAGE)
)
_ANY_WINDOW = Query(select(schema.settlement_window.c.number).limit(1))
_CHAINS = Query(schema.signing_chain.select())
_PARTICIPANTS = Query(schema.participant.select().order_by(schema.participant.c.region))

_log = telemetry.logger("clearinghouse")


ReleaseFuture = asyncio.Future[CustodyRefused | None]


class _Wanted(NamedTuple):
    """A voucher that its issuer is asked for; the future gets None when it is here, or the issuer's refusal."""

    key: VoucherKey
    epoch: int
    last_return: signed_pb2.SignedMessage | None
    future: ReleaseFuture


def _return_bytes(wanted: _Wanted) -> int:
    return len(wanted.last_return.body) if wanted.last_return else 0


class ClearinghouseService:
    """The clearinghouse. Methods are safe to call from one event loop.

    `commit` runs the group commit and `ids` gives fresh ids: this machine's, unless a simulation brings its own.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        message_signer: Signer,
        statement_signer: Signer,
        release_seconds: float,
        cut_off: tuple[int, int] | None = None,
        ids: FreshIds | None = None,
        commit: Callable[..., GroupCommit[Work, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.continuity = Continuity(RECOVER)
        self.engine = Engine(database, message_signer, keyring, self.continuity, cut_off, commit)
        self.agreements = AgreementRegister(database, keyring, statement_signer)
        self.settlement = Settlement(self.engine, keyring, statement_signer, self.continuity)
        self.recovery = Recovery(self.engine, keyring, self.continuity)
        self._streams: dict[str, asyncio.Queue[custody_pb2.CustodyStreamResponse]] = {}
        self._ids = ids or FreshIds()
        self.undecided = Undecided(self._ids)
        self.operations = ClearingOperations(self.engine, keyring, self._streams, self.undecided)
        self._roots = RootMemory(keyring)
        self._release_seconds = release_seconds
        self._releases: dict[VoucherKey, _Wanted] = {}

    def start(self) -> None:
        """Open the first window if there is none, admit the stored keys, deny what is denied, begin deciding."""
        with self.database.transaction() as transaction:
            if not transaction.rows(_ANY_WINDOW):
                transaction.insert(schema.settlement_window, [new_window(1, transaction.now())])
        with self.database.snapshot() as transaction:
            for row in transaction.rows(_CHAINS):
                self.keyring.add(row.chain)
        self.operations.deny_newest()
        self.engine.start()

    def keep_chains(self, chains: Sequence[bytes]) -> None:
        """Store the chains of the clearinghouse's own keys: what they signed is shown with them for ever."""
        rows = [{"owner": CLEARINGHOUSE, "key_id": self.keyring.add(each).key_id, "chain": each} for each in chains]
        with self.database.transaction() as transaction:
            transaction.upsert(schema.signing_chain, rows)

    def close(self) -> None:
        self.engine.group.close()

    async def recover(
        self, without: Sequence[str], dispute_lacking: bool = False, within: int | None = None
    ) -> recovery_pb2.RecoveryReport | None:
        """Apply what the nodes handed over, serve again, and go on with what was to be calculated; None if that takes
        more than `within` seconds, and it goes on.

        Nothing of it is done where the books lack what `Recovery.run` says. Raises InvalidInput where nothing needs it,
        or a node's receipts are missing.
        """
        return await self.recovery.job.report(lambda: self._recover(without, dispute_lacking), within)

    async def _recover(self, without: Sequence[str], dispute_lacking: bool) -> recovery_pb2.RecoveryReport:
        report = await self.recovery.run(without, dispute_lacking)
        if not report.incarnation:
            return report
        await asyncio.to_thread(self.operations.deny_newest)
        await self.settlement.calculate_closed()
        return report

    # Redemptions

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        """Decide a node's items; those that need a release are decided when it has come, or failed.

        Raises what kept an item from being decided, once the others have their answers.
        """
        ids = self._ids.uuid7s(len(items))
        received = [self._receive(caller, content, id, batch) for content, id in zip(items, ids, strict=True)]
        works = [Redeem(each) for each in received]
        replies = await self.engine.group.submit_many(works)
        emit([reply.content for reply in replies if isinstance(reply, Answered)])
        pairs = zip(works, replies, strict=True)
        asking = [(each, key) for each, reply in pairs if (key := wanted(reply)) is not None]
        releases = self._want(asking)
        waiting = [
            self._decide_released(work, release, emit) for (work, _), release in zip(asking, releases, strict=True)
        ]
        for result in (*await asyncio.gather(*waiting, return_exceptions=True), *replies):
            raised(result)

    async def _decide_released(self, work: Redeem, release: _Wanted, emit: Emit) -> None:
        refusal = await self._released_in_time(release)
        failed = RefusalReason.NOT_IN_CUSTODY
        if isinstance(refusal, RefusalReason):
            failed, refusal = refusal, None
        elif refusal is not None:
            failed = refusal.reason
        reply = raised(await self.engine.group.submit(Redeem(work.received, failed, refusal)))
        emit([reply.content])

    def _want(self, asking: Sequence[tuple[Redeem, VoucherKey]]) -> list[_Wanted]:
        """Ask the issuers for the vouchers of one message together: each gives them by one hand-over, signed once."""
        new: dict[str, list[_Wanted]] = {}
        for work, key in asking:
            if key not in self._releases:
                future: ReleaseFuture = asyncio.get_running_loop().create_future()
                self._releases[key] = _Wanted(key, work.epoch, work.last_return, future)
                new.setdefault(key.issuer, []).append(self._releases[key])
        for issuer, wanted_now in new.items():
            self._ask(issuer, wanted_now)
        return [self._releases[key] for _, key in asking]

    async def _released_in_time(self, release: _Wanted) -> CustodyRefused | RefusalReason | None:
        """None: the voucher is here; otherwise why not."""
        try:
            return await asyncio.wait_for(asyncio.shield(release.future), self._release_seconds)
        except TimeoutError:
            return RefusalReason.ISSUER_UNREACHABLE
        finally:
            if self._releases.get(release.key) is release:
                del self._releases[release.key]

    def _ask(self, issuer: str, wanted: Sequence[_Wanted]) -> None:
        """Ask an issuer for vouchers, if it has a custody stream open and reads it."""
        stream = self._streams.get(issuer)
        for page in pages(wanted, _return_bytes, VOUCHERS_PER_MESSAGE):
            if stream is None or stream.full():
                return
            request = custody_pb2.ReleaseRequest()
            for each in page:
                request.vouchers.add(pack_id=each.key.pack_id, index=each.key.voucher_index, epoch=each.epoch)
            returns = {each.last_return.signature: each.last_return for each in page if each.last_return}
            request.returns.extend(returns.values())
            stream.put_nowait(custody_pb2.CustodyStreamResponse(release_request=request))

    def _released(self, key: VoucherKey, refusal: CustodyRefused | None) -> None:
        release = self._releases.get(key)
        if release is not None and not release.future.done():
            release.future.set_result(refusal)

    def _receive(self, caller: Identity, content: bytes, redemption_id: bytes, batch: SignedBatch | None) -> Received:
        return receive(
            content,
            participant=caller.host,
            acquirer="",
            redeeming_region=caller.host,
            redemption_id=redemption_id,
            verifier=self._roots,
            batch=batch,
            limit=MAX_FORWARDED_BYTES,
        )

    async def find(self, caller: Identity, redemption_id: bytes) -> RedemptionRecord | None:
        """A redemption, for the region that made it or issued its voucher."""

        def load() -> RedemptionRecord | None:
            with self.database.snapshot() as transaction:
                found = lookup.find(transaction, redemption_id)
            known_to = (found.participant, found.voucher.issuer) if found else ()
            return record_message(found) if found and caller.host in known_to else None

        return await self.database.read(load)

    async def page(self, caller: Identity, after: int, size: int) -> list[lookup.Listed]:
        columns = custodian_schema.redemption.c
        mine = (columns.participant == caller.host) | (columns.issuer == caller.host)

        def load() -> list[lookup.Listed]:
            with self.database.snapshot() as transaction:
                return lookup.page(transaction, mine, after, size)

        return await self.database.read(load)

    async def evidence(self, id: bytes, root: bytes) -> bytes:
        """What was signed about a redemption or a request, as a file. Raises InvalidInput for an id nobody gave."""

        def load() -> bytes:
            with self.database.snapshot() as transaction:
                regions = [row.region for row in transaction.connection.execute(schema.participant.select())]
                requests = Requests(transaction, id, regions)
                found = [requests.exchange(row, row.participant, CLEARINGHOUSE) for row in requests.rows]
            return evidence_file.write(CLEARINGHOUSE, id, found, root, self.keyring.chain)

        return await self.database.read(load)

    async def sweep(self) -> None:
        """Expire what the clock has passed, all of it: one sweep after another while they are full.

        Raises RecoveryNeeded where the database was set back meanwhile.
        """

        def look() -> Sweep:
            with self.database.snapshot() as transaction:
                self.continuity.look(transaction)
                return overdue(transaction, SWEEP_LIMIT)

        is_full = True
        while is_full:
            found = await self.database.read(look)
            if found.vouchers:
                raised(await self.engine.group.submit(found))
            is_full = found.is_full

    # Custody

    def open_stream(self, region: str) -> asyncio.Queue[custody_pb2.CustodyStreamResponse]:
        """What goes to a node's custody stream; the newest stream of a region counts.

        What is wanted from the region is asked (again): the stream before may have broken with the question.
        """
        stream: asyncio.Queue[custody_pb2.CustodyStreamResponse] = asyncio.Queue(MAX_WAITING_MESSAGES)
        self._streams[region] = stream
        self._ask(region, [each for key, each in self._releases.items() if key.issuer == region])
        return stream

    def close_stream(self, region: str, stream: asyncio.Queue[custody_pb2.CustodyStreamResponse]) -> None:
        if self._streams.get(region) is stream:
            del self._streams[region]

    async def take_hand_over(self, region: str, message: signed_pb2.SignedMessage) -> int:
        """Verify and take; returns the number to acknowledge. Raises Void, BadSignature or InvalidInput."""
        require_signed(self.keyring, hand_overs.signed_head(message), hand_overs.KIND, region)
        work = read_hand_over(region, message)
        for key in raised(await self.engine.group.submit(work)):
            self._released(key, None)
        return work.number

    def release_refused(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Raises UnknownKey or BadSignature for what the issuer did not sign, InvalidInput for another's voucher."""
        refusal = read_refused(message, region, self.keyring)
        if refusal.key.issuer != region:
            raise InvalidInput(f"is of {refusal.key.issuer}", place="custody refused", remedy="refuse own vouchers")
        self._released(refusal.key, refusal)

    async def recall(self, region: str, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        """Give an issuer's vouchers back. Raises BadSignature or InvalidInput for hand-overs that are not its own, and
        Unavailable for void ones, which the node gives anew by its custody stream.
        """
        if len(request.vouchers) > VOUCHERS_PER_MESSAGE:
            raise InvalidInput(f"{len(request.vouchers)} vouchers", place="recall", remedy="send 1000 at most")
        for message in request.releases:
            require_signed(self.keyring, hand_overs.signed_head(message), hand_overs.KIND, region)
        releases = [read_hand_over(region, message) for message in request.releases]
        epochs = {VoucherKey(region, each.pack_id, each.index): each.epoch for each in request.vouchers}
        try:
            response = raised(await self.engine.group.submit(Recall(region, epochs, releases)))
        except Void as error:
            raise Unavailable(str(error)) from error
        assert isinstance(response, custody_pb2.RecallResponse)
        return response

    async def follow(self, region: str, after: int) -> AsyncIterator[custody_pb2.FollowFeedResponse]:
        """A region's feed after a sequence, for ever. Raises RecoveryNeeded."""
        while True:
            news = self.engine.news_of(region)
            news.clear()
            told = await self.database.read(self._feed_after, region, after)
            if told.events:
                after = told.events[-1].sequence
                yield told
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FEED_POLL_SECONDS):
                    await self.continuity.while_serving(news.wait())

    def _feed_after(self, region: str, after: int) -> custody_pb2.FollowFeedResponse:
        with self.database.snapshot() as transaction:
            rows = transaction.rows(_NEWS, region=region, after=after)
            if not rows:
                return custody_pb2.FollowFeedResponse()
            page = first_page(rows, lambda row: len(row.event), FEED_PAGE)
            events = [custody_pb2.FeedEvent.FromString(row.event) for row in page]
            head = head_of(transaction, region, events[-1].sequence)
        return custody_pb2.FollowFeedResponse(events=events, head=sign_head(head, self.engine.signer))

    # Directory

    async def directory(self, own_chains: Sequence[bytes]) -> directory_pb2.GetDirectoryResponse:
        def load() -> directory_pb2.GetDirectoryResponse:
            with self.database.snapshot() as transaction:
                suspensions, participants = Suspensions(transaction), transaction.rows(_PARTICIPANTS)
                suspensions.want(*[(SuspensionKind.REGION, row.region) for row in participants])
                chains: dict[str, list[bytes]] = {}
                for row in transaction.rows(_CHAINS):
                    chains.setdefault(row.owner, []).append(row.chain)
                return directory_pb2.GetDirectoryResponse(
                    participants=[
                        directory_pb2.Participant(
                            region=row.region,
                            name_zh=row.name_zh,
                            name_en=row.name_en,
                            signing_chains=chains.get(row.region, []),
                            suspended=suspensions.find(SuspensionKind.REGION, row.region) is not None,
                        )
                        for row in participants
                    ],
                    clearinghouse_chains=own_chains,
                    agreements=on_file(transaction),
                )

        return await self.database.read(load)

    async def publish_terms(self, region: str, message: signed_pb2.SignedMessage) -> bytes:
        """Keep an issuer's signed terms. Raises InvalidInput, BadSignature, or TrustError's kin for what is wrong."""
        require_signed(self.keyring, message, "terms", region)

        def keep() -> bytes:
            with self.database.transaction() as transaction:
                return keep_terms(transaction, region, message)

        return await self.database.write(keep)

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        """Terms by their hash with their campaign's changes so far; empty where there are none."""

        def load() -> directory_pb2.GetTermsResponse:
            table = schema.terms
            with self.database.snapshot() as transaction:
                rows = transaction.select_keys(table, [table.c.terms_hash], [(terms_hash,)])
                if not rows:
                    return directory_pb2.GetTermsResponse()
                row = rows[0]
                changes = Campaigns(transaction).changes(row.issuer, row.campaign)
            message = signed_pb2.SignedMessage(body=row.document, key_id=row.key_id, signature=row.signature)
            return directory_pb2.GetTermsResponse(terms=message, changes=[each.message for each in changes])

        return await self.database.read(load)

    async def publish_change(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Keep an issuer's signed change and tell every node. Raises InvalidInput or BadSignature."""
        signed = verify_change(message, self.keyring)
        require_not_denied(self.keyring.key(message.key_id))
        if signed.change.issuer != region:
            raise InvalidInput(f"is a change of {signed.change.issuer}", place="change", remedy=f"publish as {region}")
        await self.engine.step(PublishChange(signed), "campaign-change", 0)

    async def publish_suspension(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Keep a region's suspension or reactivation and tell every node. Raises InvalidInput or BadSignature."""
        require_signed(self.keyring, message, "suspension", region)
        await self.engine.step(TakeSuspension(verify_suspension(message, self.keyring)), "suspension", 0)
