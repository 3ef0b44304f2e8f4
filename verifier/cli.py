"""复核 · Recompute a statement from its evidence: no database, no secret, no network."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from chassis import console
from chassis.service import COLLECT_AFTER
from verifier.findings import Finding
from verifier.verification import MOST_FINDINGS, Verdict, verify
from verifier.wording import cells

SHOWN = 50
"""Findings that the terminal lists; --json has them all."""


def command(
    statement: Annotated[
        Path, typer.Argument(metavar="STATEMENT", help="对账单 JSON，旁有 .sig · The statement, its .sig beside it.")
    ],
    redemptions: Annotated[
        list[Path],
        typer.Option("--redemptions", metavar="FILE", help="逐笔核销，月度每场次一个 · One file for each window."),
    ],
    terms: Annotated[Path, typer.Option("--terms", metavar="DIR", help="已签名的活动细则 · Signed campaign terms.")],
    agreements: Annotated[Path, typer.Option("--agreements", metavar="DIR", help="分担协议 · Funding agreements.")],
    trust: Annotated[
        str, typer.Option("--trust", metavar="FINGERPRINT", help="根证书指纹 · The root's SHA-256: quanlian pki show.")
    ],
    denylist: Annotated[
        Path | None,
        typer.Option(
            "--denylist", metavar="FILE", help="已签名的吊销名单 · The signed deny-list: no key on it counts."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="输出 JSON，金额以分计 · Print JSON, amounts in fen.")
    ] = False,
) -> None:
    """复核对账单：签名、优惠、分担、合计、净额，逐项列出不成立之处 · Recompute a statement and list what does not hold.

    只用文件 · From files alone: those of `quanlian node export-evidence`. Exit code 1 if anything does not hold.
    """
    gc.set_threshold(*COLLECT_AFTER)
    with console.progress() as progress:
        task = progress.add_task("复核 verifying", total=None)
        verdict = verify(
            statement, redemptions, terms, agreements, trust, lambda lines: progress.advance(task, lines), denylist
        )
    if as_json:
        console.print_json(_data(verdict))
    else:
        _show(verdict)
    if not verdict.holds:
        raise typer.Exit(1)


def _data(verdict: Verdict) -> dict[str, object]:
    return {
        "statement": verdict.statement,
        "holds": verdict.holds,
        "redemptions": verdict.redemptions,
        "findings": [each._asdict() for each in verdict.findings],
        "findings_not_told": verdict.more,
    }


def _show(verdict: Verdict) -> None:
    console.say(f"{verdict.statement}: 复核核销 {verdict.redemptions:,} 笔 · redemptions recomputed")
    if verdict.holds:
        console.say("全部成立 · Everything holds: signatures, discounts, splits, sums, nets")
        return
    headings: list[console.Heading] = [
        ("文件:行", "File:line"),
        ("位置", "Place"),
        ("项目", "What"),
        ("文件所载", "Found"),
        ("应为", "Expected"),
    ]
    rows = [[_line(each), *cells(each)] for each in verdict.findings[:SHOWN]]
    count = len(verdict.findings) + verdict.more
    console.console.print(console.table(f"不成立 {count:,} 项 · do not hold", headings, rows))
    if count > SHOWN:
        told = f"见 --json（至多 {MOST_FINDINGS:,} 项） · and more, see --json (at most {MOST_FINDINGS:,})"
        console.say(f"另有 {count - SHOWN:,} 项，{told}")


def _line(finding: Finding) -> str:
    return f"{finding.file}:{finding.line}" if finding.line else finding.file
