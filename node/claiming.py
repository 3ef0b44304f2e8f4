"""Claims of a batch: decided in order, sealed under one signature for up to 256 packs, stored one row a pack.

This is a hot path: in a rush for vouchers a node decides many thousands of claims a second. So claims that follow one
another are decided in one loop over tuples, what a round's claims have in common is compiled once a batch, money is
booked once an account, and rows are built as the driver takes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from chassis.database import Query
from custodian import schema as books_schema
from custodian.book_rows import leg_data
from custodian.books import CLAIM, RequestKey, StoredAnswer
from node import schema
from node.custody import hand_over_packs
from node.desk import Desk, RoundKey
from node.domain.claims import ClaimFacts, Evidence, Issue, china_day, decide_claim
from quanlian import merkle, vouchers, wire
from quanlian.apportionment import Reservation
from quanlian.campaign_changes import Standing
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey, signing_bytes
from quanlian.suspensions import SuspensionKind
from quanlian.terms import Terms
from quanlian.v1 import claim_pb2, refusal_pb2
from quanlian.vouchers import Voucher

_CAMPAIGNS = Query(schema.campaign.select())

HolderKey = tuple[bytes, str, str]
"""Holder tag, campaign, round: the tag tells two apart at its first bytes, wherever their keys are compared."""
Shown = tuple[str, bytes]
"""A number that an application shows: its kind and digest."""
EVIDENCE_KINDS = ("invoice_number", "vehicle_identification_number", "registration_number")
_FIRST = (0, 0, 0)
_PLENTY_FEN = 2**62


class Claim(NamedTuple):
    """A platform's claim for one shopper, as `read_claim` gives it; the holder's id is a tag now and is not kept.

    `shown` are the numbers that an application shows; `reviewed`, that they are all there and were reviewed.
    """

    key: RequestKey
    body_hash: bytes
    round: RoundKey
    tag: bytes
    pack_id: bytes
    shown: tuple[Shown, ...]
    reviewed: bool


def read_claim(content: bytes, participant: str, tag_key: bytes, pack_id: bytes) -> Claim:
    """`tag_key` is the region's secret for holders' tags, `pack_id` fresh. Raises InvalidInput."""
    item = wire.parse(claim_pb2.ClaimItem, content, "claim")
    request_id, campaign, round_id, holder_id = item.request_id, item.campaign, item.round, item.holder_id
    if len(request_id) != wire.REQUEST_ID_BYTES or not holder_id:
        raise InvalidInput(
            "须有16字节的请求编号和领券人编号 · needs a request id of 16 bytes and a holder id", place="claim"
        )
    if not (campaign + round_id).isprintable():
        raise InvalidInput(
            "含控制字符 · has control characters",
            place="claim",
            remedy="照已发布的活动与轮次填写 · send campaign and round as published",
        )
    shown = _shown(item.evidence) if item.HasField("evidence") else ()
    return Claim(
        (participant, request_id),
        hashlib.sha256(content).digest(),
        (campaign, round_id),
        vouchers.holder_tag(_campaign_key(tag_key, campaign), holder_id),
        pack_id,
        shown,
        len(shown) == len(EVIDENCE_KINDS) and bool(item.evidence.review_reference),
    )


@lru_cache(maxsize=1024)
def _campaign_key(tag_key: bytes, campaign: str) -> bytes:
    """The campaign's key for holders' tags, which only this region can derive."""
    return hashlib.blake2b(campaign.encode(), key=tag_key, digest_size=32).digest()


def _shown(evidence: claim_pb2.Evidence) -> tuple[Shown, ...]:
    """Digests of the numbers that an application shows; the numbers themselves are not kept."""
    return tuple(
        (kind, hashlib.sha256(number.encode()).digest())
        for kind in EVIDENCE_KINDS
        if (number := getattr(evidence, kind))
    )


class Edition:
    """Packs of one issue, made in one transaction: what they share, compiled once, and how many there are."""

    __slots__ = ("bodies", "issue", "packs", "round", "row", "voucher")

    def __init__(self, round_key: RoundKey, issue: Issue, standing: Standing, key_id: bytes, at: int) -> None:
        self.round, self.issue, self.packs = round_key, issue, 0
        terms, pack = issue.terms, issue.pack
        not_before, not_after = pack.validity(at)
        self.voucher = Voucher(
            version=1,
            suite=vouchers.SUITE_ED25519_BATCH,
            key_id=key_id,
            issuer=terms.issuer,
            campaign=terms.campaign,
            terms_hash=terms.terms_hash,
            pack_id=b"",
            voucher_types=issue.voucher_types,
            holder_tag=b"",
            issued_at=at,
            not_before=not_before,
            not_after=standing.not_after(not_after),
            roaming=pack.roaming,
        )
        self.bodies = wire.PackBodies(self.voucher)
        types, legs, end = json.dumps(issue.voucher_types), _reservations_to_json(issue), self.voucher.not_after
        self.row = (
            (terms.campaign, issue.round.id, terms.terms_hash),
            (types, at, not_before, end, pack.roaming, legs, issue.reserved_fen, False),
        )
        """A pack's row, without its id before, its holder between and its seal behind."""


class RoundNow:
    """A round as this transaction sees it: its running counts, and what its claims have in common.

    `usual` is what may be issued now to whoever has not had the round's share, while the quota lasts and every funder
    has what it `needs`; None where each claim must be judged by itself.
    """

    __slots__ = (
        "claimed", "editions", "last_end", "needs", "offered", "per_day", "per_person", "quota", "reserved_fen",
        "standing", "usual", "vouchers",
    )  # fmt: skip

    def __init__(self, claimed: int, vouchers: int, reserved_fen: int, last_end: int) -> None:
        self.claimed, self.vouchers, self.reserved_fen, self.last_end = claimed, vouchers, reserved_fen, last_end

    def stand(self, standing: Standing, offered: Issue | None) -> None:
        """As the campaign stands, with what the round issues while no funder is dry; nothing is issued freely yet."""
        self.standing, self.offered = standing, offered
        self.editions: dict[Issue, Edition] = {}
        self.usual: Issue | None = None

    def issue_freely(self, usual: Issue) -> None:
        """A claim that has its share, within the quota and the money, need not be judged by itself."""
        opening = usual.round
        self.usual, self.needs, self.quota = usual, tuple(usual.needs.items()), opening.quota
        self.per_person = opening.per_person
        self.per_day = opening.per_person if opening.per_day is None else opening.per_day

    def count(self, edition: Edition) -> None:
        self.vouchers += edition.packs * len(edition.issue.reservations)
        self.reserved_fen += edition.packs * edition.issue.reserved_fen
        self.last_end = max(self.last_end, edition.voucher.not_after)


class Draft:
    """A pack that was decided and waits for its signature."""

    __slots__ = ("answer", "claim", "edition")

    def __init__(self, claim: Claim, edition: Edition) -> None:
        self.claim, self.edition = claim, edition
        self.answer = b""

    def told(self) -> bytes:
        """The answer, once the pack is sealed."""
        return self.answer


class _Free(dict[str, int]):
    """What each account may still commit while a run of claims is decided; read when it is first asked for."""

    def __init__(self, free_fen: Callable[[str], int]) -> None:
        self._free_fen = free_fen

    def __missing__(self, account: str) -> int:
        self[account] = fen = self._free_fen(account)
        return fen


class ClaimBatch:
    """The claims of one transaction: counts as they stand, packs waiting for their seal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._drafts: dict[RequestKey, Draft] = {}
        self._rounds: dict[RoundKey, RoundNow] = {}
        self._editions: list[Edition] = []
        self._holders: dict[HolderKey, tuple[int, int, int]] = {}
        """Packs in the round, the day of the last, packs on that day."""
        self._known_holders: set[HolderKey] = set()
        self._expected: list[Claim] = []
        self._evidence: dict[Shown, bytes | None] = {}
        self._terms = _own_terms(desk)
        self._today = china_day(desk.at)
        self._none_left = claim_pb2.ClaimAnswer(
            refusal=_message(Refusal(RefusalReason.QUOTA_EXHAUSTED)), decided_at=desk.at
        )

    @property
    def _key(self) -> SigningKey:
        """By which packs are signed, as suspensions have it now."""
        desk = self._desk
        return desk.suspensions.judged(desk.region.verifier.key(desk.region.voucher_signer.key_id))

    def expect(self, claims: Sequence[Claim]) -> None:
        """Note claims that will be decided in this batch."""
        self._desk.books.want(requests=[claim.key for claim in claims])
        self._expected += claims

    def decide(self, claims: Sequence[Claim]) -> list[bytes | Callable[[], bytes]]:
        """Claims that follow one another: each by the counts and the money as those before it left them.

        An answer is given at once where it is known or a refusal, and after `seal` where a pack is issued.
        """
        self._fetch()
        for round_key, now in self._rounds.items():  # what was decided between two runs may have changed the campaign
            self._stand(round_key, now)
        drafts, rounds, holders, today = self._drafts, self._rounds, self._holders, self._today
        books, results = self._desk.books, list[bytes | Callable[[], bytes]]()
        free = _Free(books.free_fen)
        for claim in claims:
            key, _, round_key, tag, pack_id, shown, _ = claim
            earlier = drafts.get(key)
            known = books.request(key) if earlier is None else None
            if earlier is not None or known is not None:
                results.append(self._repeated(claim, earlier, known))
                continue
            now = rounds.get(round_key) or self._open(round_key)
            holder = (tag, *round_key)
            count, day, on_day = holders[holder]
            on_day = on_day if day == today else 0
            issue = now.usual
            within = issue is not None and count < now.per_person and on_day < now.per_day
            if within and now.claimed >= now.quota:
                results.append(self._too_late(claim))
                continue
            if issue is None or not within or any([free[account] < fen for account, fen in now.needs]):
                judged = self._judge(claim, now, count, on_day, free.__getitem__)
                if isinstance(judged, Refusal):
                    results.append(self._refuse(claim, judged))
                    continue
                issue = judged
                if issue.round.mode == "application":
                    self._evidence.update(dict.fromkeys(shown, pack_id))
            for account, fen in issue.needs.items():
                free[account] -= fen
            edition = now.editions.get(issue) or self._edition(round_key, now, issue)
            edition.packs += 1
            now.claimed += 1
            holders[holder] = (count + 1, today, on_day + 1)
            draft = drafts[key] = Draft(claim, edition)
            results.append(draft.told)
        self._reserve(free)
        return results

    def look(self, claims: Sequence[Claim]) -> list[bytes | None]:
        """What needs no commit: an answer that is stored, or that nothing is left of a round; else None."""
        self._fetch()
        found: list[bytes | None] = []
        for claim in claims:
            known = self._desk.books.request(claim.key)
            if known is not None:
                same = known.body_hash == claim.body_hash
                found.append(known.answer if same else self._reused(claim))
                continue
            now = self._rounds.get(claim.round) or self._open(claim.round)
            count, day, on_day = self._holders[(claim.tag, *claim.round)]
            on_day = on_day if day == self._today else 0
            gone = now.usual is not None and now.claimed >= now.quota
            within = gone and count < now.per_person and on_day < now.per_day
            found.append(self._too_late(claim) if within else None)
            if not gone:
                self._desk.shelf.sold_out.discard(claim.round)
        return found

    def seal(self) -> None:
        """Store what is known already, sign the packs in trees, hand over what is spent away from the start.

        A table is stored while the rows of the next are made, and answers tree by tree while the next is signed.
        """
        drafts, desk = list(self._drafts.values()), self._desk
        self._store_holders({(draft.claim.tag, *draft.claim.round) for draft in drafts})
        self._store_packs(drafts)
        for start in range(0, len(drafts), vouchers.BATCH_LIMIT):
            group = drafts[start : start + vouchers.BATCH_LIMIT]
            self._sign(group)
            self._store_answers(group)
        hand_over_packs(desk, [draft for draft in drafts if draft.edition.voucher.roaming == "at-issue"])
        self._store_rounds()

    def _repeated(self, claim: Claim, earlier: Draft | None, known: StoredAnswer | None) -> bytes | Callable[[], bytes]:
        """The answer of the same request, of this batch or of one before."""
        if earlier is not None and earlier.claim.body_hash == claim.body_hash:
            return earlier.told
        if known is not None and known.body_hash == claim.body_hash:
            return known.answer
        return self._reused(claim)

    def _reused(self, claim: Claim) -> bytes:
        return _refused(claim, Refusal(RefusalReason.REQUEST_ID_REUSED), self._desk.at)

    def _judge(
        self,
        claim: Claim,
        now: RoundNow,
        count: int,
        on_day: int,
        free_fen: Callable[[str], int],
        claimed: int | None = None,
    ) -> Issue | Refusal:
        """A claim by itself, with every reason for which it can be refused."""
        desk, standing = self._desk, now.standing
        facts = ClaimFacts(
            terms=self._terms.get(claim.round[0]),
            suspended=standing.paused or standing.claims_closed,
            suspended_at=standing.paused_at or standing.closed_at,
            region=desk.name,
            region_suspended_at=desk.suspensions.since(SuspensionKind.REGION, desk.name),
            round_id=claim.round[1],
            claimed_in_round=now.claimed if claimed is None else claimed,
            claimed_by_holder=count,
            claimed_by_holder_today=on_day,
            evidence=Evidence(
                complete=claim.reviewed,
                used=any(self._evidence[each] is not None for each in claim.shown),
            ),
            usual=now.offered,
            key=self._key,
        )
        return decide_claim(facts, free_fen, desk.at)

    def _too_late(self, claim: Claim) -> bytes:
        """That nothing is left: what `decide_claim` says of a claim that is good but for the quota. It is not kept."""
        self._desk.shelf.sold_out.add(claim.round)
        self._none_left.request_id = claim.key[1]
        return self._none_left.SerializeToString()

    def _refuse(self, claim: Claim, refusal: Refusal) -> bytes:
        answer = _refused(claim, refusal, self._desk.at)
        if refusal.reason.consumes_request_id:
            self._desk.books.answer(claim.key, StoredAnswer(claim.body_hash, answer, None, CLAIM), self._desk.at)
        return answer

    def _open(self, key: RoundKey) -> RoundNow:
        """A round when it is first asked for: its counts as they are stored."""
        table = schema.claim_round
        counts = [table.c.claimed, table.c.vouchers, table.c.reserved_fen, table.c.last_end]
        rows = self._desk.transaction.select_keys(table, [table.c.campaign, table.c.round], [key], counts)
        now = self._rounds[key] = RoundNow(*(rows[0] if rows else (0, 0, 0, 0)))
        self._stand(key, now)
        return now

    def _stand(self, key: RoundKey, now: RoundNow) -> None:
        """As terms and campaign stand: whether a round's very first claim would be granted now, money given.

        Then so is any that finds share, quota and money; one that shows evidence is judged by itself.
        """
        desk, (campaign, round_id) = self._desk, key
        usual = desk.shelf.usual_issue(self._terms.get(campaign), round_id)
        now.stand(desk.campaigns.standing(desk.name, campaign), usual)
        if usual is not None and usual.round.mode != "application":
            desk.books.load_balances(usual.needs)
            nobody = Claim(("", b""), b"", key, b"", b"", (), False)
            if isinstance(self._judge(nobody, now, 0, 0, lambda account: _PLENTY_FEN, claimed=0), Issue):
                now.issue_freely(usual)

    def _edition(self, round_key: RoundKey, now: RoundNow, issue: Issue) -> Edition:
        desk = self._desk
        edition = Edition(round_key, issue, now.standing, desk.region.voucher_signer.key_id, desk.at)
        now.editions[issue] = edition
        self._editions.append(edition)
        return edition

    def _reserve(self, free: _Free) -> None:
        """Book what a run of claims took, once an account."""
        books = self._desk.books
        taken = {account: books.free_fen(account) - left for account, left in free.items()}
        books.move(Movement(account, "", reserved_fen=fen) for account, fen in taken.items() if fen)

    def _sign(self, group: Sequence[Draft]) -> None:
        """One tree and one signature for all packs of the group."""
        signer = self._desk.region.voucher_signer
        bodies = [draft.edition.bodies.body(draft.claim.pack_id, draft.claim.tag) for draft in group]
        root, paths = merkle.tree([signing_bytes("voucher", body) for body in bodies])
        signature = signer.sign("voucher-root", vouchers.root_payload(len(group), root))
        ids = [draft.claim.key[1] for draft in group]
        answers = wire.claim_answers(ids, wire.tree_tokens(bodies, signature, paths), self._desk.at)
        for draft, answer in zip(group, answers, strict=True):
            draft.answer = answer

    def _store_packs(self, drafts: Sequence[Draft]) -> None:
        """Edition by edition, whose rows are alike; and what applications showed."""
        packs: dict[Edition, list[tuple[Any, ...]]] = {edition: [] for edition in self._editions}
        for draft in drafts:
            claim, edition = draft.claim, draft.edition
            packs[edition].append((claim.pack_id, *edition.row[0], claim.tag, *edition.row[1]))
        self._desk.transaction.append(schema.pack, [row for rows in packs.values() for row in rows])
        self._desk.transaction.append(
            schema.evidence,
            [
                (*shown, draft.claim.pack_id)
                for draft in drafts
                if draft.edition.issue.round.mode == "application"
                for shown in draft.claim.shown
            ],
        )

    def _store_answers(self, drafts: Sequence[Draft]) -> None:
        at = self._desk.at
        self._desk.transaction.append(
            books_schema.request,
            [(*draft.claim.key, draft.claim.body_hash, draft.answer, None, CLAIM, at, None, None) for draft in drafts],
        )

    def _store_rounds(self) -> None:
        for edition in self._editions:
            self._rounds[edition.round].count(edition)
        names = ("claimed", "vouchers", "reserved_fen", "last_end")
        self._desk.transaction.upsert(
            schema.claim_round,
            [
                {"campaign": key[0], "round": key[1], **{name: getattr(self._rounds[key], name) for name in names}}
                for key in sorted({edition.round for edition in self._editions})
            ],
        )

    def _store_holders(self, holders: set[HolderKey]) -> None:
        """New ones are appended: this transaction has read that they have no row, and excludes other writers."""
        transaction, names = self._desk.transaction, [column.name for column in schema.holder_claim.columns]
        new = holders - self._known_holders
        transaction.append(schema.holder_claim, [(*holder, *self._holders[holder]) for holder in new])
        transaction.upsert(
            schema.holder_claim,
            [dict(zip(names, (*holder, *self._holders[holder]), strict=False)) for holder in sorted(holders - new)],
        )

    def _fetch(self) -> None:
        """Read what is stored of all expected claims at once, before the first is decided."""
        expected, self._expected = self._expected, []
        if not expected:
            return
        holders = dict.fromkeys([(claim.tag, *claim.round) for claim in expected], _FIRST)
        holders = {key: none for key, none in holders.items() if key not in self._holders}
        shown = {each for claim in expected for each in claim.shown if each not in self._evidence}
        self._holders.update(holders)
        self._evidence.update(dict.fromkeys(shown))
        select, table = self._desk.transaction.select_keys, schema.holder_claim
        for row in select(table, list(table.primary_key.columns), list(holders)):
            key = (row.holder_tag, row.campaign, row.round)
            self._holders[key] = (row.claims, row.day, row.claims_on_day)
            self._known_holders.add(key)
        table = schema.evidence
        for row in select(table, [table.c.kind, table.c.digest], list(shown)):
            self._evidence[(row.kind, row.digest)] = row.pack_id


def claims_of(desk: Desk) -> ClaimBatch:
    """The claim batch of this transaction, made at its first claim."""
    batch: ClaimBatch | None = desk.claims
    if batch is None:
        batch = desk.claims = ClaimBatch(desk)
        desk.sealing.append(batch.seal)
    return batch


def _own_terms(desk: Desk) -> dict[str, Terms | None]:
    return {row.campaign: desk.terms(row.terms_hash) for row in desk.transaction.rows(_CAMPAIGNS)}


def _reservations_to_json(issue: Issue) -> str:
    """As `pack_reservations` reads them; vouchers that reserve alike are written once."""
    first: dict[Reservation, int] = {}
    written = [
        index if (index := first.setdefault(each, number)) < number else _reservation_data(each)
        for number, each in enumerate(issue.reservations)
    ]
    return json.dumps(written, separators=(",", ":"))


def _reservation_data(reservation: Reservation) -> list[Any]:
    return [[leg_data(leg) for leg in reservation.cofunders], [leg_data(leg) for leg in reservation.public]]


def _refused(claim: Claim, refusal: Refusal, at: int) -> bytes:
    message = _message(refusal)
    return claim_pb2.ClaimAnswer(request_id=claim.key[1], refusal=message, decided_at=at).SerializeToString()


def _message(refusal: Refusal) -> refusal_pb2.Refusal:
    """Nothing was issued, so there is no voucher that could still be used."""
    return wire.refusal_message(refusal._replace(voucher_dead=True))
