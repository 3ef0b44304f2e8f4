"""Statements of a settlement window, and their reconciliation with a node's own books (money.md, Statement)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from quanlian.apportionment import Leg
from quanlian.errors import InvalidInput
from quanlian.statements import (
    BALANCE,
    HOME,
    ISSUER,
    REDEEMER,
    Difference,
    FunderFigures,
    FunderKey,
    ItemFigures,
    LineFigures,
    LineKey,
    Statement,
    add_up,
    json_to_statement,
    net_fen,
    reconcile,
    statement_to_json,
)

HANGZHOU, SHANGHAI, HEFEI = "330100", "310000", "340100"
CAMPAIGN = "hangzhou-2020-r1"
CITY = f"funding/{HANGZHOU}/2020/{CAMPAIGN}/city"
VISITORS = f"funding/{SHANGHAI}/2020/visitors/city"
MERCHANTS = f"funding/{SHANGHAI}/2020/{CAMPAIGN}/merchant"
AWAY = (Leg(CITY, 630), Leg(VISITORS, 270), Leg(MERCHANTS, 100))


def item(
    side: str, legs: Sequence[Leg] = AWAY, *, order_fen: int = 5800, where: str = SHANGHAI, issuer: str = HANGZHOU
) -> ItemFigures:
    """One of Hangzhou's vouchers of 10.00; a refund has a negative order and negative legs."""
    return ItemFigures(side, issuer, where, CAMPAIGN, order_fen, sum(leg.amount_fen for leg in legs), legs)


def negative(legs: Sequence[Leg], *amounts_fen: int) -> list[Leg]:
    return [Leg(leg.account, -fen) for leg, fen in zip(legs, amounts_fen, strict=True)]


def half_returned(side: str) -> ItemFigures:
    return item(side, negative(AWAY, 315, 135, 50), order_fen=-2900)


def a_statement(region: str, lines: dict[LineKey, LineFigures], funders: dict[FunderKey, FunderFigures]) -> Statement:
    return Statement(7, region, 1_585_300_000, 1_585_386_400, 50_000, lines, funders)


HANGZHOUS_LINE = LineKey(ISSUER, SHANGHAI, CAMPAIGN)
SHANGHAIS_LINE = LineKey(REDEEMER, HANGZHOU, CAMPAIGN)


class TestAddingUp:
    def test_the_issuer_sees_what_its_funders_bear_away(self) -> None:
        lines, funders = add_up(HANGZHOU, [item("funder"), item("funder"), half_returned("funder")])
        figures = LineFigures(2, 11_600, 2000, 1, 2900, 500, own_share_fen=630 + 630 - 315)
        assert lines == {HANGZHOUS_LINE: figures}
        assert funders == {(CITY, SHANGHAI): FunderFigures(used_fen=1260, refunded_fen=315)}
        assert funders[CITY, SHANGHAI].net_fen == 945
        assert figures.net_discount_fen == 1500
        assert net_fen(HANGZHOUS_LINE, figures) == -945

    def test_the_redeemer_bears_its_visitors_fund_and_its_merchants_and_receives_the_rest(self) -> None:
        lines, funders = add_up(SHANGHAI, [item("merchant"), half_returned("merchant")])
        figures = LineFigures(1, 5800, 1000, 1, 2900, 500, own_share_fen=370 - 185)
        assert lines == {SHANGHAIS_LINE: figures}
        assert funders == {
            (VISITORS, HANGZHOU): FunderFigures(270, 135),
            (MERCHANTS, HANGZHOU): FunderFigures(100, 50),
        }
        assert net_fen(SHANGHAIS_LINE, figures) == 315

    def test_what_one_region_pays_the_other_receives(self) -> None:
        sales = [AWAY, negative(AWAY, 315, 135, 50)]
        paid = sum(net_fen(key, each) for key, each in add_up(HANGZHOU, [item("funder", s) for s in sales])[0].items())
        got = sum(net_fen(key, each) for key, each in add_up(SHANGHAI, [item("merchant", s) for s in sales])[0].items())
        assert paid == -315
        assert paid + got == 0

    def test_a_home_redemption_of_a_released_voucher_is_one_line_without_a_net(self) -> None:
        home = [item(side, [Leg(CITY, 1000)], where=HANGZHOU) for side in ("merchant", "funder")]
        lines, funders = add_up(HANGZHOU, home)
        key = LineKey(HOME, HANGZHOU, CAMPAIGN)
        assert lines == {key: LineFigures(1, 5800, 1000, own_share_fen=1000)}
        assert funders == {(CITY, HANGZHOU): FunderFigures(1000)}
        assert net_fen(key, lines[key]) == 0

    def test_each_counterpart_and_campaign_has_its_line(self) -> None:
        hefei = [Leg(CITY, 1000)]
        lines, _ = add_up(HANGZHOU, [item("funder"), item("funder", hefei, where=HEFEI)])
        assert {key.counterpart: figures.own_share_fen for key, figures in lines.items()} == {
            SHANGHAI: 630,
            HEFEI: 1000,
        }

    def test_a_refund_that_returns_nothing_to_funders_still_counts(self) -> None:
        lines, funders = add_up(HANGZHOU, [item("funder", negative(AWAY, 0, 0, 0), order_fen=-1)])
        assert lines == {HANGZHOUS_LINE: LineFigures(refunds=1, refunded_order_fen=1)}
        assert funders == {}

    def test_a_funder_that_came_out_even_shows_what_it_was_used_for_and_what_came_back(self) -> None:
        _, funders = add_up(HANGZHOU, [item("funder"), item("funder", negative(AWAY, 630, 270, 100), order_fen=-5800)])
        assert funders == {(CITY, SHANGHAI): FunderFigures(630, 630)}


class TestTotals:
    def test_the_closing_balance_is_the_opening_one_and_the_net(self) -> None:
        lines = {
            LineKey(ISSUER, SHANGHAI, "a"): LineFigures(1, 5800, 1000, own_share_fen=700),
            LineKey(REDEEMER, HEFEI, "b"): LineFigures(1, 5800, 1000, own_share_fen=0),
            LineKey(HOME, HANGZHOU, "a"): LineFigures(1, 5800, 1000, own_share_fen=1000),
        }
        statement = a_statement(HANGZHOU, lines, {})
        assert (statement.received_fen, statement.paid_fen, statement.net_fen) == (1000, 700, 300)
        assert statement.closing_fen == 50_300


STATEMENT = a_statement(SHANGHAI, *add_up(SHANGHAI, [item("merchant"), half_returned("merchant")]))


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    data = json.loads(statement_to_json(STATEMENT))
    change(data)
    return json.dumps(data).encode()


class TestJson:
    def test_a_statement_goes_there_and_back(self) -> None:
        assert json_to_statement(statement_to_json(STATEMENT)) == STATEMENT

    def test_the_same_statement_has_the_same_bytes_whatever_the_order_of_its_lines(self) -> None:
        lines, funders = add_up(HANGZHOU, [item("funder"), item("funder", where=HEFEI)])
        backwards = (dict(reversed(lines.items())), dict(reversed(funders.items())))
        content = statement_to_json(a_statement(HANGZHOU, lines, funders))
        assert content == statement_to_json(a_statement(HANGZHOU, *backwards))

    @pytest.mark.parametrize("total", ["received_fen", "paid_fen", "net_fen", "closing_fen"])
    def test_an_altered_total_is_noticed(self, total: str) -> None:
        content = altered(lambda data: data.update({total: data[total] + 1}))
        says = r"says -?\d+, its lines give -?\d+"
        with pytest.raises(InvalidInput, match=rf"statement\.{total}: {says}"):
            json_to_statement(content)

    @pytest.mark.parametrize("field", ["opening_fen", "own_share_fen", "discount_fen", "refunded_fen"])
    def test_an_altered_amount_is_noticed_by_its_totals(self, field: str) -> None:
        def raise_it(data: dict[str, Any]) -> None:
            where = data if field in data else data["lines"][0]
            where[field] += 1

        with pytest.raises(InvalidInput, match=r"statement\.\w+_fen: says"):
            json_to_statement(altered(raise_it))

    def test_the_altered_net_of_a_line_is_noticed(self) -> None:
        content = altered(lambda data: data["lines"][0].update(net_fen=0))
        with pytest.raises(InvalidInput, match=r"statement\.lines: disagree in themselves"):
            json_to_statement(content)

    @pytest.mark.parametrize("figure", ["used_fen", "refunded_fen", "net_fen"])
    def test_a_funders_net_is_what_it_was_used_for_less_what_came_back(self, figure: str) -> None:
        content = altered(lambda data: data["funders"][0].update({figure: data["funders"][0][figure] + 1}))
        with pytest.raises(InvalidInput, match=r"statement\.funders: disagree in themselves"):
            json_to_statement(content)

    def test_a_line_that_is_there_twice_is_noticed(self) -> None:
        content = altered(lambda data: data["lines"].append(data["lines"][0]))
        with pytest.raises(InvalidInput, match=r"statement\.lines"):
            json_to_statement(content)

    @pytest.mark.parametrize("version", [{"version": 2}, {"kind": "quanlian receipt"}])
    def test_another_kind_or_version_is_refused(self, version: dict[str, object]) -> None:
        with pytest.raises(InvalidInput, match=r"statement\.(version|kind): says"):
            json_to_statement(altered(lambda data: data.update(version)))

    @pytest.mark.parametrize("amount", [1.0, "1", None, True, 1e30])
    @pytest.mark.parametrize("field", ["window", "opening_fen", "own_share_fen"])
    def test_an_amount_is_a_whole_number(self, field: str, amount: object) -> None:
        def replace_it(data: dict[str, Any]) -> None:
            (data if field in data else data["lines"][0])[field] = amount

        with pytest.raises(InvalidInput, match="statement: not a statement"):
            json_to_statement(altered(replace_it))

    @pytest.mark.parametrize("field", sorted(json.loads(statement_to_json(STATEMENT))))
    def test_a_field_that_is_missing_is_noticed(self, field: str) -> None:
        with pytest.raises(InvalidInput, match="statement"):
            json_to_statement(altered(lambda data: data.pop(field)))

    @pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"7", b"\xff", b'{"lines": 7}', b'{"lines": [7]}'])
    def test_what_is_no_statement_says_so(self, content: bytes) -> None:
        with pytest.raises(InvalidInput, match="statement: not a statement"):
            json_to_statement(content)


BALANCES: dict[str, int | None] = {key.campaign: fen for key, fen in STATEMENT.balances.items()}


class TestReconciling:
    LINES, FUNDERS = STATEMENT.lines, STATEMENT.funders

    def test_equal_books_match_whole(self) -> None:
        result = reconcile(STATEMENT, *add_up(SHANGHAI, [item("merchant"), half_returned("merchant")]), BALANCES)
        assert result.matched == [
            *((BALANCE, SHANGHAI, name) for name in sorted(BALANCES)),
            (MERCHANTS, HANGZHOU),
            (VISITORS, HANGZHOU),
            tuple(SHANGHAIS_LINE),
        ]
        assert result.fully_matched

    def test_a_refund_that_only_we_know_makes_a_different_line_and_funders(self) -> None:
        ours = add_up(SHANGHAI, [item("merchant"), half_returned("merchant"), half_returned("merchant")])
        result = reconcile(STATEMENT, *ours, BALANCES)
        assert not result.fully_matched
        assert result.different == [
            Difference((MERCHANTS, HANGZHOU), FunderFigures(100, 50), FunderFigures(100, 100)),
            Difference((VISITORS, HANGZHOU), FunderFigures(270, 135), FunderFigures(270, 270)),
            Difference(SHANGHAIS_LINE, self.LINES[SHANGHAIS_LINE], ours[0][SHANGHAIS_LINE]),
        ]

    def test_what_only_we_have_is_missing(self) -> None:
        ours = {**self.LINES, LineKey(ISSUER, HEFEI, "other"): LineFigures(captures=1)}
        result = reconcile(STATEMENT, ours, self.FUNDERS, BALANCES)
        assert result.missing == [Difference(LineKey(ISSUER, HEFEI, "other"), None, LineFigures(captures=1))]
        assert (result.extra, result.different) == ([], [])
        assert not result.fully_matched

    def test_what_only_the_statement_has_is_extra(self) -> None:
        result = reconcile(STATEMENT, {}, self.FUNDERS, BALANCES)
        assert result.extra == [Difference(SHANGHAIS_LINE, self.LINES[SHANGHAIS_LINE], None)]
        assert (result.missing, result.different) == ([], [])

    def test_a_fen_in_one_funder_makes_it_different_with_both_sides(self) -> None:
        refunds_off = FunderFigures(270, 134)
        result = reconcile(STATEMENT, self.LINES, {**self.FUNDERS, (VISITORS, HANGZHOU): refunds_off}, BALANCES)
        assert result.different == [Difference((VISITORS, HANGZHOU), FunderFigures(270, 135), refunds_off)]
        assert len(result.matched) == 2 + len(BALANCES)

    @pytest.mark.parametrize("figure", list(LineFigures.__dataclass_fields__))
    def test_every_figure_of_a_line_counts(self, figure: str) -> None:
        ours = self.LINES[SHANGHAIS_LINE]
        off = replace(ours, **{figure: getattr(ours, figure) + 1})
        assert reconcile(STATEMENT, {SHANGHAIS_LINE: off}, self.FUNDERS, BALANCES).different != []

    @pytest.mark.parametrize("balance", sorted(BALANCES))
    def test_every_balance_counts(self, balance: str) -> None:
        stated = STATEMENT.balances[LineKey(BALANCE, SHANGHAI, balance)]
        result = reconcile(STATEMENT, self.LINES, self.FUNDERS, {**BALANCES, balance: stated + 1})
        assert result.different == [Difference(LineKey(BALANCE, SHANGHAI, balance), stated, stated + 1)]

    def test_an_opening_balance_that_we_cannot_tell_is_the_statements_only(self) -> None:
        ours = {name: fen for name, fen in BALANCES.items() if name != "opening"}
        result = reconcile(STATEMENT, self.LINES, self.FUNDERS, ours)
        assert [each.key for each in result.extra] == [(BALANCE, SHANGHAI, "opening")]
        assert not result.fully_matched

    def test_money_that_we_keep_no_record_of_is_told_apart_and_is_no_difference(self) -> None:
        stated = replace(STATEMENT, lodged_fen=5)
        ours = {key.campaign: fen for key, fen in stated.balances.items()}
        result = reconcile(stated, self.LINES, self.FUNDERS, {**ours, "lodged": None})
        assert result.unchecked == [Difference(LineKey(BALANCE, SHANGHAI, "lodged"), 5, None)]
        assert result.fully_matched
        nothing = reconcile(replace(stated, lodged_fen=0), self.LINES, self.FUNDERS, {**ours, "lodged": None})
        assert nothing.unchecked == [], "nothing was lodged, and nothing is on record"
