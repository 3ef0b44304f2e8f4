"""Disputes: lines of a statement that a region does not accept. The window settles as calculated; an upheld dispute
ends in adjusting entries in the open window that name it (money.md, Statement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clearinghouse import schema
from clearinghouse.desk import Desk
from quanlian import wire
from quanlian.errors import InvalidInput
from quanlian.redemptions import adjust
from quanlian.statements import LineKey, json_to_statement
from quanlian.v1 import clearing_operator_pb2, settlement_pb2, signed_pb2

OPEN, UPHELD, REJECTED = "open", "upheld", "rejected"


@dataclass(slots=True)
class TakeDispute:
    """A region's signed dispute, its signature checked before; taken once."""

    message: signed_pb2.SignedMessage
    dispute: settlement_pb2.Dispute

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        """Raises InvalidInput for a line that the statement does not have."""
        dispute, table = self.dispute, schema.dispute
        known = desk.transaction.select_keys(
            table, [table.c.region, table.c.number], [(dispute.region, dispute.number)]
        )
        if known:
            if known[0].body != self.message.body:
                raise InvalidInput(f"number {dispute.number} is another dispute", place="dispute")
            return
        lines = _statement_lines(desk, dispute.region, dispute.window)
        for line in dispute.lines:
            if LineKey(line.role, line.counterpart, line.campaign) not in lines:
                raise InvalidInput(
                    f"{line.role}/{line.counterpart}/{line.campaign} is no line of window {dispute.window}",
                    place="dispute",
                    remedy="name lines as the statement has them",
                )
        desk.transaction.insert(
            table,
            [
                {
                    "region": dispute.region,
                    "number": dispute.number,
                    "settlement_window": dispute.window,
                    "body": self.message.body,
                    "key_id": self.message.key_id,
                    "signature": self.message.signature,
                    "raised_at": desk.at,
                    "outcome": OPEN,
                    "resolution": "",
                    "resolved_at": 0,
                }
            ],
        )


@dataclass(slots=True)
class Resolve:
    """Uphold a dispute by adjusting redemptions of its lines, or reject it. Each dispute is decided once."""

    region: str
    number: int
    upheld: bool
    why: str
    adjustments: Sequence[tuple[bytes, int]]

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> clearing_operator_pb2.DisputeRecord:
        table = schema.dispute
        rows = desk.transaction.select_keys(table, [table.c.region, table.c.number], [(self.region, self.number)])
        if not rows:
            raise InvalidInput(
                f"no dispute {self.number} of {self.region}", place="dispute", remedy="list the disputes"
            )
        if rows[0].outcome != OPEN:
            raise InvalidInput(f"is {rows[0].outcome} already", place=f"dispute {self.region}/{self.number}")
        if not self.why or self.upheld != bool(self.adjustments):
            raise InvalidInput(
                "needs a reason, and adjustments if and only if it is upheld",
                place="dispute",
                remedy="say why, and name each redemption with its amount to uphold it",
            )
        dispute = settlement_pb2.Dispute.FromString(rows[0].body)
        for redemption_id, amount_fen in self.adjustments:
            self._adjust(desk, dispute, redemption_id, amount_fen)
        values: dict[str, Any] = {
            "outcome": UPHELD if self.upheld else REJECTED,
            "resolution": self.why,
            "resolved_at": desk.at,
        }
        desk.transaction.connection.execute(
            table.update().where(table.c.region == self.region, table.c.number == self.number).values(**values)
        )
        return clearing_operator_pb2.DisputeRecord(dispute=dispute, **values)

    def _adjust(self, desk: Desk, dispute: settlement_pb2.Dispute, redemption_id: bytes, amount_fen: int) -> None:
        before = desk.books.redemption(redemption_id)
        if before is None or not _is_of_a_line(dispute, before):
            raise InvalidInput(
                f"redemption {redemption_id.hex()} is on none of the disputed lines",
                place=f"dispute {self.region}/{self.number}",
                remedy="name redemptions of the disputed lines",
            )
        voucher = desk.books.voucher(before.voucher)
        assert voucher is not None
        outcome = adjust(before, voucher, amount_fen, desk.credit(before), desk.window, desk.at)
        desk.books.apply(outcome)
        desk.applied(before, outcome)
        assert outcome.posting is not None
        desk.tell(before.redeeming_region, adjustment=wire.posting_message(outcome.posting, outcome.redemption))


def record(row: Any) -> clearing_operator_pb2.DisputeRecord:
    """A dispute as it stands."""
    return clearing_operator_pb2.DisputeRecord(
        dispute=settlement_pb2.Dispute.FromString(row.body),
        outcome=row.outcome,
        resolution=row.resolution,
        resolved_at=row.resolved_at,
    )


def _is_of_a_line(dispute: settlement_pb2.Dispute, redemption: Any) -> bool:
    ends = (redemption.voucher.issuer, redemption.redeeming_region)
    return any(
        {dispute.region, line.counterpart} == set(ends) and line.campaign == redemption.campaign
        for line in dispute.lines
    )


def _statement_lines(desk: Desk, region: str, window: int) -> set[LineKey]:
    table = schema.statement
    rows = desk.transaction.select_keys(table, [table.c.settlement_window, table.c.region], [(window, region)])
    if not rows:
        raise InvalidInput(f"no statement of {region} for window {window}", place="dispute")
    return set(json_to_statement(rows[0].document).lines)
