"""The clearinghouse's signed word that a posting counts nowhere any more: restored, it could not book it.

What was promised by it is for people to make good. Each party keeps, signed by its own key and told by its journal, how
its operator says that this was done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from chassis.database import Transaction
from custodian import schema
from custodian.books import Books
from quanlian import wire
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature, InvalidInput
from quanlian.signing import Signer, Verifier
from quanlian.v1 import custody_pb2, recovery_pb2, redemption_pb2, signed_pb2

KIND = "withdrawal"
CLOSING = "withdrawal-closing"
"""The kind of the signature, and of the journal's entry."""
_TABLE = schema.withdrawal_closing


class Withdrawal(NamedTuple):
    """What was taken back, and the message that proves it.

    `incarnation` is the one that the clearinghouse began by that recovery: copies of that or a later one know of it.
    """

    posting: redemption_pb2.Posting
    incarnation: int
    message: signed_pb2.SignedMessage


def sign_withdrawal(
    posting: redemption_pb2.Posting, incarnation: int, at: int, reason: str, signer: Signer
) -> signed_pb2.SignedMessage:
    """`posting` with the id of its request, if anybody asked for it."""
    body = custody_pb2.Withdrawal(posting=posting, incarnation=incarnation, at=at, reason=reason).SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(KIND, body))


def read_withdrawal(message: signed_pb2.SignedMessage, verifier: Verifier) -> Withdrawal:
    """Raises UnknownKey, BadSignature unless the clearinghouse signed it, or InvalidInput."""
    key = verifier.verify(message.key_id, KIND, message.body, message.signature)
    if (key.owner, key.purpose) != (CLEARINGHOUSE, "message"):
        raise BadSignature(f"a withdrawal is signed by {key.owner}'s key for {key.purpose}")
    said = wire.parse(custody_pb2.Withdrawal, message.body, "withdrawal")
    return Withdrawal(said.posting, said.incarnation, message)


# Dealing with them


class ClosingDesk(Protocol):
    """Either party's desk."""

    transaction: Transaction
    books: Books
    at: int


@dataclass(slots=True)
class CloseWithdrawal:
    """An operator's word on how the postings of a redemption were dealt with that were taken back; `by` is his URI.

    `kept` is the party's table of them.
    """

    kept: sa.Table
    signer: Signer
    redemption_id: bytes
    reference: str
    note: str
    by: str

    def load(self, desk: ClosingDesk) -> None:
        pass

    def decide(self, desk: ClosingDesk) -> list[recovery_pb2.WithdrawnPosting]:
        """Those it concerns, closed now or before. Raises InvalidInput for what was not taken back, or is closed with
        other words.
        """
        if not self.reference.strip() or not self.note.strip():
            raise self._invalid(
                "须有凭据号和说明 · needs a reference and a note",
                "写明付款或函件的编号及处理经过 · give the number of the payment or letter, and what was done",
            )
        postings = withdrawn_postings(desk.transaction, self.kept, True, self.redemption_id)
        if not postings:
            raise self._invalid(
                "没有被撤回的入账 · nothing of it was taken back",
                "先列出 · list what was: withdrawn list --all",
            )
        waiting = {_closing_key(each): each for each in postings if not each.HasField("closing")}
        if not waiting:
            self._require_same(postings[-1].closing)
        for number, incarnation in sorted(waiting):
            self._close(desk, number, incarnation)
        return withdrawn_postings(desk.transaction, self.kept, True, self.redemption_id)

    def _require_same(self, closing: recovery_pb2.WithdrawalClosing) -> None:
        if (closing.reference, closing.note) != (self.reference, self.note):
            raise self._invalid(
                f"已处理，凭据 {closing.reference}（{closing.note}） · was dealt with already, by {closing.reference}: "
                f"{closing.note}",
                "查看 · see: withdrawn list --all",
            )

    def _close(self, desk: ClosingDesk, number: int, incarnation: int) -> None:
        closing = recovery_pb2.WithdrawalClosing(
            redemption_id=self.redemption_id,
            number=number,
            incarnation=incarnation,
            reference=self.reference,
            note=self.note,
            by=self.by,
            at=desk.at,
        )
        body = closing.SerializeToString()
        signature = self.signer.sign(CLOSING, body)
        row = {
            "redemption_id": self.redemption_id,
            "number": number,
            "incarnation": incarnation,
            "body": body,
            "key_id": self.signer.key_id,
            "signature": signature,
        }
        desk.transaction.insert(_TABLE, [row])
        desk.books.record(CLOSING, desk.at, closing_document(row), signature)

    def _invalid(self, what: str, remedy: str) -> InvalidInput:
        return InvalidInput(what, place=f"redemption {self.redemption_id.hex()}", remedy=remedy)


def closing_document(row: Any) -> str:
    """How the journal names a row of `withdrawal_closing`."""
    values = row if isinstance(row, dict) else row._mapping
    return f"{values['redemption_id'].hex()}/{values['number']} {values['incarnation']}"


def withdrawn_postings(
    transaction: Transaction, kept: sa.Table, closed: bool, redemption_id: bytes | None = None
) -> list[recovery_pb2.WithdrawnPosting]:
    """What a party keeps of postings that were taken back, the oldest first; those dealt with only if `closed`."""
    run, found = transaction.connection.execute, []
    closings = (
        _TABLE.select() if redemption_id is None else _TABLE.select().where(_TABLE.c.redemption_id == redemption_id)
    )
    said = [recovery_pb2.WithdrawalClosing.FromString(row.body) for row in run(closings)]
    by_key = {(each.redemption_id, each.number, each.incarnation): each for each in said}
    for row in run(kept.select().order_by(kept.c.withdrawn_at, *kept.primary_key)):
        withdrawal = custody_pb2.Withdrawal.FromString(row.body)
        posting = withdrawal.posting
        closing = by_key.get((posting.redemption_id, posting.number, withdrawal.incarnation))
        if (closing and not closed) or redemption_id not in (None, posting.redemption_id):
            continue
        found.append(
            recovery_pb2.WithdrawnPosting(
                side=row._mapping.get("side", ""),
                posting=posting,
                withdrawn_at=row.withdrawn_at,
                incarnation=withdrawal.incarnation,
                reason=withdrawal.reason,
                closing=closing,
            )
        )
    return found


def _closing_key(each: recovery_pb2.WithdrawnPosting) -> tuple[int, int]:
    return each.posting.number, each.incarnation
