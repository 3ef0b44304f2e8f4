"""Changes of campaigns on their way from the issuer to every node."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.desk import Desk
from custodian.campaigns import SignedChange, record_change
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import InvalidInput
from quanlian.notices import check_notice, parse_notice
from quanlian.terms_parsing import parse_terms
from quanlian.v1 import signed_pb2


def keep_terms(transaction: Transaction, region: str, message: signed_pb2.SignedMessage) -> bytes:
    """Keep an issuer's terms, their signature checked before; returns their hash. Raises InvalidInput for another's."""
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
    transaction.upsert(schema.terms, [row])
    return terms.terms_hash


@dataclass(slots=True)
class PublishChange:
    """An issuer's change, its signature checked before."""

    signed: SignedChange

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        """Keep it and tell all regions. Raises InvalidInput for unknown terms, or a notice that gives nothing.

        A notice is judged at the time it was made: it may have waited for this clearinghouse.
        """
        change = self.signed.change
        terms = desk.terms(change.terms_hash)
        if terms is None or (terms.issuer, terms.campaign) != (change.issuer, change.campaign):
            raise InvalidInput("names terms that were not published", place="change", remedy="publish them first")
        standing = desk.campaigns.standing(change.issuer, change.campaign)
        if change.kind is ChangeKind.NOTICE and change.number > standing.last_number:
            check_notice(parse_notice(change.notice, "notice"), terms, standing.given, change.at)
        if desk.campaigns.append(self.signed):
            record_change(desk.books, desk.at, self.signed)
            desk.tell_all(campaign_change=self.signed.message)
