"""A notice: what vouchers already out gain, as the TOML file that a department writes.

It can name a later end and further regions and channels, and nothing else, so that it can say nothing that takes away
(protocol.md, "The voucher token": Shanxi postponed its deadline in 2020).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from quanlian.errors import InvalidInput
from quanlian.file_rules import Words, rule
from quanlian.regions import covers_all
from quanlian.terms import CHANNELS, Pack, Terms, written, year_after
from quanlian.terms_fields import NOTICE_SOURCES
from quanlian.terms_file import InvalidTerms, Problem, open_document
from quanlian.terms_parsing import read_scopes
from quanlian.terms_words import until

GIVES_NOTHING: Final = rule(
    "没有给持券人任何利益",
    "gives holders nothing",
    "写明 valid_until、regions 或 channels",
    "set valid_until, regions or channels",
)


@dataclass(frozen=True, slots=True)
class Notice:
    """What vouchers of `campaign` gain: validity until `valid_until` (UTC seconds) at least, regions, channels."""

    campaign: str
    valid_until: int | None = None
    regions: tuple[str, ...] = ()
    channels: frozenset[str] = frozenset()


class Given(NamedTuple):
    """What earlier notices gave: `valid_until` is 0 where none postponed the end."""

    valid_until: int = 0
    regions: tuple[str, ...] = ()
    channels: frozenset[str] = frozenset()


NOTHING_GIVEN: Final = Given()


def parse_notice(content: bytes, name: str) -> Notice:
    """The notice in the file called `name`. Raises InvalidTerms with every problem found."""
    notice, problems = read_notice(content, name)
    if problems:
        raise InvalidTerms(name, problems)
    return notice


def read_notice(content: bytes, name: str) -> tuple[Notice, list[Problem]]:
    """What the file says, with stand-ins where there is a problem. Raises InvalidTerms if nothing can be read."""
    root, document = open_document(content, name, NOTICE_SOURCES)
    table = root.table("notice")
    notice = Notice(
        campaign=table.name("campaign"),
        valid_until=table.instant("valid_until") if "valid_until" in table else None,
        regions=read_scopes(table, "regions") if "regions" in table else (),
        channels=table.words("channels", CHANNELS) if "channels" in table else frozenset(),
    )
    if "notice" in root and not any(key in table for key in ("valid_until", "regions", "channels")):
        table.note("campaign", GIVES_NOTHING)
    table.finish()
    root.finish()
    return notice, document.problems


def is_notice(content: bytes) -> bool:
    """Whether a file is a notice rather than terms: it has a table [notice] and no [campaign]."""
    try:
        root, _ = open_document(content, "file")
    except InvalidTerms:
        return False
    return "notice" in root and "campaign" not in root


def check_notice(notice: Notice, terms: Terms, given: Given, at: int) -> None:
    """A notice must be for this campaign and, at `at` (UTC seconds), still give somebody something new.

    Each part must: an end that is not later for all of some pack's vouchers would read like a shortening. Raises
    InvalidInput.
    """
    if notice.campaign != terms.campaign:
        raise InvalidInput(
            f"属于另一活动 is for {notice.campaign}", place="notice.campaign", remedy=f"写 name {terms.campaign}"
        )
    if notice.valid_until is not None:
        _check_valid_until(notice.valid_until, terms, given, at)
    _check_regions(notice.regions, terms, given)
    channels = notice.channels - terms.channels - given.channels
    _require_new("channels", channels, notice.channels)


def doubts_of(notice: Notice, terms: Terms, at: int) -> list[Words]:
    """What a notice given at `at` (UTC seconds) may say and seldom means; it holds for all packs and stays for good."""
    if notice.valid_until is None:
        return []
    end, found = until(notice.valid_until), []
    if notice.valid_until > terms.ends_at:
        closes = until(terms.ends_at)
        found.append(
            Words(
                f"{end} 晚于活动结束 {closes}：所有券包的券此后仍可使用，预留资金随之延后释放",
                f"{end} is after the campaign's end, {closes}: vouchers of all packs stay good, their money reserved",
            )
        )
    if notice.valid_until > year_after(at):
        found.append(Words(f"{end} 在一年以后；公告不能收回", f"{end} is over a year away; a notice stays for good"))
    return found


def latest_end(pack: Pack, terms: Terms, at: int) -> int:
    """When the last voucher of a pack that can be out at `at` is over, by the terms; both in UTC seconds."""
    if pack.valid_until is not None:
        return min(pack.valid_until, pack.ends_at)
    rounds = [entry for entry in terms.rounds if entry.pack == pack.id]
    first = min((entry.opens_at for entry in rounds), default=terms.starts_at)
    last = max((entry.closes_at - 1 for entry in rounds), default=first)
    return pack.validity(max(first, min(at, last)))[1]


def _check_valid_until(valid_until: int, terms: Terms, given: Given, at: int) -> None:
    if valid_until <= at:
        raise InvalidInput(
            f"{written(valid_until)} 已过 is past",
            place="notice.valid_until",
            remedy="写未来的时间 name an instant to come",
        )
    end = max(min(latest_end(pack, terms, at) for pack in terms.packs), given.valid_until)
    if valid_until <= end:
        raise InvalidInput(
            f"{written(valid_until)} 没有延长任何券包，券至少可用至 {written(end)} "
            f"postpones no pack's end: vouchers are good until {written(end)} at least",
            place="notice.valid_until",
            remedy="公告只能延长，写更晚的时间 name a later instant: a notice may only extend",
        )


def _check_regions(scopes: tuple[str, ...], terms: Terms, given: Given) -> None:
    """Regions are new by what they cover, not by their name; vouchers that do not roam reach their issuer alone."""
    known = (*terms.regions, *given.regions)
    _require_new("regions", [scope for scope in scopes if not covers_all(known, [scope])], scopes)
    home = covers_all(scopes, [terms.issuer]) and not covers_all(known, [terms.issuer])
    if scopes and not home and all(pack.roaming == "never" for pack in terms.packs):
        raise InvalidInput(
            f"{', '.join(scopes)}: 全部券包不可异地使用，增加地区无人受益 "
            "no pack of the campaign roams, so that further regions give holders nothing",
            place="notice.regions",
            remedy="不写 regions leave regions out",
        )


def _require_new(field: str, new: Iterable[str], named: Iterable[str]) -> None:
    if not new and named:
        raise InvalidInput(
            f"{', '.join(sorted(named))}: 持券人已有 holders have that already",
            place=f"notice.{field}",
            remedy=f"删去 {field} 或写新的 leave {field} out, or name further ones: a notice may only widen",
        )
