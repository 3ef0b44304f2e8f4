"""Claims of a batch: decided in order, sealed under one signature for up to 256 packs, stored one row a pack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from chassis.database import Query
from custodian.books import StoredAnswer, leg_data
from node import schema
from node.custody import hand_over_packs
from node.desk import Desk
from node.domain.claims import WHOLE_ROUND, ClaimFacts, Evidence, Issue, china_day, decide_claim, usual_issue
from quanlian import merkle, vouchers, wire
from quanlian.campaign_changes import Standing
from quanlian.ledger import Movement
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import signing_bytes
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import claim_pb2
from quanlian.vouchers import Voucher

_CAMPAIGNS = Query(schema.campaign.select())

HolderKey = tuple[str, str, bytes, int]
"""Campaign, round, holder tag, day."""
EVIDENCE_KINDS = ("invoice_number", "vehicle_identification_number", "registration_number")


@dataclass(slots=True)
class Claim:
    """A platform's claim for one shopper. `pack_id` is fresh; the holder's id becomes a tag and is not kept.

    `tag` and `counted_by`, what the shopper's caps count by, are known once a batch expects it.
    """

    participant: str
    content: bytes
    item: claim_pb2.ClaimItem
    pack_id: bytes
    tag: bytes = b""
    counted_by: tuple[HolderKey, ...] = ()

    @property
    def key(self) -> tuple[str, bytes]:
        return (self.participant, self.item.request_id)

    def load(self, desk: Desk) -> None:
        desk.books.want(requests=[self.key])
        claims_of(desk).expect(self)

    def decide(self, desk: Desk) -> bytes | Callable[[], bytes]:
        batch = claims_of(desk)
        body_hash = hashlib.sha256(self.content).digest()
        if self.key in batch.waiting:
            return batch.waiting[self.key].answer_to(self.item.request_id, body_hash, desk.at)
        known = desk.books.request(self.key)
        if known is not None:
            if known.body_hash == body_hash:
                return known.answer
            return _refused(self.item.request_id, Refusal(RefusalReason.REQUEST_ID_REUSED), desk.at)
        result = batch.decide(self)
        if isinstance(result, Refusal):
            answer = _refused(self.item.request_id, result, desk.at)
            desk.books.answer(self.key, StoredAnswer(body_hash, answer, None, "claim"), desk.at)
            return answer
        standing = desk.campaigns.standing(desk.name, self.item.campaign)
        draft = Draft(self, body_hash, result, standing)
        batch.add(draft)
        return lambda: draft.answer


class Draft:
    """A pack that was decided and waits for its signature."""

    def __init__(self, claim: Claim, body_hash: bytes, issue: Issue, standing: Standing) -> None:
        self.claim, self.body_hash, self.issue = claim, body_hash, issue
        self._standing = standing
        self.answer = b""

    def answer_to(self, request_id: bytes, body_hash: bytes, at: int) -> bytes | Callable[[], bytes]:
        """A repetition within the same batch."""
        if body_hash != self.body_hash:
            return _refused(request_id, Refusal(RefusalReason.REQUEST_ID_REUSED), at)
        return lambda: self.answer

    def validity(self, at: int) -> tuple[int, int]:
        """As the terms say, or a notice since, whichever ends later."""
        not_before, not_after = self.issue.pack.validity(at)
        return not_before, self._standing.not_after(not_after)

    def voucher(self, key_id: bytes, at: int) -> Voucher:
        terms, pack = self.issue.terms, self.issue.pack
        not_before, not_after = self.validity(at)
        return Voucher(
            version=1,
            suite=vouchers.SUITE_ED25519_BATCH,
            key_id=key_id,
            issuer=terms.issuer,
            campaign=terms.campaign,
            terms_hash=terms.terms_hash,
            pack_id=self.claim.pack_id,
            voucher_types=self.issue.voucher_types,
            holder_tag=self.claim.tag,
            issued_at=at,
            not_before=not_before,
            not_after=not_after,
            roaming=pack.roaming,
        )


class Issued(NamedTuple):
    """What a round has issued: vouchers, their highest discounts, and the end of the one that ends last."""

    vouchers: int
    reserved_fen: int
    last_end: int


class ClaimBatch:
    """The claims of one transaction: counts as they stand, packs waiting for their seal."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.waiting: dict[tuple[str, bytes], Draft] = {}
        self._claimed: dict[tuple[str, str], int] = {}
        self._issued: dict[tuple[str, str], Issued] = {}
        self._by_holder: dict[HolderKey, int] = {}
        self._expected: list[Claim] = []
        self._evidence: dict[tuple[str, bytes], bytes | None] = {}
        self._terms = _own_terms(desk)
        self._usual: dict[tuple[str, str], Issue | None] = {}
        self._tag_keys: dict[str, bytes] = {}
        self._today = china_day(desk.at)

    def expect(self, claim: Claim) -> None:
        """Note a claim that will be decided in this batch."""
        item = claim.item
        claim.tag = vouchers.holder_tag(self._tag_key(item.campaign), item.holder_id)
        claim.counted_by = (
            (item.campaign, item.round, claim.tag, WHOLE_ROUND),
            (item.campaign, item.round, claim.tag, self._today),
        )
        self._expected.append(claim)

    def _tag_key(self, campaign: str) -> bytes:
        """The campaign's key for holders' tags, which only this region can derive."""
        if campaign not in self._tag_keys:
            key = self._desk.region.tag_key
            self._tag_keys[campaign] = hashlib.blake2b(campaign.encode(), key=key, digest_size=32).digest()
        return self._tag_keys[campaign]

    def _usual_issue(self, item: claim_pb2.ClaimItem) -> Issue | None:
        key = (item.campaign, item.round)
        if key not in self._usual:
            self._usual[key] = usual_issue(self._terms.get(item.campaign), item.round)
        return self._usual[key]

    def decide(self, claim: Claim) -> Issue | Refusal:
        """Whether the pack is issued, by the counts as the claims before it left them."""
        if self._expected:
            self._fetch()
        item, desk = claim.item, self._desk
        in_round, today = claim.counted_by
        evidence = _evidence(item.evidence)
        standing = desk.campaigns.standing(desk.name, item.campaign)
        facts = ClaimFacts(
            terms=self._terms.get(item.campaign),
            suspended=standing.paused or standing.claims_closed,
            suspended_at=standing.paused_at or standing.closed_at,
            region=desk.name,
            region_suspended_at=desk.suspensions.since(SuspensionKind.REGION, desk.name),
            round_id=item.round,
            claimed_in_round=self._claimed[(item.campaign, item.round)],
            claimed_by_holder=self._by_holder[in_round],
            claimed_by_holder_today=self._by_holder[today],
            evidence=Evidence(
                complete=len(evidence) == len(EVIDENCE_KINDS) and bool(item.evidence.review_reference),
                used=any(self._evidence[each] is not None for each in evidence),
            ),
            usual=self._usual_issue(item),
        )
        return decide_claim(facts, desk.books.free_fen, desk.at)

    def add(self, draft: Draft) -> None:
        """Count the pack and reserve its money; the seal follows when the batch is decided."""
        item, desk = draft.claim.item, self._desk
        self._claimed[(item.campaign, item.round)] += 1
        for key in draft.claim.counted_by:
            self._by_holder[key] += 1
        if draft.issue.round.mode == "application":
            for shown in _evidence(item.evidence):
                self._evidence[shown] = draft.claim.pack_id
        desk.books.move(Movement(account, "", reserved_fen=fen) for account, fen in draft.issue.needs.items())
        self.waiting[draft.claim.key] = draft

    def seal(self) -> None:
        """Sign the packs in trees, hand over what is spent away from the start, and store everything."""
        drafts, desk = list(self.waiting.values()), self._desk
        signer = desk.region.voucher_signer
        for start in range(0, len(drafts), vouchers.BATCH_LIMIT):
            group = drafts[start : start + vouchers.BATCH_LIMIT]
            bodies = [wire.voucher_to_body(draft.voucher(signer.key_id, desk.at)) for draft in group]
            root, paths = merkle.tree([signing_bytes("voucher", body) for body in bodies])
            signature = signer.sign("voucher-root", vouchers.root_payload(len(group), root))
            for index, (draft, body, path) in enumerate(zip(group, bodies, paths, strict=True)):
                token = vouchers.Token(body, signature, len(group), index, tuple(path))
                draft.answer = claim_pb2.ClaimAnswer(
                    request_id=draft.claim.item.request_id,
                    token=wire.token_to_bytes(token),
                    decided_at=desk.at,
                ).SerializeToString()
        hand_over_packs(desk, [draft for draft in drafts if draft.issue.pack.roaming == "at-issue"])
        self._store(drafts)

    def _store(self, drafts: list[Draft]) -> None:
        transaction = self._desk.transaction
        for draft in drafts:
            stored = StoredAnswer(draft.body_hash, draft.answer, None, "claim")
            self._desk.books.answer(draft.claim.key, stored, self._desk.at)
        written = {issue: _reservations_to_json(issue) for issue in {draft.issue for draft in drafts}}
        packs = [_pack_row(draft, written[draft.issue], self._desk.at) for draft in drafts]
        transaction.insert(schema.pack, packs)
        self._store_rounds(drafts, packs)
        holders = {key for draft in drafts for key in draft.claim.counted_by}
        names = ("campaign", "round", "holder_tag", "day")
        transaction.upsert(
            schema.holder_claim,
            [{**dict(zip(names, key, strict=True)), "claims": self._by_holder[key]} for key in sorted(holders)],
        )
        transaction.insert(
            schema.evidence,
            [
                {"kind": kind, "digest": digest, "pack_id": draft.claim.pack_id}
                for draft in drafts
                if draft.issue.round.mode == "application"
                for kind, digest in _evidence(draft.claim.item.evidence)
            ],
        )

    def _store_rounds(self, drafts: list[Draft], packs: list[dict[str, Any]]) -> None:
        rounds = set()
        for draft, pack in zip(drafts, packs, strict=True):
            key = (draft.claim.item.campaign, draft.claim.item.round)
            issued = self._issued[key]
            self._issued[key] = Issued(
                issued.vouchers + len(draft.issue.reservations),
                issued.reserved_fen + draft.issue.reserved_fen,
                max(issued.last_end, pack["not_after"]),
            )
            rounds.add(key)
        rows = [
            {"campaign": key[0], "round": key[1], "claimed": self._claimed[key], **self._issued[key]._asdict()}
            for key in sorted(rounds)
        ]
        self._desk.transaction.upsert(schema.claim_round, rows)

    def _fetch(self) -> None:
        """Read the counts of all expected claims at once, before the first is decided."""
        expected, self._expected = self._expected, []
        rounds = {(each.item.campaign, each.item.round) for each in expected} - self._claimed.keys()
        holders = {key for each in expected for key in each.counted_by} - self._by_holder.keys()
        shown = {key for each in expected for key in _evidence(each.item.evidence)} - self._evidence.keys()
        self._claimed.update(dict.fromkeys(rounds, 0))
        self._issued.update(dict.fromkeys(rounds, Issued(0, 0, 0)))
        self._by_holder.update(dict.fromkeys(holders, 0))
        self._evidence.update(dict.fromkeys(shown))
        select, table = self._desk.transaction.select_keys, schema.claim_round
        for row in select(table, [table.c.campaign, table.c.round], list(rounds)):
            self._claimed[(row.campaign, row.round)] = row.claimed
            self._issued[(row.campaign, row.round)] = Issued(row.vouchers, row.reserved_fen, row.last_end)
        table = schema.holder_claim
        for row in select(table, list(table.primary_key.columns), list(holders)):
            self._by_holder[(row.campaign, row.round, row.holder_tag, row.day)] = row.claims
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


def _own_terms(desk: Desk) -> dict[str, Any]:
    return {row.campaign: desk.terms(row.terms_hash) for row in desk.transaction.rows(_CAMPAIGNS)}


def _evidence(evidence: claim_pb2.Evidence) -> list[tuple[str, bytes]]:
    """Digests of the numbers that an application shows; the numbers themselves are not kept."""
    return [
        (kind, hashlib.sha256(number.encode()).digest())
        for kind in EVIDENCE_KINDS
        if (number := getattr(evidence, kind))
    ]


def _reservations_to_json(issue: Issue) -> str:
    reservations = [
        [[leg_data(leg) for leg in each.cofunders], [leg_data(leg) for leg in each.public]]
        for each in issue.reservations
    ]
    return json.dumps(reservations, separators=(",", ":"))


def _pack_row(draft: Draft, reservations: str, at: int) -> dict[str, Any]:
    issue = draft.issue
    not_before, not_after = draft.validity(at)
    return {
        "pack_id": draft.claim.pack_id,
        "campaign": issue.terms.campaign,
        "round": issue.round.id,
        "terms_hash": issue.terms.terms_hash,
        "holder_tag": draft.claim.tag,
        "voucher_types": json.dumps(issue.voucher_types),
        "issued_at": at,
        "not_before": not_before,
        "not_after": not_after,
        "roaming": issue.pack.roaming,
        "reservations": reservations,
        "reserved_fen": issue.reserved_fen,
        "swept": False,
    }


def _refused(request_id: bytes, refusal: Refusal, at: int) -> bytes:
    """Nothing was issued, so there is no voucher that could still be used."""
    message = wire.refusal_message(refusal._replace(voucher_dead=True))
    return claim_pb2.ClaimAnswer(request_id=request_id, refusal=message, decided_at=at).SerializeToString()
