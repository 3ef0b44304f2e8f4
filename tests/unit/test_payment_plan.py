"""Which acquirers are paid, with the money that is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from node.domain.payment_plan import Due, HeldBack, plan

CITY, COUNTY, AUTUMN = (f"funding/330100/2026/{each}" for each in ("spring/city", "spring/county", "autumn/city"))
CLEARING = "clearing/330100"


def test_everybody_is_paid_what_all_payers_owe_him() -> None:
    dues = [Due(0, "alipay", CITY, 60), Due(0, "alipay", COUNTY, 40), Due(3, "wechat", CLEARING, 5)]
    found = plan(dues, {CITY: 60, COUNTY: 40, CLEARING: 5})
    assert found.payments == {"alipay": dues[:2], "wechat": dues[2:]}
    assert not found.held_back


def test_a_campaign_waits_whole_when_one_of_its_funders_is_short() -> None:
    dues = [Due(0, "alipay", CITY, 60), Due(0, "alipay", COUNTY, 40), Due(0, "alipay", AUTUMN, 7)]
    found = plan(dues, {CITY: 60, COUNTY: 39, AUTUMN: 7})
    assert found.payments == {"alipay": [dues[2]]}
    assert found.held_back == [HeldBack(0, "spring", COUNTY, 1)]


def test_of_settled_windows_the_latest_wait() -> None:
    dues = [Due(window, "alipay", CLEARING, 10) for window in (4, 2, 3)]
    found = plan(dues, {CLEARING: 25})
    assert [each.window for each in found.payments["alipay"]] == [2, 3]
    assert found.held_back == [HeldBack(4, "", CLEARING, 5)]


def test_an_acquirer_that_owes_more_than_it_gets_is_left_for_the_next_time() -> None:
    dues = [Due(0, "alipay", CITY, 30), Due(2, "alipay", CLEARING, -30), Due(0, "wechat", CITY, 1)]
    assert plan(dues, {CITY: 100}).payments == {"wechat": [dues[2]]}


def test_an_acquirer_may_fall_to_nothing_once_another_payer_s_part_waits() -> None:
    dues = [Due(0, "alipay", CITY, 30), Due(2, "alipay", CLEARING, -20)]
    found = plan(dues, {CITY: 29})
    assert found.payments == {}
    assert found.held_back == [HeldBack(0, "spring", CITY, 1)]


DUES = st.builds(
    Due,
    st.integers(0, 3),
    st.sampled_from(["alipay", "wechat", "unionpay"]),
    st.sampled_from([CITY, COUNTY, AUTUMN, CLEARING]),
    st.integers(-50, 100),
)


@given(
    st.lists(DUES, unique_by=lambda due: due[:3]),
    st.dictionaries(st.sampled_from([CITY, COUNTY, CLEARING]), st.integers(-9, 200)),
)
def test_no_payer_pays_more_than_it_has_and_every_payment_is_above_nothing(
    dues: list[Due], free: dict[str, int]
) -> None:
    found = plan(dues, free)
    paid = [due for own in found.payments.values() for due in own]
    assert set(paid) <= set(dues)
    for account in {due.account for due in paid}:
        total = sum(due.fen for due in paid if due.account == account)
        assert total <= max(0, free.get(account, 0)) or total <= 0
    assert all(sum(due.fen for due in own) > 0 for own in found.payments.values())
    held = {(each.window, each.campaign) for each in found.held_back}
    assert not held & {due.group for due in paid}, "a group is paid whole or waits whole"
