"""A campaign file before it is launched: every rule that it breaks, and what is allowed but seldom meant.

Errors are what the parser finds; terms that have one are never published. Warnings are judged here, on fields
without errors, each with its line and the source of its rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from quanlian import terms_rules as rules
from quanlian.apportionment import CoFunder
from quanlian.file_rules import Rule, Words
from quanlian.leverage import Bound, published_bounds
from quanlian.money import allocate, yuan
from quanlian.notices import read_notice
from quanlian.refusals import CHINA
from quanlian.regions import full_name, region
from quanlian.terms import Pack, Round, Terms, decimal_of, written, year_after
from quanlian.terms_file import Document, InvalidTerms, Path, Problem
from quanlian.terms_parsing import read_document

_DAY_SECONDS = 86_400
_YEAR_DAYS = 365
_PPM = 1_000_000
_TERM = "Zhejiang proposal"
_DRY = "money.md, A funder that runs dry"


class Report(NamedTuple):
    """What checking a file found, in the order of its lines. `terms` is None if it has errors, or is a notice.

    `judged` is whether no error kept a warning from being judged.
    """

    terms: Terms | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    judged: bool = True


def check_campaign(content: bytes, name: str, bounds: Sequence[Bound] | None = None) -> Report:
    """Every problem of the file called `name`; never raises for what the file holds.

    `bounds` are the regions' minimum leverages, by default those that come with this package.
    """
    try:
        terms, document = read_document(content, name)
    except InvalidTerms as error:
        return Report(None, error.problems, (), judged=False)
    errors = tuple(sorted(document.problems))
    draft = _Draft(terms, document, published_bounds() if bounds is None else bounds)
    warnings = tuple(sorted(warning for rule in _RULES for warning in rule(draft)))
    return Report(None if errors else terms, errors, warnings, draft.judged)


def check_notice_file(content: bytes, name: str) -> Report:
    """Every problem of a notice called `name`; never raises for what the file holds."""
    try:
        _, problems = read_notice(content, name)
    except InvalidTerms as error:
        return Report(None, error.problems, ())
    return Report(None, tuple(sorted(problems)), ())


class _Draft:
    """Terms that may have errors still, and where their fields stand."""

    def __init__(self, terms: Terms, document: Document, bounds: Sequence[Bound]) -> None:
        self.terms, self.bounds = terms, bounds
        self._document = document
        self._wrong = [problem.field for problem in document.problems]
        self._unread = "file" in self._wrong
        self.judged = True

    def sound(self, *fields: str) -> bool:
        """Whether no error stands in these fields or tables; `round` are all rounds, `round[1]` is the first."""
        inside = tuple(f"{field}{end}" for field in fields for end in (".", "["))
        sound = not self._unread and not any(wrong in fields or wrong.startswith(inside) for wrong in self._wrong)
        self.judged = self.judged and sound
        return sound

    def warn(self, path: Path, value: str, rule: Rule, source: str = "") -> Problem:
        return self._document.problem(path, value, rule, source)


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
                rule = rules.UNDER_ANOTHERS_LEVERAGE.of(
                    leverage=decimal_of(leverage), bound=decimal_of(bound.minimum), region=_names(bound.region)
                )
                spend = yuan(entry.minimum_spend_fen)
                yield draft.warn(("voucher_type", index, "minimum_spend"), spend, rule, bound.source)


def _claiming(draft: _Draft) -> Iterator[Problem]:
    """Rounds that outlast their vouchers, cut them short, or name nobody; and a campaign without rounds."""
    terms = draft.terms
    if not terms.rounds and draft.sound("round"):
        yield draft.warn((), "", rules.NO_ROUND, "protocol.md, Claiming")
    packs = {pack.id: pack for pack in terms.packs} if draft.sound("pack", "campaign.ends_at") else {}
    for index, entry in enumerate(terms.rounds):
        if not draft.sound(f"round[{index + 1}]"):
            continue
        if entry.mode == "targeted" and not entry.groups:
            yield draft.warn(("round", index, "mode"), "targeted", rules.NO_GROUP_NAMED, _TERM)
        if entry.mode != "application" and entry.pack in packs:
            yield from _against_validity(draft, index, entry, packs[entry.pack])


def _against_validity(draft: _Draft, index: int, entry: Round, pack: Pack) -> Iterator[Problem]:
    """An application may come any day of the year; any other round should be over before its vouchers are."""
    where, closes = ("round", index, "closes_at"), written(entry.closes_at)
    if pack.valid_until is not None:
        if entry.closes_at > pack.valid_until:
            yield draft.warn(where, closes, rules.LONGER_THAN_END.of(end=written(pack.valid_until)), _TERM)
        return
    days = pack.valid_days or 0
    if entry.closes_at - entry.opens_at > days * _DAY_SECONDS:
        open_days = (entry.closes_at - entry.opens_at) // _DAY_SECONDS
        yield draft.warn(where, closes, rules.LONGER_THAN_DAYS.of(open=open_days, days=days), _TERM)
    last_day = (entry.closes_at - 1 + 8 * 3600) // _DAY_SECONDS + days - 1
    if last_day * _DAY_SECONDS - 8 * 3600 >= pack.ends_at:
        yield draft.warn(where, closes, rules.CUT_SHORT.of(days=days), "Jincheng plan, 10.2")


def _long_terms(draft: _Draft) -> Iterator[Problem]:
    """At most a year, 3 to 6 months recommended (使用时限性)."""
    terms = draft.terms
    if draft.sound("campaign.starts_at", "campaign.ends_at") and terms.ends_at > year_after(terms.starts_at):
        yield draft.warn(("campaign", "ends_at"), written(terms.ends_at), rules.CAMPAIGN_OVER_A_YEAR, _TERM)
    for index, pack in enumerate(terms.packs):
        if not draft.sound(f"pack[{index + 1}]", "round", "campaign.starts_at"):
            continue
        if pack.valid_days is not None and pack.valid_days > _YEAR_DAYS:
            yield draft.warn(("pack", index, "valid_days"), str(pack.valid_days), rules.TERM_OVER_A_YEAR, _TERM)
        opens_at = min((entry.opens_at for entry in terms.rounds if entry.pack == pack.id), default=terms.starts_at)
        if pack.valid_until is not None and pack.valid_until > year_after(opens_at):
            yield draft.warn(("pack", index, "valid_until"), written(pack.valid_until), rules.TERM_OVER_A_YEAR, _TERM)


def _budgets(draft: _Draft) -> Iterator[Problem]:
    """Budgets against the most that all rounds together can reserve."""
    terms = draft.terms
    if not draft.sound("funder", "cofunder", "voucher_type", "pack", "round", "funding.shortfall_rule"):
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
    paying = [index for index, funder in enumerate(terms.funders) if funder.weight or backstops]
    together = sum(terms.funders[index].budget_fen for index in paying)
    if together >= public:
        return
    if len(paying) == 1:
        yield _short(draft, ("funder", paying[0], "budget"), together, public)
    else:
        rule = rules.BUDGETS_SHORT.of(needed=yuan(public), short=yuan(public - together), count=len(paying))
        yield draft.warn(("funder", paying[0]), yuan(together), rule, "money.md, Reserved at issue")


def _short(draft: _Draft, path: Path, budget_fen: int, needed_fen: int) -> Problem:
    rule = rules.BUDGET_SHORT.of(needed=yuan(needed_fen), short=yuan(needed_fen - budget_fen))
    return draft.warn(path, yuan(budget_fen), rule, "money.md, Reserved at issue")


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
            rule = rules.NEVER_PAYS.of(rule=draft.terms.shortfall_rule)
            yield draft.warn(("funder", index, "weight"), "0", rule, _DRY)


def _unused(draft: _Draft) -> Iterator[Problem]:
    """What is written and never issued."""
    terms = draft.terms
    if not draft.sound("pack", "round", "voucher_type", "group"):
        return
    in_packs = {name for pack in terms.packs for name in pack.vouchers}
    for index, entry in enumerate(terms.voucher_types):
        if entry.id not in in_packs:
            yield draft.warn(("voucher_type", index, "id"), entry.id, rules.IN_NO_PACK)
    in_rounds = {entry.pack for entry in terms.rounds}
    for index, pack in enumerate(terms.packs if terms.rounds else ()):
        if pack.id not in in_rounds:
            yield draft.warn(("pack", index, "id"), pack.id, rules.IN_NO_ROUND)
    named = {name for entry in terms.rounds for name in entry.groups}
    for index, group in enumerate(terms.groups):
        if group.id not in named:
            yield draft.warn(("group", index, "id"), group.id, rules.GROUP_IN_NO_ROUND)


def _scope(draft: _Draft) -> Iterator[Problem]:
    """Where vouchers can be used, and the year whose budget pays."""
    terms = draft.terms
    if not draft.sound("campaign", "pack"):
        return
    if not terms.covers_region(terms.issuer):
        scopes = ", ".join(terms.regions)
        yield draft.warn(("campaign", "regions"), scopes, rules.ISSUER_NOT_COVERED.of(issuer=_names(terms.issuer)))
    if set(terms.regions) != {terms.issuer} and all(pack.roaming == "never" for pack in terms.packs):
        yield draft.warn(("campaign", "roaming"), "never", rules.NOT_REACHED, "protocol.md, Custody")
    years = range(
        datetime.fromtimestamp(terms.starts_at, CHINA).year, datetime.fromtimestamp(terms.ends_at, CHINA).year
    )
    if terms.fiscal_year not in (*years, datetime.fromtimestamp(terms.ends_at - 1, CHINA).year):
        year = str(terms.fiscal_year)
        yield draft.warn(("campaign", "fiscal_year"), year, rules.NOT_A_CAMPAIGN_YEAR, "money.md, Ledger")


_RULES: tuple[Callable[[_Draft], Iterator[Problem]], ...] = (
    _leverage,
    _claiming,
    _long_terms,
    _budgets,
    _weights,
    _unused,
    _scope,
)


def _names(code: str) -> Words:
    """A region's code with its name."""
    return Words(f"{full_name(code)} {code}", f"{region(code).name_en} {code}".strip())
