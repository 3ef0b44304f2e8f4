"""Funding agreements: what the redeeming region pays of the public part of a discount (money.md, Agreements).

A TOML file that a person reads and signs off. The parameters of its method decide between issuing and
redeeming region; the rest names the agreement, says where and from when it is in force, and where its figures
come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal, cast, get_args

from quanlian import file_rules
from quanlian.errors import InvalidInput
from quanlian.money import allocate
from quanlian.regions import region
from quanlian.signing import digest
from quanlian.terms_file import InvalidTerms, Table, open_terms

Method = Literal["issuer-pays", "fixed", "leverage-tiered", "order-rate", "fiscal-capacity"]
WhenVisitorsRunOut = Literal["issuer-pays", "refuse"]

_PPM: Final = 1_000_000
_BP: Final = 10_000
_HIGHEST: Final = 10**12
"""Bound of weights and figures in a file."""
_NUMBER = re.compile(r"[A-Za-z0-9-]{1,48}")


NO_FIGURE: Final = file_rules.rule(
    "缺少 {missing} 的财力数", "has no figure for {missing}", "为每一方写明", "give one for each party"
)
NOT_TWO_REGIONS: Final = file_rules.rule(
    "不是两个地区",
    "are not two regions",
    "写两个不同的地区；默认协议则不写",
    "name two different regions, or none for the default",
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
        reached = [tier for tier in self.tiers if tier.order * discount_fen <= order_fen * tier.discount]
        if not reached:
            return 0
        tier = max(reached, key=lambda tier: tier.leverage)
        return allocate(public_fen, [tier.issuer, tier.redeemer])[1]


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


@dataclass(frozen=True)
class Agreement:
    """One version of a funding agreement, in force from `effective_from` (UTC seconds) until a later one is.

    `parties` are two region codes, either of which may be the issuer; none for the network's default.
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

    def redeemer_pays(self, public_fen: int, order_fen: int, discount_fen: int) -> int:
        """The redeeming region's part, in fen, of the public part P of a discount on an order.

        Raises InvalidInput for parameters that cannot divide P, or capacities not yet picked by `between`.
        """
        return self.parameters.redeemer_pays(public_fen, order_fen, discount_fen)

    def between(self, issuer: str, redeemer: str) -> Agreement:
        """The agreement as it stands for a voucher of `issuer` redeemed in `redeemer`.

        Raises InvalidInput when it goes by fiscal capacity and one of the two has none.
        """
        if not isinstance(self.parameters, PublishedCapacities):
            return self
        return replace(self, parameters=self.parameters.between(issuer, redeemer))

    def applies(self, campaign: str, issuer: str, redeemer: str, at: int) -> bool:
        """Whether it is in force at `at` (UTC seconds) for this campaign and these regions."""
        return (
            self.effective_from <= at
            and self.campaign in (None, campaign)
            and (not self.parties or set(self.parties) == {issuer, redeemer})
        )


def lookup(agreements: Iterable[Agreement], campaign: str, issuer: str, redeemer: str, at: int) -> Agreement:
    """The agreement in force at `at`: for this campaign, else this pair of regions, else the default.

    Of several, the one in force since the latest moment, then of the highest version. Raises InvalidInput if
    there is none.
    """
    in_force = [agreement for agreement in agreements if agreement.applies(campaign, issuer, redeemer, at)]
    if not in_force:
        raise InvalidInput(
            f"no funding agreement is in force between {issuer} and {redeemer}",
            remedy="load the network's default agreement",
        )
    return max(in_force, key=_precedence)


def agreement_hash(content: bytes) -> bytes:
    """How an agreement is named: SHA-256 over the signing bytes of its file."""
    return digest("agreement", content)


def parse_agreement(content: bytes, name: str) -> Agreement:
    """The agreement that a TOML file states; `name` is the file's, for errors.

    Raises InvalidInput that lists every problem with file, line, field and remedy.
    """
    root, problems = open_terms(content, name)
    method = cast(Method, root.choice("method", get_args(Method)))
    table = root.table("parameters") if method != "issuer-pays" else None
    parameters = _READERS[method](table) if table else IssuerPays()
    figures_needed = method in ("order-rate", "fiscal-capacity")
    campaign = root.name("campaign") if "campaign" in root else None
    title = root.table("title")
    agreement = Agreement(
        number=root.name("number", _NUMBER),
        version=root.count("version", 1, _HIGHEST),
        method=method,
        parameters=parameters,
        when_visitors_run_out=cast(
            WhenVisitorsRunOut,
            root.choice("when_visitors_run_out", get_args(WhenVisitorsRunOut), "issuer-pays"),
        ),
        campaign=campaign,
        parties=_parties(root) if "parties" in root or campaign is not None else (),
        effective_from=root.instant("effective_from"),
        source=root.text("source") if "source" in root or figures_needed else "",
        year=root.count("year", 1949, 9999) if "year" in root or figures_needed else None,
        title_zh=title.text("zh"),
        title_en=title.text("en"),
    )
    if table and isinstance(parameters, PublishedCapacities):
        missing = set(agreement.parties) - dict(parameters.figures).keys()
        if missing:
            table.note("capacities", NO_FIGURE.of(missing=", ".join(sorted(missing))))
    for asked in (root, title, table):
        if asked:
            asked.finish()
    if problems:
        raise InvalidTerms(name, problems)
    return agreement


def _precedence(agreement: Agreement) -> tuple[bool, bool, int, int, str]:
    return (
        agreement.campaign is not None,
        bool(agreement.parties),
        agreement.effective_from,
        agreement.version,
        agreement.number,
    )


def _parties(root: Table) -> tuple[str, ...]:
    parties = root.texts("parties")
    if root.sound("parties") and len(set(parties)) != 2:
        root.note("parties", NOT_TWO_REGIONS)
    for index, code in enumerate(parties if root.sound("parties") else ()):
        try:
            region(code)
        except InvalidInput:
            root.note("parties", file_rules.NOT_A_REGION, index)
    return parties


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
