"""Campaigns as they stand: their signed changes, kept in order, and what they mean for vouchers already out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chassis.database import Transaction
from custodian import schema
from custodian.books import Books, Take
from quanlian import wire
from quanlian.campaign_changes import Change, Standing, check_next, standing
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import Verifier
from quanlian.v1 import signed_pb2

KIND = "campaign-change"
_CHANGE = schema.campaign_change.c
_CAMPAIGN = (_CHANGE.issuer, _CHANGE.campaign)
_TOLD = (*_CAMPAIGN, _CHANGE.body)
_SIGNED = (_CHANGE.number, _CHANGE.body, _CHANGE.key_id, _CHANGE.signature)


class SignedChange(NamedTuple):
    """A change and the message that proves it."""

    change: Change
    message: signed_pb2.SignedMessage


def verify_change(message: signed_pb2.SignedMessage, verifier: Verifier) -> SignedChange:
    """Raises UnknownKey, BadSignature unless the issuer signed it with its key for terms, or InvalidInput."""
    key = verifier.verify(message.key_id, KIND, message.body, message.signature)
    change = wire.body_to_change(message.body)
    if key.owner != change.issuer or key.purpose != "terms":
        raise BadSignature(f"a change of {change.campaign} is signed by {key.owner}'s key for {key.purpose}")
    return SignedChange(change, message)


class Campaigns:
    """The changes of one transaction's campaigns."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._standing: dict[tuple[str, str], Standing] = {}

    def standing(self, issuer: str, campaign: str) -> Standing:
        """A campaign as its changes leave it; one that nobody changed stands as published."""
        key = (issuer, campaign)
        if key not in self._standing:
            self.load([key])
        return self._standing[key]

    def load(self, keys: Iterable[tuple[str, str]]) -> None:
        """Read at once what `standing` will be asked for, by issuer and campaign."""
        self.ask(keys)()

    def ask(self, keys: Iterable[tuple[str, str]]) -> Take:
        """As `load`, in two steps: what this gives waits for the answer and takes it in."""
        missing = sorted({key for key in keys if key not in self._standing})
        found = self._transaction.ask_keys(schema.campaign_change, _CAMPAIGN, missing, _TOLD)

        def take() -> None:
            changes: dict[tuple[str, str], list[Change]] = {key: [] for key in missing}
            for row in found():
                changes[row.issuer, row.campaign].append(wire.body_to_change(row.body))
            self._standing.update((key, standing(told)) for key, told in changes.items())

        return take

    def changes(self, issuer: str, campaign: str) -> list[SignedChange]:
        """All changes of a campaign, in order, as they were signed."""
        rows = self._transaction.select_keys(schema.campaign_change, _CAMPAIGN, [(issuer, campaign)], _SIGNED)
        return [
            SignedChange(
                wire.body_to_change(row.body),
                signed_pb2.SignedMessage(body=row.body, key_id=row.key_id, signature=row.signature),
            )
            for row in sorted(rows, key=lambda row: int(row.number))
        ]

    def append(self, signed: SignedChange) -> bool:
        """Keep a change; one that is kept already is passed over (False).

        Raises InvalidInput for what cannot follow, or when another change has the number.
        """
        change = signed.change
        now = self.standing(change.issuer, change.campaign)
        if change.number <= now.last_number:
            self._require_same(signed)
            return False
        check_next(now, change)
        self._transaction.insert(schema.campaign_change, [_row(signed)])
        del self._standing[(change.issuer, change.campaign)]
        return True

    def _require_same(self, signed: SignedChange) -> None:
        change = signed.change
        known = self.changes(change.issuer, change.campaign)[change.number - 1]
        if known.message.body != signed.message.body:
            raise InvalidInput(
                f"其间已被 {known.change.by} 变更（第{change.number}号） · "
                f"was changed meanwhile by {known.change.by} (change {change.number})",
                place=f"campaign {change.campaign}",
                remedy="查看变更记录后再定 · look at its changes and decide again",
            )


def record_change(books: Books, at: int, signed: SignedChange) -> None:
    """Tell the journal of a change that was kept."""
    change = signed.change
    books.record(KIND, at, f"{change.issuer}/{change.campaign} {change.number}", signed.message.signature)


def _row(signed: SignedChange) -> dict[str, object]:
    change, message = signed
    return {
        "issuer": change.issuer,
        "campaign": change.campaign,
        "number": change.number,
        "kind": change.kind.name,
        "at": change.at,
        "decided_by": change.by,
        "why": change.why,
        "body": message.body,
        "key_id": message.key_id,
        "signature": message.signature,
    }
