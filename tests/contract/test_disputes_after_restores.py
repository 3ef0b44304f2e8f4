"""Disputes outlive a restore of either side: the clearinghouse gives a node its own again, and takes what it forgot."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_parties import (
    HANGZHOU,
    OPERATOR,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    message_signer,
    purchase,
)
from restored_network import CLEARING_KEY, NODE_KEY, Between, Network, back_up, restore

from clearinghouse.disputes import sign_taken
from node.service import NodeService
from node.settling import NodeSettling
from quanlian.errors import BadSignature, InvalidInput
from quanlian.v1 import clearing_operator_pb2, node_operator_pb2, recovery_pb2, settlement_pb2, signed_pb2

LINE = settlement_pb2.LineRef(role="issuer", counterpart=SHANGHAI, campaign="spring")
DAY_SECONDS = 86_400


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


@pytest.fixture
def redemption(network: Network) -> bytes:
    """Of a line of window 1, which is closed and which Hangzhou has not disputed yet."""
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    network.clearinghouse.do(network.clearinghouse.service.settlement.close_window())
    network.follow()
    return answer_of(answer).redemption_id


def settling(network: Network, service: NodeService) -> NodeSettling:
    return NodeSettling(service, network.between, message_signer())  # type: ignore[arg-type]


def dispute(network: Network, why: str) -> int:
    request = node_operator_pb2.DisputeOwnStatementRequest(window=1, lines=[LINE], why=why)
    return network.do(lambda service: settling(network, service).dispute(OPERATOR, request))


def send(network: Network) -> None:
    network.do(lambda service: settling(network, service).send_disputes())


def known(network: Network) -> list[node_operator_pb2.KnownDispute]:
    return network.do(lambda service: settling(network, service).disputes())


def decide(network: Network, redemption_id: bytes) -> None:
    back = clearing_operator_pb2.Adjustment(redemption_id=redemption_id, amount_fen=200)
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU, number=1, upheld=True, why="it was", adjustments=[back]
    )
    network.clearinghouse.do(network.clearinghouse.service.settlement.resolve_dispute(request))
    network.follow()


def taken(network: Network) -> list[tuple[int, bytes, int]]:
    """What the clearinghouse has, and since when."""
    return [(row["number"], row["body"], row["raised_at"]) for row in network.clearinghouse.rows("dispute")]


def posted(network: Network) -> list[dict[str, int]]:
    return [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]


def set_clearinghouse_back(network: Network, copy: dict[str, list[dict[str, object]]]) -> recovery_pb2.RecoveryReport:
    restore(network.clearinghouse, copy)
    report = network.recover_clearinghouse(SHANGHAI)
    network.meet()
    return report


@pytest.mark.usefixtures("redemption")
class TestOfANode:
    def test_it_learns_its_disputes_again_and_the_next_has_a_number_of_its_own(self, network: Network) -> None:
        copy = back_up(network.node)
        assert dispute(network, "wrong order") == 1
        (before,) = network.node.rows("dispute")
        restore(network.node, copy)
        report = network.recover_node()
        assert (report.disputes, list(report.disputed)) == (1, [])
        (after,) = network.node.rows("dispute")
        assert [after[name] for name in ("number", "body", "signature", "sent")] == [
            before[name] for name in ("number", "body", "signature", "sent")
        ]
        assert dispute(network, "wrong order") == 1
        assert dispute(network, "another reason") == 2
        network.check()

    def test_one_that_never_got_there_gives_way_to_the_one_that_has_its_number(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def refused(self: Between, *of_it: signed_pb2.SignedMessage) -> signed_pb2.SignedMessage:
            copies.append(back_up(network.node))
            raise InvalidInput("is not taken")

        copies: list[dict[str, list[dict[str, object]]]] = []
        with monkeypatch.context() as patch:
            patch.setattr(Between, "dispute", refused)
            with pytest.raises(InvalidInput):
                dispute(network, "at fault")
        dispute(network, "wrong order")
        restore(network.node, copies[0])
        assert network.recover_node().disputes == 1
        assert [each.dispute.why for each in known(network)] == ["wrong order"]
        network.check()

    def test_its_number_is_not_that_of_a_dispute_of_which_only_the_decision_is_known(self, network: Network) -> None:
        decision = settlement_pb2.DisputeDecision(outcome="rejected", why="no")
        decision.dispute.region, decision.dispute.number, decision.dispute.window = HANGZHOU, 6, 1
        with network.clearinghouse.database.transaction() as transaction:
            desk = network.clearinghouse.service.engine.desk(transaction)
            desk.tell(HANGZHOU, dispute_decided=decision)
            desk.save("test")
        network.follow()
        assert dispute(network, "wrong order") == 7


class TestOfTheClearinghouse:
    @pytest.mark.parametrize("days", [0, 60])
    def test_it_takes_what_it_forgot_again_as_of_the_time_at_which_it_had_taken_it(
        self, network: Network, redemption: bytes, days: int
    ) -> None:
        copy = back_up(network.clearinghouse)
        dispute(network, "wrong order")
        before = taken(network)
        for party in (network.clearinghouse, network.node):
            party.pass_seconds(days * DAY_SECONDS)
        set_clearinghouse_back(network, copy)
        assert taken(network) == []
        assert [each.sent for each in known(network)] == [False]
        send(network)
        assert taken(network) == before
        assert [each.sent for each in known(network)] == [True]
        network.check()

    def test_the_next_command_brings_what_it_forgot_first(self, network: Network, redemption: bytes) -> None:
        copy = back_up(network.clearinghouse)
        dispute(network, "wrong order")
        set_clearinghouse_back(network, copy)
        assert dispute(network, "wrong order") == 1
        assert dispute(network, "another reason") == 2
        assert [number for number, *_ in taken(network)] == [1, 2]

    def test_one_that_it_had_decided_is_open_again_and_decided_again_as_it_was(
        self, network: Network, redemption: bytes
    ) -> None:
        copy = back_up(network.clearinghouse)
        dispute(network, "wrong order")
        decide(network, redemption)
        after = posted(network)
        (named,) = set_clearinghouse_back(network, copy).disputed
        assert "the node of its region brings it again by itself, then uphold it again" in named.reason
        network.follow()
        send(network)
        network.clearinghouse.pass_seconds(60)
        decide(network, redemption)
        assert posted(network) == after
        assert [each.decision.outcome for each in known(network)] == ["upheld"]
        network.check()

    def test_one_that_it_does_not_take_again_is_kept_and_holds_up_no_other(
        self, network: Network, redemption: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copy = back_up(network.clearinghouse)
        dispute(network, "wrong order")
        dispute(network, "another reason")
        set_clearinghouse_back(network, copy)
        before = Between.dispute

        async def refused(
            self: Between, message: signed_pb2.SignedMessage, word: signed_pb2.SignedMessage
        ) -> signed_pb2.SignedMessage:
            if settlement_pb2.Dispute.FromString(message.body).number == 1:
                raise InvalidInput("is not taken")
            return await before(self, message, word)

        with monkeypatch.context() as patch:
            patch.setattr(Between, "dispute", refused)
            send(network)
        assert [(each.dispute.number, each.sent) for each in known(network)] == [(1, False), (2, True)]
        assert [number for number, *_ in taken(network)] == [2]
        network.node.check_books()


class TestTheWord:
    """Without the clearinghouse's own word nobody disputes late, whatever date a dispute bears."""

    def late(self, network: Network) -> signed_pb2.SignedMessage:
        """A dispute that its region dates to the day of the close, two months after it."""
        network.clearinghouse.pass_seconds(60 * DAY_SECONDS)
        raised = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, lines=[LINE], why="wrong order", at=1)
        body = raised.SerializeToString()
        return signed_pb2.SignedMessage(body=body, key_id=NODE_KEY.key_id, signature=NODE_KEY.sign("dispute", body))

    def take(self, network: Network, message: signed_pb2.SignedMessage, word: signed_pb2.SignedMessage) -> None:
        settlement = network.clearinghouse.service.settlement
        network.clearinghouse.do(settlement.take_dispute(HANGZHOU, message, word))

    def test_a_late_dispute_without_it_is_refused(self, network: Network, redemption: bytes) -> None:
        with pytest.raises(InvalidInput, match="could be disputed until"):
            self.take(network, self.late(network), signed_pb2.SignedMessage())

    def test_a_word_of_the_region_s_own_is_refused(self, network: Network, redemption: bytes) -> None:
        message = self.late(network)
        with pytest.raises(BadSignature):
            self.take(network, message, sign_taken(message, 1, NODE_KEY))

    def test_a_word_about_another_dispute_is_refused(self, network: Network, redemption: bytes) -> None:
        other = signed_pb2.SignedMessage(body=b"another")
        with pytest.raises(InvalidInput, match="is the receipt of another dispute"):
            self.take(network, self.late(network), sign_taken(other, 1, CLEARING_KEY))
        assert taken(network) == []
