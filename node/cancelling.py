"""Single vouchers that this region takes out of use for good: issued by mistake, or returned by their holder."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.database import Transaction
from custodian.decisions import expire_overdue
from node import schema
from node.desk import Desk
from node.signatures import signed
from quanlian import custody
from quanlian.custody import VoucherState, in_custody
from quanlian.errors import InvalidInput
from quanlian.redemptions import cancel_voucher
from quanlian.refusals import RefusalReason
from quanlian.v1 import cancellation_pb2
from quanlian.vouchers import VoucherKey

_TABLE = schema.cancellation
REMEDIES = {
    RefusalReason.ALREADY_HELD: "先撤销占用或等其到期 · have the hold voided, or wait until it ends",
    RefusalReason.ALREADY_REDEEMED: "改为办理退款 · have the order refunded instead",
    RefusalReason.EXPIRED: "无须作废 · there is nothing to cancel",
    RefusalReason.VOUCHER_CANCELLED: "查看 · see: quanlian node cancellations",
}
"""What to do about a voucher that cannot be cancelled, wherever it is."""
_NOT_IDLE = {
    custody.HELD: "已被订单占用 · is on hold for an order",
    custody.CAPTURED: "已核销 · is redeemed already",
    custody.EXPIRED: "已过期，资金已退回 · has expired, its money is free already",
    custody.CANCELLED: "已作废 · is cancelled already",
}


@dataclass(slots=True)
class Cancel:
    """The operator's decision on a voucher that is in this region's custody; `by` is his URI."""

    key: VoucherKey
    by: str
    why: str

    def load(self, desk: Desk) -> None:
        desk.books.want(vouchers=[self.key])

    def decide(self, desk: Desk) -> cancellation_pb2.Cancellation:
        """Free its money as at expiry, and keep the decision signed. Raises InvalidInput for what is not idle here."""
        voucher = self._idle(desk)
        cancelled, movements = cancel_voucher(voucher)
        desk.books.put_voucher(cancelled)
        desk.books.move(movements)
        made = cancellation_pb2.Cancellation(
            issuer=desk.name,
            pack_id=self.key.pack_id,
            index=self.key.voucher_index,
            at=desk.at,
            by=self.by,
            why=self.why,
            freed_fen=-sum(each.reserved_fen for each in movements),
        )
        message = signed(made.SerializeToString(), "cancellation", desk.region.message_signer)
        row = {
            "pack_id": self.key.pack_id,
            "voucher_index": self.key.voucher_index,
            "body": message.body,
            "key_id": message.key_id,
            "signature": message.signature,
            "cancelled_at": desk.at,
        }
        desk.transaction.insert(_TABLE, [row])
        return made

    def _idle(self, desk: Desk) -> VoucherState:
        known = desk.books.voucher(self.key)
        if known is None:
            raise self._invalid(
                "不是本地区的券 · is no voucher of this region",
                "写领券答复中的券包编号与序号 · write its pack and index, as on the claim's answer",
            )
        if not in_custody(known, desk.name):
            raise self._invalid(
                "托管在清分平台 · is with the clearinghouse",
                "先收回 · recall it first: quanlian node recall --voucher",
            )
        expire_overdue(known, desk.books, desk)
        voucher = desk.books.voucher(self.key)
        assert voucher is not None
        if reason := custody.spent_reason(voucher):
            raise self._invalid(_NOT_IDLE[voucher.status], REMEDIES[reason])
        return voucher

    def _invalid(self, what: str, remedy: str) -> InvalidInput:
        return InvalidInput(f"{self.key.pack_id.hex()}/{self.key.voucher_index} {what}", place="voucher", remedy=remedy)


def cancellations(transaction: Transaction) -> list[cancellation_pb2.Cancellation]:
    """All of this region, in the order of their times."""
    query = _TABLE.select().order_by(_TABLE.c.cancelled_at, _TABLE.c.pack_id, _TABLE.c.voucher_index)
    return [cancellation_pb2.Cancellation.FromString(row.body) for row in transaction.connection.execute(query)]
