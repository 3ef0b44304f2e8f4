"""Campaign terms: a TOML file that a department reads, signs off and publishes, and what it says as values.

The signed terms are the very bytes of the file; `terms_hash` names that version of them. Amounts are written
in yuan with exactly two decimals and held in fen; times are written with their zone and held as UTC seconds.
`examples/campaigns/` has annotated files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final, NoReturn, get_args

from quanlian.accounts import MERCHANT, VISITORS, funding_account, merchant_account
from quanlian.apportionment import CoFunder, CoFunderKind, FundingPlan, RefundPolicy, ShortfallRule
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA
from quanlian.regions import EVERYWHERE, GROUPS, matches, region
from quanlian.signing import digest
from quanlian.terms_file import InvalidTerms, Problem, Table, open_terms

__all__ = [
    "CoFunderTerms",
    "FunderTerms",
    "InvalidTerms",
    "Pack",
    "Problem",
    "Round",
    "Terms",
    "Tier",
    "VoucherType",
    "parse_terms",
    "read_terms",
]

ROAMING = ("never", "on-demand", "at-issue")
CHANNELS = ("shop", "online", "delivery", "group-buying")
REFUND_POLICIES: Final[tuple[RefundPolicy, ...]] = get_args(RefundPolicy)
SHORTFALL_RULES: Final[tuple[ShortfallRule, ...]] = get_args(ShortfallRule)
CASCADES = ("borne", "advanced")
COFUNDER_KINDS: Final[tuple[CoFunderKind, ...]] = get_args(CoFunderKind)
LEVELS = ("central", "province", "city", "county", "township")
VOUCHER_KINDS = ("threshold", "full-value", "tiered", "fixed", "rate", "ticket")
MODES = ("first-come", "lottery", "targeted", "application")

MAX_VOUCHERS_A_PACK = 64
MAX_VALID_DAYS = 365
MAX_HOLD_SECONDS = 86_400
MAX_COUNT = 10**9
DEFAULT_HOLD_SECONDS = 900

_CAMPAIGN_ID = re.compile(r"[a-z0-9-]{3,48}")
_DAY_SECONDS = 86_400
_CHINA_OFFSET_SECONDS = 8 * 3600  # Asia/Shanghai, without summer time since 1991


@dataclass(frozen=True, slots=True)
class Tier:
    """A step of a subsidy table: `amount_fen` for invoices of class `klass` from `from_fen` on, inclusive."""

    klass: str
    from_fen: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class VoucherType:
    """One kind of voucher. `number` is its position in the file, from 1, which is what a token carries.

    Fields that its `kind` has no use for are 0, empty or None. `face_fen` is the amount of a threshold,
    full-value, fixed or ticket voucher; for a ticket it is the amount agreed for one use.
    """

    number: int
    id: str
    title_zh: str
    title_en: str
    kind: str
    categories: frozenset[str]
    face_fen: int = 0
    minimum_spend_fen: int = 0
    tiers: tuple[Tier, ...] = ()
    rate_ppm: int = 0
    cap_fen: int = 0
    price_limit_fen: int | None = None

    @property
    def max_discount_fen(self) -> int:
        """The most that one use can cost, which is reserved at issue (money.md, Who pays)."""
        return max(self.face_fen, self.cap_fen, *(tier.amount_fen for tier in self.tiers))

    @property
    def leverage(self) -> Fraction | None:
        """Minimum spend ÷ face of a threshold voucher (杠杆比: Jincheng plan, part 6), never divided out."""
        if self.kind != "threshold":
            return None
        return Fraction(self.minimum_spend_fen, self.face_fen)


@dataclass(frozen=True, slots=True)
class Pack:
    """What one claim gives. `vouchers` are voucher type ids; a voucher's index in the token is its position
    here.

    Either `valid_days` or `valid_until` is set. `ends_at` is the campaign's end, which no voucher of it
    outlives.
    """

    id: str
    title_zh: str
    title_en: str
    vouchers: tuple[str, ...]
    roaming: str
    valid_days: int | None
    valid_until: int | None
    ends_at: int

    def validity(self, issued_at: int) -> tuple[int, int]:
        """`[not_before, not_after)` in UTC seconds of a pack issued at `issued_at`.

        N days end at 24:00 Asia/Shanghai of day N, the day of the claim being day 1. Validity stops at the
        campaign's end, because what is redeemed during the campaign is what gets settled (Jincheng plan,
        10.2); a later end is the issuer's notice to give. Raises InvalidInput if the pack's validity is over
        before it is issued.
        """
        if self.valid_days is not None:
            today = (issued_at + _CHINA_OFFSET_SECONDS) // _DAY_SECONDS
            until = (today + self.valid_days) * _DAY_SECONDS - _CHINA_OFFSET_SECONDS
        else:
            until = self.ends_at if self.valid_until is None else self.valid_until
        not_after = min(until, self.ends_at)
        if not_after <= issued_at:
            remedy = "close its rounds before then, or issue under terms with a later end"
            raise InvalidInput(f"its validity ended at {_written(not_after)}", place=f"pack {self.id}", remedy=remedy)
        return issued_at, not_after


@dataclass(frozen=True, slots=True)
class Round:
    """One opening of claims, `[opens_at, closes_at)`. `quota`, `per_person` (in the round) and `per_day` (a
    person and
    day) count packs."""

    id: str
    pack: str
    mode: str
    opens_at: int
    closes_at: int
    quota: int
    per_person: int
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class FunderTerms:
    """A public funder. Weight 0 makes it a backstop that pays only what others lack, under `cascade`."""

    name: str
    title_zh: str
    level: str
    weight: int
    budget_fen: int


@dataclass(frozen=True, slots=True)
class CoFunderTerms:
    """A platform, bank or merchant that pays `share_ppm` of each discount; a merchant has no budget."""

    kind: CoFunderKind
    name: str
    share_ppm: int
    public_pays_if_dry: bool
    budget_fen: int | None


@dataclass(frozen=True, slots=True)
class Terms:
    """A campaign as published. Rounds and validity stay inside `[starts_at, ends_at)`, UTC seconds."""

    campaign: str
    title_zh: str
    title_en: str
    issuer: str
    fiscal_year: int
    budget_document: str
    starts_at: int
    ends_at: int
    roaming: str
    regions: tuple[str, ...]
    channels: frozenset[str]
    hold_seconds: int
    refund_policy: RefundPolicy
    minimum_leverage: Fraction | None
    cofunders: tuple[CoFunderTerms, ...]
    funders: tuple[FunderTerms, ...]
    shortfall_rule: ShortfallRule
    cascade: str
    agreement: str | None
    voucher_types: tuple[VoucherType, ...]
    packs: tuple[Pack, ...]
    rounds: tuple[Round, ...]
    terms_hash: bytes

    def covers_region(self, code: str) -> bool:
        """Whether vouchers may be used in this region. Raises InvalidInput for an unknown code."""
        return any(matches(scope, code) for scope in self.regions)

    def pack(self, pack_id: str) -> Pack:
        """The pack with this id. Raises InvalidInput if there is none."""
        return next((pack for pack in self.packs if pack.id == pack_id), None) or self._lacks("pack", pack_id)

    def round(self, round_id: str) -> Round:
        """The round with this id. Raises InvalidInput if there is none."""
        return next((entry for entry in self.rounds if entry.id == round_id), None) or self._lacks("round", round_id)

    def voucher_type(self, type_id: str) -> VoucherType:
        """The voucher type with this id. Raises InvalidInput if there is none."""
        found = next((entry for entry in self.voucher_types if entry.id == type_id), None)
        return found or self._lacks("voucher type", type_id)

    def funding_plan(self) -> FundingPlan:
        """Accounts, weights and shortfall rule of the public funders, in declared order."""
        return FundingPlan(
            accounts=tuple(self._account(funder.name) for funder in self.funders),
            weights=tuple(funder.weight for funder in self.funders),
            rule=self.shortfall_rule,
        )

    def cofunder_plan(self) -> tuple[CoFunder, ...]:
        """The co-funders in declared order; a merchant's region is not known until redemption."""
        return tuple(
            CoFunder(
                kind=cofunder.kind,
                account=merchant_account("", self.fiscal_year, self.campaign)
                if cofunder.kind == "merchant"
                else self._account(cofunder.name),
                share_ppm=cofunder.share_ppm,
                public_pays_if_dry=cofunder.public_pays_if_dry,
            )
            for cofunder in self.cofunders
        )

    def budgets(self) -> dict[str, int]:
        """What each account of a public funder, platform or bank may use in all, in fen."""
        budgets = {self._account(funder.name): funder.budget_fen for funder in self.funders}
        for cofunder in self.cofunders:
            if cofunder.budget_fen is not None:
                budgets[self._account(cofunder.name)] = cofunder.budget_fen
        return budgets

    def _account(self, funder: str) -> str:
        return funding_account(self.issuer, self.fiscal_year, self.campaign, funder)

    def _lacks(self, what: str, name: str) -> NoReturn:
        raise InvalidInput(
            f"no {what} {name!r}", place=f"campaign {self.campaign}", remedy="use one that its terms name"
        )


def parse_terms(content: bytes, name: str) -> Terms:
    """The terms in the bytes of the file called `name`. Raises InvalidTerms with every problem found."""
    terms, problems = read_terms(content, name)
    if terms is None:
        raise InvalidTerms(name, problems)
    return terms


def read_terms(content: bytes, name: str) -> tuple[Terms | None, list[Problem]]:
    """The terms, None if there is a problem, and every rule that the file breaks.

    Raises InvalidTerms if the file is too long, not UTF-8 or not TOML, so that nothing in it can be read.
    """
    root, problems = open_terms(content, name)
    campaign, funding = root.table("campaign"), root.table("funding")
    starts_at, ends_at = _period(campaign, "starts_at", "ends_at")
    roaming = campaign.choice("roaming", ROAMING)
    voucher_types = _voucher_types(root)
    packs = _packs(root, voucher_types, roaming, ends_at)
    pack_ids = {pack.id for _, pack in packs}
    rounds = [_round(table, campaign, (starts_at, ends_at), pack_ids) for table in root.tables("round")]
    _distinct((table, "id", entry.id) for table, entry in rounds)
    for table, pack in packs:
        openings = [entry.opens_at for row, entry in rounds if entry.pack == pack.id and row.sound("opens_at")]
        if campaign.sound("starts_at", "ends_at"):
            _check_valid_until(table, pack, min(openings, default=starts_at))
    funders, cofunders = _funders(root), _cofunders(root)
    _distinct(
        [(table, "name", funder.name) for table, funder in funders]
        + [(table, "name", cofunder.name) for table, cofunder in cofunders]
    )
    terms = Terms(
        campaign=_campaign_id(campaign),
        title_zh=campaign.text("title_zh"),
        title_en=campaign.text("title_en"),
        issuer=_issuer(campaign),
        fiscal_year=campaign.count("fiscal_year", 2000, 2099),
        budget_document=campaign.text("budget_document"),
        starts_at=starts_at,
        ends_at=ends_at,
        roaming=roaming,
        regions=_scopes(campaign),
        channels=campaign.words("channels", CHANNELS),
        hold_seconds=campaign.count("hold_seconds", 1, MAX_HOLD_SECONDS, DEFAULT_HOLD_SECONDS),
        refund_policy=campaign.choice("refund_policy", REFUND_POLICIES, "pro-rata"),
        minimum_leverage=campaign.ratio("minimum_leverage") if "minimum_leverage" in campaign else None,
        cofunders=tuple(entry for _, entry in cofunders),
        funders=tuple(entry for _, entry in funders),
        shortfall_rule=funding.choice("shortfall_rule", SHORTFALL_RULES),
        cascade=funding.choice("cascade", CASCADES, "borne"),
        agreement=campaign.text("agreement") if "agreement" in campaign else None,
        voucher_types=tuple(entry for _, entry in voucher_types),
        packs=tuple(entry for _, entry in packs),
        rounds=tuple(entry for _, entry in rounds),
        terms_hash=digest("terms", content),
    )
    for table in (root, campaign, funding):
        table.finish()
    return (None if problems else terms), problems


def _campaign_id(campaign: Table) -> str:
    name = campaign.name("id", _CAMPAIGN_ID)
    if name == VISITORS:
        campaign.note("id", "is the name of the funds for visitors", "choose another")
    return name


def _issuer(campaign: Table) -> str:
    code = campaign.text("issuer")
    if campaign.sound("issuer"):
        try:
            region(code)
        except InvalidInput as error:
            campaign.note("issuer", "is not a region code", error.remedy)
    return code


def _scopes(campaign: Table) -> tuple[str, ...]:
    scopes = campaign.texts("regions")
    for index, scope in enumerate(scopes if campaign.sound("regions") else ()):
        if scope != EVERYWHERE and scope not in GROUPS:
            try:
                region(scope)
            except InvalidInput:
                remedy = f"use a region code, one of {', '.join(GROUPS)}, or {EVERYWHERE}"
                campaign.note("regions", "is not a scope of regions", remedy, index)
    return scopes


def _period(table: Table, start: str, end: str) -> tuple[int, int]:
    first, last = table.instant(start), table.instant(end)
    if table.sound(start, end) and last <= first:
        table.note(end, f"is not after {start}", f"end after {_written(first)}")
    return first, last


def _voucher_types(root: Table) -> list[tuple[Table, VoucherType]]:
    tables = root.tables("voucher_type", required=True)
    entries = [(table, _voucher_type(number, table)) for number, table in enumerate(tables, start=1)]
    _distinct((table, "id", entry.id) for table, entry in entries)
    return entries


def _voucher_type(number: int, table: Table) -> VoucherType:
    kind = table.choice("kind", VOUCHER_KINDS)
    known = table.sound("kind")
    threshold, tiered, rate = (known and kind == name for name in ("threshold", "tiered", "rate"))
    voucher_type = VoucherType(
        number=number,
        id=table.name("id"),
        title_zh=table.text("title_zh"),
        title_en=table.text("title_en"),
        kind=kind,
        categories=table.words("categories"),
        face_fen=table.amount_fen("face") if known and not tiered and not rate else 0,
        minimum_spend_fen=table.amount_fen("minimum_spend") if threshold else 0,
        tiers=_tiers(table) if tiered else (),
        rate_ppm=table.percent_ppm("rate_percent") if rate else 0,
        cap_fen=table.amount_fen("cap") if rate else 0,
        price_limit_fen=table.amount_fen("price_limit") if rate and "price_limit" in table else None,
    )
    if threshold and table.sound("face", "minimum_spend") and voucher_type.minimum_spend_fen < voucher_type.face_fen:
        table.note("minimum_spend", "is less than the face", "ask for an order of at least the face")
    if known:
        table.finish()
    return voucher_type


def _tiers(voucher_type: Table) -> tuple[Tier, ...]:
    tiers: list[Tier] = []
    for table in voucher_type.tables("tier", required=True):
        tier = Tier(table.name("class"), table.amount_fen("from"), table.amount_fen("amount"))
        before = [other.from_fen for other in tiers if other.klass == tier.klass]
        if table.sound("class", "from") and before and tier.from_fen <= max(before):
            table.note("from", "is not above the tier before it", f"give the tiers of {tier.klass} in rising order")
        table.finish()
        tiers.append(tier)
    return tuple(tiers)


def _packs(
    root: Table, types: Sequence[tuple[Table, VoucherType]], roaming: str, ends_at: int
) -> list[tuple[Table, Pack]]:
    type_ids = {entry.id for _, entry in types}
    entries = [(table, _pack(table, type_ids, roaming, ends_at)) for table in root.tables("pack", required=True)]
    _distinct((table, "id", entry.id) for table, entry in entries)
    return entries


def _pack(table: Table, type_ids: Collection[str], roaming: str, ends_at: int) -> Pack:
    vouchers = table.texts("vouchers")
    for index, voucher in enumerate(vouchers if table.sound("vouchers") else ()):
        if voucher not in type_ids:
            table.note("vouchers", "is no voucher type of this file", "name the id of a [[voucher_type]]", index)
    if len(vouchers) > MAX_VOUCHERS_A_PACK:
        table.note("vouchers", f"of {len(vouchers)} is over {MAX_VOUCHERS_A_PACK} a pack", "make several packs")
    for_days, until = "valid_days" in table, "valid_until" in table
    if for_days == until:
        table.note("valid_days", "and valid_until: exactly one is needed", "give the days, or the end, but not both")
    pack = Pack(
        id=table.name("id"),
        title_zh=table.text("title_zh"),
        title_en=table.text("title_en"),
        vouchers=vouchers,
        roaming=table.choice("roaming", ROAMING, roaming),
        valid_days=table.count("valid_days", 1, MAX_VALID_DAYS) if for_days else None,
        valid_until=table.instant("valid_until") if until else None,
        ends_at=ends_at,
    )
    table.finish()
    return pack


def _check_valid_until(table: Table, pack: Pack, opens_at: int) -> None:
    """At most a year from the first claim, at `opens_at` (Zhejiang proposal: 使用时限性)."""
    if pack.valid_until is None or not table.sound("valid_until"):
        return
    if pack.valid_until <= opens_at:
        table.note("valid_until", "is over before its vouchers can be claimed", f"end after {_written(opens_at)}")
    elif pack.valid_until > _year_after(opens_at):
        table.note("valid_until", "is over a year away", f"end by {_written(_year_after(opens_at))}")
    elif pack.valid_until > pack.ends_at:
        table.note("valid_until", "is after the campaign's end", f"end by {_written(pack.ends_at)}")


def _round(table: Table, campaign: Table, period: tuple[int, int], pack_ids: Collection[str]) -> tuple[Table, Round]:
    opens_at, closes_at = _period(table, "opens_at", "closes_at")
    starts_at, ends_at = period
    if table.sound("opens_at") and campaign.sound("starts_at") and opens_at < starts_at:
        table.note("opens_at", "is before the campaign starts", f"open from {_written(starts_at)} on")
    if table.sound("closes_at") and campaign.sound("ends_at") and closes_at > ends_at:
        table.note("closes_at", "is after the campaign ends", f"close by {_written(ends_at)}")
    pack = table.name("pack")
    if table.sound("pack") and pack not in pack_ids:
        table.note("pack", "is no pack of this file", "name the id of a [[pack]]")
    entry = Round(
        id=table.name("id"),
        pack=pack,
        mode=table.choice("mode", MODES),
        opens_at=opens_at,
        closes_at=closes_at,
        quota=table.count("quota", 1, MAX_COUNT),
        per_person=table.count("per_person", 1, MAX_COUNT),
        per_day=table.count("per_day", 1, MAX_COUNT) if "per_day" in table else None,
    )
    table.finish()
    return table, entry


def _funders(root: Table) -> list[tuple[Table, FunderTerms]]:
    entries: list[tuple[Table, FunderTerms]] = []
    for table in root.tables("funder", required=True):
        funder = FunderTerms(
            name=_account_name(table),
            title_zh=table.text("title_zh"),
            level=table.choice("level", LEVELS),
            weight=table.count("weight", 0, MAX_COUNT),
            budget_fen=table.amount_fen("budget"),
        )
        table.finish()
        entries.append((table, funder))
    sound = all(table.sound("weight") for table, _ in entries)
    if entries and sound and not any(funder.weight for _, funder in entries):
        entries[0][0].note("weight", "and every other weight is 0", "give at least one funder a weight above 0")
    return entries


def _account_name(table: Table) -> str:
    name = table.name("name")
    if name == MERCHANT:
        table.note("name", "is the name of the merchants' own account", "choose another")
    return name


def _cofunders(root: Table) -> list[tuple[Table, CoFunderTerms]]:
    entries: list[tuple[Table, CoFunderTerms]] = []
    shares_ppm = 0
    for table in root.tables("cofunder"):
        kind = table.choice("kind", COFUNDER_KINDS)
        cofunder = CoFunderTerms(
            kind=kind,
            name=table.name("name") if kind == "merchant" else _account_name(table),
            share_ppm=table.percent_ppm("share_percent"),
            public_pays_if_dry=table.flag("public_pays_if_dry", default=False),
            budget_fen=None if kind == "merchant" else table.amount_fen("budget"),
        )
        shares_ppm += cofunder.share_ppm
        if shares_ppm > 1_000_000:
            table.note("share_percent", "takes the shares over 100 percent", "lower the co-funders' shares")
        if kind == "merchant" and any(other.kind == kind for _, other in entries):
            table.note("kind", "has a share already", "put the merchants' share into one [[cofunder]]")
        table.finish()
        entries.append((table, cofunder))
    return entries


def _distinct(names: Iterable[tuple[Table, str, str]]) -> None:
    seen: set[str] = set()
    for table, key, name in names:
        if table.sound(key) and name in seen:
            table.note(key, "is used above", "give each its own")
        seen.add(name)


def _year_after(at: int) -> int:
    day = datetime.fromtimestamp(at, CHINA)
    leap_day = (day.month, day.day) == (2, 29)
    later = day.replace(year=day.year + 1, month=3, day=1) if leap_day else day.replace(year=day.year + 1)
    return at + (later - day) // timedelta(seconds=1)


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).isoformat()
