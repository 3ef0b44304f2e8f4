"""Close-out at the clearinghouse: what stands of its funders' money goes back (money.md, Close-out).

Of a campaign, or of a past year of a region's visitors' fund. To the accounts that it came from, newest deposit first,
within 15 working days (Jincheng plan, 9.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from clearinghouse import schema
from clearinghouse.desk import Desk
from clearinghouse.domain.windows import WindowState
from clearinghouse.money import BANK, CHECK_REFERENCE, as_booked, require_enrolled, require_new_reference
from clearinghouse.prefunding import standing_fen
from custodian import schema as books_schema
from custodian.prefund import DAYS_TO_RETURN, Deposit, newest_first
from custodian.working_days import IsWorking, working_day_after
from quanlian.accounts import VISITORS, prefund_of, visitors_account
from quanlian.campaign_changes import Standing
from quanlian.errors import InvalidInput
from quanlian.ledger import Movement
from quanlian.money import yuan
from quanlian.refusals import CHINA
from quanlian.terms import Terms
from quanlian.v1 import clearing_operator_pb2 as pb

_RETURN, _DEPOSIT = schema.prefund_return, schema.deposit


class _Closing(Protocol):
    """What is closed out. `name` tells it in `close_out` from everything else of its region."""

    @property
    def name(self) -> str: ...

    def accounts(self, desk: Desk) -> list[str]:
        """Where its funders' use is posted."""

    def unfinished(self, desk: Desk) -> Iterator[str]:
        """What of it may still be used, in Chinese and English."""

    def last_day(self, desk: Desk) -> date:
        """The last day on which it could be used, in China."""


@dataclass(slots=True)
class CloseOut:
    """What stands of what funders paid ahead is to go back. Again it shows how far that has come.

    `campaign` is a campaign of the region, or `visitors`: its standing fund of `fiscal_year`. Raises InvalidInput with
    everything that is still open.
    """

    region: str
    campaign: str
    fiscal_year: int
    by: str
    is_working: IsWorking

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> pb.CloseOutPrefundResponse:
        require_enrolled(desk, self.region)
        closing = self._closing(desk)
        row = _closed(desk, self.region, closing.name) or self._close(desk, closing)
        purses = sorted(map(prefund_of, closing.accounts(desk)))
        return pb.CloseOutPrefundResponse(
            region=self.region,
            campaign=closing.name,
            at=row.at,
            closed_by=row.closed_by,
            due_on=row.due_on,
            returns=[*_paid(desk, self.region, closing.name), *_to_pay(desk, purses)],
        )

    def _closing(self, desk: Desk) -> _Closing:
        """Raises InvalidInput for a campaign that the region has not published, or a fund that it has not."""
        if self.campaign == VISITORS:
            return _year_of_visitors(desk, self.region, self.fiscal_year)
        if self.fiscal_year:
            raise InvalidInput(
                "年度仅用于异地用券资金 · a year is given for the visitors' fund alone",
                place="--year",
                remedy="不写年度 · leave it out",
            )
        versions = desk.versions(self.region, self.campaign)
        if not versions:
            raise InvalidInput(
                f"{self.region} 没有活动 {self.campaign} · no campaign {self.campaign} of {self.region}",
                place="campaign",
                remedy="写其已发布的活动 · name one that it has published",
            )
        return _Campaign(versions)

    def _close(self, desk: Desk, closing: _Closing) -> Any:
        still_open = [*closing.unfinished(desk), *_unsettled(desk, closing.accounts(desk))]
        if still_open:
            raise InvalidInput(
                "；\n".join(still_open),
                place=f"campaign {closing.name}",
                remedy="办结后再试 settle these first, then close out again",
            )
        due_on = working_day_after(closing.last_day(desk), DAYS_TO_RETURN, self.is_working)
        key = {"region": self.region, "campaign": closing.name}
        values = {**key, "at": desk.at, "closed_by": self.by, "due_on": due_on.isoformat()}
        desk.transaction.insert(schema.close_out, [values])
        return _closed(desk, self.region, closing.name)


@dataclass(slots=True)
class MarkReturned:
    """Dr `prefund` / Cr `bank`: the bank paid back what was to go back of a deposit. Told again it changes nothing."""

    deposit: str
    bank_reference: str

    def load(self, desk: Desk) -> None:
        pass

    def decide(self, desk: Desk) -> pb.PrefundReturn:
        self.deposit, self.bank_reference = as_booked(desk, self.deposit), as_booked(desk, self.bank_reference)
        known = desk.transaction.select_keys(_RETURN, [_RETURN.c.bank_reference], [(self.bank_reference,)])
        if known and known[0].deposit == self.deposit:
            return _shown(desk, known[0])
        deposit = self._closed_deposit(desk)
        part = next((each for each in _to_pay(desk, [deposit.account]) if each.deposit == self.deposit), None)
        if part is None:
            raise InvalidInput(
                f"{self.deposit} 没有应退的 · nothing of {self.deposit} is to go back",
                place="deposit",
                remedy=CHECK_REFERENCE,
            )
        require_new_reference(desk, self.bank_reference)
        money = [
            Movement(deposit.account, "", posted_fen=part.amount_fen),
            Movement(BANK, "", posted_fen=-part.amount_fen),
        ]
        desk.books.book("prefund-return", desk.at, self.bank_reference, money)
        desk.move_prefund(deposit.region, -part.amount_fen)
        row = {
            "bank_reference": self.bank_reference,
            "deposit": self.deposit,
            "region": deposit.region,
            "campaign": _name_of(deposit.account),
            "account": deposit.account,
            "amount_fen": part.amount_fen,
            "paid_at": desk.at,
            "settlement_window": desk.window,
        }
        desk.transaction.insert(_RETURN, [row])
        part.bank_reference, part.paid_at = self.bank_reference, desk.at
        return part

    def _closed_deposit(self, desk: Desk) -> Any:
        """Raises InvalidInput for none of a funder, or of a campaign that was not closed out."""
        rows = desk.transaction.select_keys(_DEPOSIT, [_DEPOSIT.c.bank_reference], [(self.deposit,)])
        if not rows or not rows[0].account.startswith("prefund/"):
            raise InvalidInput(
                f"{self.deposit} 不是出资方的预拨 · {self.deposit} is no deposit of a funder",
                place="deposit",
                remedy=CHECK_REFERENCE,
            )
        campaign = _name_of(rows[0].account)
        if _closed(desk, rows[0].region, campaign) is None:
            raise InvalidInput(
                f"{campaign} 尚未结清 · {campaign} is not closed out",
                place="deposit",
                remedy="先结清 · close it out first: quanlian clearinghouse close-campaign",
            )
        return rows[0]


def _closed(desk: Desk, region: str, campaign: str) -> Any:
    table = schema.close_out
    rows = desk.transaction.select_keys(table, [table.c.region, table.c.campaign], [(region, campaign)])
    return rows[0] if rows else None


class _Campaign(NamedTuple):
    """A campaign in every version that its terms had."""

    versions: Sequence[Terms]

    @property
    def name(self) -> str:
        return self.versions[0].campaign

    @property
    def issuer(self) -> str:
        return self.versions[0].issuer

    def accounts(self, desk: Desk) -> list[str]:
        return sorted({account for terms in self.versions for account in terms.budgets()})

    def unfinished(self, desk: Desk) -> Iterator[str]:
        standing = self._standing(desk)
        ends_at = standing.not_after(max(terms.ends_at for terms in self.versions))
        if desk.at < ends_at and not standing.claims_closed:
            ends = datetime.fromtimestamp(ends_at, CHINA)
            yield f"活动至{ends:%Y-%m-%d %H:%M}方结束 it ends on {ends:%Y-%m-%d %H:%M}, and is not withdrawn"
        if not standing.last_end:
            yield (
                f"{self.issuer}的节点尚未结项，留在该节点的券可能仍可使用："
                f"请其执行 quanlian node close-campaign {self.name} "
                f"the node of {self.issuer} has not told that it closed it out, vouchers there may still be good: "
                f"have it run quanlian node close-campaign {self.name}"
            )

    def last_day(self, desk: Desk) -> date:
        """When the last voucher ended, wherever it was, as its issuer signed."""
        return datetime.fromtimestamp(self._standing(desk).last_end - 1, CHINA).date()

    def _standing(self, desk: Desk) -> Standing:
        return desk.campaigns.standing(self.issuer, self.name)


class _YearOfVisitors(NamedTuple):
    """A year of a region's visitors' fund, and who paid into it or was to."""

    region: str
    year: int
    funders: Sequence[str]

    @property
    def name(self) -> str:
        return f"{VISITORS}/{self.year}"

    def accounts(self, desk: Desk) -> list[str]:
        return [visitors_account(self.region, self.year, funder) for funder in self.funders]

    def unfinished(self, desk: Desk) -> Iterator[str]:
        if desk.at < datetime(self.year + 1, 1, 1, tzinfo=CHINA).timestamp():
            yield f"{self.year}年尚未结束 the year {self.year} is not over"

    def last_day(self, desk: Desk) -> date:
        return date(self.year, 12, 31)


def _year_of_visitors(desk: Desk, region: str, year: int) -> _YearOfVisitors:
    """Raises InvalidInput where nobody paid into it or was to."""
    fund, purses = schema.visitors_funder, prefund_of(visitors_account(region, year, ""))
    rows = desk.transaction.select_keys(fund, [fund.c.region, fund.c.fiscal_year], [(region, year)])
    paid = sa.select(_DEPOSIT.c.account).distinct().where(_DEPOSIT.c.account.startswith(purses, autoescape=True))
    accounts = desk.transaction.connection.execute(paid).scalars()
    funders = {row.name for row in rows} | {account.removeprefix(purses) for account in accounts}
    if not funders:
        raise InvalidInput(
            f"{region} 没有{year}年的异地用券资金 · {region} has no visitors' fund of {year}",
            place="fiscal_year",
            remedy="用 --year 写明年度 · name its year with --year",
        )
    return _YearOfVisitors(region, year, sorted(funders))


def _name_of(purse: str) -> str:
    """Under which name what pays into this purse is closed out."""
    _, _, year, campaign, _ = purse.split("/")
    return f"{VISITORS}/{year}" if campaign == VISITORS else campaign


def _unsettled(desk: Desk, accounts: Sequence[str]) -> Iterator[str]:
    """What is promised of these accounts, or posted and not settled, in Chinese and English."""
    balances = [desk.books.balance(account) for account in accounts]
    reserved, held = sum(each.reserved_fen for each in balances), sum(each.held_fen for each in balances)
    if reserved or held:
        yield (
            f"本平台的券尚预留{yuan(reserved)}元、占用{yuan(held)}元 "
            f"vouchers here have {yuan(reserved)} yuan reserved and {yuan(held)} held"
        )
    turnover, window = books_schema.turnover.c, schema.settlement_window
    query = (
        sa.select(window.c.number)
        .distinct()
        .join_from(books_schema.turnover, window, turnover.settlement_window == window.c.number)
        .where(turnover.account.in_(accounts), window.c.state != WindowState.SETTLED.name)
        .order_by(window.c.number)
    )
    numbers = ", ".join(map(str, desk.transaction.connection.execute(query).scalars()))
    if numbers:
        yield f"第{numbers}场尚未结清 window {numbers} is not settled"


def _paid(desk: Desk, region: str, campaign: str) -> list[pb.PrefundReturn]:
    rows = desk.transaction.select_keys(_RETURN, [_RETURN.c.region, _RETURN.c.campaign], [(region, campaign)])
    return [_shown(desk, row) for row in sorted(rows, key=lambda row: (row.paid_at, row.bank_reference))]


def _shown(desk: Desk, row: Any) -> pb.PrefundReturn:
    (deposit,) = desk.transaction.select_keys(_DEPOSIT, [_DEPOSIT.c.bank_reference], [(row.deposit,)])
    return pb.PrefundReturn(
        deposit=row.deposit,
        funder=row.account.rpartition("/")[2],
        amount_fen=row.amount_fen,
        received_at=deposit.received_at,
        bank_reference=row.bank_reference,
        paid_at=row.paid_at,
    )


def _to_pay(desk: Desk, purses: list[str]) -> list[pb.PrefundReturn]:
    """What is to go back of each purse, newest deposit first."""
    returned: Counter[str] = Counter()
    keys = [(purse,) for purse in purses]
    for row in desk.transaction.select_keys(_RETURN, [_RETURN.c.account], keys):
        returned[row.deposit] += row.amount_fen
    deposits: dict[str, list[Deposit]] = {purse: [] for purse in purses}
    for row in desk.transaction.select_keys(_DEPOSIT, [_DEPOSIT.c.account], keys):
        left = row.amount_fen - returned[row.bank_reference]
        deposits[row.account].append(Deposit(row.bank_reference, row.received_at, left))
    return [
        pb.PrefundReturn(
            deposit=deposit.bank_reference,
            funder=purse.rpartition("/")[2],
            amount_fen=fen,
            received_at=deposit.received_at,
        )
        for purse in purses
        for deposit, fen in newest_first(deposits[purse], standing_fen(desk, purse))
    ]
