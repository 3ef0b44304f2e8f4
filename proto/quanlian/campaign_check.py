"""A campaign file before it is launched: every rule that it breaks, and what is allowed but seldom meant.

Errors are what the parser finds; terms that have one are never published. Warnings are judged here, on fields
without errors, each with its line and the source of its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from quanlian.apportionment import CoFunder
from quanlian.leverage import Bound, published_bounds
from quanlian.money import allocate, yuan
from quanlian.refusals import CHINA
from quanlian.terms import Pack, Round, Terms, decimal_of, read_document
from quanlian.terms_file import Document, InvalidTerms, Path, Problem

_DAY_SECONDS = 86_400
_YEAR_DAYS = 365
_LEAP_YEAR_DAYS = 366
_PPM = 1_000_000
_TERM = "Zhejiang proposal"
_DRY = "money.md, A funder that runs dry"


class Report(NamedTuple):
    """What checking a file found, in the order of its lines. `terms` is None if it has errors."""

    terms: Terms | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_campaign(content: bytes, name: str, bounds: Sequence[Bound] | None = None) -> Report:
    """Every problem of the file called `name`; never raises for what the file holds.

    `bounds` are the regions' minimum leverages, by default those that come with this package.
    """
    try:
        terms, document = read_document(content, name)
    except InvalidTerms as error:
        return Report(None, error.problems, ())
    errors = tuple(sorted(document.problems))
    draft = _Draft(terms, document, published_bounds() if bounds is None else bounds)
    warnings = tuple(sorted(warning for rule in _RULES for warning in rule(draft)))
    return Report(None if errors else terms, errors, warnings)


class _Draft:
    """Terms that may have errors still, and where their fields stand."""

    def __init__(self, terms: Terms, document: Document, bounds: Sequence[Bound]) -> None:
        self.terms, self.bounds = terms, bounds
        self._document = document
        self._wrong = [problem.field for problem in document.problems]
        self._unread = "file" in self._wrong

    def sound(self, *fields: str) -> bool:
        """Whether no error stands in these fields or tables; `round` are all rounds, `round[1]` is the first."""
        inside = tuple(f"{field}{end}" for field in fields for end in (".", "["))
        return not self._unread and not any(wrong in fields or wrong.startswith(inside) for wrong in self._wrong)

    def warn(self, path: Path, value: str, rule: str, remedy: str, source: str = "") -> Problem:
        return self._document.problem(path, None, rule, remedy, source)._replace(value=value)


def _leverage(draft: _Draft) -> Iterator[Problem]:
    """A voucher that a region which it covers may refuse to visitors."""
    terms = draft.terms
    if not draft.sound("campaign", "pack"):
        return
    away = {name for pack in terms.packs if pack.roaming != "never" for name in pack.vouchers}
    bounds = [
        bound
        for bound in draft.bounds
        if bound.region != terms.issuer and bound.visitors != "off" and terms.covers_region(bound.region)
    ]
    for index, entry in enumerate(terms.voucher_types):
        leverage = entry.leverage if draft.sound(f"voucher_type[{index + 1}]") else None
        for bound in bounds if leverage is not None and entry.id in away else ():
            if leverage is not None and leverage < bound.minimum:
                yield draft.warn(
                    ("voucher_type", index, "minimum_spend"),
                    yuan(entry.minimum_spend_fen),
                    f"is {decimal_of(leverage)} times the face, under the leverage of {decimal_of(bound.minimum)} of "
                    f"region {bound.region}, which this campaign covers",
                    "raise minimum_spend, or leave that region out: its merchants may not accept the voucher",
                    bound.source,
                )


def _claiming(draft: _Draft) -> Iterator[Problem]:
    """Rounds that outlast their vouchers, cut them short, or name nobody; and a campaign without rounds."""
    terms = draft.terms
    if not terms.rounds and draft.sound("round"):
        yield draft.warn((), "", "has no [[round]]: nobody can claim", "add a round", "protocol.md, Claiming")
    packs = {pack.id: pack for pack in terms.packs} if draft.sound("pack", "campaign.ends_at") else {}
    for index, entry in enumerate(terms.rounds):
        if not draft.sound(f"round[{index + 1}]"):
            continue
        if entry.mode == "targeted" and not entry.groups:
            remedy = "add groups = […], each the id of a [[group]]"
            yield draft.warn(("round", index, "mode"), "targeted", "names no population group", remedy, _TERM)
        if entry.mode != "application" and entry.pack in packs:
            yield from _against_validity(draft, index, entry, packs[entry.pack])


def _against_validity(draft: _Draft, index: int, entry: Round, pack: Pack) -> Iterator[Problem]:
    """An application may come any day of the year; any other round should be over before its vouchers are."""
    where, closes = ("round", index, "closes_at"), _written(entry.closes_at)
    if pack.valid_until is not None:
        if entry.closes_at > pack.valid_until:
            rule = f"makes the round longer than the term of its vouchers, which ends {_written(pack.valid_until)}"
            yield draft.warn(where, closes, rule, "close the round before its vouchers are over", _TERM)
        return
    days = pack.valid_days or 0
    if entry.closes_at - entry.opens_at > days * _DAY_SECONDS:
        open_days = (entry.closes_at - entry.opens_at) // _DAY_SECONDS
        rule = f"makes the round longer than the term of its vouchers: open for {open_days} days, good for {days}"
        yield draft.warn(where, closes, rule, "split the round, or give its pack more valid_days", _TERM)
    last_day = (entry.closes_at - 1 + 8 * 3600) // _DAY_SECONDS + days - 1
    if last_day * _DAY_SECONDS - 8 * 3600 >= pack.ends_at:
        rule = f"lets people claim vouchers for {days} days that the campaign's end cuts short"
        yield draft.warn(where, closes, rule, "close it earlier, or end the campaign later", "Jincheng plan, 10.2")


def _long_terms(draft: _Draft) -> Iterator[Problem]:
    """At most a year, 3 to 6 months recommended (使用时限性)."""
    terms = draft.terms
    remedy = "3 to 6 months are recommended, a year at most"
    if draft.sound("campaign.starts_at", "campaign.ends_at"):
        days = (terms.ends_at - terms.starts_at) // _DAY_SECONDS
        if days > _LEAP_YEAR_DAYS:
            yield draft.warn(("campaign", "ends_at"), f"{days} days", "makes a term over a year", remedy, _TERM)
    for index, pack in enumerate(terms.packs):
        if not draft.sound(f"pack[{index + 1}]", "round", "campaign.starts_at"):
            continue
        if pack.valid_days is not None and pack.valid_days > _YEAR_DAYS:
            rule = "is a term over a year"
            yield draft.warn(("pack", index, "valid_days"), str(pack.valid_days), rule, remedy, _TERM)
        opens_at = min((entry.opens_at for entry in terms.rounds if entry.pack == pack.id), default=terms.starts_at)
        if pack.valid_until is not None and pack.valid_until > _year_after(opens_at):
            value, rule = _written(pack.valid_until), "is a term over a year"
            yield draft.warn(("pack", index, "valid_until"), value, rule, remedy, _TERM)


def _budgets(draft: _Draft) -> Iterator[Problem]:
    """Budgets against the most that all rounds together can reserve."""
    terms = draft.terms
    if not draft.sound("funder", "cofunder", "voucher_type", "pack", "round", "funding.shortfall_rule", "campaign"):
        return
    cofunded, public = _needed(terms)
    for index, (cofunder, needed_fen) in enumerate(zip(terms.cofunders, cofunded, strict=True)):
        if cofunder.budget_fen is None or needed_fen <= cofunder.budget_fen:
            continue
        if cofunder.public_pays_if_dry:
            public += needed_fen - cofunder.budget_fen
            continue
        yield _short(draft, ("cofunder", index, "budget"), cofunder.budget_fen, needed_fen)
    if terms.shortfall_rule == "refuse":
        shares = allocate(public, [funder.weight for funder in terms.funders])
        for index, (funder, share_fen) in enumerate(zip(terms.funders, shares, strict=True)):
            # a fen per voucher may fall to another funder by rounding
            if funder.budget_fen < share_fen:
                yield _short(draft, ("funder", index, "budget"), funder.budget_fen, share_fen)
        return
    backstops = terms.shortfall_rule == "cascade"
    paying = [funder.budget_fen for funder in terms.funders if funder.weight or backstops]
    if sum(paying) < public:
        yield _short(draft, ("funder", 0, "budget"), sum(paying), public)


def _short(draft: _Draft, path: Path, budget_fen: int, needed_fen: int) -> Problem:
    return draft.warn(
        path,
        yuan(budget_fen),
        f"cannot cover the quota of all rounds, which reserves up to {yuan(needed_fen)}: "
        f"{yuan(needed_fen - budget_fen)} short",
        "raise the budget or lower the quota; claims are refused once the money is gone",
        "money.md, Reserved at issue",
    )


def _needed(terms: Terms) -> tuple[list[int], int]:
    """What co-funders and the public reserve, in fen, if every pack of every round is claimed."""
    cofunders: tuple[CoFunder, ...] = terms.cofunder_plan()
    shares = [cofunder.share_ppm for cofunder in cofunders]
    weights = [*shares, _PPM - sum(shares)]
    highest = {entry.id: entry.max_discount_fen for entry in terms.voucher_types}
    totals = [0] * len(weights)
    for entry in terms.rounds:
        for voucher in terms.pack(entry.pack).vouchers:
            for position, part_fen in enumerate(allocate(highest[voucher], weights)):
                totals[position] += part_fen * entry.quota
    return totals[:-1], totals[-1]


def _weights(draft: _Draft) -> Iterator[Problem]:
    """A backstop pays under `cascade` only."""
    if draft.terms.shortfall_rule == "cascade" or not draft.sound("funding"):
        return
    for index, funder in enumerate(draft.terms.funders):
        if funder.weight == 0 and draft.sound(f"funder[{index + 1}]", "funder[1].weight"):
            rule = f"never pays under {draft.terms.shortfall_rule}"
            remedy = "give it a weight, or make the shortfall_rule cascade"
            yield draft.warn(("funder", index, "weight"), "0", rule, remedy, _DRY)


def _unused(draft: _Draft) -> Iterator[Problem]:
    """What is written and never issued."""
    terms = draft.terms
    if not draft.sound("pack", "round", "voucher_type", "group"):
        return
    in_packs = {name for pack in terms.packs for name in pack.vouchers}
    for index, entry in enumerate(terms.voucher_types):
        if entry.id not in in_packs:
            yield draft.warn(("voucher_type", index, "id"), entry.id, "is in no pack", "list it in a [[pack]]")
    in_rounds = {entry.pack for entry in terms.rounds}
    for index, pack in enumerate(terms.packs if terms.rounds else ()):
        if pack.id not in in_rounds:
            yield draft.warn(("pack", index, "id"), pack.id, "is in no round", "name it in a [[round]]")
    named = {name for entry in terms.rounds for name in entry.groups}
    for index, group in enumerate(terms.groups):
        if group.id not in named:
            yield draft.warn(("group", index, "id"), group.id, "is in no round", "name it in a round's groups")


def _scope(draft: _Draft) -> Iterator[Problem]:
    """Where vouchers can be used, and the year whose budget pays."""
    terms = draft.terms
    if not draft.sound("campaign", "pack"):
        return
    if not terms.covers_region(terms.issuer):
        rule, remedy = f"do not cover the issuer {terms.issuer}", "add it, or its own merchants refuse the vouchers"
        yield draft.warn(("campaign", "regions"), "", rule, remedy)
    if set(terms.regions) != {terms.issuer} and all(pack.roaming == "never" for pack in terms.packs):
        rule, remedy = "is the roaming of every pack: regions other than the issuer are not reached", "allow roaming"
        yield draft.warn(("campaign", "roaming"), "never", rule, remedy, "protocol.md, Custody")
    years = range(
        datetime.fromtimestamp(terms.starts_at, CHINA).year, datetime.fromtimestamp(terms.ends_at, CHINA).year
    )
    if terms.fiscal_year not in (*years, datetime.fromtimestamp(terms.ends_at - 1, CHINA).year):
        rule, remedy = "is not a year of the campaign", "name the year whose budget pays"
        yield draft.warn(("campaign", "fiscal_year"), str(terms.fiscal_year), rule, remedy, "money.md, Ledger")


_RULES: tuple[Callable[[_Draft], Iterator[Problem]], ...] = (
    _leverage,
    _claiming,
    _long_terms,
    _budgets,
    _weights,
    _unused,
    _scope,
)


def _year_after(at: int) -> int:
    day = datetime.fromtimestamp(at, CHINA)
    leap_day = (day.month, day.day) == (2, 29)
    later = day.replace(year=day.year + 1, month=3, day=1) if leap_day else day.replace(year=day.year + 1)
    return at + (later - day) // timedelta(seconds=1)


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).isoformat()
