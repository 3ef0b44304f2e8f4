"""Redemptions as they are told to whoever reads them again."""

from __future__ import annotations

from dataclasses import replace

from quanlian.redemptions import Redemption, Sale
from quanlian.v1 import redemption_pb2, voucher_pb2
from quanlian.wire.legs import legs_messages


def order_message(sale: Sale) -> redemption_pb2.Order:
    """A sale as it is told again, without who paid."""
    order = sale.order
    return redemption_pb2.Order(
        merchant=sale.merchant,
        order_id=sale.order_id,
        order_fen=order.order_fen,
        category=order.category,
        channel=order.channel,
        klass=order.klass,
        invoice_fen=order.invoice_fen,
        price_fen=order.price_fen,
    )


def bought(content: bytes, redeeming_region: str) -> redemption_pb2.RedemptionRecord:
    """What was bought with which voucher, from the item of an authorize or redeem that has been read before."""
    item = redemption_pb2.RedemptionItem.FromString(content)
    purchase = item.redeem if item.HasField("redeem") else item.authorize
    voucher = voucher_pb2.VoucherBody.FromString(voucher_pb2.VoucherToken.FromString(purchase.token).body)
    order = purchase.order
    order.ClearField("payer_tag")
    order.DiscardUnknownFields()
    return redemption_pb2.RedemptionRecord(
        issuer=voucher.issuer,
        pack_id=voucher.pack_id,
        index=purchase.index,
        campaign=voucher.campaign,
        redeeming_region=redeeming_region,
        order=order,
    )


def record_message(redemption: Redemption) -> redemption_pb2.RedemptionRecord:
    order = replace(redemption.sale.order, order_fen=redemption.order_fen)
    return redemption_pb2.RedemptionRecord(
        redemption_id=redemption.id,
        issuer=redemption.voucher.issuer,
        pack_id=redemption.voucher.pack_id,
        index=redemption.voucher.voucher_index,
        campaign=redemption.campaign,
        redeeming_region=redemption.redeeming_region,
        order=order_message(redemption.sale._replace(order=order)),
        state=redemption.state.value,  # type: ignore[arg-type]
        discount_fen=redemption.standing_fen,
        returned_fen=redemption.returned_fen,
        refunded_order_fen=redemption.refunded_order_fen,
        legs=legs_messages(redemption.standing),
        authorized_at=redemption.authorized_at,
        captured_at=redemption.captured_at,
        window=redemption.window,
        agreement=redemption.agreement,
    )
