"""What happens to a campaign after its terms are published: new versions, notices, pause, resume, withdrawal.

Every change is one signed, numbered message (`CampaignChange`, kind "campaign-change") that says who made it and why.
A new version counts for vouchers issued from then on; a *notice* concerns vouchers already out and may only favour
their holders (protocol.md, "The voucher token": Shanxi postponed its deadline in 2020).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from quanlian.errors import InvalidInput
from quanlian.regions import matches
from quanlian.terms import CHANNELS, Terms
from quanlian.terms_file import InvalidTerms, open_terms


class ChangeKind(IntEnum):
    PUBLISH = 1
    AMEND = 2
    NOTICE = 3
    PAUSE = 4
    RESUME = 5
    WITHDRAW = 6


class Change(NamedTuple):
    """One change of one campaign, numbered from 1 without gaps; `at` in UTC seconds.

    `terms_hash` is the version in force after it; `notice` the TOML bytes of a notice, else empty.
    """

    issuer: str
    campaign: str
    number: int
    kind: ChangeKind
    at: int
    by: str
    why: str
    terms_hash: bytes
    notice: bytes = b""


@dataclass(frozen=True, slots=True)
class Notice:
    """What vouchers already out gain: validity until then at least, and further regions and channels."""

    campaign: str
    valid_until: int | None
    regions: tuple[str, ...]
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A campaign as it stands after its changes. `claims_closed`: withdrawn, vouchers out stay good."""

    terms_hash: bytes = b""
    last_number: int = 0
    paused: bool = False
    claims_closed: bool = False
    valid_until: int = 0
    regions: tuple[str, ...] = ()
    channels: frozenset[str] = frozenset()

    def not_after(self, token_not_after: int) -> int:
        """The end of a voucher's validity, as its token or a later notice says, whichever is later."""
        return max(token_not_after, self.valid_until)

    def covers_region(self, terms: Terms, code: str) -> bool:
        return terms.covers_region(code) or any(matches(scope, code) for scope in self.regions)

    def covers_channel(self, terms: Terms, channel: str) -> bool:
        return channel in terms.channels or channel in self.channels


AS_PUBLISHED = Standing()
"""A campaign without changes that concern vouchers out."""


def standing(changes: Iterable[Change]) -> Standing:
    """Put changes together, in their order."""
    now = AS_PUBLISHED
    for change in sorted(changes, key=lambda each: each.number):
        now = replace(now, terms_hash=change.terms_hash, last_number=change.number)
        if change.kind is ChangeKind.NOTICE:
            notice = parse_notice(change.notice, "notice")
            now = replace(
                now,
                valid_until=max(now.valid_until, notice.valid_until or 0),
                regions=now.regions + notice.regions,
                channels=now.channels | notice.channels,
            )
        elif change.kind in (ChangeKind.PAUSE, ChangeKind.RESUME):
            now = replace(now, paused=change.kind is ChangeKind.PAUSE)
        elif change.kind is ChangeKind.WITHDRAW:
            now = replace(now, claims_closed=True)
    return now


def check_next(now: Standing, change: Change) -> None:
    """Whether a change may follow. Raises InvalidInput for a gap or a step that its state forbids."""
    if change.number != now.last_number + 1:
        raise InvalidInput(
            f"change {change.number} cannot follow {now.last_number}",
            place=f"campaign {change.campaign}",
            remedy="read the campaign again and repeat the change",
        )
    faults = {
        ChangeKind.PUBLISH: "is published already" if now.last_number else "",
        ChangeKind.AMEND: "is withdrawn" if now.claims_closed else "",
        ChangeKind.PAUSE: "is paused already" if now.paused else "",
        ChangeKind.RESUME: "" if now.paused else "is not paused",
        ChangeKind.WITHDRAW: "is withdrawn already" if now.claims_closed else "",
    }
    fault = faults.get(change.kind, "")
    if not fault and change.kind is not ChangeKind.PUBLISH and not now.last_number:
        fault = "is not published"
    if fault:
        raise InvalidInput(fault, place=f"campaign {change.campaign}", remedy="look at its changes first")


def parse_notice(content: bytes, name: str) -> Notice:
    """A notice from its TOML file: `[notice]` with `campaign` and what holders gain.

    Raises InvalidTerms with every problem: an unknown key is refused, for a notice can say nothing that takes away.
    """
    root, problems = open_terms(content, name)
    table = root.table("notice")
    notice = Notice(
        campaign=table.name("campaign"),
        valid_until=table.instant("valid_until") if "valid_until" in table else None,
        regions=table.texts("regions") if "regions" in table else (),
        channels=table.words("channels", CHANNELS) if "channels" in table else frozenset(),
    )
    for scope in notice.regions:
        _require_scope(scope, name)
    if notice.valid_until is None and not notice.regions and not notice.channels:
        table.note("campaign", "gives holders nothing", "set valid_until, regions or channels")
    table.finish()
    root.finish()
    if problems:
        raise InvalidTerms(name, problems)
    return notice


def check_notice(notice: Notice, terms: Terms, at: int) -> None:
    """A notice must be for this campaign and still help somebody. Raises InvalidInput."""
    if notice.campaign != terms.campaign:
        raise InvalidInput(f"is for {notice.campaign}", place="notice.campaign", remedy=f"name {terms.campaign}")
    if notice.valid_until is not None and notice.valid_until <= max(at, terms.ends_at):
        raise InvalidInput(
            "would end vouchers no later than their terms, or is past",
            place="notice.valid_until",
            remedy="name an instant after the campaign's end: a notice may only extend",
        )


def _require_scope(scope: str, name: str) -> None:
    try:
        matches(scope, "310000")
    except InvalidInput as error:
        raise InvalidInput(str(error), place=f"{name}: notice.regions") from error
