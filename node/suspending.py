"""Merchants and vouchers that this region suspends: at once in its own books, then announced to the network."""

from __future__ import annotations

from dataclasses import dataclass

from custodian.suspensions import sign_suspension
from node import schema
from node.desk import Desk
from quanlian.errors import InvalidInput
from quanlian.suspensions import Suspension, SuspensionKind, check_suspension
from quanlian.vouchers import VoucherKey


@dataclass(slots=True)
class Suspend:
    """The operator's decision on this region's merchant (credit code) or voucher (pack id in hexadecimal/index)."""

    kind: SuspensionKind
    subject: str
    suspended: bool
    by: str
    why: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> Suspension:
        """Raises InvalidInput for what is not this region's, or is so already."""
        own = self.kind in (SuspensionKind.MERCHANT, SuspensionKind.VOUCHER)
        suspension = Suspension(
            authority=desk.name,
            number=desk.suspensions.last_number(desk.name) + 1,
            kind=self.kind,
            subject=f"{desk.name}/{self.subject}" if own else self.subject,
            suspended=self.suspended,
            at=desk.at,
            by=self.by,
            why=self.why,
        )
        check_suspension(suspension)
        self._require_known(desk)
        desk.suspensions.append(sign_suspension(suspension, desk.region.message_signer))
        return suspension

    def _require_known(self, desk: Desk) -> None:
        if self.kind is SuspensionKind.MERCHANT:
            table = schema.merchant
            known = bool(desk.transaction.select_keys(table, [table.c.code], [(self.subject,)]))
            remedy = "写本地已准入商户的信用代码 · give the credit code of a merchant admitted here"
        else:
            pack_id, _, index = self.subject.partition("/")
            known = desk.books.voucher(VoucherKey(desk.name, bytes.fromhex(pack_id), int(index))) is not None
            remedy = "写本地所发券的券包编号与序号 · give pack and index of a voucher issued here"
        if not known:
            what = f"本地没有 {self.subject} · no {self.kind.name.lower()} {self.subject} here"
            raise InvalidInput(what, place="suspension", remedy=remedy)
