"""A posting that two of its three parties lost with their books is taken back by the third, on each side it has."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    KEYRING,
    OPERATOR,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import Network, back_up, in_english, restore
from rich.console import Console

from chassis import console
from custodian import withdrawal_report
from custodian.ledger.check import findings
from custodian.withdrawals import read_withdrawal
from node.receipts import receipts_held
from node.schema import withdrawn_posting
from quanlian.errors import InvalidInput
from quanlian.v1 import clearing_operator_pb2, custody_pb2, node_operator_pb2, recovery_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb

SIGNED = ("body", "key_id", "signature")
FIGURES = ("captures", "order_fen", "discount_fen", "refunds", "refunded_order_fen", "refunded_fen")


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def released(network: Network) -> bytes:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return token


def at_shanghai(network: Network, content: bytes) -> pb.RedemptionAnswer:
    """Shanghai's node sends it on, and forgets it afterwards; Hangzhou hears of the posting."""
    (answer,) = network.clearinghouse.redeem(content, region=SHANGHAI)
    network.follow()
    return answer_of(answer)


def posted(network: Network) -> dict[str, int]:
    return {row["account"]: row["posted_fen"] for row in network.node.rows("account") if row["posted_fen"]}


def counted(network: Network) -> list[tuple[int, ...]]:
    rows = [tuple(row[name] for name in FIGURES) for row in network.node.rows("hourly_flow")]
    return [row for row in rows if any(row)]


def without_seals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seal"} for row in rows]


class TestAtTheIssuer:
    def test_a_capture_that_nobody_asks_for_any_more_counts_nowhere(self, network: Network) -> None:
        token = released(network)
        copy, before = back_up(network.clearinghouse), posted(network)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        posting = at_shanghai(network, content).posting
        assert posted(network) != before
        assert counted(network)
        restore(network.clearinghouse, copy)
        assert len(network.recover_clearinghouse(SHANGHAI).disputed) == 1
        network.follow()
        assert network.node.rows("clearing_item") == []
        assert posted(network) == before
        assert counted(network) == []
        (shown,) = network.do(lambda service: network.node.operations_of(service).status()).withdrawn
        assert (shown.side, shown.posting.discount_fen) == ("funder", posting.discount_fen)
        network.check()

    def test_a_refund_that_nobody_asks_for_any_more_leaves_its_capture(self, network: Network) -> None:
        token = released(network)
        captured = at_shanghai(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        copy = back_up(network.clearinghouse)
        before, items, totals = posted(network), network.node.rows("clearing_item"), counted(network)
        refund = pb.Refund(redemption_id=captured.redemption_id, order_fen=captured.order_fen // 2)
        assert outcome_of(at_shanghai(network, item(network.node.ids.fresh(), refund=refund))) == "PARTLY_REFUNDED"
        restore(network.clearinghouse, copy)
        assert len(network.recover_clearinghouse(SHANGHAI).disputed) == 1
        network.follow()
        assert without_seals(network.node.rows("clearing_item")) == without_seals(items)
        assert (posted(network), counted(network)) == (before, totals)
        again = at_shanghai(network, item(network.node.ids.fresh(), refund=refund))
        assert (outcome_of(again), again.posting.number) == ("PARTLY_REFUNDED", 2)
        assert len(network.node.rows("clearing_item")) == 2
        network.check()

    def test_what_was_advanced_for_it_is_owed_no_more(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path
    ) -> None:
        network = Network(node, clearinghouse, tmp_path, cascade="advanced", county=5)
        token = released(network)
        copy = back_up(clearinghouse)
        at_shanghai(network, item(node.ids.fresh(), redeem=purchase(token, 1, "order")))
        assert posted(network)[f"advance_away/{HANGZHOU}/spring/county/city"] == 116
        restore(clearinghouse, copy)
        assert len(network.recover_clearinghouse(SHANGHAI).disputed) == 1
        network.follow()
        assert posted(network) == {}
        network.check()

    def test_it_is_taken_back_once_however_often_it_is_told(self, network: Network) -> None:
        token = released(network)
        copy = back_up(network.clearinghouse)
        at_shanghai(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        network.follow()
        after = posted(network)
        tell_again(network)
        network.follow()
        assert posted(network) == after
        assert len(network.node.rows("withdrawn_posting")) == 1
        network.check()

    def test_a_clearinghouse_that_is_restored_once_more_learns_that_the_voucher_is_dead(self, network: Network) -> None:
        token = released(network)
        copy = back_up(network.clearinghouse)
        at_shanghai(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        for _ in range(2):
            restore(network.clearinghouse, copy)
            report = network.recover_clearinghouse(SHANGHAI)
            network.follow()
        assert not report.disputed, "it is no posting of anybody's any more"
        other = item(network.node.ids.fresh(), redeem=purchase(token, 0, "another-order"))
        assert outcome(network.clearinghouse.redeem(other, region=SHANGHAI)[0]) == "VOUCHER_CANCELLED"
        network.check()


class TestAtTheMerchant:
    """Hangzhou's own voucher at its own merchant, decided by the clearinghouse: both sides are Hangzhou's."""

    def test_a_capture_is_void_its_acquirer_is_owed_nothing_and_the_order_is_free(self, network: Network) -> None:
        token = released(network)
        copy, before = back_up(network.clearinghouse), posted(network)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.redeem(content)
        network.follow()
        self.recover_without_its_request(network, copy)
        assert network.node.rows("clearing_item") == []
        assert {row["side"] for row in network.node.rows("withdrawn_posting")} == {"funder", "merchant"}
        assert (posted(network), counted(network)) == (before, [])
        (away,) = network.node.rows("away")
        assert away["state"] == "VOIDED"
        network.check()
        assert network.redeem(content) == [answer], "what the platform was told, it is told again"
        (other,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 1, "order")))
        assert outcome(other) == "CAPTURED"

    def test_a_refund_is_undone_and_its_capture_stands(self, network: Network) -> None:
        token = released(network)
        (answer,) = network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        copy, before, totals = back_up(network.clearinghouse), posted(network), counted(network)
        away = network.node.rows("away")
        captured = answer_of(answer)
        refund = pb.Refund(redemption_id=captured.redemption_id, order_fen=captured.order_fen // 2)
        network.redeem(item(network.node.ids.fresh(), refund=refund))
        network.follow()
        self.recover_without_its_request(network, copy)
        assert without_seals(network.node.rows("away")) == without_seals(away)
        assert (posted(network), counted(network)) == (before, totals)
        network.check()

    def test_one_whose_answer_never_came_was_not_counted_and_is_not_counted_off(self, network: Network) -> None:
        token = released(network)
        copy, before = back_up(network.clearinghouse), posted(network)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        network.clearinghouse.redeem(content, region=HANGZHOU)
        network.follow()
        assert [row["side"] for row in network.node.rows("clearing_item")] == ["funder"]
        restore(network.clearinghouse, copy)
        assert network.recover_clearinghouse(SHANGHAI).disputed
        network.follow()
        assert (posted(network), counted(network)) == (before, [])
        network.check()

    def test_it_is_not_decided_again_by_a_recovery_after_that(self, network: Network) -> None:
        token = released(network)
        copy = back_up(network.clearinghouse)
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        whole = network.node.rows("outbox")
        self.recover_without_its_request(network, copy)
        with network.node.database.transaction() as transaction:
            transaction.upsert(network.node.tables["outbox"], whole)
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert [in_english(each.reason) for each in report.disputed] == ["was taken back by a recovery before this one"]
        network.follow()
        assert network.clearinghouse.rows("spend") == network.node.rows("clearing_item") == []
        network.check()

    def recover_without_its_request(self, network: Network, copy: dict[str, list[dict[str, Any]]]) -> None:
        """The node's request is another than it was, so that what was answered does not come out again."""
        sent = network.node.rows("outbox")[-1]
        with network.node.database.transaction() as transaction:
            other = item(network.node.ids.fresh(), void=pb.Void(redemption_id=bytes(16)))
            transaction.upsert(network.node.tables["outbox"], [{**sent, "content": other}])
        restore(network.clearinghouse, copy)
        assert network.recover_clearinghouse(SHANGHAI).disputed
        network.follow()
        with network.node.database.transaction() as transaction:
            transaction.upsert(network.node.tables["outbox"], [sent])


def test_a_node_hands_over_what_was_taken_back_and_not_what_it_was(network: Network) -> None:
    token = released(network)
    copy = back_up(network.clearinghouse)
    posting = at_shanghai(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))).posting
    restore(network.clearinghouse, copy)
    network.recover_clearinghouse(SHANGHAI)
    network.follow()
    pages = receipts_held(network.node.database, network.node.region, custody_pb2.HandReceiptsResponse())
    held = [receipt for page in pages for receipt in page.receipts]
    (handed,) = [read_withdrawal(each.withdrawn, KEYRING) for each in held if each.HasField("withdrawn")]
    assert (handed.posting.redemption_id, handed.incarnation) == (posting.redemption_id, 2)
    assert not any(each.HasField("told") for each in held)


def outcome_of(answer: pb.RedemptionAnswer) -> str:
    return outcome(answer.SerializeToString())


def tell_again(network: Network) -> None:
    """As a clearinghouse would that was restored between two recoveries."""
    (kept,) = network.node.rows(withdrawn_posting.name)
    party = network.clearinghouse
    with party.database.transaction() as transaction:
        desk = party.service.engine.desk(transaction)
        desk.tell(HANGZHOU, withdrawn=signed_pb2.SignedMessage(**{name: kept[name] for name in SIGNED}))
        desk.save("recovery", HANGZHOU)


class TestDealtWith:
    """People say how they made good what was promised; until then `status` of both parties shows it."""

    @pytest.fixture
    def taken_back(self, network: Network) -> bytes:
        token = released(network)
        copy = back_up(network.clearinghouse)
        captured = at_shanghai(network, item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        network.follow()
        return captured.redemption_id

    def close(self, network: Network, redemption_id: bytes, note: str = "paid by hand") -> list[Any]:
        """What node and clearinghouse say that it was."""
        operations = network.clearinghouse.service.operations
        said = {"redemption_id": redemption_id, "reference": "2026-17", "note": note}
        at_node = node_operator_pb2.CloseWithdrawalRequest(**said)
        far = clearing_operator_pb2.CloseNetworkWithdrawalRequest(**said)
        closed = network.do(lambda service: network.node.operations_of(service).close_withdrawal(OPERATOR, at_node))
        return [closed, network.clearinghouse.do(operations.close_withdrawal(OPERATOR, far))]

    def shown(self, network: Network, everything: bool) -> list[Any]:
        """What both list."""
        operations = network.clearinghouse.service.operations
        own = network.do(lambda service: network.node.operations_of(service).withdrawals(everything))
        return [own, network.clearinghouse.do(operations.withdrawals(everything))]

    def test_it_is_to_be_dealt_with_at_both_parties(self, network: Network, taken_back: bytes) -> None:
        for (shown,) in self.shown(network, everything=False):
            assert shown.posting.redemption_id == taken_back
            assert in_english(shown.reason) == "its redeeming node does not ask for it any more"
            assert not shown.HasField("closing")
        (told,) = network.clearinghouse.do(network.clearinghouse.service.operations.status()).withdrawn
        assert told.posting.redemption_id == taken_back

    def test_once_dealt_with_it_is_gone_from_status_and_kept_with_who_and_how(
        self, network: Network, taken_back: bytes
    ) -> None:
        for (closed,) in self.close(network, taken_back):
            said = closed.closing
            assert (said.reference, said.note, said.by) == ("2026-17", "paid by hand", OPERATOR.uri)
        assert self.shown(network, everything=False) == [[], []]
        assert network.do(lambda service: network.node.operations_of(service).status()).withdrawn == []
        assert network.clearinghouse.do(network.clearinghouse.service.operations.status()).withdrawn == []
        for (kept,) in self.shown(network, everything=True):
            assert kept.closing.reference == "2026-17"
        for party in (network.node, network.clearinghouse):
            (entry,) = [row for row in party.rows("entry") if row["kind"] == "withdrawal-closing"]
            assert entry["reference"].startswith(f"{taken_back.hex()}/1 2 ")
        network.check()

    def test_the_same_word_once_more_changes_nothing(self, network: Network, taken_back: bytes) -> None:
        first = self.close(network, taken_back)
        rows = [party.rows("withdrawal_closing") for party in (network.node, network.clearinghouse)]
        network.node.pass_seconds(60)
        network.clearinghouse.pass_seconds(60)
        assert self.close(network, taken_back) == first
        assert [party.rows("withdrawal_closing") for party in (network.node, network.clearinghouse)] == rows

    def test_another_word_on_it_is_refused_and_so_is_what_was_never_taken_back(
        self, network: Network, taken_back: bytes
    ) -> None:
        self.close(network, taken_back)
        with pytest.raises(InvalidInput, match="was dealt with already, by 2026-17: paid by hand"):
            self.close(network, taken_back, note="something else")
        with pytest.raises(InvalidInput, match="nothing of it was taken back"):
            self.close(network, bytes(16))
        with pytest.raises(InvalidInput, match="needs a reference and a note"):
            self.close(network, taken_back, note=" ")

    def test_a_word_that_vanished_or_was_changed_is_found(self, network: Network, taken_back: bytes) -> None:
        self.close(network, taken_back)
        for party in (network.node, network.clearinghouse):
            table = party.tables["withdrawal_closing"]
            with party.database.transaction() as transaction:
                transaction.connection.execute(table.delete())
            with party.database.snapshot() as transaction:
                (found,) = findings(transaction)
            assert (found.table, found.en) == (
                "withdrawal_closing",
                f"missing, though entry {found.entry} records that it came",
            )


def test_an_operator_reads_a_sentence_or_a_table_with_how_it_was_dealt_with(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=shown, width=220))
    withdrawal_report.list_withdrawn([], everything=False, as_json=False)
    assert "没有待处理的撤回入账 · No posting that was taken back is to be dealt with" in shown.getvalue()
    said = recovery_pb2.WithdrawalClosing(reference="2026-17", note="已付", by="operator", at=1_780_000_000)
    posting = pb.Posting(redemption_id=bytes(16), number=1, discount_fen=123_456, issuer=HANGZHOU)
    each = recovery_pb2.WithdrawnPosting(side="merchant", posting=posting, closing=said)
    withdrawal_report.list_withdrawn([each], everything=True, as_json=False)
    for text in ("1,234.56", "商户 merchants", "2026-05-29 04:26:40: 2026-17，已付（operator）"):
        assert text in shown.getvalue()
