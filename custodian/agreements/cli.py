"""分担协议 · Funding agreements between regions: check, show, propose, sign, list."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from chassis import console
from chassis.operating import Config, Json, call, operator_settings, read_file
from chassis.problems import problem_data, problem_line
from chassis.sheets import page_of, sheet_data, show_sheet, write_page
from pki.files import write_new
from quanlian.agreement_check import AgreementReport, check_agreement
from quanlian.agreement_sheet import agreement_sheet
from quanlian.agreement_signatures import signatories
from quanlian.agreements import AGREEMENT_FILE, Agreement, agreement_hash, parse_agreement
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import ConfigurationError, InvalidInput
from quanlian.file_rules import rule
from quanlian.refusals import CHINA
from quanlian.terms_file import unreadable
from quanlian.v1 import agreement_pb2 as pb
from quanlian.v1.agreement_pb2_grpc import AgreementServiceStub

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False)

UNREADABLE = rule(
    "不是可读的文件",
    "{fault}",
    "指定存在且有权读取的协议文件",
    "name an agreement's file that exists and that you may read",
)
File = Annotated[Path, typer.Argument(metavar="FILE", help="分担协议（TOML） · The agreement's file.")]


@app.callback()
def group() -> None:
    """分担协议 · Funding agreements between regions: check, show, propose, sign, list.

    一方提出，另一方签署，清分平台最后签署后生效。
    One region proposes, the other signs, then the clearinghouse; from then on it counts.
    """


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="分担协议 · One or more agreement files.")],
    as_json: Json = False,
) -> None:
    """一次列出全部问题：文件、行、字段、值、规则、依据 · Every problem at once, with the rule's source.

    有错误时退出码为1；只有警告时为0。 Exit code 1 when there are errors; warnings alone are 0.
    """
    reports = [(str(path), _checked(path)) for path in files]
    if as_json:
        console.print_json(
            {
                "errors": [problem_data(file, each) for file, report in reports for each in report.errors],
                "warnings": [problem_data(file, each) for file, report in reports for each in report.warnings],
            }
        )
    else:
        for file, report in reports:
            for severity, problems in (("错误 error", report.errors), ("警告 warning", report.warnings)):
                for problem in problems:
                    print(problem_line(file, severity, problem))
    errors = sum(len(report.errors) for _, report in reports)
    warnings = sum(len(report.warnings) for _, report in reports)
    print(f"{len(reports)} 个文件 files: {errors} 个错误 errors, {warnings} 个警告 warnings", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


@app.command()
def show(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE|NUMBER", help="协议文件，或清分平台所存协议的编号 · A file, or a number on file."),
    ],
    version: Annotated[
        int, typer.Option(min=0, help="版本，默认最新 · Version of that number; default: the newest.")
    ] = 0,
    html: Annotated[
        Path | None, typer.Option(help="写出可打印的A4网页 · Write a page that prints on A4 instead.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="把所存协议的原文存为文件，供签署 · Save the very file that is kept, to sign it."),
    ] = None,
    language: Annotated[
        Literal["zh", "en", "both"], typer.Option(help="语言：zh 中文，en 英文，both 两种 · Language.")
    ] = "both",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """以可签署的表格显示协议 · The agreement as a sheet to read and sign off, in Chinese and English."""
    path = Path(file)
    kept = None if path.is_file() or _names_a_file(file) else _kept(config, file, version)
    document = read_file(path) if kept is None else kept.document
    agreement = parse_agreement(document, file)
    languages: list[Literal["zh", "en"]] = ["zh", "en"]
    sheets = [agreement_sheet(agreement, document, each) for each in languages if language in (each, "both")]
    if save is not None:
        write_new(save, document)
    if html is not None:
        write_page(html, page_of(sheets))
    for written in (save, html):
        if written is not None:
            print(f"已写出 written: {written}", file=sys.stderr)
    if as_json:
        console.print_json([sheet_data(each) for each in sheets])
    elif html is None:
        for each in sheets:
            show_sheet(each)
        if kept is not None:
            console.say(_signed_line(agreement, kept))


@app.command()
def propose(file: File, config: Config = None, as_json: Json = False) -> None:
    """以本方签名提出协议 · Propose an agreement with this party's signature."""
    _sign(file, True, config, as_json)


@app.command()
def sign(file: File, config: Config = None, as_json: Json = False) -> None:
    """签署已提出的协议；文件须与所提出的逐字节相同 · Sign what was proposed, byte for byte."""
    _sign(file, False, config, as_json)


@app.command(name="list")
def list_all(config: Config = None, as_json: Json = False) -> None:
    """列出全部协议及其签署情况 · Every agreement, and who has signed it."""
    kept = _all(config)
    if as_json:
        console.print_json({"agreements": [_kept_data(each) for each in kept]})
        return
    headings: list[console.Heading] = [
        ("编号", "Number"),
        ("版本", "Version"),
        ("双方", "Parties"),
        ("活动", "Campaign"),
        ("办法", "Method"),
        ("生效", "From"),
        ("终止", "Until"),
        ("状态", "State"),
    ]
    rows = []
    for each in kept:
        agreement = parse_agreement(each.document, "agreement")
        rows.append(
            (
                agreement.number,
                agreement.version,
                ", ".join(agreement.parties) or "全网 all",
                agreement.campaign or "",
                agreement.method,
                _day(_counts_from(agreement, each) or agreement.effective_from),
                _day(agreement.effective_until) if agreement.effective_until else "—",
                _state(agreement, each),
            )
        )
    console.show("", headings, rows, "尚无协议 · There is no agreement")


def _sign(file: Path, proposes: bool, config: Path | None, as_json: bool) -> None:
    settings = operator_settings(config)
    content = read_file(file)
    agreement = parse_agreement(content, str(file))
    request = pb.SignAgreementRequest(document=content, file_name=str(file), proposes=proposes)
    answer = call(settings, AgreementServiceStub, lambda stub: stub.SignAgreement, request)
    if as_json:
        console.print_json(_kept_data(answer.agreement))
        return
    done = "已提出 · Proposed" if proposes else "已签署 · Signed"
    console.say(f"{done}: {agreement.number}, 版本 version {agreement.version}")
    console.say(_signed_line(agreement, answer.agreement))


def _all(config: Path | None) -> list[pb.SignedAgreement]:
    request = pb.ListAgreementsRequest()
    answer = call(operator_settings(config), AgreementServiceStub, lambda stub: stub.ListAgreements, request)
    return list(answer.agreements)


def _names_a_file(text: str) -> bool:
    """No number looks like that."""
    return text.endswith(".toml") or "/" in text


def _kept(config: Path | None, number: str, version: int) -> pb.SignedAgreement:
    """An agreement that the clearinghouse keeps; version 0 asks for the newest."""
    found = {}
    for each in _all(config):
        agreement = parse_agreement(each.document, "agreement")
        if agreement.number == number and version in (0, agreement.version):
            found[agreement.version] = each
    if not found:
        raise InvalidInput(
            f"没有名为 {number} 的文件或已备案协议 · no file and no agreement on file is called {number}",
            place="agreement",
            remedy="查看协议清单 · look at quanlian agreement list",
        )
    return found[max(found)]


def _checked(path: Path) -> AgreementReport:
    """A file that cannot be read is a problem of that file, and the others are checked all the same."""
    try:
        return check_agreement(read_file(path), str(path))
    except ConfigurationError as error:
        return AgreementReport(None, (unreadable(1, "", UNREADABLE.of(fault=error.what), AGREEMENT_FILE),), ())


def _kept_data(kept: pb.SignedAgreement) -> dict[str, Any]:
    agreement = parse_agreement(kept.document, "agreement")
    signed = {each.signer for each in kept.signatures}
    return {
        "number": agreement.number,
        "version": agreement.version,
        "parties": list(agreement.parties),
        "campaign": agreement.campaign,
        "method": agreement.method,
        "effective_from": agreement.effective_from,
        "effective_until": agreement.effective_until,
        "counts_from": _counts_from(agreement, kept),
        "digest": agreement_hash(kept.document).hex(),
        "signatures": [
            {
                "signer": each.signer,
                "key_id": each.key_id.hex(),
                "signature": each.signature.hex(),
                "signed_at": each.signed_at,
            }
            for each in kept.signatures
        ],
        "missing": [each for each in signatories(agreement) if each not in signed],
        "document": kept.document.decode(),
    }


def _counts_from(agreement: Agreement, kept: pb.SignedAgreement) -> int | None:
    """None while the clearinghouse has not signed it."""
    signed = next((each.signed_at for each in kept.signatures if each.signer == CLEARINGHOUSE), None)
    return None if signed is None else agreement.counting_from(signed).effective_from


def _state(agreement: Agreement, kept: pb.SignedAgreement) -> str:
    signed = {each.signer for each in kept.signatures}
    missing = [each for each in signatories(agreement) if each not in signed]
    return f"待签 waits for {', '.join(missing)}" if missing else "已全部签署 complete"


def _signed_line(agreement: Agreement, kept: pb.SignedAgreement) -> str:
    signed = "、".join(f"{each.signer} {_day(each.signed_at)}" for each in kept.signatures)
    return f"签署 signed: {signed}；{_state(agreement, kept)}"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d")
