"""A recovery goes on whoever waits for it, its report is kept, and operators see that it is needed and how far."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    item,
    keys_of,
    merchant_code,
    outcome,
    purchase,
)
from restored_network import Network, back_up, receipt, restore
from sqlalchemy import event

from custodian import recovery_report
from custodian.feed_heads import read_head
from node.receipts import receipts_held
from node.service import NodeService
from quanlian.errors import InvalidInput
from quanlian.suspensions import SuspensionKind
from quanlian.v1 import custody_pb2, recovery_pb2
from quanlian.v1 import redemption_pb2 as pb

Copy = dict[str, list[dict[str, Any]]]


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


@pytest.fixture
def redeemed(network: Network) -> int:
    """How many redemptions and suspensions a clearinghouse forgot that was restored."""
    tokens = network.node.claim(10)
    network.release(*(key for token in tokens for key in keys_of(token)))
    copy = back_up(network.clearinghouse)
    ids = network.node.ids
    purchases = [(token, index) for token in tokens for index in range(2)]
    items = [item(ids.fresh(), redeem=purchase(*each, f"order-{n}")) for n, each in enumerate(purchases)]
    assert {outcome(each) for each in network.redeem(*items)} == {"CAPTURED"}
    network.follow()
    network.node.suspend(SuspensionKind.MERCHANT, merchant_code())
    network.between.pass_on()
    restore(network.clearinghouse, copy)
    return len(items)


async def hand_over(network: Network, service: NodeService) -> None:
    far = network.clearinghouse.service.recovery
    await far.hand_receipts(SHANGHAI, custody_pb2.HandReceiptsRequest(complete=True))
    await service.recovery.hand_receipts()


async def has_served_again(network: Network) -> None:
    while network.clearinghouse.service.continuity.broken:
        await asyncio.sleep(0.01)


class TestJob:
    def test_an_operator_who_goes_away_ends_nothing_and_finds_the_report(self, network: Network, redeemed: int) -> None:
        far = network.clearinghouse.service

        async def run(service: NodeService) -> recovery_pb2.RecoveryReport | None:
            await hand_over(network, service)
            asking = asyncio.ensure_future(far.recover(()))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait_for(has_served_again(network), 60)
            return await far.recover(())

        report = network.do(run)
        assert report is not None
        assert (report.answers, report.suspensions, list(report.disputed)) == (redeemed, 1, [])
        network.check()

    def test_whoever_asks_is_told_how_far_it_is(self, network: Network, redeemed: int) -> None:
        far = network.clearinghouse.service

        async def run(service: NodeService) -> None:
            await hand_over(network, service)
            assert await far.recover((), within=0) is None
            state = far.recovery.state()
            assert state.under_way
            assert state.remedy == "quanlian clearinghouse recover"
            report = await far.recover(())
            assert report is not None
            assert far.recovery.job.done == far.recovery.job.total > redeemed
            assert far.recovery.state() == recovery_pb2.RecoveryState()

        network.do(run)

    def test_the_party_goes_on_with_other_work_meanwhile(
        self, network: Network, redeemed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing of it is read or written in the thread of its event loop, which serves the others."""
        far = network.clearinghouse.service
        threads: dict[str, set[int]] = {"transaction": set(), "snapshot": set()}

        def noted(name: str) -> None:
            begin = getattr(far.database, name)

            def beginning() -> Any:
                threads[name].add(threading.get_ident())
                return begin()

            monkeypatch.setattr(far.database, name, beginning)

        async def run(service: NodeService) -> int:
            await hand_over(network, service)
            for name in threads:
                noted(name)
            assert await far.recover(())
            return threading.get_ident()

        of_the_loop = network.do(run)
        assert all(threads.values())
        assert of_the_loop not in threads["transaction"] | threads["snapshot"]

    def test_what_was_answered_in_one_second_is_booked_in_one_commit(self, network: Network, redeemed: int) -> None:
        async def run(service: NodeService) -> recovery_pb2.RecoveryReport | None:
            await hand_over(network, service)
            return await network.clearinghouse.service.recover(())

        report = network.do(run)
        assert report is not None
        assert report.answers == redeemed
        entries = {row["entry"] for row in network.clearinghouse.rows("posting")}
        assert len(entries) == 1
        network.check()

    def test_one_that_fails_can_be_begun_again(self, network: Network, redeemed: int) -> None:
        far = network.clearinghouse.service

        async def run(service: NodeService) -> recovery_pb2.RecoveryReport | None:
            with pytest.raises(InvalidInput, match=f"{SHANGHAI}, {HANGZHOU} have not handed over"):
                await far.recover(())
            assert far.continuity.broken
            await hand_over(network, service)
            return await far.recover(())

        report = network.do(run)
        assert report is not None
        assert report.answers == redeemed

    def test_a_node_s_goes_on_too(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        network.release(*keys_of(token))
        restore(network.node, copy)

        async def run(service: NodeService) -> recovery_pb2.RecoveryReport | None:
            assert await service.recovery.run(within=0) is None
            return await service.recovery.run()

        report = network.do(run)
        assert report is not None
        assert (report.hand_overs, report.vouchers) == (1, 2)


class TestWhatANodeHandsOver:
    def held(self, network: Network) -> tuple[list[custody_pb2.Receipt], list[custody_pb2.HandReceiptsRequest]]:
        point = custody_pb2.HandReceiptsResponse()
        pages = list(receipts_held(network.node.database, network.node.region, point))
        return [receipt for page in pages for receipt in page.receipts], pages

    def test_it_is_read_in_pieces_and_nothing_is_left_out_or_told_twice(
        self, network: Network, redeemed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected, _ = self.held(network)
        monkeypatch.setattr("node.receipts.ROWS", 3)
        monkeypatch.setattr("node.receipts.MAX_RECEIPTS", 7)
        found, pages = self.held(network)
        assert found == expected
        kinds = Counter(each.WhichOneof("receipt") for each in found)
        wanted = {"terms": 1, "change": 1, "suspension": 1, "hand_over": 1, "answered": redeemed, "told": redeemed}
        assert kinds == wanted
        assert [len(page.receipts) for page in pages[:-2]] == [7] * (len(found) // 7)
        assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
        assert read_head(pages[-1].head).sequence == network.do(lambda service: service.feed_position())

    def test_writers_are_not_held_up_while_pages_are_on_their_way(
        self, network: Network, redeemed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("node.receipts.MAX_RECEIPTS", 2)
        pages = receipts_held(network.node.database, network.node.region, custody_pb2.HandReceiptsResponse())
        assert next(pages).receipts
        (token,) = network.node.claim()
        assert keys_of(token)
        assert list(pages)[-1].complete

    def test_many_rows_are_read_by_one_statement(self, network: Network, redeemed: int) -> None:
        """Not one for each answer."""
        statements: list[str] = []
        with network.node.database.snapshot() as transaction:
            engine = transaction.connection.engine
        listener = ("before_cursor_execute", lambda *call: statements.append(call[2]))
        event.listen(engine, *listener)
        try:
            found, _ = self.held(network)
        finally:
            event.remove(engine, *listener)
        assert len(found) > 2 * redeemed
        assert len([each for each in statements if each.lstrip().startswith("SELECT")]) < redeemed


class TestReport:
    def test_it_is_kept_with_what_is_disputed(self, network: Network) -> None:
        (token,) = network.node.claim()
        network.release(*keys_of(token))
        copy = back_up(network.clearinghouse)
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        network.follow()
        with network.node.database.transaction() as transaction:
            (sent,) = network.node.rows("outbox")
            other = item(network.node.ids.fresh(), void=pb.Void(redemption_id=bytes(16)))
            transaction.upsert(network.node.tables["outbox"], [{**sent, "content": other}])
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert report.disputed
        kept, incarnations = network.do(lambda _: network.clearinghouse.service.recovery.job.kept(0))
        assert kept == report
        assert incarnations == [report.incarnation] == [2]
        assert kept.recovered_at == network.clearinghouse.database.at

    def test_each_recovery_has_its_own(self, network: Network) -> None:
        for _ in range(2):
            copy = back_up(network.node)
            network.release(*keys_of(network.node.claim()[0]))
            restore(network.node, copy)
            network.recover_node()
        first, incarnations = network.do(lambda service: service.recovery.job.kept(2))
        assert first is not None
        assert (first.incarnation, incarnations) == (2, [2, 3])
        with pytest.raises(InvalidInput, match=r"no recovery began incarnation 7 — .* name one of 2, 3"):
            network.do(lambda service: service.recovery.job.kept(7))

    def test_a_platform_s_receipts_are_in_it_although_they_came_before(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        redeem = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.redeem(redeem)
        restore(network.node, copy)
        network.book(receipt(redeem, answer))
        assert network.recover_node().receipts == 1
        assert network.node.rows("receipt") == []

    def test_nothing_is_reported_of_a_party_that_was_never_recovered(self, network: Network) -> None:
        assert network.do(lambda service: service.recovery.job.kept(0)) == (None, [])
        with pytest.raises(InvalidInput, match="nothing needs to be recovered"):
            network.recover_node()


class TestWhatOperatorsSee:
    def test_a_clearinghouse_says_who_has_handed_over(self, network: Network, redeemed: int) -> None:
        far = network.clearinghouse.service

        async def run(service: NodeService) -> recovery_pb2.RecoveryState:
            await service.recovery.hand_receipts()
            return far.recovery.state()

        state = network.do(run)
        assert (list(state.handed_over), list(state.missing)) == ([HANGZHOU], [SHANGHAI])
        assert "数据库缺少已据以答复的" in state.why
        assert "commits that were answered for are not in its database" in state.why

    def test_it_is_shown_in_both_languages_with_what_to_do(self, capsys: pytest.CaptureFixture[str]) -> None:
        state = recovery_pb2.RecoveryState(
            why="甲 · the file is missing",
            remedy="quanlian clearinghouse recover",
            handed_over=[HANGZHOU],
            missing=[SHANGHAI],
            under_way=True,
            done=1200,
            total=3400,
        )
        recovery_report.show_state(state)
        said = capsys.readouterr().out
        for words in (
            "须恢复，现不受理任何请求 · RECOVERY NEEDED",
            "原因 Why: 甲 · the file is missing",
            "Have handed over: 330100 杭州市",
            "Have not: 310000 上海市",
            "learned so far: 1,200 / 3,400",
            "处理 What to do: quanlian clearinghouse recover",
        ):
            assert words in said
        data = recovery_report.state_data(state)
        assert data is not None
        assert (data["missing"], data["done"]) == ([SHANGHAI], 1200)

    def test_a_party_that_needs_none_says_nothing(self, network: Network) -> None:
        status = network.do(lambda service: network.node.operations_of(service).status())
        assert recovery_report.state_data(status.recovery) is None

    def test_a_node_says_it_in_its_status(self, network: Network) -> None:
        network.node.claim()
        (network.folder / "node.lineage").unlink()
        status = network.do(lambda service: network.node.operations_of(service).status())
        assert "文件缺失" in status.recovery.why
        assert "the file node.lineage beside its keys is missing" in status.recovery.why
        assert status.recovery.remedy == "quanlian node recover"
