"""An adjusting entry that a restored clearinghouse forgot is nobody's request: its dispute is decided again."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_parties import HANGZHOU, SHANGHAI, LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase
from restored_network import NODE_KEY, Network, back_up, restore

from quanlian.statements import ISSUER
from quanlian.v1 import clearing_operator_pb2, settlement_pb2, signed_pb2


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


@pytest.fixture
def disputed(network: Network) -> bytes:
    """A redemption whose line Hangzhou disputes."""
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    settlement = network.clearinghouse.service.settlement
    network.clearinghouse.do(settlement.close_window())
    network.follow()
    line = settlement_pb2.LineRef(role=ISSUER, counterpart=SHANGHAI, campaign="spring")
    dispute = settlement_pb2.Dispute(region=HANGZHOU, number=1, window=1, lines=[line], why="wrong order", by="op")
    body = dispute.SerializeToString()
    signature = NODE_KEY.sign("dispute", body)
    message = signed_pb2.SignedMessage(body=body, key_id=NODE_KEY.key_id, signature=signature)
    network.clearinghouse.do(settlement.take_dispute(HANGZHOU, message))
    return answer_of(answer).redemption_id


def uphold(network: Network, redemption_id: bytes) -> None:
    back = clearing_operator_pb2.Adjustment(redemption_id=redemption_id, amount_fen=200)
    request = clearing_operator_pb2.ResolveDisputeRequest(
        region=HANGZHOU, number=1, upheld=True, why="it was", adjustments=[back]
    )
    network.clearinghouse.do(network.clearinghouse.service.settlement.resolve_dispute(request))
    network.follow()


def posted(network: Network) -> list[dict[str, int]]:
    return [
        {row["account"]: row["posted_fen"] for row in party.rows("account") if row["posted_fen"]}
        for party in (network.node, network.clearinghouse)
    ]


class TestUpheldAfterTheCopy:
    def test_the_report_names_it_with_its_dispute_and_the_command_that_decides_it_again(
        self, network: Network, disputed: bytes
    ) -> None:
        copy = back_up(network.clearinghouse)
        uphold(network, disputed)
        restore(network.clearinghouse, copy)
        (told,) = network.recover_clearinghouse(SHANGHAI).disputed
        assert told.region == HANGZHOU
        assert told.id.startswith(disputed.hex())
        assert "is an adjusting entry of 2.00 yuan by a dispute that was upheld after the copy" in told.reason
        assert f"quanlian clearinghouse uphold 330100 1 {disputed.hex()}=2.00 --why" in told.reason
        (record,) = network.clearinghouse.do(network.clearinghouse.service.settlement.disputes())
        assert record.outcome == "open"

    def test_decided_again_the_books_of_all_are_as_they_were(self, network: Network, disputed: bytes) -> None:
        copy = back_up(network.clearinghouse)
        uphold(network, disputed)
        after = posted(network)
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        network.follow()
        network.clearinghouse.pass_seconds(60)
        uphold(network, disputed)
        assert posted(network) == after
        network.check()
        (shown,) = network.do(lambda service: network.node.operations_of(service).status()).withdrawn
        assert (shown.posting.number, shown.posting.discount_fen) == (2, -200)


def test_one_whose_dispute_the_copy_does_not_have_is_named_without_it(network: Network) -> None:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    copy = back_up(network.clearinghouse)
    (answer,) = network.clearinghouse.redeem(
        item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")), region=SHANGHAI
    )
    posting = answer_of(answer).posting
    posting.number = 2
    posting.discount_fen = -200
    with network.clearinghouse.database.transaction() as transaction:
        desk = network.clearinghouse.service.engine.desk(transaction)
        desk.tell(HANGZHOU, posting=posting)
        desk.save("test")
    network.follow()
    restore(network.clearinghouse, copy)
    reasons = [each.reason for each in network.recover_clearinghouse(SHANGHAI).disputed]
    assert any("its dispute is not open here" in each for each in reasons), reasons
