"""Campaign terms: a TOML file that a department reads, signs off and publishes, and what it says as values.

The signed terms are the very bytes of the file; `terms_hash` names that version of them. Amounts are written
in yuan with exactly two decimals and held in fen; times are written with their zone and held as UTC seconds.
`examples/campaigns/` has annotated files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final, NoReturn, get_args

from quanlian.accounts import MERCHANT, VISITORS, funding_account, merchant_account
from quanlian.apportionment import CoFunder, CoFunderKind, FundingPlan, RefundPolicy, ShortfallRule
from quanlian.errors import InvalidInput
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.regions import EVERYWHERE, GROUPS, matches, region
from quanlian.signing import digest
from quanlian.terms_fields import SOURCES
from quanlian.terms_file import Document, InvalidTerms, Problem, Table, open_document

__all__ = [
    "Attraction",
    "CoFunderTerms",
    "FunderTerms",
    "Group",
    "InvalidTerms",
    "Pack",
    "Problem",
    "Round",
    "Terms",
    "Tier",
    "VoucherType",
    "parse_terms",
    "read_document",
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

VISITORS_LEVERAGE = ("refuse", "warn", "off")
OTHER_DISCOUNTS = ("before",)
MERCHANT_CONDITIONS = ("registered", "in-region", "sound-accounts", "physical-shop", "full-invoice")
MERCHANT_VETOES = ("dishonesty-list", "major-accident")
EVIDENCE = ("invoice", "vin", "registration", "purchase-tax", "trade-in")
MODES_WITH_GROUPS = frozenset({"targeted", "lottery"})
"""A node runs neither yet, so no round can be published whose groups nobody would check."""

MAX_VOUCHERS_A_PACK = 64
MAX_VALID_DAYS = 3650
MAX_HOLD_SECONDS = 86_400
MAX_COUNT = 10**9
DEFAULT_HOLD_SECONDS = 900

_CAMPAIGN_ID = re.compile(r"[a-z0-9-]{3,48}")
_PPM = 1_000_000
_DAY_SECONDS = 86_400
_CHINA_OFFSET_SECONDS = 8 * 3600  # Asia/Shanghai, without summer time since 1991


@dataclass(frozen=True, slots=True)
class Tier:
    """A step of a subsidy table: `amount_fen` for invoices of class `klass` from `from_fen` on, inclusive."""

    klass: str
    from_fen: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Attraction:
    """What a joint ticket (联票) opens: a visit costs `share_ppm` of the ticket's price."""

    id: str
    title_zh: str
    title_en: str
    share_ppm: int


@dataclass(frozen=True, slots=True)
class VoucherType:
    """One kind of voucher. `number` is its position in the file, from 1, which is what a token carries.

    Fields that its `kind` has no use for are 0, empty or None. `face_fen` is the amount of a threshold,
    full-value, fixed or ticket voucher; for a ticket it is the amount agreed for one use, 0 where the attraction
    visited has its share of `price_fen`. A ticket for n `uses` stands n times in its pack.
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
    uses: int = 1
    price_fen: int = 0
    attractions: tuple[Attraction, ...] = ()

    @property
    def max_discount_fen(self) -> int:
        """The most that one use can cost, which is reserved at issue (money.md, Who pays)."""
        steps = [tier.amount_fen for tier in self.tiers]
        visits = [self.share_fen(attraction) for attraction in self.attractions]
        return max(self.face_fen, self.cap_fen, *steps, *visits)

    def share_fen(self, attraction: Attraction) -> int:
        """What a visit costs: the attraction's share of the ticket's price, rounded down to the fen."""
        return self.price_fen * attraction.share_ppm // _PPM

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
class Group:
    """A population group that vouchers are meant for (对象特定性: Zhejiang proposal)."""

    id: str
    title_zh: str
    title_en: str


@dataclass(frozen=True, slots=True)
class Round:
    """One opening of claims, `[opens_at, closes_at)`.

    `quota`, `per_person` (in the round) and `per_day` (a person and day) count packs. No `groups` is everybody;
    `evidence` is what an application shows.
    """

    id: str
    pack: str
    mode: str
    opens_at: int
    closes_at: int
    quota: int
    per_person: int
    per_day: int | None = None
    groups: frozenset[str] = frozenset()
    evidence: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FunderTerms:
    """A public funder. Weight 0 makes it a backstop that pays only what others lack, under `cascade`."""

    name: str
    title_zh: str
    level: str
    weight: int
    budget_fen: int
    title_en: str = ""


@dataclass(frozen=True, slots=True)
class CoFunderTerms:
    """A platform, bank or merchant that pays `share_ppm` of each discount; a merchant has no budget."""

    kind: CoFunderKind
    name: str
    share_ppm: int
    public_pays_if_dry: bool
    budget_fen: int | None
    title_zh: str = ""
    title_en: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """A campaign as published. Rounds and validity stay inside `[starts_at, ends_at)`, UTC seconds.

    One public voucher per order, and merchant and platform discounts before it, is the rule of the whole network
    (Jincheng plan, 6.2 and 9.2): a file may state it and cannot change it. `visitors_leverage` states how the
    issuing region treats other regions' vouchers; its node's setting decides.
    """

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
    visitors_leverage: str = "off"
    groups: tuple[Group, ...] = ()
    merchant_conditions: frozenset[str] = frozenset()
    merchant_vetoes: frozenset[str] = frozenset()

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

    Raises InvalidTerms if the file is too long, not UTF-8 or so far from TOML that nothing in it can be read.
    """
    terms, document = read_document(content, name)
    return (None if document.problems else terms), document.problems


def read_document(content: bytes, name: str) -> tuple[Terms, Document]:
    """What the file says, with stand-ins where `document.problems` has a problem, and where it says it.

    Raises InvalidTerms as `read_terms`.
    """
    root, document = open_document(content, name, SOURCES)
    campaign, funding = root.table("campaign"), root.table("funding")
    period = _period(campaign, "starts_at", "ends_at")
    roaming = campaign.choice("roaming", ROAMING)
    groups = _groups(root)
    voucher_types = _voucher_types(root)
    packs = _packs(root, voucher_types, roaming, period[1])
    rounds = _rounds(root, campaign, period, packs, groups)
    funders, cofunders = _payers(root)
    conditions, vetoes = _merchants(root)
    _check_order_rules(campaign)
    terms = Terms(
        campaign=_campaign_id(campaign),
        title_zh=campaign.text("title_zh"),
        title_en=campaign.text("title_en"),
        issuer=_issuer(campaign),
        fiscal_year=campaign.count("fiscal_year", 2000, 2099),
        budget_document=campaign.text("budget_document"),
        starts_at=period[0],
        ends_at=period[1],
        roaming=roaming,
        regions=_scopes(campaign),
        channels=campaign.words("channels", CHANNELS),
        hold_seconds=campaign.count("hold_seconds", 1, MAX_HOLD_SECONDS, DEFAULT_HOLD_SECONDS),
        refund_policy=campaign.choice("refund_policy", REFUND_POLICIES, "pro-rata"),
        minimum_leverage=_minimum_leverage(campaign, voucher_types),
        cofunders=cofunders,
        funders=funders,
        shortfall_rule=funding.choice("shortfall_rule", SHORTFALL_RULES),
        cascade=funding.choice("cascade", CASCADES, "borne"),
        agreement=campaign.text("agreement") if "agreement" in campaign else None,
        voucher_types=tuple(entry for _, entry in voucher_types),
        packs=tuple(entry for _, entry in packs),
        rounds=tuple(rounds),
        terms_hash=digest("terms", content),
        visitors_leverage=campaign.choice("visitors_leverage", VISITORS_LEVERAGE, "off"),
        groups=groups,
        merchant_conditions=conditions,
        merchant_vetoes=vetoes,
    )
    for table in (root, campaign, funding):
        table.finish()
    return terms, document


def _check_order_rules(campaign: Table) -> None:
    """One public voucher per order, other discounts before it: the same in the whole network."""
    campaign.count("vouchers_per_order", 1, 1, 1)
    campaign.choice("other_discounts", OTHER_DISCOUNTS, "before")


def _minimum_leverage(campaign: Table, types: Sequence[tuple[Table, VoucherType]]) -> Fraction | None:
    if "minimum_leverage" not in campaign:
        return None
    bound = campaign.ratio("minimum_leverage")
    for table, entry in types if campaign.sound("minimum_leverage") else ():
        measured = entry.kind == "threshold" and table.sound("kind", "face", "minimum_spend") and entry.face_fen
        if measured and entry.minimum_spend_fen < bound * entry.face_fen:
            least_fen = -(-entry.face_fen * bound.numerator // bound.denominator)
            table.note(
                "minimum_spend",
                f"is under {decimal_of(bound)} times the face, the campaign's minimum_leverage",
                f"ask for at least {yuan(least_fen)}, or lower the face",
            )
    return bound


def _groups(root: Table) -> tuple[Group, ...]:
    entries = [(table, _group(table)) for table in root.tables("group")]
    _distinct((table, "id", entry.id) for table, entry in entries)
    return tuple(entry for _, entry in entries)


def _group(table: Table) -> Group:
    entry = Group(table.name("id"), table.text("title_zh"), table.text("title_en"))
    table.finish()
    return entry


def _merchants(root: Table) -> tuple[frozenset[str], frozenset[str]]:
    if "merchants" not in root:
        return frozenset(), frozenset()
    table = root.table("merchants")
    conditions = table.words("conditions", MERCHANT_CONDITIONS) if "conditions" in table else frozenset()
    vetoes = table.words("vetoes", MERCHANT_VETOES) if "vetoes" in table else frozenset()
    table.finish()
    return conditions, vetoes


def _payers(root: Table) -> tuple[tuple[FunderTerms, ...], tuple[CoFunderTerms, ...]]:
    funders, cofunders = _funders(root), _cofunders(root)
    _distinct(
        [(table, "name", funder.name) for table, funder in funders]
        + [(table, "name", cofunder.name) for table, cofunder in cofunders]
    )
    return tuple(entry for _, entry in funders), tuple(entry for _, entry in cofunders)


def _rounds(
    root: Table,
    campaign: Table,
    period: tuple[int, int],
    packs: Sequence[tuple[Table, Pack]],
    groups: Sequence[Group],
) -> list[Round]:
    pack_ids, group_ids = {pack.id for _, pack in packs}, [group.id for group in groups]
    rounds = [_round(table, campaign, period, pack_ids, group_ids) for table in root.tables("round")]
    _distinct((table, "id", entry.id) for table, entry in rounds)
    for table, pack in packs if campaign.sound("starts_at", "ends_at") else ():
        openings = [entry.opens_at for row, entry in rounds if entry.pack == pack.id and row.sound("opens_at")]
        _check_valid_until(table, pack, min(openings, default=period[0]))
    return [entry for _, entry in rounds]


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
    threshold, tiered, rate, ticket = (known and kind == name for name in ("threshold", "tiered", "rate", "ticket"))
    shared = ticket and "attraction" in table
    voucher_type = VoucherType(
        number=number,
        id=table.name("id"),
        title_zh=table.text("title_zh"),
        title_en=table.text("title_en"),
        kind=kind,
        categories=table.words("categories"),
        face_fen=table.amount_fen("face") if known and not tiered and not rate and not shared else 0,
        minimum_spend_fen=table.amount_fen("minimum_spend") if threshold else 0,
        tiers=_tiers(table) if tiered else (),
        rate_ppm=table.percent_ppm("rate_percent") if rate else 0,
        cap_fen=table.amount_fen("cap") if rate else 0,
        price_limit_fen=table.amount_fen("price_limit") if rate and "price_limit" in table else None,
        uses=min(table.count("uses", 1, MAX_VOUCHERS_A_PACK, 1), MAX_VOUCHERS_A_PACK) if ticket else 1,
        price_fen=table.amount_fen("price") if shared else 0,
        attractions=_attractions(table) if shared else (),
    )
    if threshold and table.sound("face", "minimum_spend") and voucher_type.minimum_spend_fen < voucher_type.face_fen:
        table.note("minimum_spend", "is less than the face", "ask for an order of at least the face")
    if known:
        table.finish()
    return voucher_type


def _attractions(voucher_type: Table) -> tuple[Attraction, ...]:
    attractions: list[tuple[Table, Attraction]] = []
    shares_ppm = 0
    for table in voucher_type.tables("attraction", required=True):
        titles = table.text("title_zh"), table.text("title_en")
        attraction = Attraction(table.name("id"), *titles, table.percent_ppm("share_percent"))
        shares_ppm += attraction.share_ppm
        if shares_ppm > _PPM >= shares_ppm - attraction.share_ppm:
            table.note("share_percent", "takes the shares over 100 percent", "share the ticket's price, no more")
        table.finish()
        attractions.append((table, attraction))
    _distinct((table, "id", entry.id) for table, entry in attractions)
    return tuple(entry for _, entry in attractions)


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
    uses = {entry.id: entry.uses for _, entry in types}
    entries = [(table, _pack(table, uses, roaming, ends_at)) for table in root.tables("pack", required=True)]
    _distinct((table, "id", entry.id) for table, entry in entries)
    return entries


def _pack(table: Table, uses: Mapping[str, int], roaming: str, ends_at: int) -> Pack:
    listed = table.texts("vouchers")
    for index, voucher in enumerate(listed if table.sound("vouchers") else ()):
        if voucher not in uses:
            table.note("vouchers", "is no voucher type of this file", "name the id of a [[voucher_type]]", index)
    vouchers = tuple(voucher for voucher in listed for _ in range(uses.get(voucher, 1)))
    if len(vouchers) > MAX_VOUCHERS_A_PACK:
        table.note("vouchers", f"of {len(vouchers)} is over {MAX_VOUCHERS_A_PACK} a pack", "make several packs")
        vouchers = vouchers[:MAX_VOUCHERS_A_PACK]
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
    """Good when the first round opens, at `opens_at`, and over with the campaign."""
    if pack.valid_until is None or not table.sound("valid_until"):
        return
    if pack.valid_until <= opens_at:
        table.note("valid_until", "is over before its vouchers can be claimed", f"end after {_written(opens_at)}")
    elif pack.valid_until > pack.ends_at:
        table.note("valid_until", "is after the campaign's end", f"end by {_written(pack.ends_at)}")


def _round(
    table: Table,
    campaign: Table,
    period: tuple[int, int],
    pack_ids: Collection[str],
    group_ids: Sequence[str],
) -> tuple[Table, Round]:
    opens_at, closes_at = _period(table, "opens_at", "closes_at")
    starts_at, ends_at = period
    if table.sound("opens_at") and campaign.sound("starts_at") and opens_at < starts_at:
        table.note("opens_at", "is before the campaign starts", f"open from {_written(starts_at)} on")
    if table.sound("closes_at") and campaign.sound("ends_at") and closes_at > ends_at:
        table.note("closes_at", "is after the campaign ends", f"close by {_written(ends_at)}")
    pack = table.name("pack")
    if table.sound("pack") and pack not in pack_ids:
        table.note("pack", "is no pack of this file", "name the id of a [[pack]]")
    mode = table.choice("mode", MODES)
    entry = Round(
        id=table.name("id"),
        pack=pack,
        mode=mode,
        opens_at=opens_at,
        closes_at=closes_at,
        quota=table.count("quota", 1, MAX_COUNT),
        per_person=table.count("per_person", 1, MAX_COUNT),
        per_day=table.count("per_day", 1, MAX_COUNT) if "per_day" in table else None,
        groups=_round_groups(table, group_ids) if "groups" in table else frozenset(),
        evidence=table.words("evidence", EVIDENCE) if "evidence" in table else frozenset(),
    )
    if table.sound("mode"):
        if "groups" in table and mode not in MODES_WITH_GROUPS:
            table.note("groups", f"does not go with mode {mode}", "use targeted, or lottery")
        if "evidence" in table and mode != "application":
            table.note("evidence", f"does not go with mode {mode}", "use application")
    table.finish()
    return table, entry


def _round_groups(table: Table, group_ids: Sequence[str]) -> frozenset[str]:
    names = table.words("groups")
    listed = table.texts("groups") if table.sound("groups") else ()
    for index, name in enumerate(listed):
        if name not in group_ids:
            table.note("groups", "is no group of this file", "name the id of a [[group]]", index)
    return names


def _funders(root: Table) -> list[tuple[Table, FunderTerms]]:
    entries: list[tuple[Table, FunderTerms]] = []
    for table in root.tables("funder", required=True):
        funder = FunderTerms(
            name=_account_name(table),
            title_zh=table.text("title_zh"),
            level=table.choice("level", LEVELS),
            weight=table.count("weight", 0, MAX_COUNT),
            budget_fen=table.amount_fen("budget"),
            title_en=table.text("title_en") if "title_en" in table else "",
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
            title_zh=table.text("title_zh") if "title_zh" in table else "",
            title_en=table.text("title_en") if "title_en" in table else "",
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


def decimal_of(ratio: Fraction) -> str:
    """A ratio as a person writes it: `5`, `3.5`, `3.33…`."""
    hundredths, rest = divmod(ratio.numerator * 100, ratio.denominator)
    whole, cents = divmod(hundredths, 100)
    decimals = f".{cents:02d}".rstrip("0").rstrip(".")
    return f"{whole}{decimals}" if not rest else f"{whole}.{cents:02d}…"


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).isoformat()
