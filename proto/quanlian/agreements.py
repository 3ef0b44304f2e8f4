"""Funding agreements: what the redeeming region pays of the public part of a discount (money.md, Agreements).

A TOML file that a person reads and signs off. The parameters of its method decide between issuing and
redeeming region; the rest names the agreement and its parties, says where and how long it is in force, where its
figures come from, and what the parties promised each other beside (ceilings, fraud, disputes, termination).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal, NamedTuple, cast, get_args

from quanlian import file_rules
from quanlian.errors import InvalidInput
from quanlian.money import allocate
from quanlian.regions import region
from quanlian.signing import digest
from quanlian.terms_file import Document, InvalidTerms, Table, open_document

Method = Literal["issuer-pays", "fixed", "leverage-tiered", "order-rate", "fiscal-capacity"]
WhenVisitorsRunOut = Literal["issuer-pays", "refuse"]
FraudLosses = Literal["issuer", "redeemer", "shared"]
"""Who bears what fraud cost: the issuing region, the redeeming one, or both as they share the discount."""

_PPM: Final = 1_000_000
_BP: Final = 10_000
_HIGHEST: Final = 10**12
_LAST_VERSION: Final = 10**6
"""Bound of weights and figures in a file."""
_NUMBER = re.compile(r"[A-Za-z0-9-]{1,48}")
_MOST_DAYS: Final = 366


NO_FIGURE: Final = file_rules.rule(
    "缺少 {missing} 的财力数", "has no figure for {missing}", "为每一方写明", "give one for each party"
)
NOT_TWO_REGIONS: Final = file_rules.rule(
    "不是两个地区",
    "are not two regions",
    "写两个 [[party]]，地区各不相同",
    "write [[party]] twice, for two different regions",
)
ENDS_TOO_EARLY: Final = file_rules.rule(
    "不晚于 effective_from", "is not after effective_from", "终止须晚于生效", "end the term after it begins"
)
NO_TIERS: Final = file_rules.rule(
    "没有一档", "are none", "至少写一个 [[parameters.tiers]]", "write [[parameters.tiers]] at least once"
)
SAME_LEVERAGE: Final = file_rules.rule(
    "与另一档相同", "is that of another tier", "各档的杠杆比须不同", "give each tier its own leverage"
)
BOTH_WEIGHTS_ZERO: Final = file_rules.rule(
    "使两地权重都为 0", "leaves both weights at 0", "至少给一地权重", "give at least one of the regions a weight"
)


@dataclass(frozen=True)
class IssuerPays:
    """The redeeming region pays nothing."""

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        return 0


@dataclass(frozen=True)
class Fixed:
    """The redeeming region pays its part of `allocate(P, [issuer weight, redeemer weight])`."""

    issuer: int
    redeemer: int

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        return allocate(public_fen, [self.issuer, self.redeemer])[1]


@dataclass(frozen=True)
class Tier:
    """Weights from an order leverage on, given as order and discount: 26 and 3 is a leverage of 26/3."""

    order: int
    discount: int
    issuer: int
    redeemer: int

    @property
    def leverage(self) -> Fraction:
        return Fraction(self.order, self.discount)


@dataclass(frozen=True)
class LeverageTiered:
    """As `Fixed`, by the highest tier whose leverage is at most the order leverage; below every tier 0.

    Tiers in any order. Raises InvalidInput when two have the same leverage.
    """

    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        if len({tier.leverage for tier in self.tiers}) < len(self.tiers):
            raise InvalidInput(
                "two tiers have the same leverage", place="tiers", remedy="give each tier its own leverage"
            )

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        tier = self.reached(order_fen, discount_fen)
        return allocate(public_fen, [tier.issuer, tier.redeemer])[1] if tier else 0

    def reached(self, order_fen: int, discount_fen: int) -> Tier | None:
        """The highest tier that the order's leverage reaches."""
        reached = [tier for tier in self.tiers if tier.order * discount_fen <= order_fen * tier.discount]
        return max(reached, key=lambda tier: tier.leverage, default=None)


@dataclass(frozen=True)
class OrderRate:
    """min(order·rate_ppm div 10⁶, P·cap_bp div 10⁴): a rate that stands for its gain on the sale.

    `derivation` says how the rate was found. Raises InvalidInput for a cap over the whole public part.
    """

    rate_ppm: int
    cap_bp: int
    derivation: str = ""

    def __post_init__(self) -> None:
        if self.rate_ppm < 0 or not 0 <= self.cap_bp <= _BP:
            raise InvalidInput(
                f"a rate of {self.rate_ppm} ppm with a cap of {self.cap_bp} bp cannot be paid",
                place="cap_bp",
                remedy="use a rate from 0 and a cap from 0 to 10000 bp",
            )

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        return min(order_fen * self.rate_ppm // _PPM, public_fen * self.cap_bp // _BP)


@dataclass(frozen=True)
class FiscalCapacity:
    """The redeeming region pays its part of `allocate(P, [issuer capacity, redeemer capacity])`."""

    issuer_capacity: int
    redeemer_capacity: int

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        return allocate(public_fen, [self.issuer_capacity, self.redeemer_capacity])[1]


@dataclass(frozen=True)
class PublishedCapacities:
    """Fiscal capacities by region code, all in one unit, for either direction."""

    figures: tuple[tuple[str, int], ...]

    def between(self, issuer: str, redeemer: str) -> FiscalCapacity:
        """The two that decide. Raises InvalidInput when a region has none."""
        figures = dict(self.figures)
        for code in (issuer, redeemer):
            if code not in figures:
                raise InvalidInput(
                    f"region {code} has no fiscal capacity in the agreement",
                    place="parameters.capacities",
                    remedy="publish its figure in a new version",
                )
        return FiscalCapacity(figures[issuer], figures[redeemer])

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        raise InvalidInput(
            "capacities decide only between two regions",
            remedy="ask Agreement.between(issuer, redeemer) first",
        )


Parameters = IssuerPays | Fixed | LeverageTiered | OrderRate | FiscalCapacity | PublishedCapacities


class Named(NamedTuple):
    """An office by its name in both languages."""

    zh: str
    en: str


class Party(NamedTuple):
    """A region that signs, with the bureaus that answer for it.

    `yearly_ceiling_fen` is the most that it pays under the agreement in a year of Asia/Shanghai, as redeeming region;
    None: no ceiling but that of its visitors' fund.
    """

    region: str
    commerce: Named
    finance: Named
    yearly_ceiling_fen: int | None


class Clauses(NamedTuple):
    """What the parties promise each other beside the split. Days are calendar days.

    `notice_days` is how long before its end an agreement is given up; `dispute_days` how long after a statement its
    lines may be disputed.
    """

    fraud_losses: FraudLosses
    dispute_days: int
    notice_days: int


@dataclass(frozen=True)
class Agreement:
    """One version of a funding agreement, in force from `effective_from` to `effective_until` (UTC seconds).

    `parties` are two region codes, either of which may be the issuer; none for the network's default, which has no
    end and no `clauses`. From its start on a version takes the place of all earlier ones of its number.
    `campaign` narrows it to one campaign of theirs. `source` and `year` are where its figures were published.
    """

    number: str
    version: int
    method: Method
    parameters: Parameters
    when_visitors_run_out: WhenVisitorsRunOut = "issuer-pays"
    campaign: str | None = None
    parties: tuple[str, ...] = ()
    effective_from: int = 0
    source: str = ""
    year: int | None = None
    title_zh: str = ""
    title_en: str = ""
    effective_until: int | None = None
    offices: tuple[Party, ...] = ()
    clauses: Clauses | None = None

    @property
    def name(self) -> str:
        """Number and version, as a redemption carries them."""
        return f"{self.number} v{self.version}"

    def yearly_ceiling_fen(self, redeemer: str) -> int | None:
        """The most that a region pays under the agreement in a year; None: no ceiling is agreed."""
        return next((each.yearly_ceiling_fen for each in self.offices if each.region == redeemer), None)

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        """The redeeming region's part, in fen, of the public part P of a discount on an order.

        Raises InvalidInput for parameters that cannot divide P, or capacities not yet picked by `between`.
        """
        return self.parameters.redeemer_pays(public_fen, order_fen, discount_fen)

    @property
    def follows_order(self) -> bool:
        """Whether the redeeming region's part depends on the order too, and not on the public part alone."""
        return isinstance(self.parameters, LeverageTiered | OrderRate)

    def between(self, issuer: str, redeemer: str) -> Agreement:
        """The agreement as it stands for a voucher of `issuer` redeemed in `redeemer`.

        Raises InvalidInput when it goes by fiscal capacity and one of the two has none.
        """
        if not isinstance(self.parameters, PublishedCapacities):
            return self
        return replace(self, parameters=self.parameters.between(issuer, redeemer))

    def counting_from(self, signed_at: int) -> Agreement:
        """As it counts once the clearinghouse signed it, last, at `signed_at` (UTC seconds): for nothing before."""
        return replace(self, effective_from=max(self.effective_from, signed_at))

    def applies(self, campaign: str, issuer: str, redeemer: str, at: int) -> bool:
        """Whether it is in force at `at` (UTC seconds) for this campaign and these regions."""
        return (
            self.effective_from <= at
            and (self.effective_until is None or at < self.effective_until)
            and self.campaign in (None, campaign)
            and (not self.parties or set(self.parties) == {issuer, redeemer})
        )


def lookup(agreements: Iterable[Agreement], campaign: str, issuer: str, redeemer: str, at: int) -> Agreement:
    """The agreement in force at `at`: for this campaign, else this pair of regions, else the default.

    Of several numbers, the one in force since the latest moment. Raises InvalidInput if there is none.
    """
    found = in_force(begun(agreements, at), campaign, issuer, redeemer, at)
    if found is None:
        raise InvalidInput(
            f"no funding agreement is in force between {issuer} and {redeemer}",
            remedy="load the network's default agreement",
        )
    return found


def begun(agreements: Iterable[Agreement], at: int) -> list[Agreement]:
    """Of each number the highest version that has begun, whenever lower ones begin: one that has ended does not bring
    a lower one back.
    """
    standing: dict[str, Agreement] = {}
    for agreement in agreements:
        known = standing.get(agreement.number)
        if agreement.effective_from <= at and (known is None or agreement.version > known.version):
            standing[agreement.number] = agreement
    return list(standing.values())


def in_force(standing: Iterable[Agreement], campaign: str, issuer: str, redeemer: str, at: int) -> Agreement | None:
    """As `lookup`, of those that have begun; None if there is none."""
    applying = [agreement for agreement in standing if agreement.applies(campaign, issuer, redeemer, at)]
    return max(applying, key=_precedence, default=None)


def agreement_hash(content: bytes) -> bytes:
    """How an agreement is named: SHA-256 over the signing bytes of its file."""
    return digest("agreement", content)


def parse_agreement(content: bytes, name: str) -> Agreement:
    """The agreement that a TOML file states; `name` is the file's, for errors.

    Raises InvalidTerms that lists every problem with file, line, field and remedy.
    """
    agreement, document = read_agreement(content, name)
    if document.problems:
        raise InvalidTerms(name, document.problems)
    return agreement


def read_agreement(content: bytes, name: str) -> tuple[Agreement, Document]:
    """The agreement, a stand-in where it is wrong, and the document that keeps its problems.

    Raises InvalidTerms for a file that cannot be read.
    """
    root, document = open_document(content, name, SOURCES)
    method = cast(Method, root.choice("method", get_args(Method)))
    table = root.table("parameters") if method != "issuer-pays" else None
    if not root.sound("method"):
        _ = "parameters" in root  # of a method that is not known: nothing can be said of them
    parameters = _READERS[method](table) if table else IssuerPays()
    figures_needed = method in ("order-rate", "fiscal-capacity")
    campaign = root.name("campaign") if "campaign" in root else None
    title = root.table("title")
    between_parties = "party" in root or campaign is not None
    offices = _offices(root) if between_parties else ()
    agreement = Agreement(
        number=root.name("number", _NUMBER, file_rules.NOT_A_DOCUMENT_NUMBER),
        version=root.count("version", 1, _LAST_VERSION),
        method=method,
        parameters=parameters,
        when_visitors_run_out=cast(
            WhenVisitorsRunOut,
            root.choice("when_visitors_run_out", get_args(WhenVisitorsRunOut), "issuer-pays"),
        ),
        campaign=campaign,
        parties=tuple(each.region for each in offices),
        effective_from=root.instant("effective_from"),
        source=root.text("source") if "source" in root or figures_needed else "",
        year=root.count("year", 1949, 9999) if "year" in root or figures_needed else None,
        title_zh=title.text("zh"),
        title_en=title.text("en"),
        effective_until=root.instant("effective_until") if between_parties else None,
        offices=offices,
        clauses=_clauses(root) if between_parties else None,
    )
    _compare(root, table, agreement)
    for asked in (root, title, table):
        if asked:
            asked.finish()
    return agreement, document


def _compare(root: Table, table: Table | None, agreement: Agreement) -> None:
    if table and isinstance(agreement.parameters, PublishedCapacities):
        missing = set(agreement.parties) - dict(agreement.parameters.figures).keys()
        if missing:
            table.note("capacities", NO_FIGURE.of(missing=", ".join(sorted(missing))))
    ends = agreement.effective_until
    if ends is not None and root.sound("effective_from", "effective_until") and ends <= agreement.effective_from:
        root.note("effective_until", ENDS_TOO_EARLY)


def _precedence(agreement: Agreement) -> tuple[bool, bool, int, int, str]:
    return (
        agreement.campaign is not None,
        bool(agreement.parties),
        agreement.effective_from,
        agreement.version,
        agreement.number,
    )


def _offices(root: Table) -> tuple[Party, ...]:
    """The two regions that sign."""
    offices = [_office(entry) for entry in root.tables("party", required=True)]
    if root.sound("party") and len({each.region for each in offices}) != 2:
        root.note("party", NOT_TWO_REGIONS)
    return tuple(offices)


def _office(entry: Table) -> Party:
    code = entry.text("region")
    try:
        region(code)
    except InvalidInput:
        if entry.sound("region"):
            entry.note("region", file_rules.NOT_A_REGION)
    ceiling = entry.amount_fen("yearly_ceiling") if "yearly_ceiling" in entry else None
    office = Party(code, _named(entry, "commerce"), _named(entry, "finance"), ceiling)
    entry.finish()
    return office


def _named(entry: Table, key: str) -> Named:
    table = entry.table(key)
    named = Named(table.text("zh"), table.text("en"))
    table.finish()
    return named


def _clauses(root: Table) -> Clauses:
    termination = root.table("termination")
    clauses = Clauses(
        fraud_losses=cast(FraudLosses, root.choice("fraud_losses", get_args(FraudLosses))),
        dispute_days=root.count("dispute_days", 1, _MOST_DAYS),
        notice_days=termination.count("notice_days", 1, _MOST_DAYS),
    )
    termination.finish()
    return clauses


def _fixed(table: Table) -> Fixed:
    return Fixed(*_weights(table))


def _leverage_tiered(table: Table) -> LeverageTiered:
    tiers: list[Tier] = []
    entries = table.tables("tiers", required=True)
    if not entries and table.sound("tiers"):
        table.note("tiers", NO_TIERS)
    for entry in entries:
        leverage = entry.table("leverage")
        order, discount = leverage.count("order", 1, _HIGHEST), leverage.count("discount", 1, _HIGHEST)
        tier = Tier(order, discount, *_weights(entry))
        if not leverage.sound("order", "discount"):
            continue
        if any(tier.leverage == other.leverage for other in tiers):
            entry.note("leverage", SAME_LEVERAGE)
        else:
            tiers.append(tier)
        leverage.finish()
        entry.finish()
    return LeverageTiered(tuple(tiers))


def _order_rate(table: Table) -> OrderRate:
    rate_ppm, cap_bp = table.count("rate_ppm", 0, _PPM), table.count("cap_bp", 0, _BP)
    derivation = table.text("derivation")
    return OrderRate(rate_ppm, cap_bp, derivation) if table.sound("rate_ppm", "cap_bp") else OrderRate(0, 0)


def _fiscal_capacity(table: Table) -> PublishedCapacities:
    figures: dict[str, int] = {}
    for entry in table.tables("capacities", required=True):
        code = entry.text("region")
        try:
            region(code)
        except InvalidInput:
            if entry.sound("region"):
                entry.note("region", file_rules.NOT_A_REGION)
        if code in figures:
            entry.note("region", file_rules.LISTED_TWICE)
        figures[code] = entry.count("figure", 1, _HIGHEST)
        entry.finish()
    return PublishedCapacities(tuple(sorted(figures.items())))


def _weights(table: Table) -> tuple[int, int]:
    issuer, redeemer = table.count("issuer", 0, _HIGHEST), table.count("redeemer", 0, _HIGHEST)
    if not issuer and not redeemer and table.sound("issuer", "redeemer"):
        table.note("redeemer", BOTH_WEIGHTS_ZERO)
    return issuer, redeemer


_READERS: Final[dict[str, Callable[[Table], Parameters]]] = {
    "fixed": _fixed,
    "leverage-tiered": _leverage_tiered,
    "order-rate": _order_rate,
    "fiscal-capacity": _fiscal_capacity,
}

_MONEY = "money.md, Agreements"
AGREEMENT_FILE: Final = "agreements.md"
SOURCES: Final = {
    "": AGREEMENT_FILE,
    "method": _MONEY,
    "parameters": _MONEY,
    "when_visitors_run_out": _MONEY,
    "party.yearly_ceiling": _MONEY,
    "party": AGREEMENT_FILE,
    "party.region": "GB/T 2260",
}
"""Where the rule of a field comes from, by its name without positions; `""` is the file and all others."""
