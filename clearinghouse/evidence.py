"""What a statement can be recomputed from, for anyone with `quanlian verify`: lines of JSON (money.md, Verification).

Certificate chains, changes of campaigns and documents come first, then of each hand-over what proves the reserved money
of the redemptions that stand after it, and last a seal, signed by the statement key, over all hand-overs and
redemptions. The lines of a region are those of its own vouchers and of its own merchants. Nothing of a window is ever
held in memory whole.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Generator, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Table, and_, or_, select

from chassis.database import Database, Transaction
from clearinghouse import schema
from custodian import schema as custodian_schema
from custodian.campaigns import Campaigns
from custodian.deny_lists import newest_deny_list
from quanlian import hand_overs
from quanlian.agreements import agreement_hash
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.signing import Signer
from quanlian.statement_evidence import SEAL_KIND, VERSION, SealedAgreement, seal_payload, with_checksum
from quanlian.v1 import signed_pb2
from reporting.agreement_file import AgreementSignature

PAGE = 500
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_quoted = json.encoder.encode_basestring

_posting, _redemption = custodian_schema.posting, custodian_schema.redemption
_handed, _kept = schema.handed_voucher, schema.hand_over


def _columns(table: Table, names: str) -> tuple[Column[Any], ...]:
    return tuple(table.c[name] for name in names.split())


_PROVED = _columns(schema.proof, "redemption_id token order_fen discount_fen visitors")
_POSTED = _columns(_posting, "redemption_id number kind settlement_window at order_fen discount_fen legs")
_REDEEMED = _columns(
    _redemption,
    "id voucher_index redeeming_region merchant order_id category channel klass order_fen invoice_fen price_fen "
    "discount_fen authorized_at agreement",
)
"""Of the rows that a line is made of, what stands in it."""


def evidence(database: Database, signer: Signer, region: str, window: int) -> Generator[list[bytes], None, None]:
    """The lines, some at a time, over one consistent picture. Raises InvalidInput for a window that is not closed."""
    with database.snapshot() as transaction:
        _require_closed(transaction, window)
        agreements = _agreements(transaction, region)
        yield [_line(kind="evidence", version=VERSION, region=region, window=window)]
        yield list(_documents(transaction, region, window, agreements))
        seal, count = sha256(), 0
        for lines in _money(transaction, region, window):
            for line in lines:
                seal.update(line + b"\n")
            count += len(lines)
            yield lines
        attested = {each.name: each.sealed for each in agreements}
        at = transaction.now()
        payload = seal_payload(region, window, count, seal.digest(), at, attested)
        yield [
            _line(
                kind="seal",
                lines=count,
                sha256=seal.hexdigest(),
                at=at,
                agreements={name: each._asdict() for name, each in attested.items()},
                key_id=signer.key_id.hex(),
                signature=_text(signer.sign(SEAL_KIND, payload)),
            )
        ]


class _Kept(NamedTuple):
    """An agreement in force with its signatures."""

    number: str
    version: int
    document: bytes
    signatures: list[AgreementSignature]

    @property
    def name(self) -> str:
        return f"{self.number} v{self.version}"

    @property
    def sealed(self) -> SealedAgreement:
        signed_at = max(each.signed_at for each in self.signatures if each.signer == CLEARINGHOUSE)
        return SealedAgreement(agreement_hash(self.document).hex(), signed_at)


def _agreements(transaction: Transaction, region: str) -> list[_Kept]:
    """Those that everybody signed, of the region and of the whole network: all that its redemptions may go by."""
    table, signed = schema.agreement, schema.agreement_signature
    run = transaction.connection.execute
    signatures: dict[tuple[str, int], list[AgreementSignature]] = {}
    for row in run(signed.select().order_by(signed.c.signed_at, signed.c.signer)):
        signature = AgreementSignature(row.signer, row.key_id, row.signature, row.signed_at)
        signatures.setdefault((row.number, row.version), []).append(signature)
    kept = [
        _Kept(row.number, row.version, row.document, signatures.get((row.number, row.version), []))
        for row in run(table.select().order_by(table.c.number, table.c.version))
    ]
    return [each for each in kept if _concerns({signature.signer for signature in each.signatures}, region)]


def _concerns(signers: set[str], region: str) -> bool:
    return CLEARINGHOUSE in signers and (region in signers or len(signers) == 1)


def _require_closed(transaction: Transaction, window: int) -> None:
    table = schema.settlement_window
    rows = transaction.select_keys(table, [table.c.number], [(window,)])
    if not rows or not rows[0].closed_at:
        raise InvalidInput(
            f"场次{window}尚未截止 · window {window} is not closed",
            place="window",
            remedy="写已出对账单的场次 · give a window that has statements",
        )


def _concerned(region: str, window: int) -> ColumnElement[bool]:
    """Postings of a window, joined to their redemptions, that concern a region."""
    own = or_(_redemption.c.issuer == region, _redemption.c.redeeming_region == region)
    return and_(_posting.c.settlement_window == window, _posting.c.redemption_id == _redemption.c.id, own)


def _documents(transaction: Transaction, region: str, window: int, agreements: list[_Kept]) -> Iterator[bytes]:
    run = transaction.connection.execute
    told = (_redemption.c.terms_hash, _redemption.c.issuer, _redemption.c.campaign)
    used = run(select(*told).where(_concerned(region, window)).distinct()).all()
    signers = {CLEARINGHOUSE, *(each.signer for kept in agreements for each in kept.signatures)}
    owners = sorted(signers.union(row.issuer for row in used))
    chains, terms = schema.signing_chain, schema.terms
    for row in run(chains.select().where(chains.c.owner.in_(owners)).order_by(chains.c.owner, chains.c.key_id)):
        yield _line(kind="chain", pem=row.chain.decode("ascii"))
    campaigns = Campaigns(transaction)
    for issuer, campaign in sorted({(row.issuer, row.campaign) for row in used}):
        for change in campaigns.changes(issuer, campaign):
            yield _line(kind="campaign-change", **_signed(change.message))
    if denied := newest_deny_list(transaction):
        yield _line(kind="deny-list", **_signed(denied.message))
    hashes = sorted({row.terms_hash for row in used})
    for found in transaction.select_keys(terms, [terms.c.terms_hash], [(each,) for each in hashes]):
        yield _line(
            kind="terms",
            issuer=found.issuer,
            campaign=found.campaign,
            document=_text(found.document),
            key_id=found.key_id.hex(),
            signature=_text(found.signature),
        )
    for kept in agreements:
        yield _line(
            kind="agreement",
            number=kept.number,
            version=kept.version,
            document=_text(kept.document),
            signatures=[each.data() for each in kept.signatures],
        )


def _money(transaction: Transaction, region: str, window: int) -> Iterator[list[bytes]]:
    """Hand-overs and redemptions, ordered so that each hand-over stands before all of its redemptions, once."""
    joined = and_(
        _handed.c.issuer == _redemption.c.issuer,
        _handed.c.pack_id == _redemption.c.pack_id,
        _handed.c.voucher_index == _redemption.c.voucher_index,
    )
    query = (
        select(_handed, _redemption.c.id)
        .where(_concerned(region, window), joined)
        .distinct()
        .order_by(_handed.c.issuer, _handed.c.number, _redemption.c.id)
    )
    result = transaction.connection.execute(query, execution_options={"yield_per": PAGE})
    for rows in _whole_hand_overs(result.partitions(PAGE)):
        redemptions = _redemption_lines(transaction, [row.id for row in rows], window)
        wanted: dict[tuple[str, int], list[Any]] = {}
        for row in rows:
            wanted.setdefault((row.issuer, row.number), []).append(row)
        told = {
            (row.issuer, row.number): row
            for row in transaction.select_keys(_kept, [_kept.c.issuer, _kept.c.number], sorted(wanted))
        }
        lines = []
        for key, used in wanted.items():
            lines.append(_hand_over_line(told[key], {(row.pack_id, row.voucher_index) for row in used}))
            lines += [redemptions[row.id] for row in used]
        yield from _portions(lines)


def _whole_hand_overs(pages: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """About a page at a time, all rows of one hand-over together: they are ordered so, and some thousands at most."""
    waiting: list[Any] = []
    for rows in pages:
        last = (rows[-1].issuer, rows[-1].number)
        waiting += rows
        begin = len(waiting)
        while begin and (waiting[begin - 1].issuer, waiting[begin - 1].number) == last:
            begin -= 1
        if begin:
            yield waiting[:begin]
            waiting = waiting[begin:]
    if waiting:
        yield waiting


def _portions(lines: list[bytes], limit: int = 1_000_000) -> Iterator[list[bytes]]:
    """Lines in messages of about a megabyte."""
    portion: list[bytes] = []
    size = 0
    for line in lines:
        if portion and size + len(line) > limit:
            yield portion
            portion, size = [], 0
        portion.append(line)
        size += len(line)
    yield portion


def _hand_over_line(row: Any, wanted: set[tuple[bytes, int]]) -> bytes:
    """The issuer's signed word on the vouchers `wanted`, by pack and index, without the others."""
    shown = hand_overs.extract(row.body, wanted)
    return _line(
        kind="hand-over",
        issuer=row.issuer,
        number=row.number,
        head=_text(shown.head),
        key_id=row.key_id.hex(),
        signature=_text(row.signature),
        vouchers=[[place, _text(leaf)] for place, leaf in shown.leaves.items()],
        nodes=_text(b"".join(shown.nodes)),
    )


def _redemption_lines(transaction: Transaction, ids: list[bytes], window: int) -> dict[bytes, bytes]:
    keys, find, proof = [(id,) for id in ids], transaction.select_keys, schema.proof
    proofs = {row.redemption_id: row for row in find(proof, [proof.c.redemption_id], keys, _PROVED)}
    postings: dict[bytes, list[str]] = {}
    for row in sorted(find(_posting, [_posting.c.redemption_id], keys, _POSTED), key=lambda row: int(row.number)):
        if row.settlement_window <= window:
            postings.setdefault(row.redemption_id, []).append(_posting_json(row))
    return {
        row.id: _redemption_line(row, proofs.get(row.id), postings[row.id])
        for row in find(_redemption, [_redemption.c.id], keys, _REDEEMED)
    }


def _posting_json(row: Any) -> str:
    """Its legs are kept as JSON without blanks, as they stand in a line."""
    return (
        f'{{"number":{row.number},"kind":{_quoted(row.kind)},"window":{row.settlement_window},"at":{row.at},'
        f'"order_fen":{row.order_fen},"discount_fen":{row.discount_fen},"legs":{row.legs}}}'
    )


def _redemption_line(row: Any, proof: Any, postings: list[str]) -> bytes:
    """A redemption whose proof a recovery could not bring back is told without token, and does not verify."""
    token = _text(proof.token) if proof else ""
    order_fen, discount_fen = (proof or row).order_fen, (proof or row).discount_fen
    visitors = (proof and proof.visitors) or "null"
    line = (
        f'{{"kind":"redemption","id":"{row.id.hex()}","token":"{token}","index":{row.voucher_index},'
        f'"redeeming_region":{_quoted(row.redeeming_region)},"merchant":{_quoted(row.merchant)},'
        f'"order_id":{_quoted(row.order_id)},"category":{_quoted(row.category)},"channel":{_quoted(row.channel)},'
        f'"klass":{_quoted(row.klass)},"order_fen":{order_fen},"invoice_fen":{row.invoice_fen},'
        f'"price_fen":{row.price_fen},"discount_fen":{discount_fen},"authorized_at":{row.authorized_at},'
        f'"agreement":{_quoted(row.agreement)},"visitors":{visitors},"postings":[{",".join(postings)}]}}'
    )
    return with_checksum(line.encode())


def _signed(message: signed_pb2.SignedMessage) -> dict[str, str]:
    return {"body": _text(message.body), "key_id": message.key_id.hex(), "signature": _text(message.signature)}


def _text(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _line(**fields: Any) -> bytes:
    return _JSON.encode(fields).encode()
