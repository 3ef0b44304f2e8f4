"""Money that funders pay ahead to the clearinghouse's dedicated account, and its use as windows are settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import func, select

from chassis.database import Transaction
from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.prefund import use_movements, used_first, uses
from clearinghouse.domain.windows import Turnover, by_region
from custodian import schema as books_schema
from custodian.prefund import Funder
from quanlian.accounts import VISITORS, visitors_account
from quanlian.v1 import clearing_operator_pb2, custody_pb2


def purse_of(desk: Desk, region: str, funder: Funder) -> str:
    """The `prefund` account of a region's funder. Raises InvalidInput for one whom nobody published."""
    year = funder.fiscal_year or desk.year
    if funder.campaign == VISITORS:
        table = schema.visitors_funder
        rows = desk.transaction.select_keys(table, [table.c.region, table.c.fiscal_year], [(region, year)])
        budgets = [visitors_account(region, year, row.name) for row in rows]
    else:
        budgets = sorted({each for terms in desk.versions(region, funder.campaign) for each in terms.budgets()})
    return funder.purse(region, budgets, desk.year)


def standing_fen(desk: Desk, purse: str) -> int:
    """What is paid ahead on a `prefund` account, neither used nor returned; credit positive."""
    return -desk.books.posted_fen(purse)


def covered_fen(desk: Desk, region: str, windows: Iterable[tuple[int, Sequence[Turnover]]]) -> int:
    """What prefund will pay of the region's debts in windows to be settled, each with its turnovers.

    Whichever is settled first: what a window uses beyond its own debt is not counted.
    """
    covered, spoken_for = 0, Counter[str]()
    for debt_fen, turnovers in windows:
        moved = _moved(desk, region, turnovers, spoken_for)
        spoken_for.update(moved)
        covered += min(debt_fen, sum(moved.values()))
    return covered


def _moved(desk: Desk, region: str, turnovers: Iterable[Turnover], spoken_for: Mapping[str, int]) -> dict[str, int]:
    """What a window takes from each of the region's `prefund` accounts when it is settled."""
    if not desk.prefund_fen(region):
        return {}
    used = uses(region, turnovers)
    desk.books.load_balances(used)
    return used_first(used, {purse: standing_fen(desk, purse) - spoken_for.get(purse, 0) for purse in used})


def use_prefund(desk: Desk, number: int, turnovers: Iterable[Turnover]) -> None:
    """What own funders used in a window that is being settled comes out of what they paid ahead first.

    An entry of its own; each region is told before it hears that the window is settled.
    """
    own = by_region(turnovers)
    moved = {region: found for region in desk.regions if (found := _moved(desk, region, own.get(region, ()), {}))}
    movements = [movement for each in moved.values() for movement in use_movements(each)]
    desk.books.book("prefund", desk.at, f"window {number}", movements)
    for region, each in moved.items():
        desk.move_prefund(region, -sum(each.values()))
        desk.tell(region, prefund_used=_used(number, each))


def _used(number: int, moved: dict[str, int]) -> custody_pb2.PrefundUsed:
    parts = [custody_pb2.PrefundUsed.Part(account=account, amount_fen=fen) for account, fen in moved.items()]
    return custody_pb2.PrefundUsed(window=number, parts=parts)


def prefund_list(transaction: Transaction, region: str) -> list[clearing_operator_pb2.Prefund]:
    """Each `prefund` account with what was paid in and what of it was used; of all regions with an empty one."""
    table, account = schema.deposit, books_schema.account
    prefix = f"prefund/{region}/" if region else "prefund/"
    paid = select(table.c.account, func.sum(table.c.amount_fen)).where(table.c.account.startswith(prefix))
    paid_fen = {code: int(fen) for code, fen in transaction.connection.execute(paid.group_by(table.c.account))}
    posted = select(account.c.account, account.c.posted_fen).where(account.c.account.startswith(prefix))
    standing = {code: -int(fen) for code, fen in transaction.connection.execute(posted)}
    back = schema.prefund_return.c
    given = select(back.account, func.sum(back.amount_fen)).where(back.account.startswith(prefix))
    returned_fen = {code: int(fen) for code, fen in transaction.connection.execute(given.group_by(back.account))}
    found = []
    for code in sorted(paid_fen):
        _, whose, year, campaign, funder = code.split("/")
        found.append(
            clearing_operator_pb2.Prefund(
                region=whose,
                campaign=campaign,
                funder=funder,
                fiscal_year=int(year),
                paid_fen=paid_fen[code],
                used_fen=paid_fen[code] - returned_fen.get(code, 0) - standing[code],
                returned_fen=returned_fen.get(code, 0),
                standing_fen=standing[code],
            )
        )
    return found
