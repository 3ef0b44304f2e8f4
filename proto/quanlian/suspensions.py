"""What may not be used for a while, and who may say so: regions, signing keys, merchants, single vouchers.

Every suspension and reactivation is one message (`Suspension`, kind "suspension"), numbered from 1 for each party that
decides and signed by it, with who and why. A campaign is not suspended so: its issuer pauses it (`campaign_changes`).
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NamedTuple

from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import InvalidInput
from quanlian.vouchers import VoucherKey

FOR_ARREARS = "arrears"
"""`by` of a region's suspension that a settlement decided, and a cure ends; no operator did."""


class SuspensionKind(IntEnum):
    REGION = 1
    CAMPAIGN = 2
    KEY = 3
    MERCHANT = 4
    VOUCHER = 5


class Suspension(NamedTuple):
    """`suspended` False reactivates. `subject` is written by the functions below; `at` and `bad_from` in UTC seconds.

    `bad_from`, of a key alone: what it signed from then on is not believed.
    """

    authority: str
    number: int
    kind: SuspensionKind
    subject: str
    suspended: bool
    at: int
    by: str
    why: str
    bad_from: int = 0


_SHAPES = {
    SuspensionKind.REGION: (r"\d{6}", "地区代码 a region code, like 330100"),
    SuspensionKind.KEY: (r"[0-9a-f]{16}", "16位十六进制密钥编号 a key id of 16 hexadecimal digits"),
    SuspensionKind.MERCHANT: (r"\d{6}/[0-9A-Z]{18}", "地区/信用代码 region and credit code, like 330100/91330100…"),
    SuspensionKind.VOUCHER: (
        r"\d{6}/[0-9a-f]{30}/\d{1,2}",
        "发券地区/券包/序号 issuer, pack and index, like 330100/0197…/0",
    ),
}
_NETWORK_WIDE = frozenset({SuspensionKind.REGION, SuspensionKind.KEY})


def key_subject(key_id: bytes) -> str:
    return key_id.hex()


def merchant_subject(region: str, code: str) -> str:
    """A merchant as one region knows it: what a region says of it concerns its own tills."""
    return f"{region}/{code}"


def voucher_subject(key: VoucherKey) -> str:
    return f"{key.issuer}/{key.pack_id.hex()}/{key.voucher_index}"


def check_suspension(suspension: Suspension) -> None:
    """Whether its authority may say so. Raises InvalidInput.

    The clearinghouse may suspend anything; a region its own merchants and the vouchers that it issued.
    """
    kind, authority = suspension.kind, suspension.authority
    if kind not in _SHAPES:
        raise _invalid("活动由发券地区暂停 · a campaign is paused by its issuer", "quanlian node suspend campaign")
    shape, example = _SHAPES[kind]
    if not re.fullmatch(shape, suspension.subject):
        raise _invalid(f"{suspension.subject!r} 写法有误 · names no {kind.name.lower()}", f"应写 · give {example}")
    if authority == CLEARINGHOUSE:
        return
    if kind in _NETWORK_WIDE:
        raise _invalid(
            f"{authority} 无权暂停 · cannot suspend a {kind.name.lower()}",
            "由清分平台办理 · ask the clearinghouse's operator",
        )
    if suspension.subject.partition("/")[0] != authority:
        raise _invalid(
            f"{suspension.subject} 不属于 {authority} · is not of {authority}",
            "由所属地区办理 · ask the region that it belongs to",
        )


def check_next(last_number: int, suspended_now: bool, suspension: Suspension) -> None:
    """Whether it may follow what its authority said before. Raises InvalidInput for a gap, or for no change."""
    if suspension.number != last_number + 1:
        raise _invalid(
            f"{suspension.authority} 第{suspension.number}号不能接在第{last_number}号之后 · "
            f"number {suspension.number} of {suspension.authority} cannot follow {last_number}",
            "先补送缺号 · send what is missing first",
        )
    if suspension.suspended == suspended_now:
        zh, en = ("已经暂停", "is suspended already") if suspended_now else ("并未暂停", "is not suspended")
        raise _invalid(
            f"{suspension.subject} {zh}（{suspension.authority}） · "
            f"{suspension.kind.name.lower()} {suspension.subject} {en} by {suspension.authority}",
            "查看有效的暂停 · look at the suspensions in force",
        )


def _invalid(what: str, remedy: str) -> InvalidInput:
    return InvalidInput(what, place="suspension", remedy=remedy)
