"""Signatures of the documents that a party keeps, verified against the network's root.

Digests and seals are recomputed by whoever runs this code against a database; a signature is not, without its key.
Rows are read one after another, so that memory does not grow with the books.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.books import CLAIM
from custodian.ledger.decoding import UNREADABLE
from custodian.ledger.findings import Finding, row_key
from custodian.ledger.references import is_recovered
from custodian.verification import RootMemory
from custodian.withdrawals import CLOSING
from pki.trust import Keyring
from quanlian import hand_overs, vouchers, wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, QuanlianError
from quanlian.evidence import ANSWER_KIND, HASH_BYTES, REQUEST_KIND
from quanlian.signing import SigningKey, Verifier
from quanlian.v1 import recovery_pb2, redemption_pb2, signed_pb2
from quanlian.v1.custody_pb2 import FundReturn

MESSAGE, STATEMENT, TERMS = "message", "statement", "terms"
ROWS_AT_ONCE = 100
"""Held in memory: a hand-over's row may have half a megabyte."""

Progress = Callable[[int], None]
"""Told of rows that were looked at."""


class KeysOnFile(RootMemory):
    """The keys that the database vouches for; a root that signs many vouchers is verified once."""

    def __init__(self, keyring: Keyring) -> None:
        super().__init__(keyring)
        self._keyring = keyring

    def of(self, owner: str, purpose: str) -> list[SigningKey]:
        """All of an owner's for a purpose, the old ones too."""
        known = self._keyring.keys()
        return [each for each in known if (each.owner, each.purpose) == (owner, purpose)]


class Document(NamedTuple):
    """A table whose rows are signed. `verify` raises a QuanlianError, or one of UNREADABLE, for one that is not.

    `rows` selects them where more than the table's own columns are needed; those may have an `entry` and an amount.
    """

    table: sa.Table
    verify: Callable[[Any, KeysOnFile], object]
    rows: sa.Select[Any] | None = None

    def query(self) -> sa.Select[Any]:
        return self.table.select() if self.rows is None else self.rows


Check = Callable[[Transaction, KeysOnFile], Iterator[Finding]]


class SignatureChecks(NamedTuple):
    """What a party adds: who it is, tables with the `chain` of a key in each row, its documents, checks of its own."""

    name: Callable[[Transaction], str]
    chains: tuple[sa.Table, ...]
    documents: tuple[Document, ...]
    checks: tuple[Check, ...] = ()


def check_signatures(
    transaction: Transaction, party: SignatureChecks, keyring: Keyring, progress: Progress = lambda rows: None
) -> Iterator[Finding]:
    """Every signature that does not hold; `keyring` has the root, and takes the keys that the database vouches for."""
    for table in party.chains:
        yield from _chains(transaction, table, keyring)
    verifier = KeysOnFile(keyring)
    for document in (*_SHARED, *party.documents):
        yield from _signed(transaction, document, verifier, progress)
    yield from _requests(transaction, party.name(transaction), verifier, progress)
    yield from _unsigned(transaction)
    for check in party.checks:
        yield from check(transaction, verifier)


def signed_rows(transaction: Transaction, party: SignatureChecks) -> int:
    """How many rows `check_signatures` tells of, for showing how far it is."""
    request = schema.request
    named = (
        request.select().where(column.is_not(None)) for column in (request.c.answer_batch, request.c.request_batch)
    )
    queries = (*(each.table.select() for each in (*_SHARED, *party.documents)), *named)
    counts = (sa.select(sa.func.count()).select_from(each.subquery()) for each in queries)
    return sum(int(transaction.connection.execute(each).scalar() or 0) for each in counts)


def require_signed(
    verifier: Verifier, kind: str, signed: tuple[bytes, bytes, bytes], owner: str, purpose: str = MESSAGE
) -> SigningKey:
    """`signed` is body, key id and signature. Raises UnknownKey, or BadSignature unless `owner` signed it with its key
    for `purpose`.
    """
    body, key_id, signature = signed
    key = verifier.verify(key_id, kind, body, signature)
    if (key.owner, key.purpose) != (owner, purpose):
        raise BadSignature(f"is signed by {key.owner}'s key for {key.purpose}, not {owner}'s for {purpose}")
    return key


def require_told(row: Any, **signed: Any) -> None:
    """Raises BadSignature where a column says other than what was signed."""
    for name, value in signed.items():
        if row._mapping[name] != value:
            raise BadSignature(f"{name} says {_shown(row._mapping[name])}, signed is {_shown(value)}")


def body_of(row: Any) -> tuple[bytes, bytes, bytes]:
    return row.body, row.key_id, row.signature


def verify_terms(row: Any, verifier: Verifier) -> None:
    """Terms as their issuer signed them."""
    require_signed(verifier, "terms", (row.document, row.key_id, row.signature), row.issuer, TERMS)


def verify_hand_over(row: Any, giver: str, verifier: Verifier) -> None:
    """A hand-over: its head is signed, and the vouchers are those of its tree."""
    found = hand_overs.read(row.body)
    head = hand_overs.signed_head(signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature))
    require_signed(verifier, hand_overs.KIND, (head.body, head.key_id, head.signature), giver)
    if (found.head.giver, found.head.number) != (giver, row.number):
        raise BadSignature(f"is {found.head.giver}/{found.head.number}")


def verify_token(content: bytes, verifier: Verifier) -> vouchers.Voucher:
    """A voucher token of an issuer whose key was valid when it was issued; what it says."""
    token = wire.bytes_to_token(content)
    voucher = wire.body_to_voucher(token.body)
    key = vouchers.verify(token, voucher, verifier)
    if not vouchers.key_was_valid(key, voucher.issued_at):
        raise BadSignature(f"its key was not valid at {voucher.issued_at}")
    return voucher


def verify_fund_return(row: Any, verifier: KeysOnFile) -> FundReturn:
    """Money that the clearinghouse gave back to an issuer; the row does not say by which of its keys."""
    for key in verifier.of(CLEARINGHOUSE, MESSAGE):
        try:
            verifier.verify(key.key_id, "fund-return", row.body, row.signature)
        except BadSignature:
            continue
        return wire.parse(FundReturn, row.body, "fund return")
    raise BadSignature("is signed by none of the clearinghouse's keys for messages")


def unsound(table: str, row: str, error: Exception, entry: int | None = None, fen: int = 0) -> Finding:
    """The same words for every signature."""
    return Finding(table, row, entry, fen, f"签名不成立：{error}", f"its signature does not hold: {error}")


# What both parties keep


def _chains(transaction: Transaction, table: sa.Table, keyring: Keyring) -> Iterator[Finding]:
    for row in _stream(transaction, table.select()):
        try:
            keyring.add(row.chain)
        except (QuanlianError, *UNREADABLE) as error:
            zh, en = f"证书链不通向根证书：{error}", f"its chain does not lead to the root: {error}"
            yield Finding(table.name, row_key(table, row), None, 0, zh, en)


def _signed(
    transaction: Transaction, document: Document, verifier: KeysOnFile, progress: Progress
) -> Iterator[Finding]:
    for row in _stream(transaction, document.query()):
        progress(1)
        try:
            document.verify(row, verifier)
        except (QuanlianError, *UNREADABLE) as error:
            entry, fen = row._mapping.get("entry"), row._mapping.get("discount_fen")
            yield unsound(document.table.name, row_key(document.table, row), error, entry, fen or 0)


def _stream(transaction: Transaction, query: sa.Select[Any]) -> Iterator[Any]:
    yield from transaction.connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})


def _batch(row: Any, verifier: Verifier) -> None:
    """A message over the hashes of its items."""
    if row.kind not in (REQUEST_KIND, ANSWER_KIND):
        raise BadSignature(f"{row.kind} is no kind of message")
    key = verifier.verify(row.key_id, row.kind, sha256(row.hashes).digest(), row.signature)
    if key.purpose.partition(".")[0] != MESSAGE:
        raise BadSignature(f"is signed by {key.owner}'s key for {key.purpose}")
    if row.items is not None:
        items = redemption_pb2.RedeemStreamRequest.FromString(row.items).items
        if b"".join(wire.item_hashes(items)) != row.hashes:
            raise BadSignature("its items are not those that were signed")


def _suspension(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, "suspension", body_of(row), row.authority)
    said = wire.body_to_suspension(row.body)
    require_told(
        row, authority=said.authority, number=said.number, kind=said.kind.name, subject=said.subject,
        suspended=said.suspended, at=said.at, decided_by=said.by, why=said.why,
    )  # fmt: skip


def _campaign_change(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, "campaign-change", body_of(row), row.issuer, TERMS)
    said = wire.body_to_change(row.body)
    require_told(
        row, issuer=said.issuer, campaign=said.campaign, number=said.number, kind=said.kind.name, at=said.at,
        decided_by=said.by, why=said.why,
    )  # fmt: skip


def _deny_list(row: Any, verifier: Verifier) -> None:
    require_signed(verifier, "deny-list", body_of(row), CLEARINGHOUSE)


def _withdrawal_closing(row: Any, verifier: Verifier) -> None:
    key = verifier.verify(row.key_id, CLOSING, row.body, row.signature)
    if key.purpose != MESSAGE:
        raise BadSignature(f"is signed by {key.owner}'s key for {key.purpose}")
    said = recovery_pb2.WithdrawalClosing.FromString(row.body)
    require_told(row, redemption_id=said.redemption_id, number=said.number, incarnation=said.incarnation)


def _requests(transaction: Transaction, party: str, verifier: Verifier, progress: Progress) -> Iterator[Finding]:
    """Each stored answer is among those that this party signed, each request among its sender's."""

    def require_answer(row: Any, hashes: frozenset[bytes], signer: SigningKey) -> None:
        if (signer.owner, signer.purpose) != (party, MESSAGE) or sha256(row.answer).digest() not in hashes:
            raise BadSignature(f"the answer is not among those that {party} signed")

    yield from _in_messages(transaction, schema.request.c.answer_batch, require_answer, verifier, progress)
    yield from _in_messages(transaction, schema.request.c.request_batch, _require_asked, verifier, progress)


def _unsigned(transaction: Transaction) -> Iterator[Finding]:
    """Every answer but a claim's was signed in the commit that decided it, unless the books were rebuilt since."""
    request = schema.request
    bare = request.select().where(request.c.operation != CLAIM, request.c.answer_batch.is_(None))
    for row in _stream(transaction, bare) if not is_recovered(transaction) else ():
        yield unsound(request.name, row_key(request, row), BadSignature("the answer is in no signed message"))


def _in_messages(
    transaction: Transaction,
    names: sa.Column[Any],
    require: Callable[[Any, frozenset[bytes], SigningKey], None],
    verifier: Verifier,
    progress: Progress,
) -> Iterator[Finding]:
    """Requests with the message that a column names; one message's are held at a time."""
    request, batch = schema.request, schema.signed_batch
    query = (
        sa.select(request, batch.c.hashes, batch.c.key_id)
        .join_from(request, batch, names == batch.c.id)
        .order_by(names, request.c.participant, request.c.request_id)
    )
    for _, rows in groupby(_stream(transaction, query), attrgetter(names.name)):
        hashes: frozenset[bytes] = frozenset()
        for row in rows:
            progress(1)
            hashes = hashes or frozenset(hashes_in(row.hashes))
            try:
                require(row, hashes, verifier.key(row.key_id))
            except (QuanlianError, *UNREADABLE) as error:
                yield unsound(request.name, row_key(request, row), error)


def _require_asked(row: Any, hashes: frozenset[bytes], signer: SigningKey) -> None:
    if row.body_hash is not None and row.body_hash not in hashes:
        raise BadSignature(f"the request is not among those that {signer.owner} signed")
    if row.participant not in (signer.owner, signer.purpose.partition(".")[2]):
        raise BadSignature(f"the request is signed by {signer.owner}'s key for {signer.purpose}")


def hashes_in(hashes: bytes) -> list[bytes]:
    """A message's hashes, one by one."""
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def _shown(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


_SHARED = (
    Document(schema.signed_batch, _batch),
    Document(schema.suspension, _suspension),
    Document(schema.campaign_change, _campaign_change),
    Document(schema.deny_list, _deny_list),
    Document(schema.withdrawal_closing, _withdrawal_closing),
)
