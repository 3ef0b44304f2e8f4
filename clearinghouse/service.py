"""The clearinghouse's use cases: redeem, take custody, tell the nodes, keep the directory, settle.

Everything that changes the books goes through one group commit. A request whose voucher is still with its issuer
leaves its batch, and is decided again when the issuer has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from sqlalchemy import func, select

from chassis import telemetry
from chassis.commit import GroupCommit
from chassis.database import Database, Transaction
from chassis.ids import FreshIds
from clearinghouse import schema
from clearinghouse.agreements import AgreementRegister, on_file
from clearinghouse.custody import overdue, read_hand_over
from clearinghouse.desk import Desk, Shelf, Work
from clearinghouse.disputes import Resolve, TakeDispute, record
from clearinghouse.domain.cutoff import is_due
from clearinghouse.domain.visitors import VisitorsFunder, check_visitors_fund, require_budget
from clearinghouse.evidence import evidence
from clearinghouse.money import AssignReceipt, PayOut, RecordDeposit, arrears_fen
from clearinghouse.publishing import PublishChange
from clearinghouse.recall import Recall
from clearinghouse.receipts import receipts_of
from clearinghouse.recovery import Recovery
from clearinghouse.redeeming import Redeem, wanted
from clearinghouse.reports import clearing_figures
from clearinghouse.statements import ConfirmMonth, StateMonth, months_to_state, signed_statement
from clearinghouse.suspending import Suspend, TakeSuspension, tell_newcomer
from clearinghouse.windows import Calculate, Close, Confirm, Instruct, MarkPaid, Settle, new_window
from custodian import evidence_file, lookup
from custodian import schema as custodian_schema
from custodian.batching import decide_apart, raised
from custodian.books import Books
from custodian.campaigns import Campaigns, verify_change
from custodian.custody_messages import CustodyRefused, read_refused
from custodian.decisions import Answered, Received
from custodian.deny_lists import newest_deny_list
from custodian.evidence import Requests, SignedBatch
from custodian.limit_warnings import latest_warnings
from custodian.lineage import Lineage, RecoveryNeeded
from custodian.receiving import receive
from custodian.servicer import Emit, require_not_denied
from custodian.stats import read_stats
from custodian.suspensions import Suspensions, records, verify_suspension
from custodian.verification import RootMemory
from pki.denylist import DenyList
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import regions, wire
from quanlian.accounts import visitors_account
from quanlian.errors import BadSignature, InvalidInput, UnknownKey
from quanlian.ledger import Movement
from quanlian.redemptions import Redemption
from quanlian.refusals import RefusalReason
from quanlian.signing import Signer
from quanlian.suspensions import SuspensionKind
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import (
    clearing_operator_pb2,
    custody_pb2,
    directory_pb2,
    recovery_pb2,
    report_pb2,
    settlement_pb2,
    signed_pb2,
    stats_pb2,
    suspension_pb2,
)
from quanlian.vouchers import VoucherKey

SWEEP_LIMIT = 500
FEED_PAGE = 500
FEED_POLL_SECONDS = 1.0
RECOVER = "quanlian clearinghouse recover"
VOUCHERS_PER_MESSAGE = 1000
"""In a release request or a recall: the hand-over that answers it stays well under the message size limit."""

MAX_WAITING_RELEASES = 1000
"""Messages for an issuer that does not read its custody stream; beyond them it counts as unreachable."""

_log = telemetry.logger("clearinghouse")


ReleaseFuture = asyncio.Future[CustodyRefused | None]


class _Wanted(NamedTuple):
    """A voucher that its issuer is asked for; the future gets None when it is here, or the issuer's refusal."""

    key: VoucherKey
    epoch: int
    last_return: signed_pb2.SignedMessage | None
    future: ReleaseFuture


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
        self._cut_off = cut_off
        self.keyring = keyring
        self._roots = RootMemory(keyring)
        self._signer = message_signer
        self._statement_signer = statement_signer
        self.agreements = AgreementRegister(database, keyring, statement_signer)
        self._release_seconds = release_seconds
        self._shelf = Shelf()
        self._ids = ids or FreshIds()
        self._engine = commit(self._decide, name="clearinghouse")
        self._streams: dict[str, asyncio.Queue[custody_pb2.CustodyStreamResponse]] = {}
        self._releases: dict[VoucherKey, _Wanted] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recovery = ""
        self.lineage: Lineage | None = None

    def start(self) -> None:
        """Open the first window if there is none, admit the stored keys, deny what is denied, begin deciding."""
        self._loop = asyncio.get_running_loop()
        with self.database.transaction() as transaction:
            if transaction.connection.execute(schema.settlement_window.select()).first() is None:
                transaction.insert(schema.settlement_window, [new_window(1, transaction.now())])
        with self.database.snapshot() as transaction:
            for row in transaction.connection.execute(schema.signing_chain.select()):
                self.keyring.add(row.chain)
        self._deny_anew(self._newest_deny_list())
        self._engine.start()

    def keep_chains(self, chains: Sequence[bytes]) -> None:
        """Store the chains of the clearinghouse's own keys: what they signed is shown with them for ever."""
        rows = [{"owner": CLEARINGHOUSE, "key_id": self.keyring.add(each).key_id, "chain": each} for each in chains]
        with self.database.transaction() as transaction:
            transaction.upsert(schema.signing_chain, rows)

    def close(self) -> None:
        self._engine.close()

    # Recovery

    @property
    def recovery(self) -> str:
        """Why this party answers nothing until it has recovered; empty while it need not."""
        return self._recovery

    def needs_recovery(self, why: str) -> None:
        """The database is an older copy than the one that was answered from."""
        self._recovery = str(RecoveryNeeded(why, RECOVER))
        if self.lineage is not None:
            self.lineage.mark_as_behind()
        _log.error("recovery is needed", why=why, remedy=RECOVER)

    def compare(self, region: str, theirs: custody_pb2.Position) -> custody_pb2.Position:
        """Where this party stands with a region. Raises RecoveryNeeded where the region has seen more of it."""
        with self.database.snapshot() as transaction:
            table = schema.hand_over
            last = select(func.max(table.c.number)).where(table.c.issuer == region)
            taken = transaction.connection.execute(last).scalar() or 0
            feed = Books(transaction).counter(f"feed/{region}")
        if theirs.feed > feed:
            self.needs_recovery(f"{region} has event {theirs.feed} of its feed, {feed} is the last here")
            raise RecoveryNeeded(f"{region} is ahead", RECOVER)
        incarnation = self.lineage.known.incarnation if self.lineage else 1
        return custody_pb2.Position(incarnation=incarnation, hand_overs=taken, feed=feed)

    async def receipts(self, region: str, request: custody_pb2.GetReceiptsRequest) -> custody_pb2.GetReceiptsResponse:
        """What this party holds of a region: hand-overs and answered requests after those that it has, a page."""
        return await asyncio.to_thread(receipts_of, self.database, region, request)

    async def hand_receipts(
        self, region: str, request: custody_pb2.HandReceiptsRequest
    ) -> custody_pb2.HandReceiptsResponse:
        """Take in what a node holds of this party, while it needs it."""
        if not self._recovery or self.lineage is None:
            return custody_pb2.HandReceiptsResponse(wanted=False)
        if request.receipts or request.complete:
            await asyncio.to_thread(self._recoverer.keep, region, request)

        def load() -> custody_pb2.HandReceiptsResponse:
            table = schema.hand_over
            with self.database.snapshot() as transaction:
                last = select(func.max(table.c.number)).where(table.c.issuer == region)
                after = transaction.connection.execute(last).scalar() or 0
            wanted = not self._recoverer.complete(region)
            since = self.lineage.restored.at if self.lineage else 0
            return custody_pb2.HandReceiptsResponse(wanted=wanted, after_hand_over=after, since=since)

        return await asyncio.to_thread(load)

    async def recover(self, without: Sequence[str]) -> recovery_pb2.RecoveryReport:
        """Apply what the nodes handed over, begin a new incarnation, and serve again. Raises InvalidInput."""
        if not self._recovery or self.lineage is None:
            raise InvalidInput("nothing needs to be recovered", place="recovery")
        report = await self._recoverer.run(without)
        report.lost_commits, report.last_commit_at = self.lineage.lost_commits, self.lineage.restored.at
        report.incarnation = (await asyncio.to_thread(self.lineage.renew)).incarnation
        self._recovery = ""
        await self.calculate_closed()
        return report

    @property
    def _recoverer(self) -> Recovery:
        return Recovery(self.database, self._shelf, self._signer, self.keyring)

    def _decide(self, works: list[Work]) -> list[Any]:
        if self._recovery:
            raise RecoveryNeeded("its books are behind", RECOVER)
        return decide_apart(self._decide_together, works)

    def _decide_together(self, works: Sequence[Work]) -> list[Any]:
        with self.database.transaction() as transaction:
            desk = Desk(transaction, self._shelf, self._signer)
            if is_due(desk.window_opened_at, desk.at, self._cut_off):
                Close().decide(desk)
            for work in works:
                work.load(desk)
            desk.books.fetch()
            results = [work.decide(desk) for work in works]
            desk.save()
        self._announce(desk.told)
        return results

    def _announce(self, told: set[str]) -> None:
        """Wake the followers of the feeds that grew; from any thread."""
        if told and self._loop is not None:
            for region in sorted(told):
                self._loop.call_soon_threadsafe(self._news_of(region).set)

    def _news_of(self, region: str) -> asyncio.Event:
        return self._news.setdefault(region, asyncio.Event())

    # Redemptions

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        """Decide a node's items; those that need a release are decided when it has come, or failed."""
        received = [await self._receive(caller, content, batch) for content in items]
        works = [Redeem(each) for each in received]
        replies = await self._engine.submit_many(works)
        emit([reply.content for reply in map(raised, replies) if isinstance(reply, Answered)])
        waiting = [
            self._decide_released(each, key, emit)
            for each, reply in zip(works, replies, strict=True)
            if (key := wanted(reply)) is not None
        ]
        await asyncio.gather(*waiting)

    async def _decide_released(self, work: Redeem, key: VoucherKey, emit: Emit) -> None:
        refusal = await self._release(work, key)
        failed = RefusalReason.NOT_IN_CUSTODY
        if isinstance(refusal, RefusalReason):
            failed, refusal = refusal, None
        elif refusal is not None:
            failed = refusal.reason
        reply = raised(await self._engine.submit(Redeem(work.received, failed, refusal)))
        emit([reply.content])

    async def _release(self, work: Redeem, key: VoucherKey) -> CustodyRefused | RefusalReason | None:
        """Ask the issuer for a voucher. None: it is here; otherwise why not."""
        release = self._releases.get(key)
        if release is None:
            future: ReleaseFuture = asyncio.get_running_loop().create_future()
            release = self._releases[key] = _Wanted(key, work.epoch, work.last_return, future)
            self._ask(key.issuer, [release])
        try:
            return await asyncio.wait_for(asyncio.shield(release.future), self._release_seconds)
        except TimeoutError:
            return RefusalReason.ISSUER_UNREACHABLE
        finally:
            if self._releases.get(key) is release:
                del self._releases[key]

    def _ask(self, issuer: str, wanted: Sequence[_Wanted]) -> None:
        """Ask an issuer for vouchers, if it has a custody stream open and reads it."""
        stream = self._streams.get(issuer)
        if stream is None or stream.qsize() >= MAX_WAITING_RELEASES:
            return
        for start in range(0, len(wanted), VOUCHERS_PER_MESSAGE):
            request = custody_pb2.ReleaseRequest()
            for each in wanted[start : start + VOUCHERS_PER_MESSAGE]:
                request.vouchers.add(pack_id=each.key.pack_id, index=each.key.voucher_index, epoch=each.epoch)
                request.returns.extend([each.last_return] if each.last_return else [])
            stream.put_nowait(custody_pb2.CustodyStreamResponse(release_request=request))

    def _released(self, key: VoucherKey, refusal: CustodyRefused | None) -> None:
        release = self._releases.get(key)
        if release is not None and not release.future.done():
            release.future.set_result(refusal)

    async def _receive(self, caller: Identity, content: bytes, batch: SignedBatch | None) -> Received:
        return await receive(
            content,
            participant=caller.host,
            acquirer="",
            redeeming_region=caller.host,
            redemption_id=self._ids.uuid7(),
            verifier=self._roots,
            batch=batch,
        )

    async def find(self, caller: Identity, redemption_id: bytes) -> Redemption | None:
        """A redemption, for the region that made it or issued its voucher."""
        found = await asyncio.to_thread(lookup.find, self.database, redemption_id)
        known_to = (found.participant, found.voucher.issuer) if found else ()
        return found if caller.host in known_to else None

    async def page(self, caller: Identity, after: bytes, size: int) -> list[Redemption]:
        columns = custodian_schema.redemption.c
        mine = (columns.participant == caller.host) | (columns.issuer == caller.host)
        return await asyncio.to_thread(lookup.page, self.database, mine, after, size)

    async def evidence(self, id: bytes, root: bytes) -> bytes:
        """What was signed about a redemption or a request, as a file. Raises InvalidInput for an id nobody gave."""

        def load() -> bytes:
            with self.database.snapshot() as transaction:
                regions = [row.region for row in transaction.connection.execute(schema.participant.select())]
                requests = Requests(transaction, id, regions)
                found = [requests.exchange(row, row.participant, CLEARINGHOUSE) for row in requests.rows]
            return evidence_file.write(CLEARINGHOUSE, id, found, root, self.keyring.chain)

        return await asyncio.to_thread(load)

    async def sweep(self) -> None:
        """Expire what the clock has passed."""

        def look() -> Any:
            with self.database.snapshot() as transaction:
                return overdue(transaction, SWEEP_LIMIT)

        found = await asyncio.to_thread(look)
        if found.vouchers:
            await self._engine.submit(found)

    # Custody

    def open_stream(self, region: str) -> asyncio.Queue[custody_pb2.CustodyStreamResponse]:
        """What goes to a node's custody stream; the newest stream of a region counts.

        What is wanted from the region is asked (again): the stream before may have broken with the question.
        """
        stream: asyncio.Queue[custody_pb2.CustodyStreamResponse] = asyncio.Queue()
        self._streams[region] = stream
        self._ask(region, [each for key, each in self._releases.items() if key.issuer == region])
        return stream

    def close_stream(self, region: str, stream: asyncio.Queue[custody_pb2.CustodyStreamResponse]) -> None:
        if self._streams.get(region) is stream:
            del self._streams[region]

    async def take_hand_over(self, region: str, message: signed_pb2.SignedMessage) -> int:
        """Verify and take; returns the number to acknowledge. Raises BadSignature or InvalidInput."""
        self._verify_region(message, "hand-over", region)
        work = read_hand_over(region, message)
        for key in raised(await self._engine.submit(work)):
            self._released(key, None)
        return work.number

    def release_refused(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Raises UnknownKey or BadSignature for what the issuer did not sign, InvalidInput for another's voucher."""
        refusal = read_refused(message, region, self.keyring)
        if refusal.key.issuer != region:
            raise InvalidInput(f"is of {refusal.key.issuer}", place="custody refused", remedy="refuse own vouchers")
        self._released(refusal.key, refusal)

    async def recall(self, region: str, request: custody_pb2.RecallRequest) -> custody_pb2.RecallResponse:
        """Give an issuer's vouchers back. Raises BadSignature or InvalidInput for hand-overs that are not its own."""
        if len(request.vouchers) > VOUCHERS_PER_MESSAGE:
            raise InvalidInput(f"{len(request.vouchers)} vouchers", place="recall", remedy="send 1000 at most")
        for message in request.releases:
            self._verify_region(message, "hand-over", region)
        releases = [read_hand_over(region, message) for message in request.releases]
        epochs = {VoucherKey(region, each.pack_id, each.index): each.epoch for each in request.vouchers}
        response: custody_pb2.RecallResponse = raised(await self._engine.submit(Recall(region, epochs, releases)))
        return response

    async def follow(self, region: str, after: int) -> AsyncIterator[list[custody_pb2.FeedEvent]]:
        """A region's feed after a sequence, for ever."""
        while True:
            news = self._news_of(region)
            news.clear()
            events = await asyncio.to_thread(self._feed_after, region, after)
            if events:
                after = events[-1].sequence
                yield events
                continue
            try:
                await asyncio.wait_for(news.wait(), FEED_POLL_SECONDS)
            except TimeoutError:
                continue

    def _feed_after(self, region: str, after: int) -> list[custody_pb2.FeedEvent]:
        table = schema.feed
        query = (
            select(table.c.event)
            .where(table.c.region == region, table.c.sequence > after)
            .order_by(table.c.sequence)
            .limit(FEED_PAGE)
        )
        with self.database.snapshot() as transaction:
            return [custody_pb2.FeedEvent.FromString(row.event) for row in transaction.connection.execute(query)]

    def _verify_region(self, message: signed_pb2.SignedMessage, kind: str, region: str) -> None:
        key = self.keyring.verify(message.key_id, kind, message.body, message.signature)
        require_not_denied(key)
        purpose = "terms" if kind == "terms" else "message"
        if key.owner != region or key.purpose != purpose:
            raise BadSignature(f"{kind} of {region} is signed by {key.owner}'s key for {key.purpose}")

    # Directory

    async def directory(self, own_chains: Sequence[bytes]) -> directory_pb2.GetDirectoryResponse:
        def load() -> directory_pb2.GetDirectoryResponse:
            with self.database.snapshot() as transaction:
                run = transaction.connection.execute
                suspensions = Suspensions(transaction)
                chains: dict[str, list[bytes]] = {}
                for row in run(schema.signing_chain.select()):
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
                        for row in run(schema.participant.select().order_by(schema.participant.c.region))
                    ],
                    clearinghouse_chains=own_chains,
                    agreements=on_file(transaction),
                )

        return await asyncio.to_thread(load)

    async def publish_terms(self, region: str, message: signed_pb2.SignedMessage) -> bytes:
        """Keep an issuer's signed terms. Raises InvalidInput, BadSignature, or TrustError's kin for what is wrong."""
        self._verify_region(message, "terms", region)
        terms = parse_terms(message.body, "terms")
        if terms.issuer != region:
            raise InvalidInput(f"is a campaign of {terms.issuer}", place="terms", remedy=f"publish as {terms.issuer}")
        row = {
            "terms_hash": terms.terms_hash,
            "campaign": terms.campaign,
            "issuer": terms.issuer,
            "document": message.body,
            "key_id": message.key_id,
            "signature": message.signature,
        }
        await self._write(lambda transaction: transaction.upsert(schema.terms, [row]))
        return terms.terms_hash

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

        return await asyncio.to_thread(load)

    async def publish_change(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Keep an issuer's signed change and tell every node. Raises InvalidInput or BadSignature."""
        signed = verify_change(message, self.keyring)
        require_not_denied(self.keyring.key(message.key_id))
        if signed.change.issuer != region:
            raise InvalidInput(f"is a change of {signed.change.issuer}", place="change", remedy=f"publish as {region}")
        await self._step(PublishChange(signed), "campaign-change", 0)

    # Suspensions

    async def publish_suspension(self, region: str, message: signed_pb2.SignedMessage) -> None:
        """Keep a region's suspension or reactivation and tell every node. Raises InvalidInput or BadSignature."""
        self._verify_region(message, "suspension", region)
        await self._step(TakeSuspension(verify_suspension(message, self.keyring)), "suspension", 0)

    async def suspend(
        self, by: Identity, request: clearing_operator_pb2.SuspendInNetworkRequest
    ) -> suspension_pb2.Suspension:
        """Suspend or reactivate, as the operator decided. Raises InvalidInput."""
        if not request.why:
            raise InvalidInput("needs why it is made", place="suspension")
        kind = wire.suspension_kind(request.kind)
        if kind is SuspensionKind.KEY:
            self._require_foreign_key(request.subject)
        work = Suspend(kind, request.subject, request.suspended, by.uri, request.why, request.bad_from)
        suspension = await self._step(work, "suspension", 0)
        self._deny_anew(await asyncio.to_thread(self._newest_deny_list))
        return wire.suspension_message(suspension)

    def _require_foreign_key(self, subject: str) -> None:
        """The clearinghouse signs the very list that would name its own key. Raises InvalidInput."""
        remedy = "name a participant's key by its id of 16 hexadecimal digits"
        try:
            key = self.keyring.key(bytes.fromhex(subject))
        except (ValueError, UnknownKey) as error:
            raise InvalidInput(f"no key {subject} is known here", place="suspension", remedy=remedy) from error
        if key.owner == CLEARINGHOUSE:
            raise InvalidInput(f"{subject} is the clearinghouse's own key", place="suspension", remedy=remedy)

    async def suspensions(self, history: bool) -> list[suspension_pb2.SuspensionRecord]:
        def load() -> list[suspension_pb2.SuspensionRecord]:
            with self.database.snapshot() as transaction:
                return records(transaction, history)

        return await asyncio.to_thread(load)

    def _newest_deny_list(self) -> DenyList | None:
        with self.database.snapshot() as transaction:
            known = newest_deny_list(transaction)
        return known.denylist if known else None

    def _deny_anew(self, newest: DenyList | None) -> None:
        if newest is not None and newest.number > self.keyring.denylist.number:
            self.keyring.deny(newest)

    # Operator

    async def enrol(self, request: clearing_operator_pb2.EnrolParticipantRequest) -> None:
        """Admit a region with its signing keys. Raises TrustError for a chain that does not lead to the root."""
        regions.region(request.region)
        rows = []
        for chain in request.signing_chains:
            key = self.keyring.examine(chain)
            if key.owner != request.region:
                raise InvalidInput(f"is {key.owner}'s key", place="signing_chains", remedy="send the region's own")
            rows.append({"owner": key.owner, "key_id": key.key_id, "chain": chain})
        for chain in request.signing_chains:
            self.keyring.add(chain)
        participant = {
            "region": request.region,
            "name_zh": request.name_zh,
            "name_en": request.name_en,
            "net_debit_cap_fen": 0,
            "credit_line_fen": 0,
            "credit_offset_bp": 0,
            "owed_held_fen": 0,
            "owed_posted_fen": 0,
            "due_posted_fen": 0,
            "limit_percent": 0,
            "credit_percent": 0,
            "withheld_fen": 0,
        }

        def store(transaction: Transaction) -> None:
            table = schema.participant
            transaction.upsert(schema.signing_chain, rows)
            if not transaction.select_keys(table, [table.c.region], [(request.region,)]):
                transaction.insert(table, [participant])
                desk = Desk(transaction, self._shelf, self._signer)
                tell_newcomer(desk, request.region)
                desk.save("enrolment", window=0)

        await self._write(store)

    async def set_limits(self, request: clearing_operator_pb2.SetLimitsRequest) -> None:
        if min(request.net_debit_cap_fen, request.credit_line_fen) < 0 or request.credit_offset_bp > 10_000:
            raise InvalidInput("is out of range", place="limits", remedy="send amounts of 0 or more, at most 10000 bp")

        def store(transaction: Transaction) -> None:
            table = schema.participant
            changed = transaction.connection.execute(
                table.update()
                .where(table.c.region == request.region)
                .values(
                    net_debit_cap_fen=request.net_debit_cap_fen,
                    credit_line_fen=request.credit_line_fen,
                    credit_offset_bp=request.credit_offset_bp,
                )
            )
            if changed.rowcount != 1:
                raise _not_enrolled(request.region)
            self._watch(transaction, request.region)

        await self._write(store)

    def _watch(self, transaction: Transaction, region: str) -> None:
        """Warn a region whose limits changed under what it uses."""
        desk = Desk(transaction, self._shelf, self._signer)
        desk.watch(region)
        desk.save("limits", window=0)

    async def set_visitors_fund(self, request: clearing_operator_pb2.SetVisitorsFundRequest) -> None:
        """Set a region's standing fund for a year, in place of what it was; no budget falls under what is used."""
        table, year, rule = schema.visitors_funder, request.fiscal_year, request.rule
        funders = [VisitorsFunder(each.name, each.weight, each.budget_fen) for each in request.funders]
        check_visitors_fund(year, rule, funders)
        common = {"region": request.region, "fiscal_year": year, "rule": rule}
        rows = [{**common, "position": position, **each._asdict()} for position, each in enumerate(funders)]

        def store(transaction: Transaction) -> None:
            _require_enrolled(transaction, request.region)
            desk = Desk(transaction, self._shelf, self._signer)
            present = (table.c.region == request.region) & (table.c.fiscal_year == year)
            named = [row.name for row in transaction.connection.execute(table.select().where(present))]
            budgets = dict.fromkeys(named, 0) | {each.name: each.budget_fen for each in funders}
            for name, budget_fen in budgets.items():
                account = visitors_account(request.region, year, name)
                balance = desk.books.balance(account)
                require_budget(balance, name, budget_fen)
                desk.books.move([Movement(account, "", limit_fen=budget_fen - balance.limit_fen)])
            transaction.connection.execute(table.delete().where(present))
            transaction.insert(table, rows)
            desk.save("visitors-fund", request.region, window=0)

        await self._write(store)

    async def record_deposit(self, request: clearing_operator_pb2.RecordDepositRequest) -> int:
        """A region's money, or with no region a receipt that is nobody's yet.

        Returns the region's balance, or what is in suspense, in fen.
        """
        work = RecordDeposit(request.region, request.amount_fen, request.bank_reference, request.memo)
        return int(await self._step(work, "deposit", 0))

    async def assign_receipt(self, request: clearing_operator_pb2.AssignReceiptRequest) -> int:
        """Returns the balance of the region whose the receipt is, in fen."""
        return int(await self._step(AssignReceipt(request.bank_reference, request.region), "assignment", 0))

    async def pay_out(self, request: clearing_operator_pb2.PayOutRequest) -> int:
        """Returns what is left of the region's balance, in fen."""
        return int(await self._step(PayOut(request.region, request.amount_fen, request.bank_reference), "pay-out", 0))

    async def bank_receipts(self) -> list[clearing_operator_pb2.BankReceipt]:
        """Receipts in suspense, oldest first."""
        table = schema.deposit
        query = table.select().where(table.c.region == "").order_by(table.c.received_at, table.c.bank_reference)

        def load() -> list[clearing_operator_pb2.BankReceipt]:
            with self.database.snapshot() as transaction:
                return [
                    clearing_operator_pb2.BankReceipt(
                        bank_reference=row.bank_reference,
                        amount_fen=row.amount_fen,
                        received_at=row.received_at,
                        memo=row.memo,
                    )
                    for row in transaction.connection.execute(query)
                ]

        return await asyncio.to_thread(load)

    # Settlement

    async def close_window(self, number: int = 0) -> int:
        """Close a window (0: the open one), then calculate what is closed. Returns its number."""
        closed: int = await self._step(Close(number), "close", 0)
        await self.calculate_closed()
        return closed

    async def keep_time(self) -> None:
        """Close the open window when its cut-off has come; what the batches closed themselves is calculated."""
        if self.recovery:
            return
        if await asyncio.to_thread(self._is_due):
            await self._step(Close(), "close", 0)
        await self.calculate_closed()

    def _is_due(self) -> bool:
        with self.database.snapshot() as transaction:
            desk = Desk(transaction, self._shelf, self._signer)
            return is_due(desk.window_opened_at, desk.at, self._cut_off)

    async def calculate_closed(self) -> None:
        """Calculate every window that is closed and not calculated, also one that a crash left so; then the months
        that are over.
        """
        for number in await asyncio.to_thread(self._closed_windows):
            await self._step(Calculate(number, self._statement_signer), "calculate", 0)
        for month in await asyncio.to_thread(self._months_to_state):
            await self._step(StateMonth(month, self._statement_signer), "month", 0)

    def _months_to_state(self) -> list[str]:
        with self.database.snapshot() as transaction:
            return months_to_state(transaction)

    def _closed_windows(self) -> list[int]:
        table = schema.settlement_window
        query = select(table.c.number).where(table.c.state == "CLOSED").order_by(table.c.number)
        with self.database.snapshot() as transaction:
            return [row.number for row in transaction.connection.execute(query)]

    async def confirm(self, region: str, message: signed_pb2.SignedMessage) -> int:
        self._verify_region(message, "confirmation", region)
        confirmation = wire.parse(settlement_pb2.Confirmation, message.body, "confirmation")
        kind = ConfirmMonth if confirmation.month else Confirm
        return int(await self._step(kind(region, message, confirmation), "confirm", 0))

    async def instruct(self, number: int) -> None:
        await self._step(Instruct(number), "instruct", 0)

    async def mark_paid(self, request: clearing_operator_pb2.MarkPaidRequest) -> None:
        await self._step(MarkPaid(request.window, request.region, request.bank_reference), "mark-paid", 0)

    async def settle(self, number: int) -> None:
        await self._step(Settle(number), "settlement", 0)

    async def _step(self, work: Work, kind: str, window: int | None, reference: str = "") -> Any:
        """One work in a transaction of its own, so that its fault concerns nobody else; window None: the open one."""

        def run() -> Any:
            with self.database.transaction() as transaction:
                desk = Desk(transaction, self._shelf, self._signer)
                result = work.decide(desk)
                desk.save(kind, reference, window)
            self._announce(desk.told)
            return result

        return await asyncio.to_thread(run)

    async def window(self, number: int) -> settlement_pb2.SettlementWindow:
        """A window with its positions; 0 asks for the open one."""

        def load() -> settlement_pb2.SettlementWindow:
            table, position, statement = schema.settlement_window, schema.net_position, schema.statement
            wanted = table.c.number == number if number else table.c.state == "OPEN"
            with self.database.snapshot() as transaction:
                run = transaction.connection.execute
                row = run(table.select().where(wanted)).first()
                if row is None:
                    raise InvalidInput(f"no window {number}", place="window")
                confirmed = {
                    each.region
                    for each in run(statement.select().where(statement.c.settlement_window == row.number))
                    if each.confirmation is not None
                }
                positions = run(
                    position.select().where(position.c.settlement_window == row.number).order_by(position.c.region)
                ).all()
            return settlement_pb2.SettlementWindow(
                number=row.number,
                state=settlement_pb2.WindowState.Value(f"WINDOW_STATE_{row.state}"),
                opened_at=row.opened_at,
                closed_at=row.closed_at,
                gross_fen=row.gross_fen,
                positions=[
                    settlement_pb2.NetPosition(
                        region=each.region,
                        net_fen=each.net_fen,
                        confirmed=each.region in confirmed,
                        bank_reference=each.bank_reference,
                        payout_fen=each.payout_fen,
                    )
                    for each in positions
                ],
            )

        return await asyncio.to_thread(load)

    async def statement(self, region: str, window: int, month: str = "") -> signed_pb2.SignedMessage:
        """A region's signed statement of a window, or of a month. Raises InvalidInput where there is none."""

        def load() -> signed_pb2.SignedMessage:
            with self.database.snapshot() as transaction:
                return signed_statement(transaction, region, window, month)

        return await asyncio.to_thread(load)

    async def statement_evidence(self, region: str, window: int) -> AsyncIterator[list[bytes]]:
        """What a region's statement can be recomputed from, as lines of JSON, some at a time."""
        lines = evidence(self.database, self._statement_signer, region, window)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "evidence") as reader:
            try:
                while (some := await loop.run_in_executor(reader, next, lines, None)) is not None:
                    yield some
            finally:
                await loop.run_in_executor(reader, lines.close)

    async def take_dispute(self, region: str, message: signed_pb2.SignedMessage) -> None:
        self._verify_region(message, "dispute", region)
        dispute = wire.parse(settlement_pb2.Dispute, message.body, "dispute")
        if dispute.region != region or not dispute.lines or not dispute.why:
            raise InvalidInput(f"needs lines of {region}'s statement and a reason", place="dispute")
        await self._step(TakeDispute(message, dispute), "dispute", 0)

    async def disputes(self) -> list[clearing_operator_pb2.DisputeRecord]:
        """Every dispute, the open ones first, then by time."""
        table = schema.dispute
        query = table.select().order_by(table.c.resolved_at != 0, table.c.raised_at, table.c.region, table.c.number)

        def load() -> list[clearing_operator_pb2.DisputeRecord]:
            with self.database.snapshot() as transaction:
                return [record(row) for row in transaction.connection.execute(query)]

        return await asyncio.to_thread(load)

    async def resolve_dispute(
        self, request: clearing_operator_pb2.ResolveDisputeRequest
    ) -> clearing_operator_pb2.DisputeRecord:
        """Decide a dispute; adjusting entries are booked in the window that is open now and name it."""
        adjustments = [(each.redemption_id, each.amount_fen) for each in request.adjustments]
        work = Resolve(request.region, request.number, request.upheld, request.why, adjustments)
        reference = f"dispute {request.region}/{request.number}"
        resolved: clearing_operator_pb2.DisputeRecord = await self._step(work, "adjustment", None, reference)
        return resolved

    async def campaign_figures(self, campaign: str, issuer: str = "") -> report_pb2.CampaignFigures:
        """What was decided here of a campaign, for its issuer or (empty) the clearinghouse's own operator."""

        def load() -> report_pb2.CampaignFigures:
            with self.database.snapshot() as transaction:
                return clearing_figures(transaction, campaign, issuer)

        return await asyncio.to_thread(load)

    async def status(self) -> clearing_operator_pb2.GetClearingStatusResponse:
        def load() -> clearing_operator_pb2.GetClearingStatusResponse:
            with self.database.snapshot() as transaction:
                desk = Desk(transaction, self._shelf, self._signer)
                return clearing_operator_pb2.GetClearingStatusResponse(
                    regions=[self._region_status(desk, region) for region in desk.regions],
                    warnings=latest_warnings(transaction.connection),
                )

        return await asyncio.to_thread(load)

    def _region_status(self, desk: Desk, region: str) -> clearing_operator_pb2.RegionStatus:
        position = desk.position(region)
        return clearing_operator_pb2.RegionStatus(
            region=region,
            custody_stream_open=region in self._streams,
            exposure_fen=position.exposure_fen,
            limit_fen=position.limit_fen,
            settlement_fen=position.secured_fen,
            arrears_fen=arrears_fen(desk, region),
            withheld_fen=desk.withheld_fen(region),
            limit_percent=position.warned[0],
            credit_line_fen=position.credit_line_fen,
            credit_used_fen=position.credit_used_fen,
            credit_percent=position.warned[1],
            suspended=desk.suspensions.find(SuspensionKind.REGION, region) is not None,
        )

    async def stats(self, query: stats_pb2.StatsQuery) -> list[stats_pb2.StatsRow]:
        def load() -> list[stats_pb2.StatsRow]:
            with self.database.snapshot() as transaction:
                return read_stats(transaction, query)

        return await asyncio.to_thread(load)

    async def _write(self, store: Any) -> None:
        await asyncio.to_thread(self._in_transaction, store)

    def _in_transaction(self, store: Any) -> Any:
        with self.database.transaction() as transaction:
            return store(transaction)


def _require_enrolled(transaction: Transaction, region: str) -> None:
    table = schema.participant
    if not transaction.select_keys(table, [table.c.region], [(region,)]):
        raise _not_enrolled(region)


def _not_enrolled(region: str) -> InvalidInput:
    return InvalidInput(f"{region} is not enrolled", place="region", remedy="enrol it first")
