"""A region's standing fund for visitors' vouchers."""

from __future__ import annotations

import pytest

from clearinghouse.domain.visitors import VisitorsFunder, check_visitors_fund, require_budget
from quanlian.errors import InvalidInput
from quanlian.ledger import Balance

CITY, COUNTY = VisitorsFunder("city", 6, 300), VisitorsFunder("county", 4, 200)


def test_a_fund_with_a_backstop_is_accepted() -> None:
    check_visitors_fund(2026, "cascade", [CITY, COUNTY, VisitorsFunder("province", 0, 0)])


@pytest.mark.parametrize(
    ("year", "rule", "funders", "problem"),
    [
        (26, "cascade", [CITY], "26 is no fiscal year"),
        (2026, "cascades", [CITY], "'cascades' is no rule"),
        (2026, "cascade", [], "no funder has a weight"),
        (2026, "cascade", [CITY._replace(weight=0)], "no funder has a weight"),
        (2026, "cascade", [CITY, CITY], "city stands there twice"),
        (2026, "cascade", [CITY._replace(name="市 级")], "'市 级' is no funder's name"),
        (2026, "cascade", [CITY._replace(budget_fen=-1)], "a budget is negative"),
    ],
)
def test_a_fund_that_could_not_pay_is_refused(
    year: int, rule: str, funders: list[VisitorsFunder], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=rf"^visitors' fund: {problem} — "):
        check_visitors_fund(year, rule, funders)


def test_a_budget_falls_to_what_is_used_and_set_aside_and_no_further() -> None:
    balance = Balance("funding/330100/2026/visitors/city", 100, 20, 3, 500)
    require_budget(balance, "city", 123)
    with pytest.raises(InvalidInput, match=r"city has used or set aside 1\.23 yuan, its budget cannot fall to 1\.22"):
        require_budget(balance, "city", 122)
