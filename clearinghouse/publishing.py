"""Changes of campaigns on their way from the issuer to every node."""

from __future__ import annotations

from dataclasses import dataclass

from clearinghouse.desk import Desk
from custodian.campaigns import SignedChange, record_change
from quanlian.campaign_changes import ChangeKind
from quanlian.errors import InvalidInput
from quanlian.notices import check_notice, parse_notice


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
