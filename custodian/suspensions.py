"""What is suspended, as one transaction sees it, and the signed record of who suspended and reactivated it, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, bindparam, exists, func, literal_column, select

from chassis.database import Found, Query, Transaction
from custodian import schema
from custodian.campaigns import Campaigns
from quanlian import wire
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import Signer, SigningKey, Verifier
from quanlian.suspensions import (
    Suspension,
    SuspensionKind,
    check_next,
    key_subject,
    merchant_subject,
    voucher_subject,
)
from quanlian.v1 import signed_pb2, suspension_pb2
from quanlian.wire import Purchase

KIND = "suspension"
Subject = tuple[SuspensionKind, str]
_SUBJECT = (schema.suspended.c.kind, schema.suspended.c.subject)
_TOLD = schema.suspension.c
_IN_ORDER = schema.suspension.select().order_by(_TOLD.at, _TOLD.authority, _TOLD.number)
_ALL = Query(_IN_ORDER)
_OF_KINDS: list[ColumnElement[Any]] = [
    exists().where(schema.suspended.c.kind == literal_column(f"'{kind.name}'")).label(kind.name)
    for kind in SuspensionKind
]
_KINDS = Query(select(*_OF_KINDS))
_LAST_NUMBER = Query(select(func.max(_TOLD.number).label("last")).where(_TOLD.authority == bindparam("authority")))
_OF_AUTHORITY = Query(_IN_ORDER.where(_TOLD.authority == bindparam("authority"), _TOLD.number > bindparam("after")))


class SignedSuspension(NamedTuple):
    """A suspension or reactivation, and the message that proves it."""

    suspension: Suspension
    message: signed_pb2.SignedMessage


def sign_suspension(suspension: Suspension, signer: Signer) -> SignedSuspension:
    body = wire.suspension_to_body(suspension)
    message = signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(KIND, body))
    return SignedSuspension(suspension, message)


def verify_suspension(message: signed_pb2.SignedMessage, verifier: Verifier) -> SignedSuspension:
    """Raises UnknownKey, BadSignature unless its authority signed it with its key for messages, or InvalidInput."""
    key = verifier.verify(message.key_id, KIND, message.body, message.signature)
    suspension = wire.body_to_suspension(message.body)
    if key.owner != suspension.authority or key.purpose != "message":
        raise BadSignature(f"a suspension of {suspension.authority} is signed by {key.owner}'s key for {key.purpose}")
    return SignedSuspension(suspension, message)


class InForce(NamedTuple):
    """Since when something is suspended; `bad_from`, of a key, from when on its signatures are not believed."""

    since_at: int
    bad_from: int


class Suspensions:
    """The suspensions of one transaction: what decisions ask for is read at once for the whole batch."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._kinds: set[SuspensionKind] | None = None
        self._asked: Found | None = None
        self._wanted: dict[Subject, None] = {}
        self._purchases: list[tuple[Purchase, str]] = []
        self._known: dict[Subject, InForce | None] = {}

    def expect(self) -> None:
        """Ask of what there is anything suspended, which whatever is decided looks at."""
        if self._kinds is None:
            self._asked = self._transaction.ask(_KINDS)

    def want(self, *subjects: Subject) -> None:
        """Note what decisions will ask for; the first of them reads it all."""
        self._wanted |= dict.fromkeys(subjects)

    def want_purchase(self, purchase: Purchase, redeeming_region: str) -> None:
        """All that a purchase depends on."""
        self._purchases.append((purchase, redeeming_region))

    @property
    def kinds(self) -> set[SuspensionKind]:
        """Of what there is anything suspended: mostly nothing, so that nothing needs to be looked up."""
        if self._kinds is None:
            (row,) = self._asked() if self._asked else self._transaction.rows(_KINDS)
            self._kinds = {kind for kind in SuspensionKind if getattr(row, kind.name)}
        return self._kinds

    def find(self, kind: SuspensionKind, subject: str) -> InForce | None:
        """The suspension in force, by whomever; None where there is none."""
        if kind not in self.kinds:
            return None
        asked = (kind, subject)
        if asked not in self._known:
            self.want(asked)
            self._fetch()
        return self._known[asked]

    def since(self, kind: SuspensionKind, subject: str) -> int | None:
        found = self.find(kind, subject)
        return found.since_at if found else None

    def regions(self, *codes: str) -> dict[str, int]:
        """Those of the regions that are suspended, with since when."""
        found = {code: self.since(SuspensionKind.REGION, code) for code in codes}
        return {code: at for code, at in found.items() if at is not None}

    def judged(self, key: SigningKey) -> SigningKey:
        """A key as it is to be judged in this batch, whatever was known when its signature was checked."""
        found = self.find(SuspensionKind.KEY, key_subject(key.key_id))
        if found is None:
            return key
        known = found.bad_from if key.revoked_from is None else key.revoked_from
        return key._replace(revoked_from=min(found.bad_from, known))

    def keys(self) -> dict[bytes, int]:
        """All signing keys that are suspended, with from when on they are bad."""
        table = schema.suspended
        bad: dict[bytes, int] = {}
        query = table.select().where(table.c.kind == SuspensionKind.KEY.name)
        for row in self._transaction.connection.execute(query):
            key_id = bytes.fromhex(row.subject)
            bad[key_id] = min(row.bad_from, bad.get(key_id, row.bad_from))
        return bad

    def last_number(self, authority: str) -> int:
        return self._transaction.rows(_LAST_NUMBER, authority=authority)[0].last or 0

    def history(self) -> list[SignedSuspension]:
        """All that was recorded, in order."""
        return [_signed(row) for row in self._transaction.rows(_ALL)]

    def history_of(self, authority: str, after: int = 0) -> list[SignedSuspension]:
        """What one authority decided after a number, in order."""
        return [_signed(row) for row in self._transaction.rows(_OF_AUTHORITY, authority=authority, after=after)]

    def in_force(self) -> set[tuple[str, int]]:
        """(authority, number) of what holds now."""
        table = schema.suspended
        query = select(table.c.authority, table.c.number)
        return {(row.authority, row.number) for row in self._transaction.connection.execute(query)}

    def standing(self, kind: SuspensionKind, subject: str, authority: str) -> Suspension | None:
        """The one by which this authority keeps something suspended now."""
        now, told = schema.suspended, schema.suspension
        query = (
            select(told.c.body)
            .join_from(now, told, (now.c.authority == told.c.authority) & (now.c.number == told.c.number))
            .where(now.c.kind == kind.name, now.c.subject == subject, now.c.authority == authority)
        )
        body = self._transaction.connection.execute(query).scalar()
        return None if body is None else wire.body_to_suspension(body)

    def append(self, signed: SignedSuspension) -> bool:
        """Keep it, from the next decision on; one that is kept already is passed over (False).

        Raises InvalidInput for what cannot follow, or when another has the number.
        """
        suspension = signed.suspension
        last = self.last_number(suspension.authority)
        if suspension.number <= last:
            self._require_same(signed)
            return False
        check_next(last, self._is_suspended_by(suspension), suspension)
        self._transaction.insert(schema.suspension, [_row(signed)])
        self._set(suspension)
        self._kinds = self._asked = None
        self._known.pop((suspension.kind, suspension.subject), None)
        return True

    def _set(self, suspension: Suspension) -> None:
        table = schema.suspended
        key = {"kind": suspension.kind.name, "subject": suspension.subject, "authority": suspension.authority}
        if suspension.suspended:
            values = {"number": suspension.number, "since_at": suspension.at, "bad_from": suspension.bad_from}
            self._transaction.insert(table, [key | values])
        else:
            ours = [table.c[name] == value for name, value in key.items()]
            self._transaction.connection.execute(table.delete().where(*ours))

    def _is_suspended_by(self, suspension: Suspension) -> bool:
        table = schema.suspended
        key = (suspension.kind.name, suspension.subject, suspension.authority)
        return bool(self._transaction.select_keys(table, [table.c.kind, table.c.subject, table.c.authority], [key]))

    def _require_same(self, signed: SignedSuspension) -> None:
        table, suspension = schema.suspension, signed.suspension
        key = (suspension.authority, suspension.number)
        (known,) = self._transaction.select_keys(table, [table.c.authority, table.c.number], [key])
        if known.body != signed.message.body:
            raise InvalidInput(
                f"{suspension.authority} 第{suspension.number}号另有所指 · "
                f"{suspension.authority} said something else under number {suspension.number}",
                place="suspension",
                remedy="查看暂停记录后再定 · look at the suspensions and decide again",
            )

    def _fetch(self) -> None:
        wanted = self._wanted | dict.fromkeys(
            subject for purchase, region in self._purchases for subject in _subjects_of(purchase, region)
        )
        missing = [subject for subject in wanted if subject[0] in self.kinds and subject not in self._known]
        self._wanted, self._purchases = {}, []
        self._known.update(dict.fromkeys(missing))
        keys = [(kind.name, subject) for kind, subject in missing]
        for row in self._transaction.select_keys(schema.suspended, _SUBJECT, keys):
            subject = (SuspensionKind[row.kind], row.subject)
            other = self._known[subject] or InForce(row.since_at, row.bad_from)
            self._known[subject] = InForce(min(row.since_at, other.since_at), min(row.bad_from, other.bad_from))


def _subjects_of(purchase: Purchase, redeeming_region: str) -> tuple[Subject, ...]:
    return (
        (SuspensionKind.REGION, purchase.voucher.issuer),
        (SuspensionKind.REGION, redeeming_region),
        (SuspensionKind.KEY, key_subject(purchase.voucher.key_id)),
        (SuspensionKind.MERCHANT, merchant_subject(redeeming_region, purchase.sale.merchant)),
        (SuspensionKind.VOUCHER, voucher_subject(purchase.key)),
    )


def records(transaction: Transaction, history: bool) -> list[suspension_pb2.SuspensionRecord]:
    """What is suspended now with who and why, paused campaigns among it; with `history` what was lifted, too."""
    suspensions = Suspensions(transaction)
    in_force = suspensions.in_force()
    found = [
        suspension_pb2.SuspensionRecord(
            suspension=wire.suspension_message(each.suspension),
            in_force=(each.suspension.authority, each.suspension.number) in in_force,
        )
        for each in suspensions.history()
    ] + _pauses(transaction)
    found.sort(key=lambda each: each.suspension.at)
    return [each for each in found if history or each.in_force]


def _pauses(transaction: Transaction) -> list[suspension_pb2.SuspensionRecord]:
    """Pauses of campaigns in the form of suspensions, for lists."""
    table, campaigns = schema.campaign_change, Campaigns(transaction)
    kinds = (ChangeKind.PAUSE.name, ChangeKind.RESUME.name)
    query = table.select().where(table.c.kind.in_(kinds)).order_by(table.c.issuer, table.c.campaign, table.c.number)
    rows = transaction.connection.execute(query).all()
    last = {(row.issuer, row.campaign): row.number for row in rows}
    return [
        suspension_pb2.SuspensionRecord(
            suspension=suspension_pb2.Suspension(
                authority=row.issuer,
                number=row.number,
                kind=suspension_pb2.SUSPENSION_KIND_CAMPAIGN,
                subject=f"{row.issuer}/{row.campaign}",
                suspended=row.kind == ChangeKind.PAUSE.name,
                at=row.at,
                by=row.decided_by,
                why=row.why,
            ),
            in_force=campaigns.standing(row.issuer, row.campaign).paused
            and row.number == last[(row.issuer, row.campaign)],
        )
        for row in rows
    ]


def _signed(row: Any) -> SignedSuspension:
    message = signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature)
    return SignedSuspension(wire.body_to_suspension(row.body), message)


def _row(signed: SignedSuspension) -> dict[str, object]:
    suspension, message = signed
    return {
        "authority": suspension.authority,
        "number": suspension.number,
        "kind": suspension.kind.name,
        "subject": suspension.subject,
        "suspended": suspension.suspended,
        "at": suspension.at,
        "decided_by": suspension.by,
        "why": suspension.why,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
    }
