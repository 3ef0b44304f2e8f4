"""Running totals by hour at both parties: what they count, by which day, and what they cost to read."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from batch_stories import request_id
from local_parties import (
    AT,
    HANGZHOU,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
    received,
)

from custodian.showing import multiplier_ppm, stats_query
from node.redeeming import ClearinghouseAnswer, Forwarded, Intake
from quanlian.errors import InvalidInput
from quanlian.v1 import redemption_pb2 as pb
from quanlian.v1 import stats_pb2

HOUR = 3600
FIGURES = ("captures", "order_fen", "discount_fen", "refunds", "refunded_order_fen", "refunded_fen")


def redeem(number: int, token: bytes, index: int = 0, order_fen: int = 5800) -> bytes:
    return item(request_id(number), redeem=purchase(token, index, f"order-{number}", order_fen))


def refund(number: int, captured: bytes, order_fen: int) -> bytes:
    message = pb.Refund(redemption_id=answer_of(captured).redemption_id, order_fen=order_fen)
    return item(request_id(number), refund=message)


def figures(row: stats_pb2.StatsRow) -> tuple[int, ...]:
    return tuple(getattr(row, name) for name in FIGURES)


def stats(node: LocalNode, by: str = "campaign", **chosen: str) -> list[stats_pb2.StatsRow]:
    query = stats_query(by, "", "", "", None)  # type: ignore[arg-type]
    query.MergeFrom(stats_pb2.StatsQuery(**chosen))  # type: ignore[arg-type]
    return node.ask(lambda operations: operations.stats(query))


def clearing_stats(clearinghouse: LocalClearinghouse, by: str = "campaign") -> list[stats_pb2.StatsRow]:
    query = stats_query(by, "", "", "", None)  # type: ignore[arg-type]
    return clearinghouse.do(clearinghouse.service.operations.stats(query))


@pytest.fixture
def tokens(node: LocalNode) -> list[bytes]:
    node.publish()
    return node.claim(3)


def test_captures_and_refunds_are_counted_in_the_hour_in_which_they_were_posted(
    node: LocalNode, tokens: list[bytes]
) -> None:
    first = AT - AT % HOUR
    captured, _ = node.redeem(redeem(1, tokens[0]), redeem(2, tokens[0], 1, order_fen=4000))
    node.pass_seconds(HOUR)
    node.redeem(refund(3, captured, 2000), redeem(4, tokens[1]))
    rows = [(row["hour"], row["category"], *(row[name] for name in FIGURES)) for row in node.rows("hourly_flow")]
    assert rows == [
        (first, "retail", 2, 9800, 2000, 0, 0, 0),
        (first + HOUR, "retail", 1, 5800, 1000, 1, 2000, 344),
    ]
    (total,) = stats(node)
    assert (total.campaign, total.issuer) == ("spring", HANGZHOU)
    assert figures(total) == (3, 15600, 3000, 1, 2000, 344)
    assert multiplier_ppm(total) == (15600 - 2000) * 10**6 // (3000 - 344)


def test_quotes_holds_voids_and_refusals_count_nothing(node: LocalNode, tokens: list[bytes]) -> None:
    hold = item(request_id(1), authorize=purchase(tokens[0], 0, "order-1"))
    quote = item(request_id(2), quote=purchase(tokens[0], 1, "order-2"))
    (held, _, _) = node.redeem(hold, quote, redeem(3, tokens[0], 1, order_fen=10))
    node.redeem(item(request_id(4), void=pb.Void(redemption_id=answer_of(held).redemption_id)))
    assert node.rows("hourly_flow") == []
    assert stats(node) == []


def test_a_day_begins_at_midnight_of_shanghai(node: LocalNode, tokens: list[bytes]) -> None:
    midnight = AT - (AT + 8 * HOUR) % 86_400 + 86_400
    node.pass_seconds(midnight - AT - 1)
    node.redeem(redeem(1, tokens[0]))
    node.pass_seconds(1)
    node.redeem(redeem(2, tokens[0], 1), redeem(3, tokens[1]))
    days = [(row.from_at, row.captures) for row in stats(node, "day")]
    assert days == [(midnight - 86_400, 1), (midnight, 2)]
    hours = [(row.from_at, row.captures) for row in stats(node, "hour")]
    assert hours == [(midnight - HOUR, 1), (midnight, 2)]


def test_what_is_asked_for_is_chosen_by_campaign_region_category_and_time(node: LocalNode, tokens: list[bytes]) -> None:
    node.redeem(redeem(1, tokens[0]))
    hour = AT - AT % HOUR
    for chosen in ({"campaign": "spring"}, {"region": HANGZHOU}, {"category": "retail"}, {"from_at": hour}):
        assert [row.captures for row in stats(node, **chosen)] == [1], chosen  # type: ignore[arg-type]
    for other in ({"campaign": "autumn"}, {"region": SHANGHAI}, {"category": "fuel"}, {"to_at": hour}):
        assert stats(node, **other) == [], other  # type: ignore[arg-type]


def test_totals_by_any_key_are_the_same_sum(node: LocalNode, tokens: list[bytes]) -> None:
    captured, *_ = node.redeem(*(redeem(n, token, n % 2) for n, token in enumerate(tokens)))
    node.pass_seconds(3 * HOUR)
    node.redeem(refund(9, captured, 5800))
    sums = {
        by: tuple(map(sum, zip(*(figures(row) for row in stats(node, by)), strict=True)))
        for by in ("campaign", "regions", "category", "day", "hour")
    }
    assert set(sums.values()) == {(3, 17400, 3000, 1, 5800, 1000)}


def test_a_query_that_adds_up_by_nothing_is_refused(node: LocalNode) -> None:
    with pytest.raises(InvalidInput, match="adds up by nothing"):
        node.ask(lambda operations: operations.stats(stats_pb2.StatsQuery()))


class TestAway:
    @pytest.fixture
    def away(self, node: LocalNode, clearinghouse: LocalClearinghouse, tokens: list[bytes]) -> bytes:
        clearinghouse.learn(node)
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(tokens[0]))))
        return tokens[0]

    def test_the_clearinghouse_counts_what_it_decided_and_the_issuer_hears_of_it(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        (captured,) = clearinghouse.redeem(redeem(1, away))
        clearinghouse.redeem(refund(2, captured, 2000))
        (row,) = clearing_stats(clearinghouse, "regions")
        assert (row.issuer, row.redeeming_region) == (HANGZHOU, SHANGHAI)
        assert figures(row) == (1, 5800, 1000, 1, 2000, 344)
        for _ in range(2):
            node.follow(clearinghouse)
        assert stats(node, "regions") == [row], "each event once"
        assert node.rows("hourly_flow") == clearinghouse.rows("hourly_flow")

    def test_a_use_at_home_that_the_clearinghouse_decided_counts_once_at_its_node(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, away: bytes
    ) -> None:
        """The answer tells it to the merchant's side and the feed to the issuer's: they are one region."""
        content = redeem(1, away)
        intake = Intake(received(content, PLATFORM, HANGZHOU, b"x" * 16), b"own-request-id--")
        (sent,) = node.decide(intake)
        assert isinstance(sent, Forwarded)
        assert sent.content is not None
        (answer,) = clearinghouse.redeem(sent.content, region=HANGZHOU)
        assert outcome(answer) == "CAPTURED"
        node.decide(ClearinghouseAnswer(answer))
        node.decide(ClearinghouseAnswer(answer))
        node.follow(clearinghouse)
        (row,) = stats(node, "regions")
        assert (row.issuer, row.redeeming_region, row.captures) == (HANGZHOU, HANGZHOU, 1)


def test_reading_costs_the_hours_and_not_the_redemptions(node: LocalNode, tokens: list[bytes]) -> None:
    """However many redemptions an hour has, statistics read one row for its key, and no table of redemptions."""
    asked: list[str] = []
    node.redeem(*(redeem(n, tokens[n // 2], n % 2) for n in range(6)))
    assert len(node.rows("hourly_flow")) == 1
    for engine in {node.database.engine, node.database._readers}:
        sa.event.listen(engine, "before_cursor_execute", lambda *event: asked.append(str(event[2])))
    stats(node)
    read = [statement for statement in asked if "FROM" in statement]
    assert read
    assert not [each for each in read if "FROM redemption" in each or "FROM posting" in each]
