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
    SuspensionKind.REGION: (r"\d{6}", "a region code, like 330100"),
    SuspensionKind.KEY: (r"[0-9a-f]{16}", "a key id of 16 hexadecimal digits"),
    SuspensionKind.MERCHANT: (r"\d{6}/[0-9A-Z]{18}", "region and credit code, like 330100/91330100…"),
    SuspensionKind.VOUCHER: (r"\d{6}/[0-9a-f]{30}/\d{1,2}", "issuer, pack and index, like 330100/0197…/0"),
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
        raise _invalid("a campaign is paused by its issuer", "use quanlian node suspend campaign")
    shape, example = _SHAPES[kind]
    if not re.fullmatch(shape, suspension.subject):
        raise _invalid(f"{suspension.subject!r} names no {kind.name.lower()}", f"give {example}")
    if authority == CLEARINGHOUSE:
        return
    if kind in _NETWORK_WIDE:
        raise _invalid(f"{authority} cannot suspend a {kind.name.lower()}", "ask the clearinghouse's operator")
    if suspension.subject.partition("/")[0] != authority:
        raise _invalid(f"{suspension.subject} is not of {authority}", "ask the region that it belongs to")


def check_next(last_number: int, suspended_now: bool, suspension: Suspension) -> None:
    """Whether it may follow what its authority said before. Raises InvalidInput for a gap, or for no change."""
    if suspension.number != last_number + 1:
        raise _invalid(
            f"number {suspension.number} of {suspension.authority} cannot follow {last_number}",
            "send what is missing first",
        )
    if suspension.suspended == suspended_now:
        state = "is suspended already" if suspended_now else "is not suspended"
        raise _invalid(
            f"{suspension.kind.name.lower()} {suspension.subject} {state} by {suspension.authority}",
            "look at the suspensions in force",
        )


def _invalid(what: str, remedy: str) -> InvalidInput:
    return InvalidInput(what, place="suspension", remedy=remedy)
