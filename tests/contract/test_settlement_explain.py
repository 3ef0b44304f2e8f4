"""The story of one redemption's money, told from a party's books: every step with its figures and its rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import department
import local_parties
import pytest
from batch_stories import request_id
from department import Department
from local_parties import (
    AT,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    answer_of,
    item,
    keys_of,
    purchase,
)

from chassis import cli, console
from clearinghouse import schema
from clearinghouse.desk import Desk
from node import schema as node_schema
from quanlian.money import allocate
from quanlian.redemptions import adjust
from quanlian.v1 import clearing_operator_pb2, settlement_pb2
from quanlian.v1 import redemption_pb2 as pb

Out = pytest.CaptureFixture[str]


def explained(party: Party, redemption_id: bytes, capsys: Out, *options: str) -> str:
    url = party.database.engine.url.set(drivername=party.database.dialect).render_as_string(hide_password=False)
    place = ("--database", url, "--schema", party.database.schema)
    assert cli.main(["settlement", "explain", redemption_id.hex(), *place, *options]) == 0
    return capsys.readouterr().out


def data(party: Party, redemption_id: bytes, capsys: Out) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(explained(party, redemption_id, capsys, "--json"))
    return told


@contextmanager
def linked(node: LocalNode, clearinghouse: LocalClearinghouse) -> Iterator[Department]:
    found = department.linked(node, clearinghouse)
    found.service.start()
    yield found
    found.service.close()


def away(node: LocalNode, clearinghouse: LocalClearinghouse) -> bytes:
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    return token


@pytest.fixture
def advancing(node: LocalNode, clearinghouse: LocalClearinghouse, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A voucher of 30.00 at the clearinghouse of which the province advances 10.00 each for city and county."""
    terms = local_parties.TERMS.replace('level = "city"\nweight = 2', 'level = "city"\nweight = 1')
    terms = terms.replace('kind = "threshold"', 'kind = "full-value"')
    terms = terms.replace("face = 10.00\nminimum_spend = 40.00", "face = 30.00")
    province = '[[funder]]\nname = "province"\ntitle_zh = "省"\nlevel = "province"\nweight = 1\nbudget = 1000.00\n\n'
    monkeypatch.setattr(local_parties, "TERMS", terms.replace("[[voucher_type]]", f"{province}[[voucher_type]]", 1))
    node.publish(cascade="advanced", county=1, city=1)
    clearinghouse.learn(node)
    first, token = node.claim(2)
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(first), *keys_of(token))))
    return token


def visitors_fund(clearinghouse: LocalClearinghouse, rule: str, **budgets_fen: int) -> None:
    funders = [
        clearing_operator_pb2.VisitorsFunder(name=name, weight=1, budget_fen=fen) for name, fen in budgets_fen.items()
    ]
    request = clearing_operator_pb2.SetVisitorsFundRequest(
        region=SHANGHAI, fiscal_year=2026, rule=rule, funders=funders
    )
    clearinghouse.do(clearinghouse.service.operations.set_visitors_fund(request))


def step_of(told: dict[str, Any], words: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = [step for step in told["steps"] if words in step["en"]]
    return found


def amounts(step: dict[str, Any]) -> dict[str, int]:
    return {leg["account"].rpartition("/")[2]: leg["amount_fen"] for leg in step["legs"]}


def made_up(step: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By funder: what it pays for whom."""
    return {
        leg["account"].rpartition("/")[2]: {
            each["account"].rpartition("/")[2]: each["amount_fen"] for each in leg["advanced"]
        }
        for leg in step["legs"]
        if leg["advanced"]
    }


def test_what_is_advanced_is_told_with_who_owes_whom(
    node: LocalNode, clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(advancing, 0, "order-1", 2999)))
    id = answer_of(answer).redemption_id
    clearinghouse.redeem(item(request_id(2), refund=pb.Refund(redemption_id=id, order_fen=2000)))
    told = data(clearinghouse, id, capsys)
    reserved = step_of(told, "was reserved; this use takes")
    assert made_up(reserved) == {"province": {"city": 1000, "county": 1000}}
    assert "; of it 10.00 advanced by province for city, 10.00 advanced by province for county" in reserved["en"]
    assert "其中省为市垫付10.00元，省为县垫付10.00元" in reserved["zh"]
    captured = step_of(told, "captured 29.99")
    assert made_up(captured) == {"province": {"city": 700, "county": 699}}
    assert "; 7.00 owed by city to province (advanced); 6.99 owed by county to province (advanced)" in captured["en"]
    assert "市欠省垫付7.00元；县欠省垫付6.99元" in captured["zh"]
    refunded = step_of(told, "refund of 20.00")
    left = made_up(step_of(told, "stands PARTLY_REFUNDED"))["province"]
    back = made_up(refunded)["province"]
    assert {name: 700 - (name == "county") + fen for name, fen in back.items()} == left
    assert "less owed by city to province (advanced)" in refunded["en"]
    assert "市所欠省的垫付减少" in refunded["zh"]
    with linked(node, clearinghouse) as issuing:
        issuing.hear()
    mirrored = data(node, id, capsys)
    assert made_up(step_of(mirrored, "captured 29.99")) == made_up(captured)
    assert made_up(step_of(mirrored, "stands PARTLY_REFUNDED")) == {"province": left}
    assert "市欠省垫付7.00元" in step_of(mirrored, "captured 29.99")["zh"]


def test_what_is_taken_of_the_reservation_and_what_goes_back_make_it_up(
    node: LocalNode, clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(advancing, 0, "order-1", 2999)))
    id = answer_of(answer).redemption_id
    told = data(clearinghouse, id, capsys)
    reserved = step_of(told, "this use takes 20.99 of it, and the redeeming region pays another 9.00")
    assert "本次使用其中20.99元，另由核销地承担9.00元" in reserved["zh"]
    freed = step_of(told, "9.01 that was reserved and not used is free again for its funders")
    assert "以退款单归还其节点" in freed["zh"]
    assert (amounts(reserved), amounts(freed)) == ({"province": 3000}, {"province": -901})
    with linked(node, clearinghouse) as issuing:
        issuing.hear()
    assert amounts(step_of(data(node, id, capsys), "9.01 that was reserved and not used")) == {"province": -901}


def test_a_smaller_capture_tells_what_it_frees_of_each_account(
    clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(advancing, 0, "order-1", 2999)))
    id = answer_of(held).redemption_id
    clearinghouse.redeem(item(request_id(2), capture=pb.Capture(redemption_id=id, order_fen=1500)))
    told = data(clearinghouse, id, capsys)
    freed, rest = step_of(told, "that was held is free again"), step_of(told, "that was reserved and not used")
    captured = amounts(step_of(told, "captured 15.00"))
    whole = {name: fen - amounts(freed)[name] for name, fen in captured.items()}
    assert whole == {"province": 2099, "city": 900}, "city is the visitors' fund's here"
    assert {leg["funds"] for leg in freed["legs"]} == {"held"}
    assert (amounts(rest), {leg["funds"] for leg in rest["legs"]}) == ({"province": -901}, {"reserved"})


def test_a_visitors_fund_of_which_a_funder_ran_dry_is_told_with_what_each_had_left(
    clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    visitors_fund(clearinghouse, "cascade", city=100, district=100_000)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(advancing, 0, "order-1", 2999)))
    step = step_of(data(clearinghouse, answer_of(answer).redemption_id, capsys), "asked of its visitors' fund")
    assert "part of 9.00 is asked of its visitors' fund (rule cascade" in step["en"]
    assert "city of weight 1 is due 4.50 and had 1.00 left" in step["en"]
    assert "district of weight 1 is due 4.50 and had 1,000.00 left" in step["en"]
    assert step["en"].endswith("the missing 3.50 is borne by the others, for good: city pays 1.00, district pays 8.00")
    assert "city权重1应付4.50、当时尚余1.00" in step["zh"]
    assert step["zh"].endswith("不足的3.50元由其余出资方承担（不追偿），city付1.00，district付8.00")
    assert amounts(step) == {"city": 100, "district": 800}


def test_a_visitors_fund_that_could_not_pay_is_told_with_its_rule_and_what_followed(
    clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    visitors_fund(clearinghouse, "refuse", city=100, district=100_000)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(advancing, 0, "order-1", 2999)))
    told = data(clearinghouse, answer_of(answer).redemption_id, capsys)
    step = step_of(told, "asked of its visitors' fund (rule refuse")
    assert "3.50 is missing: the fund counts as dry, and the issuing region pays" in step["en"]
    assert "不足3.50元，视为用尽，由发券地承担" in step["zh"]
    assert step["legs"] == []
    assert step_of(told, "this use takes 29.99 of it")


def test_a_visitors_fund_whose_legs_do_not_follow_is_named(
    clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out
) -> None:
    visitors_fund(clearinghouse, "cascade", city=100, district=100_000)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(advancing, 0, "order-1", 2999)))
    with clearinghouse.database.transaction() as transaction:
        (row,) = transaction.connection.execute(schema.proof.select())
        transaction.update(
            schema.proof, {"redemption_id": row.redemption_id}, {"visitors": row.visitors.replace(",100]", ",200]")}
        )
    step = step_of(data(clearinghouse, answer_of(answer).redemption_id, capsys), "asked of its visitors' fund")
    assert step["en"].endswith("the books say 9.00, which does not follow")


def test_money_is_called_by_what_it_is(clearinghouse: LocalClearinghouse, advancing: bytes, capsys: Out) -> None:
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(advancing, 0, "order-1", 2999)))
    id = answer_of(held).redemption_id
    told = data(clearinghouse, id, capsys)
    kinds = [{leg["funds"] for leg in step["legs"]} for step in told["steps"] if step["legs"]]
    assert kinds == [{"reserved"}, {"held"}, {"held"}, {"held"}]
    (leg,) = step_of(told, "at issue")["legs"]
    assert leg["name_zh"].startswith("预留资金·杭州")
    stands = step_of(told, "stands AUTHORIZED: 29.99 of the funders' money is held")
    assert "占用出资方资金29.99元" in stands["zh"]
    assert {leg["name_en"].split(",")[0] for leg in stands["legs"]} == {"held"}
    clearinghouse.redeem(item(request_id(2), void=pb.Void(redemption_id=id)))
    voided = data(clearinghouse, id, capsys)
    assert not any(leg["funds"] == "used" for step in voided["steps"] for leg in step["legs"])
    (again,) = clearinghouse.redeem(item(request_id(3), redeem=purchase(advancing, 0, "order-2", 2999)))
    used = data(clearinghouse, answer_of(again).redemption_id, capsys)
    assert {leg["name_zh"].split("·")[0] for leg in step_of(used, "stands CAPTURED")["legs"]} == {"已用资金"}


def test_a_node_tells_how_far_a_window_has_come(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    id = answer_of(answer).redemption_id

    def state() -> str:
        (step,) = [step for step in data(node, id, capsys)["steps"] if step["en"].startswith("window 1: ")]
        assert step["zh"].startswith("场次1：")
        return str(step["en"].removeprefix("window 1: "))

    with linked(node, clearinghouse) as issuing:
        issuing.hear()
        assert state() == "OPEN"
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        issuing.hear()
        assert state() == "CALCULATED"
        issuing.do(issuing.service.reconciler.reconcile_open_windows())
        assert state() == "CONFIRMED_HERE"
        table = node_schema.settlement_window
        for values, expected in (({"confirmed": False}, "STATEMENT_RECEIVED"), ({"settled": True}, "SETTLED")):
            with node.database.transaction() as transaction:
                transaction.update(table, {"number": 1}, values)
            assert state() == expected


def test_an_adjusting_entry_names_its_dispute_on_both_sides(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    id = answer_of(answer).redemption_id
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    with linked(node, clearinghouse) as issuing:
        issuing.hear()
        line = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")
        number = issuing.dispute(line)
        request = clearing_operator_pb2.ResolveDisputeRequest(
            region=HANGZHOU,
            number=number,
            upheld=True,
            why="right",
            adjustments=[clearing_operator_pb2.Adjustment(redemption_id=id, amount_fen=250)],
        )
        clearinghouse.do(clearinghouse.service.settlement.resolve_dispute(request))
        issuing.hear()
    for party in (clearinghouse, node):
        step = step_of(data(party, id, capsys), "an adjusting entry gives funders 2.50 back")
        assert step["en"].startswith(f"dispute {HANGZHOU}/{number} was upheld")
        assert step["zh"].startswith(f"异议{HANGZHOU}/{number}成立")


def test_a_use_away_with_a_smaller_capture_and_a_refund(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1")))
    id = answer_of(held).redemption_id
    clearinghouse.redeem(item(request_id(2), capture=pb.Capture(redemption_id=id, order_fen=5000)))
    clearinghouse.redeem(item(request_id(3), refund=pb.Refund(redemption_id=id, order_fen=2000)))
    clearinghouse.do(clearinghouse.service.settlement.close_window())
    told = data(clearinghouse, id, capsys)
    assert (told["state"], told["agreement"], told["follows"]) == ("PARTLY_REFUNDED", "TEST v1", True)
    english = [step["en"] for step in told["steps"]]
    # 10.00 × 8.00 ÷ 58.00 = 1.37 back; of 8.63, 8.63 × 20 ÷ 50 = 3.45 back
    weighed = "weights of issuing and redeeming region 70:30, 10.00 × 30 ÷ 100 by largest remainder"
    assert f"the public part of 10.00 by agreement TEST v1 (fixed): {weighed}: redeeming region 3.00" in english[2]
    assert any("10.00 × 8.00 ÷ 58.00 = 1.37 back" in each for each in english)
    assert any(
        "funders are due 8.63 × 20.00 ÷ 50.00 = 3.45 in all, had 0.00, now get 3.45, each by what it still bears; "
        "the shopper gets 16.55" in each
        for each in english
    )
    assert any("window 1: CALCULATED" in each for each in english)
    booked = [step for step in told["steps"] if step["entry"] is not None]
    assert [sum(leg["amount_fen"] for leg in step["legs"]) for step in booked] == [863, -345]
    assert told["standing_fen"] == 863 - 345
    assert all(step["zh"] and step["rule"] for step in told["steps"])


def test_a_capture_below_the_threshold_leaves_the_discount_to_the_order_as_it_was_held(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1", 4076)))
    id = answer_of(held).redemption_id
    clearinghouse.redeem(item(request_id(2), capture=pb.Capture(redemption_id=id, order_fen=3057)))
    first = data(clearinghouse, id, capsys)["steps"][0]
    assert "order order-1 of 40.76: threshold: the order of 40.76 reaches 40.00: 10.00 off" in first["en"]
    assert "订单40.76元已满40.00元" in first["zh"]


def test_what_each_funder_reserved_is_told_so_that_the_split_can_be_done_by_hand(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    steps = data(clearinghouse, answer_of(answer).redemption_id, capsys)["steps"]
    reserved = {leg["account"].rpartition("/")[2]: leg["amount_fen"] for leg in steps[1]["legs"]}
    assert reserved == {"city": 667, "county": 333}
    assert "the issuer's part over its funders by what each reserved: 7.00 by 6.67:3.33" in steps[3]["en"]
    shares = {leg["account"].rpartition("/")[2]: leg["amount_fen"] for leg in steps[3]["legs"]}
    assert shares == dict(zip(reserved, allocate(700, list(reserved.values())), strict=True))


def test_legs_of_nothing_are_not_told(node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    clearinghouse.decide(Adjusting(answer_of(answer).redemption_id, 1))
    steps = data(clearinghouse, answer_of(answer).redemption_id, capsys)["steps"]
    (adjusted,) = [step for step in steps if "an adjusting entry" in step["en"]]
    assert [leg["amount_fen"] for leg in adjusted["legs"]] == [-1]


def test_a_voided_hold_is_told_with_where_its_money_went(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1")))
    id = answer_of(held).redemption_id
    clearinghouse.redeem(item(request_id(2), void=pb.Void(redemption_id=id)))
    steps = data(clearinghouse, id, capsys)["steps"]
    (released,) = [step for step in steps if "voided" in step["en"]]
    assert (
        "7.00 that was held is reserved for the voucher again, and 3.00 of the visitors' fund is free" in released["en"]
    )
    assert "占用的7.00元恢复为该券的预留，核销地异地用券资金3.00元解除占用" in released["zh"]
    assert sum(leg["amount_fen"] for leg in released["legs"]) == -1000


def test_a_hold_that_expired_is_told_with_when_it_ended(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (held,) = clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order-1")))
    answer = answer_of(held)
    clearinghouse.pass_seconds(answer.expires_at - AT)
    clearinghouse.redeem(item(request_id(2), capture=pb.Capture(redemption_id=answer.redemption_id)))
    told = data(clearinghouse, answer.redemption_id, capsys)
    (released,) = [step for step in told["steps"] if "the hold expired: 7.00 that was held" in step["en"]]
    assert (told["state"], released["at"]) == ("EXPIRED", answer.expires_at)


def test_it_says_when_the_issuer_paid_for_a_dry_visitors_fund(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    funder = clearing_operator_pb2.VisitorsFunder(name="city", weight=1, budget_fen=299)
    clearinghouse.do(
        clearinghouse.service.operations.set_visitors_fund(
            clearing_operator_pb2.SetVisitorsFundRequest(
                region=SHANGHAI, fiscal_year=2026, rule="refuse", funders=[funder]
            )
        )
    )
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    told = data(clearinghouse, answer_of(answer).redemption_id, capsys)
    assert "so the issuing region pays" in told["steps"][2]["en"]
    assert "由发券地承担" in told["steps"][2]["zh"]


def test_a_use_at_home_is_told_by_the_node_in_both_languages(
    node: LocalNode, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console.console, "width", 250)
    node.publish()
    (token,) = node.claim()
    (answer,) = node.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    shown = explained(node, answer_of(answer).redemption_id, capsys)
    assert "本地使用，公共部分全由发券地承担：10.00元" in shown
    assert "used at home: all of the public part is the issuer's: 10.00" in shown
    assert "are payable to the acquirer alipay" in shown
    assert f"funding/{HANGZHOU}/2026/spring/county" in shown


def test_a_party_that_did_not_decide_it_says_who_did(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    id = answer_of(answer).redemption_id
    url = node.database.engine.url.set(drivername=node.database.dialect).render_as_string(hide_password=False)
    assert cli.main(["settlement", "explain", id.hex(), "--database", url, "--schema", node.database.schema]) == 1
    assert "is not on these books" in capsys.readouterr().err


def test_the_issuing_node_tells_a_use_away_by_its_own_postings_and_says_where_the_rest_is(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    id = answer_of(answer).redemption_id
    clearinghouse.redeem(item(request_id(2), refund=pb.Refund(redemption_id=id, order_fen=2900)))
    with linked(node, clearinghouse) as node_of_hangzhou:
        node_of_hangzhou.hear()
    told, decided = data(node, id, capsys), data(clearinghouse, id, capsys)
    for name in ("state", "order_fen", "discount_fen", "standing_fen"):
        assert told[name] == decided[name]
    assert told["decided_by"] == "clearinghouse"
    steps = {step["en"]: step["legs"] for step in told["steps"]}
    captured = next(
        legs for text, legs in steps.items() if text.startswith("captured 58.00: a discount of 10.00; window 1")
    )
    there = next(step["legs"] for step in decided["steps"] if step["en"].startswith("captured 58.00"))
    assert captured == there
    assert any("visitors' fund pays 3.00, the issuing region's funders 7.00" in text for text in steps)
    assert any("refund of 29.00: 5.00 go back to funders" in text for text in steps)
    assert "330100 owes 310000 3.50, netted in its windows" in steps
    assert "quanlian node export-evidence" in told["steps"][-1]["en"]


def test_a_use_at_home_that_the_clearinghouse_decided_leaves_no_region_in_debt(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")), region=HANGZHOU)
    with linked(node, clearinghouse) as issuing:
        issuing.hear()
    steps = [step["en"] for step in data(node, answer_of(answer).redemption_id, capsys)["steps"]]
    assert "used at home: no region owes another" in steps
    assert not any("owes" in step for step in steps if "no region" not in step)


def test_the_issuing_node_tells_of_an_adjusting_entry(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    posting = answer_of(answer).posting
    posting.number, posting.order_fen, posting.discount_fen = 2, 0, -200
    with clearinghouse.database.transaction() as transaction:
        desk = clearinghouse.service.engine.desk(transaction)
        desk.tell(HANGZHOU, posting=posting)
        desk.save("test")
    with linked(node, clearinghouse) as node_of_hangzhou:
        node_of_hangzhou.hear()
    told = data(node, posting.redemption_id, capsys)
    assert any("an adjusting entry gives funders 2.00 back; window 1" in step["en"] for step in told["steps"])
    assert told["state"] == "CAPTURED"


def test_an_adjusting_entry_is_told_as_one_and_the_next_refund_gives_it_only_once(
    node: LocalNode, clearinghouse: LocalClearinghouse, capsys: Out
) -> None:
    token = away(node, clearinghouse)
    (answer,) = clearinghouse.redeem(item(request_id(1), redeem=purchase(token, 0, "order-1")))
    id = answer_of(answer).redemption_id
    clearinghouse.decide(Adjusting(id, 250))
    clearinghouse.redeem(item(request_id(2), refund=pb.Refund(redemption_id=id, order_fen=2900)))
    told = data(clearinghouse, id, capsys)
    english = [step["en"] for step in told["steps"]]
    assert any("an adjusting entry gives funders 2.50 back" in each for each in english)
    assert any("due 10.00 × 29.00 ÷ 58.00 = 5.00 in all, had 2.50, now get 2.50" in each for each in english)
    assert any("the shopper gets 24.00 (pro-rata): 29.00 less 5.00 due" in each for each in english)
    assert (told["standing_fen"], told["follows"]) == (500, True)
    clearinghouse.check_books()


@dataclass
class Adjusting:
    """An upheld dispute's adjusting entry, as a work of its own."""

    redemption_id: bytes
    amount_fen: int

    def load(self, desk: Desk) -> None:
        desk.books.want(redemptions=[self.redemption_id])

    def decide(self, desk: Desk) -> None:
        before = desk.books.redemption(self.redemption_id)
        assert before is not None
        voucher = desk.books.voucher(before.voucher)
        assert voucher is not None
        result = adjust(before, voucher, self.amount_fen, desk.credit(before), desk.window, desk.at)
        desk.books.apply(result)
        desk.applied(before, result)
