"""What happens to a campaign after it is published: new versions, notices, pause, resume, withdrawal, close-out.

Every change is one signed, numbered message (`CampaignChange`, kind "campaign-change") that says who made it and why.
A new version counts for vouchers issued from then on; a *notice* concerns vouchers already out and may only favour
their holders (`notices.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from quanlian.errors import InvalidInput
from quanlian.notices import NOTHING_GIVEN, Given, parse_notice
from quanlian.regions import matches
from quanlian.terms import Terms


class ChangeKind(IntEnum):
    PUBLISH = 1
    AMEND = 2
    NOTICE = 3
    PAUSE = 4
    RESUME = 5
    WITHDRAW = 6
    CLOSE_OUT = 7


class Change(NamedTuple):
    """One change of one campaign, numbered from 1 without gaps; `at` in UTC seconds.

    `terms_hash` is the version in force after it; `notice` the TOML bytes of a notice, else empty; `last_end` of a
    close-out when its last voucher's validity ended, else 0.
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
    last_end: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """A campaign as it stands after its changes. `claims_closed`: withdrawn, vouchers out stay good.

    `given` is what its notices gave the holders; `paused_at` and `closed_at` tell since when, 0 where it is neither.
    `last_end` is when the last voucher of a campaign that is closed out ended, 0 of any other.
    """

    terms_hash: bytes = b""
    last_number: int = 0
    paused: bool = False
    claims_closed: bool = False
    given: Given = NOTHING_GIVEN
    paused_at: int = 0
    closed_at: int = 0
    last_end: int = 0

    def not_after(self, token_not_after: int) -> int:
        """The end of a voucher's validity, as its token or a later notice says, whichever is later."""
        return max(token_not_after, self.given.valid_until)

    def covers_region(self, terms: Terms, code: str) -> bool:
        return terms.covers_region(code) or any(matches(scope, code) for scope in self.given.regions)

    def covers_channel(self, terms: Terms, channel: str) -> bool:
        return channel in terms.channels or channel in self.given.channels


AS_PUBLISHED = Standing()
"""A campaign without changes that concern vouchers out."""


def standing(changes: Iterable[Change]) -> Standing:
    """Put changes together, in their order."""
    now = AS_PUBLISHED
    for change in sorted(changes, key=lambda each: each.number):
        now = replace(now, terms_hash=change.terms_hash, last_number=change.number)
        if change.kind is ChangeKind.NOTICE:
            notice = parse_notice(change.notice, "notice")
            given = Given(
                valid_until=max(now.given.valid_until, notice.valid_until or 0),
                regions=now.given.regions + notice.regions,
                channels=now.given.channels | notice.channels,
            )
            now = replace(now, given=given)
        elif change.kind in (ChangeKind.PAUSE, ChangeKind.RESUME):
            paused = change.kind is ChangeKind.PAUSE
            now = replace(now, paused=paused, paused_at=change.at if paused else 0)
        elif change.kind is ChangeKind.WITHDRAW:
            now = replace(now, claims_closed=True, closed_at=change.at)
        elif change.kind is ChangeKind.CLOSE_OUT:
            now = replace(now, last_end=change.last_end)
    return now


def check_next(now: Standing, change: Change) -> None:
    """Whether a change may follow. Raises InvalidInput for a gap or a step that its state forbids."""
    if change.number != now.last_number + 1:
        raise InvalidInput(
            f"第{change.number}号变更不能接在第{now.last_number}号之后 · "
            f"change {change.number} cannot follow {now.last_number}",
            place=f"campaign {change.campaign}",
            remedy="重新查看活动后再作变更 · read the campaign again and repeat the change",
        )
    faults = {
        ChangeKind.PUBLISH: "已发布 · is published already" if now.last_number else "",
        ChangeKind.AMEND: "已撤回 · is withdrawn" if now.claims_closed else "",
        ChangeKind.PAUSE: "已暂停 · is paused already" if now.paused else "",
        ChangeKind.RESUME: "" if now.paused else "并未暂停 · is not paused",
        ChangeKind.WITHDRAW: "已撤回 · is withdrawn already" if now.claims_closed else "",
    }
    fault = "已结项 · is closed out" if now.last_end else faults.get(change.kind, "")
    if not fault and change.kind is not ChangeKind.PUBLISH and not now.last_number:
        fault = "尚未发布 · is not published"
    if fault:
        raise InvalidInput(
            fault, place=f"campaign {change.campaign}", remedy="先查看变更记录 · look at its changes first"
        )
