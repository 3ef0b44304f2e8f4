"""What regions have at the clearinghouse, and what of it is promised already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, or_, select

from chassis.database import Query
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.arrears import Balance
from clearinghouse.domain.windows import WindowState, by_region
from clearinghouse.prefunding import covered_fen
from clearinghouse.windows import window_totals
from quanlian.accounts import arrears_account, settlement_account

_POSITION, _WINDOW = schema.net_position.c, schema.settlement_window.c
_INSTRUCTED = _WINDOW.state == WindowState.INSTRUCTED.name
_UNPAID = and_(_WINDOW.state == WindowState.SETTLED.name, _POSITION.bank_reference == "", _POSITION.payout_fen > 0)
_OPEN = Query(
    select(*_POSITION, _WINDOW.state)
    .join_from(schema.net_position, schema.settlement_window, _POSITION.settlement_window == _WINDOW.number)
    .where(or_(_INSTRUCTED, _UNPAID))
)


class Promises:
    """What of the regions' money is promised: pay-outs of settled windows that are not marked yet, and what instructed
    windows will take from their debtors. Amounts in fen.

    `settling` is a window to leave out, because it is just being settled.
    """

    def __init__(self, desk: Desk, settling: int = 0) -> None:
        self._desk = desk
        self._unpaid: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._pledged: Counter[str] = Counter()
        rows = [row for row in desk.transaction.rows(_OPEN) if row.settlement_window != settling]
        paid = {row.settlement_window for row in rows if row.bank_reference}
        for row in rows:
            if row.state == WindowState.SETTLED.name:
                self._unpaid[row.region] += row.payout_fen
                continue
            self._taken[row.region] += max(0, -row.net_fen)
            if row.settlement_window in paid:
                self._pledged[row.region] += max(0, -row.net_fen)
        debts = [(row.settlement_window, row.region, -row.net_fen) for row in rows if _is_debt(row)]
        self._count_prefund(self._taken, debts)
        self._count_prefund(self._pledged, [each for each in debts if each[0] in paid])

    def _count_prefund(self, promised: Counter[str], debts: Sequence[tuple[int, str, int]]) -> None:
        """Take off what debtors' prefund will pay: it moves to `settlement` first."""
        desk = self._desk
        debts = [each for each in debts if desk.prefund_fen(each[1])]
        turnovers = {number: by_region(window_totals(desk, number)[0]) for number in {each[0] for each in debts}}
        for region in sorted({each[1] for each in debts}):
            own = [(fen, turnovers[number].get(region, ())) for number, debtor, fen in debts if debtor == region]
            promised[region] -= covered_fen(desk, region, own)

    def balance(self, region: str) -> Balance:
        """What other windows' debts cannot touch is what the bank was told to pay out, and what pays for pay-outs that
        are marked before their window is settled.
        """
        desk, promised = self._desk, self._unpaid[region] + self._pledged[region]
        return Balance(settlement_fen(desk, region), arrears_fen(desk, region), desk.withheld_fen(region), promised)

    def there_fen(self, region: str) -> int:
        """What of its balance the bank has, and was not told to pay out."""
        return settlement_fen(self._desk, region) - self._desk.withheld_fen(region) - self._unpaid[region]

    def free_fen(self, region: str) -> int:
        """What of that no instructed window takes; negative: what it lacks for them."""
        return self.there_fen(region) - self._taken[region]


def _is_debt(row: Any) -> bool:
    return bool(row.state == WindowState.INSTRUCTED.name and row.net_fen < 0)


def load_balances(desk: Desk, regions: Iterable[str]) -> None:
    """Read at once what is asked region by region."""
    accounts = [account(region) for region in regions for account in (settlement_account, arrears_account)]
    desk.books.load_balances(accounts)


def settlement_fen(desk: Desk, region: str) -> int:
    """What a region has at the clearinghouse, credit positive."""
    return -desk.books.posted_fen(settlement_account(region))


def arrears_fen(desk: Desk, region: str) -> int:
    return desk.books.posted_fen(arrears_account(region))
