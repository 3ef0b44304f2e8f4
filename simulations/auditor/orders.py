"""One public voucher an order: a merchant's order stands captured under one redemption, whoever decided it."""

from __future__ import annotations

from collections import defaultdict

from simulations.auditor.captures import CAPTURED_STATES
from simulations.auditor.databases import Network
from simulations.auditor.inquiry import Inquiry


def examine(network: Network, inquiry: Inquiry) -> None:
    """An order that was returned is not discounted again, either."""
    by_order: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for book in network.books:
        for id, row in book.redemptions.items():
            if row.state in CAPTURED_STATES:
                order = (row.redeeming_region, row.merchant, row.order_id)
                by_order[order].append(f"{book.name}: redemption {id.hex()} of {row.discount_fen} fen")
    for (region, merchant, order_id), uses in by_order.items():
        inquiry.require(
            len(uses) == 1,
            f"order {order_id} of merchant {merchant} at {region} took {len(uses)} vouchers: {'; '.join(uses)}",
        )
