"""The five regions of the demonstration and what each brings; made-up figures, large enough never to run out."""

from __future__ import annotations

from dataclasses import dataclass, field

CLEARINGHOUSE = "clearinghouse"
YUAN = 100


@dataclass(frozen=True, slots=True)
class VisitorsFunder:
    name: str
    weight: int
    budget_fen: int


@dataclass(frozen=True, slots=True)
class RegionSetting:
    """A region: its visitors' fund, its deposit and cap at the clearinghouse, and its rule on leverage."""

    code: str
    name_zh: str
    name_en: str
    visitors: tuple[VisitorsFunder, ...]
    deposit_fen: int = 3_000_000 * YUAN
    net_debit_cap_fen: int = 2_000_000 * YUAN
    node: dict[str, str] = field(default_factory=dict)
    """Settings of its node beside the common ones."""


REGIONS = (
    RegionSetting("310000", "上海市", "Shanghai", (VisitorsFunder("city", 1, 500_000 * YUAN),)),
    RegionSetting(
        "320500",
        "苏州市",
        "Suzhou",
        (VisitorsFunder("city", 6, 300_000 * YUAN), VisitorsFunder("county", 4, 200_000 * YUAN)),
    ),
    RegionSetting("330100", "杭州市", "Hangzhou", (VisitorsFunder("city", 1, 500_000 * YUAN),)),
    RegionSetting(
        "340100",
        "合肥市",
        "Hefei",
        (VisitorsFunder("province", 5, 250_000 * YUAN), VisitorsFunder("city", 5, 250_000 * YUAN)),
    ),
    RegionSetting(
        "140502",
        "晋城市城区",
        "Jincheng Chengqu",
        (VisitorsFunder("county", 1, 200_000 * YUAN),),
        node={"minimum_leverage": "5", "visitors_leverage": "refuse"},
    ),
)
CODES = tuple(region.code for region in REGIONS)
PLATFORM = "alipay"
"""The one payment platform of the demonstration; it has a certificate and a key in every region."""

OPERATOR = "demo"
CATEGORIES = ("retail", "catering", "fuel", "hotel", "car", "motorcycle")
MERCHANTS_PER_REGION = 12
