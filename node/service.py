"""A node's use cases: claim, redeem, release, recall, follow the clearinghouse.

Everything that changes the books goes through one group commit; this file prepares what a batch needs from outside
(signatures, terms and keys of other regions) and takes the results where they must go after the commit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select

from chassis import telemetry
from chassis.commit import GroupCommit
from chassis.database import Database, Query
from chassis.ids import FreshIds
from custodian import schema as custodian_schema
from custodian.batching import raised
from custodian.campaigns import verify_change
from custodian.continuity import Continuity
from custodian.custody_messages import CustodyRefused, read_refused
from custodian.decisions import Answered, Received
from custodian.evidence import SignedBatch
from custodian.incarnations import Void
from custodian.lookup import Listed
from custodian.receiving import receive, receive_stranger
from custodian.servicer import Emit
from custodian.suspensions import verify_suspension
from custodian.undecided import Undecided
from custodian.verification import RootMemory
from custodian.withdrawals import read_withdrawal
from node import reading, schema
from node.announcing import Announcements
from node.claiming import Claim, read_claim
from node.custody import HandOverTaken, HandOverVoid, Release, Sweep, overdue
from node.desk import Desk, Region, Work
from node.directory import Directory
from node.engine import Engine
from node.feed import SEQUENCE, FeedGap, Park, Read, TakeParked, kind_of, news_of
from node.ports import Clearinghouse
from node.recall import Given, TakeReturns
from node.reconciling import Reconciler
from node.recovery import Recovery
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake, QuoteAnswer, QuoteAsked
from node.signatures import require_clearinghouse
from node.way import Way
from pki.denylist import load_denylist
from pki.identity import CLEARINGHOUSE, Identity
from pki.trust import Keyring
from quanlian import hand_overs, vouchers, wire
from quanlian.errors import (
    ConfigurationError,
    Unavailable,
)
from quanlian.signing import Signer
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.v1.redemption_pb2 import RedemptionRecord
from quanlian.vouchers import VoucherKey
from quanlian.wire import Purchase

SWEEP_LIMIT = 500
UNREACHABLE_SECONDS = 5.0
MAX_QUOTE_CALLS = 64
"""Open at once for the quotes of one platform, each over a stream of its own; beyond them a quote gets no answer."""

ACQUAINT_SECONDS = 0.2
"""How long the items of a message wait for one whose keys or terms are asked for; then they go on without it."""

RECOVER = "quanlian node recover"
MAX_RELEASE_BYTES = 1024 * 1024
"""Of hand-overs that go with one recall, beside those that the clearinghouse has not acknowledged."""

_OUTBOX, _HAND_OVER, _COUNTER = schema.outbox.c, schema.hand_over.c, custodian_schema.counter.c
_UNANSWERED = Query(
    select(_OUTBOX.own_id, _OUTBOX.caller, _OUTBOX.content).where(_OUTBOX.answered.is_(False)).order_by(_OUTBOX.own_id)
)
_OPEN_HAND_OVERS = Query(
    schema.hand_over.select()
    .where(_HAND_OVER.taken.is_(False), _HAND_OVER.number > bindparam("after"))
    .order_by(_HAND_OVER.number)
)
_FEED_POSITION = Query(select(_COUNTER.value).where(_COUNTER.name == SEQUENCE))

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


class _Waiting:
    """A caller's items that the clearinghouse decides: what is open of them, and where their answers go."""

    def __init__(self, items: int, emit: Emit) -> None:
        self._open = items
        self._emit = emit
        self.done = asyncio.get_running_loop().create_future()

    def give(self, answers: Sequence[bytes]) -> None:
        """Nothing is emitted for a caller that has gone."""
        self._open -= len(answers)
        if not self.done.cancelled():
            self._emit(answers)
            if not self._open:
                self.done.set_result(None)


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
        commit: Callable[..., GroupCommit[Work | Claim, Any]] = GroupCommit,
    ) -> None:
        self.database = database
        self.region = region
        self.keyring, self.signers = keyring, signers
        self.ids = ids or FreshIds()
        self.undecided = Undecided(self.ids)
        self.continuity = Continuity(RECOVER)
        self.engine = Engine(database, region, self.continuity, commit)
        self.shelf = self.engine.shelf
        self._roots = RootMemory(keyring)
        self.directory = Directory(self.engine, keyring, self._roots, clearinghouse)
        self.announcements = Announcements(self.engine, clearinghouse)
        self.reconciler = Reconciler(self.engine, keyring, signers.message, clearinghouse)
        self.recovery = Recovery(self.engine, self.directory, keyring, clearinghouse, self.continuity)
        self._clearinghouse = clearinghouse
        self._lost_at: float | None = None
        self._waiting: dict[bytes, list[_Waiting]] = {}
        self._way = Way()
        self._quoting: Counter[str] = Counter()
        self._deciding: set[asyncio.Future[list[Any]]] = set()

    def start(self) -> None:
        self.engine.group.start()

    def close(self) -> None:
        """Decide what was accepted, then stop."""
        self.engine.group.close()

    # Redemptions

    async def submit(
        self, caller: Identity, items: Sequence[bytes], emit: Emit, batch: SignedBatch | None = None
    ) -> None:
        """Decide a platform's items. Answers of this node are emitted after their commit, the others when they come.

        An item whose keys or terms must be asked for first holds up no other. Raises what kept an item from being
        decided, once the others have their answers.
        """
        ids = self.ids.uuid7s(len(items))
        received = [self._receive(caller, content, id, batch) for content, id in zip(items, ids, strict=True)]
        strangers = {at: self._met(each) for at, each in enumerate(received) if self._is_stranger(each)}
        if not strangers:
            return await self._answer(received, emit)
        reading = {at: asyncio.ensure_future(meeting) for at, meeting in strangers.items()}
        try:
            await asyncio.wait(reading.values(), timeout=ACQUAINT_SECONDS)
            late = [each for each in reading.values() if not each.done()]
            ready = [each for at, each in enumerate(received) if at not in reading or reading[at].done()]
            groups = [self._answer(ready, emit), *(self._answer_late(each, emit) for each in late)]
            for outcome in await asyncio.gather(*groups, return_exceptions=True):
                raised(outcome)
        finally:
            for each in reading.values():
                each.cancel()

    def _is_stranger(self, received: Received) -> bool:
        """Whether a voucher's keys or terms must be asked for before it can be judged."""
        subject = received.item.subject if received.item else None
        return isinstance(subject, Purchase) and not self.directory.has_met(subject)

    async def _met(self, stranger: Received) -> Received:
        return await receive_stranger(stranger, self.directory.acquaint, self._roots)

    async def _answer_late(self, reading: asyncio.Future[Received], emit: Emit) -> None:
        await self._answer([await reading], emit)

    async def _answer(self, received: Sequence[Received], emit: Emit) -> None:
        if not received:
            return
        deciding = asyncio.ensure_future(self._decide(received))
        self._deciding.add(deciding)
        deciding.add_done_callback(self._deciding.discard)
        replies = await asyncio.shield(deciding)
        emit([reply.content for reply in replies if isinstance(reply, Answered)])
        waiting = self._wait_for([reply.own_id for reply in replies if isinstance(reply, Forwarded)], emit)
        quotes = [reply for reply in replies if isinstance(reply, QuoteAsked)]
        await asyncio.gather(self._ask_quotes(quotes, emit), waiting)
        for reply in replies:
            raised(reply)

    async def _decide(self, received: Sequence[Received]) -> list[Any]:
        """Decide, and send on what the clearinghouse decides, whether or not the caller stays to hear of it.

        What an earlier request left in flight is sent again: the answer is the same.
        """
        unreachable = self._clearinghouse_unreachable()
        own_ids = self.ids.uuid7s(len(received))
        intakes = [Intake(each, own_id, unreachable, self._way) for each, own_id in zip(received, own_ids, strict=True)]
        forwarded: list[Forwarded] = []
        try:
            replies = await self.engine.group.submit_many(intakes)
            forwarded = [reply for reply in replies if isinstance(reply, Forwarded)]
        finally:
            entered = Counter(each.entered for each in intakes if each.entered)
            self._way.leave((entered - Counter(reply.own_id for reply in forwarded)).elements())
        self._clearinghouse.send([reply.content for reply in forwarded])
        return replies

    async def _ask_quotes(self, quotes: Sequence[QuoteAsked], emit: Emit) -> None:
        """Ask the clearinghouse once for all; a quote that gets no answer is refused, to be tried again."""
        if not quotes:
            return
        platform = quotes[0].received.participant
        given: Sequence[bytes] = []
        if self._quoting[platform] < MAX_QUOTE_CALLS:
            self._quoting[platform] += 1
            try:
                given = await self._clearinghouse.quote([each.content for each in quotes])
            except Unavailable:
                given = []
            finally:
                self._quoting[platform] -= 1
        answers = {wire.answer_request_id(each): each for each in given}
        works = [QuoteAnswer(each.received, answers.get(wire.request_id_of(each.content))) for each in quotes]
        emit([raised(answer) for answer in await self.engine.group.submit_many(works)])

    async def clearinghouse_answered(self, answers: Sequence[bytes], batch: SignedBatch | None = None) -> None:
        """Book answers, then let those who wait for them go on.

        What cannot be booked is logged: its request is unanswered still, and sent again over the next stream.
        """
        results = await self.engine.group.submit_many([ClearinghouseAnswer(each, batch) for each in answers])
        given: dict[_Waiting, list[bytes]] = {}
        for content, result in zip(answers, results, strict=True):
            if isinstance(result, Exception):
                _log.error(
                    "an answer of the clearinghouse was not booked",
                    answer=content.hex(),
                    error=repr(result),
                    exc_info=result,
                )
            elif result is not None:
                own_id, answer = result
                self._way.leave([own_id])
                for waiting in self._waiting.pop(own_id, ()):
                    given.setdefault(waiting, []).append(answer)
        for waiting, its_answers in given.items():
            waiting.give(its_answers)

    async def unanswered(self) -> list[bytes]:
        """Items that the clearinghouse has not answered yet, oldest first: to be sent again after a break."""
        before = self._way.entered()
        rows = await self.engine.rows(_UNANSWERED)
        self._way.send_again(before, {row.own_id: row.caller for row in rows})
        return [row.content for row in rows]

    async def _wait_for(self, own_ids: Sequence[bytes], emit: Emit) -> None:
        """Emit the clearinghouse's answers as they come, those that come together at once.

        Nobody waits any more for a caller that hangs up; what was sent on stays so.
        """
        if not own_ids:
            return
        waiting = _Waiting(len(own_ids), emit)
        for own_id in own_ids:
            self._waiting.setdefault(own_id, []).append(waiting)
        try:
            await waiting.done
        except asyncio.CancelledError:
            for own_id in own_ids:
                self._forget(own_id, waiting)
            raise

    def _forget(self, own_id: bytes, gone: _Waiting) -> None:
        left = [each for each in self._waiting.pop(own_id, ()) if each is not gone]
        if left:
            self._waiting[own_id] = left

    def _receive(self, caller: Identity, content: bytes, redemption_id: bytes, batch: SignedBatch | None) -> Received:
        return receive(
            content,
            participant=caller.name,
            acquirer=caller.name,
            redeeming_region=self.region.code,
            redemption_id=redemption_id,
            verifier=self._roots,
            batch=batch,
        )

    async def find(self, caller: Identity, redemption_id: bytes) -> RedemptionRecord | None:
        """A redemption decided here or away, for the platform that made it or the operator."""

        def load() -> RedemptionRecord | None:
            with self.database.snapshot() as transaction:
                return reading.find(transaction, _platform(caller), redemption_id)

        return await self.database.read(load)

    async def page(self, caller: Identity, after: int, size: int) -> list[Listed]:
        def load() -> list[Listed]:
            with self.database.snapshot() as transaction:
                return reading.page(transaction, _platform(caller), after, size)

        return await self.database.read(load)

    # Claims

    async def claim(self, caller: Identity, contents: Sequence[bytes]) -> list[bytes]:
        """Decide claims, in order; packs that roam from their issue on are handed over at once."""
        claims = self.read_claims(caller, contents)
        answers = await self._sold_out(claims)
        left = [claim for claim, answer in zip(claims, answers, strict=True) if answer is None]
        decided = iter(await self.engine.group.submit_many(left))
        self._clearinghouse.hand_overs_waiting()
        return [raised(next(decided)) if answer is None else answer for answer in answers]

    async def _sold_out(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """What is answered without a commit, where a round was sold out when somebody last asked; None for the rest.

        The books have the word, not that memory: once a round has packs again, its claims go the usual way.
        """
        if self.shelf.sold_out.isdisjoint({claim.round for claim in claims}):
            return [None] * len(claims)
        return await self.engine.look(claims)

    def read_claims(self, caller: Identity, contents: Sequence[bytes]) -> list[Claim]:
        """Each with a fresh pack id. Raises InvalidInput for what is no claim."""
        at, size = self.ids.milliseconds(), vouchers.PACK_RANDOM_BYTES
        random = self.ids.random(size * len(contents))
        pack_ids = [vouchers.make_pack_id(at, random[n : n + size]) for n in range(0, len(random), size)]
        participant, tag_key = caller.name, self.region.tag_key
        return [
            read_claim(content, participant, tag_key, pack_id)
            for content, pack_id in zip(contents, pack_ids, strict=True)
        ]

    # Custody and feed

    async def release(self, request: custody_pb2.ReleaseRequest) -> list[custody_pb2.CustodyStreamRequest]:
        """Hand-overs and refusals for the clearinghouse; what it gave back is taken first, in the same commit."""
        epochs = {(each.pack_id, each.index): each.epoch for each in request.vouchers}
        for message in request.returns:
            require_clearinghouse(self.keyring, hand_overs.signed_head(message), hand_overs.KIND)
        works: list[Work] = [TakeReturns([each]) for each in request.returns]
        *taken, messages = await self.engine.group.submit_many([*works, Release(list(epochs), epochs)])
        for error in filter(None, taken):
            _log.warning("a return was not taken", error=str(error))
        given: list[custody_pb2.CustodyStreamRequest] = raised(messages)
        return given

    async def recall(self, keys: Sequence[VoucherKey]) -> Recalled:
        """Take vouchers back from the clearinghouse, with their money. Raises Unavailable when it does not answer;
        what it gave back then comes by the feed.

        What gave them out may be of terms that it has not been told of yet: it is told first.
        """

        def load() -> custody_pb2.RecallRequest:
            with self.database.snapshot() as transaction:
                given = Given(Desk(transaction, self.region, self.shelf), keys)
                request = custody_pb2.RecallRequest(releases=given.releases(MAX_RELEASE_BYTES))
            for each in given.vouchers:
                request.vouchers.add(pack_id=each.key.pack_id, index=each.key.voucher_index, epoch=each.epoch)
            return request

        request = await self.database.read(load)
        if not request.vouchers:
            return Recalled(0, [])
        await self.announcements.announce_changes()
        response = await self._clearinghouse.recall(request)
        refusals = [read_refused(each, CLEARINGHOUSE, self.keyring) for each in response.refused]
        for message in response.returns:
            require_clearinghouse(self.keyring, hand_overs.signed_head(message), hand_overs.KIND)
        try:
            await self.engine.submit(TakeReturns(list(response.returns)))
        except Void as error:
            raise Unavailable(str(error)) from error
        return Recalled(len(request.vouchers) - len(refusals), refusals)

    def clearinghouse_lost(self, seconds_ago: float = 0.0) -> None:
        """The stream of redemptions is not open, or nothing has come by it since then."""
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time() - seconds_ago

    @property
    def reaches_clearinghouse(self) -> bool:
        """Whether the stream of redemptions is open and holds."""
        return self._lost_at is None

    def clearinghouse_found(self) -> None:
        """The stream of redemptions is open and holds."""
        self._lost_at = None

    def _clearinghouse_unreachable(self) -> bool:
        """Whether it has been away for longer than a restart or a renewed connection takes."""
        now = asyncio.get_running_loop().time()
        return self._lost_at is not None and now - self._lost_at > UNREACHABLE_SECONDS

    async def hand_over_taken(self, number: int) -> None:
        await self.engine.submit(HandOverTaken(number))

    async def hand_over_void(self, number: int) -> list[custody_pb2.CustodyStreamRequest]:
        """What is given anew in place of a hand-over that the clearinghouse cannot take any more."""
        message = await self.engine.submit(HandOverVoid(number))
        if message is None:
            return []
        _log.warning("a hand-over was void and is given anew", number=number)
        return [custody_pb2.CustodyStreamRequest(hand_over=message)]

    async def open_hand_overs(self, after: int) -> list[tuple[int, signed_pb2.SignedMessage]]:
        """Hand-overs given and not known to be taken, in order."""
        return [
            (row.number, signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature))
            for row in await self.engine.rows(_OPEN_HAND_OVERS, after=after)
        ]

    async def feed_position(self) -> int:
        rows = await self.engine.rows(_FEED_POSITION)
        return rows[0].value if rows else 0

    async def take_news(self, events: Sequence[custody_pb2.FeedEvent], head: signed_pb2.SignedMessage) -> None:
        """Take events of the feed, and what shows how far the clearinghouse is; one that never can be is parked.

        Raises FeedGap, Void or Unavailable to follow again.
        """
        try:
            await self._take_together(events, head)
        except (Unavailable, ConfigurationError, FeedGap, Void):
            raise
        except Exception:
            for event in events:
                await self._take_or_park(event, head)
        if any(event.HasField("deny_list") for event in events):
            await self.directory.deny_newest()

    async def _take_or_park(self, event: custody_pb2.FeedEvent, head: signed_pb2.SignedMessage) -> None:
        try:
            await self._take_together([event], head)
        except (Unavailable, ConfigurationError, FeedGap, Void):
            raise
        except Exception as error:
            reason = str(error) or repr(error)
            await self.engine.submit(Park(event, head, reason))
            _alarm_parked(event.sequence, kind_of(event), reason)

    async def _take_together(self, events: Sequence[custody_pb2.FeedEvent], head: signed_pb2.SignedMessage) -> None:
        read = {event.sequence: found for event in events if (found := await self._verified(event))}
        for sequence in await self.engine.submit(news_of(events, head, read)):
            _alarm_parked(sequence, "", "one that it depends on is parked")

    async def _verified(self, event: custody_pb2.FeedEvent) -> Read:
        """The signed document that an event brings, if it does. Raises BadSignature for what is not signed so."""
        kind = kind_of(event)
        if kind not in ("fund_return", "campaign_change", "custody_return", "suspension", "deny_list", "withdrawn"):
            return None
        message: signed_pb2.SignedMessage = getattr(event, kind)
        if not self.directory.knows(message.key_id):
            await self.directory.refresh()
        if kind == "campaign_change":
            signed = verify_change(message, self.keyring)
            if signed.change.issuer == self.region.code:
                await self.directory.require_terms(signed.change.terms_hash)
            return signed
        if kind == "suspension":
            return verify_suspension(message, self.keyring)
        if kind == "withdrawn":
            return read_withdrawal(message, self.keyring)
        if kind == "deny_list":
            return load_denylist(message.body, message.signature, message.key_id, self.keyring)
        if kind == "fund_return":
            require_clearinghouse(self.keyring, message, "fund-return")
        else:
            require_clearinghouse(self.keyring, hand_overs.signed_head(message), hand_overs.KIND)
        return None

    async def parked_events(self) -> Sequence[Any]:
        """Events that could not be taken, oldest first."""
        table = schema.parked_event
        return await self.engine.read(table.select().where(table.c.taken_at.is_(None)).order_by(table.c.sequence))

    async def retry_parked(self) -> dict[int, str]:
        """Try every parked event again, in order. Returns why each was not taken, empty where it was, by sequence."""
        outcome = {}
        for row in await self.parked_events():
            event = custody_pb2.FeedEvent.FromString(row.event)
            try:
                await self.engine.submit(TakeParked(event, await self._verified(event)))
                outcome[event.sequence] = ""
            except (Unavailable, ConfigurationError):
                raise
            except Exception as error:
                outcome[event.sequence] = str(error) or repr(error)
        await self.directory.deny_newest()
        return outcome

    async def sweep(self) -> None:
        """Expire what the clock has passed, all of it: one sweep after another while they are full.

        Raises RecoveryNeeded where the database was set back meanwhile.
        """

        def look() -> Sweep:
            with self.database.snapshot() as transaction:
                self.continuity.look(transaction)
                return overdue(transaction, self.region.code, SWEEP_LIMIT)

        is_full = True
        while is_full:
            found = await self.database.read(look)
            if found.vouchers or found.packs:
                await self.engine.submit(found)
            is_full = found.is_full


def _platform(caller: Identity) -> str | None:
    """Whose redemptions a caller may read; None: everybody's."""
    return None if caller.role == "operator" else caller.name


def _alarm_parked(sequence: int, kind: str, reason: str) -> None:
    _log.error(
        "an event of the clearinghouse's feed is parked",
        sequence=sequence,
        kind=kind,
        reason=reason,
        remedy="mend the cause, then run: quanlian node feed retry",
    )
