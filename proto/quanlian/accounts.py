"""Account codes of the ledger's chart (money.md, Ledger): its name and its dimensions, joined by `/`.

`funding/330100/2020/hangzhou-2020-r1/city` is what the city of Hangzhou uses of its 2020 budget for that
campaign. Every function raises InvalidInput for a dimension that contains a `/`.
"""

from __future__ import annotations

from functools import lru_cache

from quanlian.errors import InvalidInput

VISITORS = "visitors"
MERCHANT = "merchant"
_MEMO = ("ceiling/", "advance/", "advance_away/")
_WITHOUT_REGION = frozenset({"bank", "suspense", "payable"})


def funding_account(region: str, fiscal_year: int, campaign: str, funder: str) -> str:
    """Debit: what the funder has used; with what is held and reserved it may not pass the account's limit."""
    return _code("funding", region, str(fiscal_year), campaign, funder)


def visitors_account(region: str, year: int, funder: str) -> str:
    """Debit: a region's standing fund for visitors; `year` is the authorize's in Asia/Shanghai."""
    return funding_account(region, year, VISITORS, funder)


def merchant_account(region: str, fiscal_year: int, campaign: str) -> str:
    """Debit: the merchants' own share of discounts in a region, which has no limit and is never settled.

    The region is blank until the voucher is redeemed.
    """
    return funding_account(region, fiscal_year, campaign, MERCHANT)


def at_region(merchant_leg: str, region: str) -> str:
    """A merchant's account with its region filled in; any other account as it is."""
    return merchant_leg.replace("funding//", f"funding/{region}/", 1)


def prefund_account(region: str, year: int, campaign: str, funder: str) -> str:
    """Credit: paid ahead into the dedicated account, neither used nor returned."""
    return _code("prefund", region, str(year), campaign, funder)


def prefund_of(funding: str) -> str:
    """Where a funder's money for its `funding` account stands that it paid ahead."""
    return f"prefund/{funding.removeprefix('funding/')}"


def funding_of(prefund: str) -> str:
    """Whose use money is paid ahead for that stands on a `prefund` account."""
    return f"funding/{prefund.removeprefix('prefund/')}"


def contribution_of(funding: str) -> str:
    """Where the use of a `funding` account stands once it is settled."""
    return f"contribution/{funding.removeprefix('funding/')}"


def contribution_account(region: str, year: int, campaign: str, funder: str) -> str:
    """Credit: the funder's use that has been settled."""
    return _code("contribution", region, str(year), campaign, funder)


def reimbursement_account(region: str) -> str:
    """Credit: owed to a region whose merchants gave discounts."""
    return _code("reimbursement", region)


def borne_account(region: str, campaign: str) -> str:
    """Credit: the merchants' own share, never settled."""
    return _code("borne", region, campaign)


def settlement_account(region: str) -> str:
    """Credit: what the region has lodged, plus and minus its settled windows."""
    return _code("settlement", region)


def arrears_account(region: str) -> str:
    """Debit: what the region's `settlement` could not cover."""
    return _code("arrears", region)


def bank_account(holder: str) -> str:
    """Debit: money in the holder's dedicated account at a licensed bank."""
    return _code("bank", holder)


def suspense_account() -> str:
    """Credit: bank receipts not matched yet."""
    return "suspense"


def payable_account(acquirer: str) -> str:
    """Credit, node: what the region owes an acquirer that advanced the discount to merchants."""
    return _code("payable", acquirer)


def clearing_account(region: str) -> str:
    """Debit, node: owed by the clearinghouse (negative: to it) for windows not yet settled."""
    return _code("clearing", region)


def used_away_account(region: str, year: int, campaign: str, funder: str) -> str:
    """Debit, node: mirror of legs posted at the clearinghouse, outside the budget identity."""
    return _code("used_away", region, str(year), campaign, funder)


def ceiling_account(region: str, year: int, agreement: str) -> str:
    """Memo: what a region has paid, and holds, under an agreement in a year, as redeeming region."""
    return _code("ceiling", region, str(year), agreement)


def advance_account(region: str, campaign: str, debtor: str, advancer: str) -> str:
    """Memo: what a dry funder owes another for advanced legs that are posted; both by their names in the terms."""
    return _code("advance", region, campaign, debtor, advancer)


def advance_away_account(region: str, campaign: str, debtor: str, advancer: str) -> str:
    """Memo, node: mirror of `advance` at the clearinghouse, as `used_away` is of `funding` there."""
    return _code("advance_away", region, campaign, debtor, advancer)


def is_funding(code: str) -> bool:
    """Whether an account is a funder's: its use, net of refunds."""
    return code.startswith("funding/")


def is_memo(code: str) -> bool:
    """Whether an account stands outside the double entry: its lines need no counterpart."""
    return code.startswith(_MEMO)


@lru_cache(maxsize=65536)
def account_region(code: str) -> str:
    """The region whose account this is; `""` for a merchant's leg that is reserved and not redeemed yet.

    Raises InvalidInput for an account that belongs to no region: `bank`, `suspense`, `payable`.
    """
    name, _, dimensions = code.partition("/")
    if name in _WITHOUT_REGION or not dimensions:
        raise InvalidInput(f"account {code!r} belongs to no region", remedy="ask only for accounts of a region")
    return dimensions.partition("/")[0]


@lru_cache(maxsize=65536)
def _code(*parts: str) -> str:
    code = "/".join(parts)
    if code.count("/") != len(parts) - 1:
        raise InvalidInput(f"{code!r} is not an account code", remedy="use names without a '/'")
    return code
