"""After a restore of the clearinghouse's database from a backup: have it recovered, and read what that brought back."""

from __future__ import annotations

from typing import Annotated

import typer

from chassis.operating import Config, Json, call, operator_settings
from custodian.recovery_report import Incarnation, recovered, show_kept, show_recovery
from quanlian.v1 import clearing_operator_pb2 as pb
from quanlian.v1.clearing_operator_pb2_grpc import ClearingOperatorServiceStub

app = typer.Typer(add_completion=False)
_THEN = (
    "各节点会自动重新送来其确认与异议：已受理过的异议凭本方当时的回执，逾期也照收；无回执的逾期异议不收。"
    "先补录到账与付款，再重新裁定备份后裁定的异议，重新指令、标记并结清备份后结清的场次。\n"
    "The nodes bring their confirmations and disputes again by themselves; a dispute that was taken before is taken "
    "after its last day too, by this party's own receipt, and none without one. Enter deposits and pay-outs again "
    "first; then decide again what disputes were decided after the copy, and instruct, mark and settle again the "
    "windows that were settled after it."
)


@app.command()
def recover(
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", metavar="REGION", help="不等待的地区，可重复 · A region not to wait for; repeatable."
        ),
    ] = None,
    dispute_lacking: Annotated[
        bool,
        typer.Option(
            "--dispute-lacking",
            help="不再补录，依赖缺少各项的核销列为争议 · Go on without what is lacking; what relies on it is disputed.",
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """从备份恢复后：取回各节点所持记录，重新受理 · After a restore: learn again what the nodes hold, and serve.

    备份之后登记的地区、协议、异地用券资金如有缺少，先行列出，退出码为 1；补录后再次执行。
    Regions, agreements and visitors' funds that the copy lacks are listed first, with exit code 1: enter them, and
    recover again.

    中断后可再次执行：恢复照常进行，报告不变 · It goes on when this command ends; asked again, it gives the same report.
    """
    settings = operator_settings(config)
    request = pb.RecoverClearinghouseRequest(without=without or [], dispute_lacking=dispute_lacking)
    report = recovered(
        lambda: call(settings, ClearingOperatorServiceStub, lambda stub: stub.RecoverClearinghouse, request)
    )
    show_recovery(report, as_json, _THEN)
    if not report.incarnation:
        raise typer.Exit(1)


@app.command()
def recovery(incarnation: Incarnation = 0, config: Config = None, as_json: Json = False) -> None:
    """查看恢复报告及争议 · What the latest recovery, or another, brought back and left disputed."""
    request, settings = pb.GetClearingRecoveryRequest(incarnation=incarnation), operator_settings(config)
    answer = call(settings, ClearingOperatorServiceStub, lambda stub: stub.GetClearingRecovery, request)
    show_kept(answer.report if answer.HasField("report") else None, answer.incarnations, as_json, _THEN)
