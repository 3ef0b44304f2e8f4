"""演示 · Run the network's main job on this machine: five nodes, a clearinghouse, real redemptions."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from simulations.demo.run import Outcome

DIRECTORY = Path(".quanlian/demo")


def command(
    shoppers: Annotated[
        int, typer.Option(min=1, max=200_000, help="领券人数 · How many shoppers claim and redeem.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="随机种子 · The same seed gives the same figures.")] = 2020,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="结果写入 JSON 文件 · Write the figures and checks as data.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="写出网页报告 · Write a page with charts that opens without a network.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(help="postgresql://…，默认 SQLite · One schema per party; QUANLIAN_DATABASE_URL does the same."),
    ] = None,
    directory: Annotated[
        Path, typer.Option(help="数据、密钥、日志 · Where it all stays until the next run.")
    ] = DIRECTORY,
) -> None:
    """演示：一个清分平台、五个节点，真实进程 · One clearinghouse and five nodes, real processes and databases.

    发券、领券、本地与异地核销、退款、轧差、对账、结清，最后逐项核对。
    Publishes two real campaigns, claims, redeems at home and away, refunds, nets, settles, and checks every figure.
    Exit code 1 if any check fails.
    """
    from simulations.demo.network import Network
    from simulations.demo.report import require_writable
    from simulations.demo.run import run, tell_end, write_json

    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for path in (json_file, report):
        if path is not None:
            require_writable(path)
    network = Network(directory.resolve(), database_url or os.environ.get("QUANLIAN_DATABASE_URL", ""))
    started = time.monotonic()
    outcome = asyncio.run(run(network, seed, shoppers))
    if json_file is not None:
        write_json(json_file, outcome)
    if report is not None:
        _write_report(report, outcome, seed, shoppers)
    tell_end(network, outcome, time.monotonic() - started)
    if not outcome.sound:
        raise typer.Exit(1)


def _write_report(path: Path, outcome: Outcome, seed: int, shoppers: int) -> None:
    from simulations.demo.report import Fact, ReportContent, write_report

    content = ReportContent(
        "券联演示报告",
        "Quanlian: the demonstration",
        datetime.now(UTC),
        seed,
        outcome.figures,
        outcome.checks,
        outcome.refusals,
        [Fact("领券人数", "shoppers", f"{shoppers:,}")],
    )
    write_report(path, content)


def _interrupt(*_: object) -> None:
    """SIGTERM ends it as Ctrl-C does: its task is cancelled, and every process is stopped on the way out."""
    signal.raise_signal(signal.SIGINT)
