"""Instructed windows as works: pay, settle. Each is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clearinghouse import schema
from clearinghouse.arrears import cure, stand_in_arrears, suspend_debtors, withhold
from clearinghouse.balances import Promises, arrears_fen, load_balances
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import WindowState, bilateral, by_region, require_state, settlement_movements
from clearinghouse.money import CHECK_REFERENCE, as_booked, book_payout, require_new_reference
from clearinghouse.prefunding import use_prefund
from clearinghouse.windows import set_window, window_row, window_totals
from quanlian.errors import InvalidInput
from quanlian.money import yuan

_TABLE = schema.net_position


@dataclass(slots=True)
class MarkPaid:
    """The bank's word that a region was paid what a window instructed.

    While its debtors are short nobody can say yet what a creditor gets, nor while it is in arrears itself: its pay-out
    is marked once the window is settled, and booked then.
    """

    number: int
    region: str
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        state = WindowState[window_row(desk, self.number).state]
        if state is not WindowState.SETTLED:
            require_state(self.number, state, WindowState.INSTRUCTED)
        self.bank_reference = as_booked(desk, self.bank_reference)
        positions = _positions(desk, self.number)
        row = self._payable(positions)
        if row.bank_reference == self.bank_reference:
            return
        self._require_new_reference(desk, row.bank_reference)
        if state is WindowState.INSTRUCTED and (unsure := _unsure(desk, positions).get(self.region)):
            raise unsure
        _set_position(desk, row, bank_reference=self.bank_reference)
        if state is WindowState.SETTLED:
            book_payout(desk, self.region, row.payout_fen, self.bank_reference)

    def _payable(self, positions: Sequence[Any]) -> Any:
        """The region's position. Raises InvalidInput for one that is paid nothing."""
        number, region = self.number, self.region
        row = next((each for each in positions if each.region == region), None)
        if row is None:
            raise InvalidInput(
                f"{region} 在场次{number}没有净额 · {region} has no position in window {number}",
                place="region",
                remedy="先看该场次 · look at the window: quanlian clearinghouse window",
            )
        if row.net_fen <= 0:
            owed = yuan(-row.net_fen)
            raise InvalidInput(
                f"{region} 在场次{number}应付{owed}元，不向其付款 · {region} owes {owed} yuan in window {number} "
                "and is paid nothing",
                place="region",
                remedy=f"其到账另行登记 · record what it pays in: quanlian clearinghouse deposit {region}",
            )
        if not row.payout_fen:
            raise InvalidInput(
                f"场次{number}未向 {region} 付款 · window {number} pays {region} nothing out",
                place="region",
                remedy="有可提取的，另行划出 · what is free later goes out by: quanlian clearinghouse pay-out",
            )
        return row

    def _require_new_reference(self, desk: Desk, marked: str) -> None:
        """A payment keeps the reference it was marked with, and a reference names one payment or deposit."""
        if marked:
            raise InvalidInput(
                f"已以 {marked} 标记 · is marked with {marked}", place="bank_reference", remedy=CHECK_REFERENCE
            )
        require_new_reference(desk, self.bank_reference)


@dataclass(slots=True)
class Settle:
    """SETTLED is one transaction for all regions, each step an entry of its own: claims and contributions against
    `settlement`, what funders paid ahead for them, the pay-outs that the bank made, what debtors cannot cover as
    arrears, what earlier arrears are cured.

    A creditor is then paid what is there of its credit, once its own arrears are cured and what other instructed
    windows will take from it is left.
    """

    number: int

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> None:
        require_state(self.number, WindowState[window_row(desk, self.number).state], WindowState.INSTRUCTED)
        load_balances(desk, desk.regions)
        creditors = [row for row in _positions(desk, self.number) if row.net_fen > 0]
        self._require_marked(desk, creditors)
        self._book(desk)
        for row in creditors:
            if row.bank_reference:
                book_payout(desk, row.region, row.net_fen, row.bank_reference)
        self._divide(desk, [row for row in creditors if not row.bank_reference])
        suspend_debtors(desk, self.number)
        for region in desk.regions:
            desk.tell(region, window_settled=self.number)
            desk.watch(region)
        set_window(desk, self.number, state=WindowState.SETTLED.name)

    def _require_marked(self, desk: Desk, creditors: Sequence[Any]) -> None:
        """What can be paid before the window is settled must be."""
        unsure = _unsure(desk, _positions(desk, self.number))
        for row in creditors:
            if not row.bank_reference and row.region not in unsure:
                raise InvalidInput(
                    f"{row.region} 的付款未标记 · {row.region} is not marked paid",
                    place=f"window {self.number}",
                    remedy="先标记其付款 · mark its payment first",
                )

    def _book(self, desk: Desk) -> None:
        turnovers, _ = window_totals(desk, self.number)
        own = by_region(turnovers)
        settled = [each for region in desk.regions for each in settlement_movements(region, own.get(region, ()))]
        desk.books.book("settlement", desk.at, self._reference, settled)
        use_prefund(desk, self.number, turnovers)
        for (debtor, creditor), fen in bilateral(turnovers).items():
            desk.move_position(debtor, posted_fen=-fen)
            desk.move_position(creditor, due_fen=-fen)

    def _divide(self, desk: Desk, unpaid: Sequence[Any]) -> None:
        """Arrears and cures, and what they leave of each pay-out that was not marked yet."""
        promises = Promises(desk, settling=self.number)
        lacking_fen = stand_in_arrears(desk, promises, self.number)
        there = withhold(desk, {row.region: row.net_fen for row in unpaid}, lacking_fen)
        cure(desk, desk.regions, self._reference, promises)
        for row in unpaid:
            payout_fen = min(there[row.region], max(0, promises.free_fen(row.region)))
            _set_position(desk, row, payout_fen=payout_fen)

    @property
    def _reference(self) -> str:
        return f"window {self.number}"


def _unsure(desk: Desk, positions: Sequence[Any]) -> dict[str, InvalidInput]:
    """The creditors of an instructed window whose pay-out may yet shrink, with why: all instructed windows together
    must leave money for what its debtors, and the creditor itself, owe in them.
    """
    promises = Promises(desk)
    short = {row.region: -free for row in positions if (free := promises.free_fen(row.region)) < 0}
    debtor = next((row.region for row in positions if row.net_fen < 0 and row.region in short), None)
    unsure = {}
    for row in positions:
        culprit = row.region if row.region in short else debtor
        if row.net_fen <= 0:
            continue
        if culprit:
            unsure[row.region] = _short(culprit, short[culprit])
        elif fen := arrears_fen(desk, row.region):
            unsure[row.region] = _in_arrears(row.region, fen)
    return unsure


def _short(region: str, fen: int) -> InvalidInput:
    return InvalidInput(
        f"{region} 尚缺{yuan(fen)}元，付款额未定 · {region} is short by {yuan(fen)} yuan, so pay-outs are not sure",
        place="payment",
        remedy="登记其到账，或到期结清后再标记减额付款 · "
        "record its money, or settle at the deadline and mark the reduced pay-outs then",
    )


def _in_arrears(region: str, fen: int) -> InvalidInput:
    return InvalidInput(
        f"{region} 欠款{yuan(fen)}元，其应收先抵欠款 · {region} is in arrears of {yuan(fen)} yuan, "
        "which its credit cures first",
        place="payment",
        remedy="结清后再标记余额的付款 · settle the window, then mark the payment of what is left",
    )


def _positions(desk: Desk, number: int) -> list[Any]:
    rows = desk.transaction.select_keys(_TABLE, [_TABLE.c.settlement_window], [(number,)])
    return sorted(rows, key=lambda row: str(row.region))


def _set_position(desk: Desk, row: Any, **values: Any) -> None:
    desk.transaction.update(_TABLE, {"settlement_window": row.settlement_window, "region": row.region}, values)
