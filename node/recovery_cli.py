"""After a restore of a node's database from a backup: have it recovered, and read what that brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chassis import console
from chassis.operating import Config, Json, call, operator_settings, read_file
from custodian.recovery_report import Incarnation, recovered, show_kept, show_recovery
from node.receipt_files import receipt_pages
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub

app = typer.Typer(add_completion=False)


@app.command()
def recover(
    receipts: Annotated[
        list[Path] | None,
        typer.Option(
            "--receipts",
            metavar="FILE",
            help="支付平台所持已签名答复（证据文件），可重复 · Signed answers that a platform holds; repeatable.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="PLATFORM",
            help="确无回执的支付平台，可重复 · A platform that has none to give; repeatable.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """从备份恢复后：取回平台与清分平台所持记录，重新受理 · After a restore: learn what others hold, and serve.

    中断后可再次执行：恢复照常进行，报告不变 · It goes on when this command ends; asked again, it gives the same report.
    """
    settings = operator_settings(config)
    with console.progress() as bar:
        task = bar.add_task("平台回执 receipts", total=None)
        for page in receipt_pages((str(file), read_file(file)) for file in receipts or ()):
            call(settings, NodeOperatorServiceStub, lambda stub: stub.BookReceipts, page)
            bar.update(task, advance=len(page.receipts))
    request = pb.RecoverNodeRequest(without=without or ())
    report = recovered(lambda: call(settings, NodeOperatorServiceStub, lambda stub: stub.RecoverNode, request))
    show_recovery(report, as_json)


@app.command()
def recovery(incarnation: Incarnation = 0, config: Config = None, as_json: Json = False) -> None:
    """查看恢复报告及争议 · What the latest recovery, or another, brought back and left disputed."""
    request = pb.GetNodeRecoveryRequest(incarnation=incarnation)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.GetNodeRecovery, request)
    show_kept(answer.report if answer.HasField("report") else None, answer.incarnations, as_json)
