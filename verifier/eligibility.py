"""Whether a voucher was good for its sale by its terms and the notices of its campaign (protocol.md, Refusal reasons).

Judged by the functions that node and clearinghouse decide with, once for all vouchers and sales that are alike in what
the rules ask for; of each single one only times are compared. What depends on facts that no evidence brings is not
judged: merchants' own limits, a region's leverage bound, suspensions and pauses.
A notice counts for every voucher of its campaign, also for one used before it was given.
"""

from __future__ import annotations

from hashlib import blake2b

from quanlian.errors import InvalidInput
from quanlian.terms import Terms, VoucherType
from quanlian.validation import category_refusal, coverage_refusal
from quanlian.vouchers import Voucher
from verifier.campaigns import Campaigns
from verifier.findings import Finder
from verifier.lines import RedemptionLine
from verifier.reserved import Difference

ORDER_BYTES = 16
REMEMBERED = 100_000
_HOUR_SECONDS = 3600


class Packs:
    """When packs end by their terms, worked out once for all that are alike and were issued in the same hour."""

    def __init__(self) -> None:
        self._ends: dict[tuple[bytes, tuple[int, ...], str, int], tuple[int, ...]] = {}

    def ends(self, voucher: Voucher, terms: Terms) -> tuple[int, ...]:
        """Of every pack that has these vouchers; none where the terms have no such pack. UTC seconds."""
        key = (voucher.terms_hash, voucher.voucher_types, voucher.roaming, voucher.issued_at // _HOUR_SECONDS)
        ends = self._ends.get(key)
        if ends is None:
            if len(self._ends) > REMEMBERED:
                self._ends.clear()
            ends = self._ends[key] = _ends(terms, *key[1:])
        return ends


def token_fault(voucher: Voucher, terms: Terms, packs: Packs) -> str:
    """Why terms do not let their issuer give out this pack: its vouchers, roaming and validity are those of one of
    theirs. Empty where they do.
    """
    if voucher.not_before != voucher.issued_at:
        return f"is good from {voucher.not_before}, not from its issue at {voucher.issued_at}"
    ends = packs.ends(voucher, terms)
    if not ends:
        return "is no pack of its terms"
    if voucher.not_after not in ends or voucher.not_after <= voucher.issued_at:
        wanted = " or ".join(str(each) for each in ends)
        return f"is good until {voucher.not_after}, by its terms until {wanted}"
    return ""


def _ends(terms: Terms, voucher_types: tuple[int, ...], roaming: str, hour: int) -> tuple[int, ...]:
    """Those of packs issued in an hour since 1970: a day of Asia/Shanghai begins on the hour."""
    numbers = {each.id: each.number for each in terms.voucher_types}
    ends = []
    for pack in terms.packs:
        if (tuple(numbers[each] for each in pack.vouchers), pack.roaming) == (voucher_types, roaming):
            try:
                ends.append(pack.validity(hour * _HOUR_SECONDS)[1])
            except InvalidInput:
                continue
    return tuple(dict.fromkeys(ends))


def use_differences(
    voucher: Voucher, terms: Terms, voucher_type: VoucherType, campaigns: Campaigns, sale: tuple[str, str, str]
) -> list[Difference]:
    """What the terms have against a sale: `sale` is its region, channel and category."""
    region, channel, category = sale
    found: list[Difference] = []
    if terms.terms_hash not in campaigns.published:
        found.append(("terms", "no signed change publishes them", "one that does"))
    refusal = coverage_refusal(voucher, terms, campaigns.standing(terms), region, channel)
    refusal = refusal or category_refusal(voucher_type, category)
    if refusal is not None:
        found.append(("not covered", f"{region}, {channel}, {category}", refusal.reason.name))
    return found


def check_times(line: RedemptionLine, voucher: Voucher, hold_seconds: int, valid_until: int, finder: Finder) -> None:
    """Authorized while the voucher was good, as a notice may have prolonged it; captured within the hold; returned
    after that.
    """
    postings, authorized_at = line.postings, line.authorized_at
    if not voucher.not_before <= authorized_at < voucher.not_after:
        not_after = max(voucher.not_after, valid_until)
        if not voucher.not_before <= authorized_at < not_after:
            finder.equal("authorized_at", authorized_at, f"{voucher.not_before} or later, before {not_after}")
    captured_at = postings[0].at
    if captured_at != authorized_at and not authorized_at <= captured_at < authorized_at + hold_seconds:
        expected = f"{authorized_at} or later, before {authorized_at + hold_seconds}"
        finder.equal(f"{postings[0].kind} 1 at", captured_at, expected)
    for posting in postings[1:]:
        if posting.at < captured_at:
            finder.equal(f"{posting.kind} {posting.number} at", posting.at, f"{captured_at} or later")


def order_record(line: RedemptionLine) -> bytes:
    """A digest that tells an order from every other of the network."""
    order = f"{line.redeeming_region}\0{line.merchant}\0{line.order_id}"
    return blake2b(order.encode(), digest_size=ORDER_BYTES).digest()
