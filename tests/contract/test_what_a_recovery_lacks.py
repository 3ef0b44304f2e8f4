"""Before anything is disputed, an operator hears what receipts rely on that only people can enter again."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from local_parties import AGREEMENT, SHANGHAI, LocalClearinghouse, LocalNode, answer_of, item, keys_of, purchase
from restored_network import CLEARING_KEY, Network, back_up, restore
from rich.console import Console

from chassis import console
from custodian import recovery_report
from custodian.servicer import sign_answers
from node.service import NodeService
from quanlian.v1 import clearing_operator_pb2, custody_pb2, recovery_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb

HEFEI = "340100"
MINUTE = 60


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


@pytest.fixture
def token(network: Network) -> bytes:
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    return token


def answered(network: Network, region: str, **operation: Any) -> custody_pb2.Receipt:
    """Something that was done in a region whose node is not here, and what that node holds of it."""
    content = item(network.node.ids.fresh(), **operation)
    (answer,) = network.clearinghouse.redeem(content, region=region)
    assert not answer_of(answer).HasField("refusal")
    network.follow()
    told = sign_answers([answer], CLEARING_KEY)
    shown = custody_pb2.AnsweredItem(
        item=content,
        answer=answer,
        hashes=hashlib.sha256(answer).digest(),
        key_id=told.key_id,
        signature=told.signature,
    )
    return custody_pb2.Receipt(at=answer_of(answer).decided_at, answered=shown)


def recover(network: Network, *receipts: custody_pb2.Receipt, dispute_lacking: bool = False) -> Any:
    async def run(service: NodeService) -> recovery_pb2.RecoveryReport | None:
        recovery = network.clearinghouse.service.recovery
        for region in {SHANGHAI, *(pb_posting(each).redeeming_region for each in receipts)} - {""}:
            own = [each for each in receipts if pb_posting(each).redeeming_region in ("", region)]
            await recovery.hand_receipts(region, custody_pb2.HandReceiptsRequest(receipts=own, complete=True))
        await service.recovery.hand_receipts()
        return await network.clearinghouse.service.recover((), dispute_lacking)

    return network.do(run)


def pb_posting(receipt: custody_pb2.Receipt) -> pb.Posting:
    return answer_of(receipt.answered.answer).posting


def set_fund(network: Network, region: str, **budgets_fen: int) -> None:
    funders = [
        clearing_operator_pb2.VisitorsFunder(name=name, weight=1, budget_fen=fen) for name, fen in budgets_fen.items()
    ]
    request = clearing_operator_pb2.SetVisitorsFundRequest(
        region=region, fiscal_year=2026, rule="refuse", funders=funders
    )
    asyncio.run(network.clearinghouse.service.operations.set_visitors_fund(request))


def enrol(network: Network, region: str) -> None:
    operations = network.clearinghouse.service.operations
    named = clearing_operator_pb2.EnrolParticipantRequest(region=region, name_zh="合肥", name_en="Hefei")
    asyncio.run(operations.enrol(named))
    limits = clearing_operator_pb2.SetLimitsRequest(region=region, net_debit_cap_fen=10**7)
    asyncio.run(operations.set_limits(limits))


def pass_seconds(network: Network, seconds: int) -> None:
    for party in (network.node, network.clearinghouse):
        party.pass_seconds(seconds)


def require_nothing_was_done(network: Network, report: recovery_pb2.RecoveryReport) -> None:
    assert (report.incarnation, list(report.disputed)) == (0, [])
    assert network.clearinghouse.service.continuity.broken
    assert network.clearinghouse.rows("spend") == network.clearinghouse.rows("recovery_report") == []
    assert network.clearinghouse.feed("330100")[-1].WhichOneof("event") != "withdrawn"


class TestVisitorsFund:
    @pytest.fixture
    def receipt(self, network: Network, token: bytes) -> custody_pb2.Receipt:
        """A capture that two funders paid for, of which the copy knows one."""
        copy = back_up(network.clearinghouse)
        set_fund(network, SHANGHAI, city=100_000, county=50_000)
        receipt = answered(network, SHANGHAI, redeem=purchase(token, 0, "order"))
        restore(network.clearinghouse, copy)
        return receipt

    def test_the_funder_whose_money_is_missing_is_named_before_anything_is_disputed(
        self, network: Network, receipt: custody_pb2.Receipt
    ) -> None:
        report = recover(network, receipt)
        require_nothing_was_done(network, report)
        (lacking,) = report.lacking
        assert lacking == recovery_pb2.Lacking(
            kind=recovery_pb2.LACKING_KIND_VISITORS_FUND,
            region=SHANGHAI,
            name="county",
            fiscal_year=2026,
            needed_fen=150,
            receipts=1,
            remedy="quanlian clearinghouse visitors 310000 2026 county=WEIGHT:1.50 ... --rule RULE",
        )

    def test_once_it_is_entered_the_recovery_goes_through_and_the_capture_stands(
        self, network: Network, receipt: custody_pb2.Receipt
    ) -> None:
        recover(network, receipt)
        set_fund(network, SHANGHAI, city=100_000, county=150)
        report = recover(network, receipt)
        assert (list(report.lacking), list(report.disputed), report.answers) == ([], [], 1)
        assert len(network.clearinghouse.rows("spend")) == 1
        network.follow()
        network.check()

    def test_by_the_operator_s_word_it_goes_on_and_the_report_keeps_what_was_lacking(
        self, network: Network, receipt: custody_pb2.Receipt
    ) -> None:
        report = recover(network, receipt, dispute_lacking=True)
        assert [each.name for each in report.lacking] == ["county"]
        assert report.incarnation == 2
        assert report.disputed
        (row,) = network.clearinghouse.rows("recovery_report")
        assert recovery_pb2.RecoveryReport.FromString(row["report"]) == report

    def test_of_two_in_one_second_the_one_that_there_is_money_for_stands(self, network: Network, token: bytes) -> None:
        set_fund(network, SHANGHAI, city=300)
        copy = back_up(network.clearinghouse)
        set_fund(network, SHANGHAI, city=100_000)
        both = [answered(network, SHANGHAI, redeem=purchase(token, n, f"order-{n}")) for n in range(2)]
        restore(network.clearinghouse, copy)
        report = recover(network, *both, dispute_lacking=True)
        assert [(each.name, each.budget_fen, each.needed_fen) for each in report.lacking] == [("city", 300, 600)]
        assert report.answers == len(network.clearinghouse.rows("spend")) == 1
        assert any("limit 300" in each.reason for each in report.disputed)
        network.follow()
        network.check()

    def test_what_was_refunded_or_held_and_let_go_needs_no_money(self, network: Network, token: bytes) -> None:
        copy = back_up(network.clearinghouse)
        set_fund(network, SHANGHAI, city=100_000, county=50_000)
        captured = answered(network, SHANGHAI, redeem=purchase(token, 0, "order"))
        told = answer_of(captured.answered.answer)
        pass_seconds(network, 1)
        refund = pb.Refund(redemption_id=told.redemption_id, order_fen=told.order_fen)
        refunded = answered(network, SHANGHAI, refund=refund)
        held = answered(network, SHANGHAI, authorize=purchase(token, 1, "another"))
        void = pb.Void(redemption_id=answer_of(held.answered.answer).redemption_id)
        voided = answered(network, SHANGHAI, void=void)
        restore(network.clearinghouse, copy)
        assert not recover(network, voided, held, captured, refunded).lacking

    def test_a_hold_that_is_still_good_needs_its_money(self, network: Network, token: bytes) -> None:
        copy = back_up(network.clearinghouse)
        set_fund(network, SHANGHAI, city=100_000, county=50_000)
        held = answered(network, SHANGHAI, authorize=purchase(token, 1, "another"))
        restore(network.clearinghouse, copy)
        (lacking,) = recover(network, held).lacking
        assert (lacking.name, lacking.needed_fen) == ("county", 150)

    def test_what_the_copy_has_booked_needs_no_money_again(self, network: Network, token: bytes) -> None:
        receipt = answered(network, SHANGHAI, redeem=purchase(token, 0, "order"))
        set_fund(network, SHANGHAI, city=300)
        copy = back_up(network.clearinghouse)
        pass_seconds(network, 1)
        network.clearinghouse.redeem(item(bytes(16), redeem=purchase(token, 1, "lost")), region=SHANGHAI)
        restore(network.clearinghouse, copy)
        assert not recover(network, receipt).lacking


def test_a_region_that_is_not_enrolled_is_named_with_its_fund(network: Network, token: bytes) -> None:
    copy = back_up(network.clearinghouse)
    enrol(network, HEFEI)
    set_fund(network, HEFEI, city=1000)
    receipt = answered(network, HEFEI, redeem=purchase(token, 0, "order"))
    restore(network.clearinghouse, copy)
    report = recover(network, receipt)
    require_nothing_was_done(network, report)
    region, fund = report.lacking
    assert (region.kind, region.region, region.receipts) == (recovery_pb2.LACKING_KIND_REGION, HEFEI, 1)
    assert region.remedy == "quanlian clearinghouse enrol 340100 CHAIN... --name-zh 合肥市 --name-en NAME"
    assert (fund.region, fund.name, fund.budget_fen, fund.needed_fen) == (HEFEI, "city", 0, 300)
    enrol(network, HEFEI)
    set_fund(network, HEFEI, city=1000)
    assert not recover(network, receipt).lacking


def test_a_version_of_an_agreement_is_named_without_which_no_split_can_be_shown(network: Network, token: bytes) -> None:
    copy = back_up(network.clearinghouse)
    document = AGREEMENT.replace(b"version = 1", b"version = 2").replace(b"2020-01-01", b"2026-01-01")
    sign = network.clearinghouse.service.agreements.sign_agreement
    network.clearinghouse.do(sign(document, "test.toml", proposes=True))
    pass_seconds(network, 1)
    receipt = answered(network, SHANGHAI, redeem=purchase(token, 0, "order"))
    restore(network.clearinghouse, copy)
    report = recover(network, receipt)
    require_nothing_was_done(network, report)
    (lacking,) = report.lacking
    assert (lacking.kind, lacking.name) == (recovery_pb2.LACKING_KIND_AGREEMENT, "TEST v2")
    network.clearinghouse.do(sign(document, "test.toml", proposes=True))
    report = recover(network, receipt)
    assert (list(report.lacking), list(report.disputed)) == ([], [])
    (proof,) = network.clearinghouse.rows("proof")
    assert proof["visitors"] is not None


class TestShown:
    @pytest.fixture
    def report(self) -> recovery_pb2.RecoveryReport:
        report = recovery_pb2.RecoveryReport()
        report.lacking.add(
            kind=recovery_pb2.LACKING_KIND_VISITORS_FUND,
            region=SHANGHAI,
            name="county",
            fiscal_year=2026,
            budget_fen=100_000_00,
            needed_fen=123_456_78,
            receipts=1234,
            remedy="quanlian clearinghouse visitors",
        )
        return report

    def test_an_operator_sees_what_to_enter_and_that_nothing_is_recovered(
        self, report: recovery_pb2.RecoveryReport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = io.StringIO()
        monkeypatch.setattr(console, "console", Console(file=shown, width=200))
        recovery_report.show_recovery(report, as_json=False)
        for text in ("异地用券资金 Visitors' fund", "上海市", "county 2026", "100,000.00", "123,456.78", "1,234"):
            assert text in shown.getvalue()
        assert "尚未恢复" in shown.getvalue()
        assert "已恢复，重新受理" not in shown.getvalue()

    def test_a_program_reads_the_same(
        self, report: recovery_pb2.RecoveryReport, capsys: pytest.CaptureFixture[str]
    ) -> None:
        recovery_report.show_recovery(report, as_json=True)
        shown = json.loads(capsys.readouterr().out)
        assert shown["incarnation"] == 0
        assert shown["lacking"] == [
            {
                "kind": "visitors-fund",
                "region": SHANGHAI,
                "name": "county",
                "fiscal_year": 2026,
                "budget_fen": 100_000_00,
                "needed_fen": 123_456_78,
                "receipts": 1234,
                "remedy": "quanlian clearinghouse visitors",
            }
        ]


def test_a_region_s_key_that_the_copy_does_not_know_is_named(network: Network) -> None:
    change = signed_pb2.SignedMessage(body=b"of a key enrolled since", key_id=b"12345678", signature=b"x" * 64)
    report = recover(network_behind(network), custody_pb2.Receipt(at=1, change=change))
    (lacking,) = report.lacking
    assert (lacking.kind, lacking.region, lacking.name) == (
        recovery_pb2.LACKING_KIND_KEY,
        SHANGHAI,
        b"12345678".hex(),
    )
    assert lacking.remedy.startswith("quanlian clearinghouse enrol 310000 CHAIN...")


def network_behind(network: Network) -> Network:
    """Its clearinghouse on a copy that lacks a voucher's hand-over."""
    copy = back_up(network.clearinghouse)
    (token,) = network.node.claim()
    network.release(*keys_of(token))
    restore(network.clearinghouse, copy)
    return network
