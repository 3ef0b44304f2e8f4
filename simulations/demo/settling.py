"""Step 5: the window closes; net positions, statements, confirmations, payments, settled."""

from __future__ import annotations

from chassis import console
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1 import node_operator_pb2, settlement_pb2
from simulations.demo.setting import REGIONS
from simulations.demo.shopping import quiet
from simulations.demo.stage import Stage, say, step, until
from simulations.figures import percent

PPM = 1_000_000


async def settle(stage: Stage) -> settlement_pb2.SettlementWindow:
    """Close and settle the open window. Returns it as settled."""
    step(5, "场次截止，轧差，对账，付款，结清", "The window closes: netting, statements, payments, settled")
    await quiet(stage)
    operator = stage.clients.clearinghouse
    window = (await operator.do(operator.clearing.CloseWindow, pb.CloseWindowRequest())).window
    _show_positions(window)
    await _wait_for_confirmations(stage, window.number)
    await operator.do(operator.clearing.InstructWindow, pb.InstructWindowRequest(window=window.number))
    for position in window.positions:
        if position.net_fen <= 0:
            continue
        paid = pb.MarkPaidRequest(
            window=window.number, region=position.region, bank_reference=f"DEMO-{window.number}-{position.region}"
        )
        await operator.do(operator.clearing.MarkPaid, paid)
    settled = await operator.do(operator.clearing.SettleWindow, pb.SettleWindowRequest(window=window.number))
    await _wait_for_nodes(stage, window.number)
    say(
        "付款已登记，场次结清，闲置资金已退回发券地",
        "payments marked, window settled, free money returned to its issuers",
    )
    return settlement_pb2.SettlementWindow.FromString(settled.window.SerializeToString())


def _show_positions(window: settlement_pb2.SettlementWindow) -> None:
    names = {region.code: region for region in REGIONS}
    rows = [
        (each.region, names[each.region].name_zh, names[each.region].name_en, console.yuan(each.net_fen))
        for each in window.positions
    ]
    headings: list[console.Heading] = [
        ("地区", "Region"),
        ("名称", "Name"),
        "",
        ("净额（元，正为应收）", "Net position, yuan (+ receives)"),
    ]
    console.console.print(console.table("", headings, rows))
    netted_fen = sum(max(0, each.net_fen) for each in window.positions)
    saved = percent((window.gross_fen - netted_fen) * PPM // window.gross_fen if window.gross_fen else 0)
    say(f"多边轧差：付款额比逐笔双边少 {saved}", f"multilateral netting saves {saved} of the payments")


async def _wait_for_confirmations(stage: Stage, number: int) -> None:
    operator = stage.clients.clearinghouse
    request = settlement_pb2.GetWindowRequest(number=number)

    async def confirmed() -> bool:
        found = await operator.do(operator.settlement.GetWindow, request)
        return bool(found.window.state >= settlement_pb2.WINDOW_STATE_CONFIRMED)

    await until(confirmed, "every node to confirm its statement")
    lines = 0
    for region, node in stage.clients.operators.items():
        status = await node.do(node.node.GetNodeStatus, node_operator_pb2.GetNodeStatusRequest())
        own = next(each for each in status.windows if each.window == number)
        stage.expect(own.missing + own.extra + own.different == 0, f"{region}'s statement differs from its books")
        lines += own.matched
    say(f"五个节点对账一致（{lines} 行），已签名确认", "signed statements, each reconciled and confirmed by its node")


async def _wait_for_nodes(stage: Stage, number: int) -> None:
    async def settled() -> bool:
        for node in stage.clients.operators.values():
            status = await node.do(node.node.GetNodeStatus, node_operator_pb2.GetNodeStatusRequest())
            if not any(each.window == number and each.settled for each in status.windows):
                return False
        return True

    await until(settled, "every node to book the settlement")
