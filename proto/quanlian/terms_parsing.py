"""Campaign terms as a TOML file that a department reads, signs off and publishes: every rule that it must keep.

Amounts are written in yuan with exactly two decimals and held in fen; times are written with their zone and held as
UTC seconds. `examples/campaigns/` has annotated files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from quanlian import file_rules, terms_rules
from quanlian.accounts import MERCHANT, VISITORS
from quanlian.errors import InvalidInput
from quanlian.money import yuan
from quanlian.regions import EVERYWHERE, GROUPS, region
from quanlian.signing import digest
from quanlian.terms import (
    CASCADES,
    CHANNELS,
    COFUNDER_KINDS,
    EVIDENCE,
    LEVELS,
    MERCHANT_CONDITIONS,
    MERCHANT_VETOES,
    MODES,
    OTHER_DISCOUNTS,
    REFUND_POLICIES,
    ROAMING,
    SHORTFALL_RULES,
    VISITORS_LEVERAGE,
    VOUCHER_KINDS,
    Attraction,
    CoFunderTerms,
    FunderTerms,
    Group,
    Pack,
    Round,
    Terms,
    Tier,
    VoucherType,
    decimal_of,
    written,
)
from quanlian.terms_fields import SOURCES
from quanlian.terms_file import Document, InvalidTerms, Problem, Table, open_document

MODES_WITH_GROUPS = frozenset({"targeted", "lottery"})
"""A node runs neither yet, so no round can be published whose groups nobody would check."""

MAX_VOUCHERS_A_PACK = 64
MAX_VALID_DAYS = 3650
MAX_HOLD_SECONDS = 86_400
MAX_COUNT = 10**9
DEFAULT_HOLD_SECONDS = 900

_CAMPAIGN_ID = re.compile(r"[a-z0-9-]{3,48}")
_PPM = 1_000_000


@lru_cache(maxsize=64)
def parse_terms(content: bytes, name: str) -> Terms:
    """The terms in the bytes of the file called `name`, remembered. Raises InvalidTerms with every problem found."""
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
        regions=read_scopes(campaign, "regions"),
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
            rule = terms_rules.NO_LESS_THAN_LEVERAGE.of(bound=decimal_of(bound), least=yuan(least_fen))
            table.note("minimum_spend", rule)
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
        campaign.note("id", terms_rules.VISITORS_NAME)
    return name


def _issuer(campaign: Table) -> str:
    code = campaign.text("issuer")
    if campaign.sound("issuer"):
        try:
            region(code)
        except InvalidInput:
            campaign.note("issuer", file_rules.NOT_A_REGION)
    return code


def read_scopes(table: Table, key: str) -> tuple[str, ...]:
    """A list of regions: codes, named groups, or everywhere."""
    scopes = table.texts(key)
    for index, scope in enumerate(scopes if table.sound(key) else ()):
        if scope != EVERYWHERE and scope not in GROUPS:
            try:
                region(scope)
            except InvalidInput:
                known = file_rules.NOT_A_SCOPE.of(groups=", ".join(GROUPS), everywhere=EVERYWHERE)
                table.note(key, known, index)
    return scopes


def _period(table: Table, start: str, end: str) -> tuple[int, int]:
    first, last = table.instant(start), table.instant(end)
    if table.sound(start, end) and last <= first:
        table.note(end, terms_rules.ENDS_FIRST.of(start=start, first=written(first)))
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
        table.note("minimum_spend", terms_rules.UNDER_FACE)
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
            table.note("share_percent", terms_rules.SHARES_OF_TICKET)
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
            table.note("from", terms_rules.TIER_ORDER.of(klass=tier.klass))
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
            table.note("vouchers", terms_rules.NO_SUCH_VOUCHER, index)
    vouchers = tuple(voucher for voucher in listed for _ in range(uses.get(voucher, 1)))
    if len(vouchers) > MAX_VOUCHERS_A_PACK:
        table.note("vouchers", terms_rules.PACK_TOO_LARGE.of(count=len(vouchers), most=MAX_VOUCHERS_A_PACK))
        vouchers = vouchers[:MAX_VOUCHERS_A_PACK]
    for_days, until = "valid_days" in table, "valid_until" in table
    if for_days == until:
        table.note("valid_days", terms_rules.DAYS_OR_END)
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
        table.note("valid_until", terms_rules.OVER_BEFORE_CLAIMED.of(opens=written(opens_at)))
    elif pack.valid_until > pack.ends_at:
        table.note("valid_until", terms_rules.OUTLIVES_CAMPAIGN.of(end=written(pack.ends_at)))


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
        table.note("opens_at", terms_rules.OPENS_BEFORE_START.of(start=written(starts_at)))
    if table.sound("closes_at") and campaign.sound("ends_at") and closes_at > ends_at:
        table.note("closes_at", terms_rules.CLOSES_AFTER_END.of(end=written(ends_at)))
    pack = table.name("pack")
    if table.sound("pack") and pack not in pack_ids:
        table.note("pack", terms_rules.NO_SUCH_PACK)
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
            table.note("groups", terms_rules.GROUPS_NEED_MODE.of(mode=mode))
        if "evidence" in table and mode != "application":
            table.note("evidence", terms_rules.EVIDENCE_NEEDS_APPLICATION.of(mode=mode))
    table.finish()
    return table, entry


def _round_groups(table: Table, group_ids: Sequence[str]) -> frozenset[str]:
    names = table.words("groups")
    listed = table.texts("groups") if table.sound("groups") else ()
    for index, name in enumerate(listed):
        if name not in group_ids:
            table.note("groups", terms_rules.NO_SUCH_GROUP, index)
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
        entries[0][0].note("weight", terms_rules.NO_WEIGHT)
    return entries


def _account_name(table: Table) -> str:
    name = table.name("name")
    if name == MERCHANT:
        table.note("name", terms_rules.MERCHANTS_NAME)
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
            table.note("share_percent", terms_rules.SHARES_OF_DISCOUNT)
        if kind == "merchant" and any(other.kind == kind for _, other in entries):
            table.note("kind", terms_rules.ONE_MERCHANT_SHARE)
        table.finish()
        entries.append((table, cofunder))
    return entries


def _distinct(names: Iterable[tuple[Table, str, str]]) -> None:
    seen: set[str] = set()
    for table, key, name in names:
        if table.sound(key) and name in seen:
            table.note(key, file_rules.NAME_TAKEN)
        seen.add(name)
