"""活动细则 · Campaign terms: check a file, explain a discount, compare versions, show the sheet, edit in Excel."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress

from chassis import console
from chassis.problems import problem_data
from chassis.sheets import page_of, sheet_data, show_sheet, write_page
from node.campaign import rendering
from pki.files import write_atomically
from quanlian.agreements import Agreement, parse_agreement
from quanlian.campaign_check import Report, check_campaign, check_notice_file
from quanlian.discounts import Order
from quanlian.errors import ConfigurationError, InvalidInput
from quanlian.explanation import explain as explain_order
from quanlian.file_rules import rule
from quanlian.leverage import Bound, bound_of, published_bounds
from quanlian.notices import NOTHING_GIVEN, check_notice, is_notice, parse_notice
from quanlian.regions import region
from quanlian.sheet import sheet_of
from quanlian.terms import CHANNELS, Terms, VoucherType
from quanlian.terms_difference import NOTICE_TAKES_EFFECT, TAKES_EFFECT, difference, notice_difference
from quanlian.terms_file import MAX_FILE_BYTES, unreadable
from quanlian.terms_parsing import parse_terms

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False)

UNREADABLE = rule(
    "不是可读的文件",
    "{fault}",
    "指定存在且有权读取的活动文件",
    "name a campaign file that exists and that you may read",
)
_YUAN = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,2}))?")
_MARKED = re.compile(r"\.faults(?:-[0-9]+)?$")
_BOUND = re.compile(r"([0-9]{6})=([0-9]{1,4}(?:\.[0-9]{1,4})?)")

File = Annotated[Path, typer.Argument(help="活动细则文件（TOML） · The campaign's file.")]
AsJson = Annotated[bool, typer.Option("--json", help="输出 JSON · Print JSON for programs.")]


@app.callback()
def group() -> None:
    """活动细则 · Campaign terms: check a file, explain a discount, compare versions, show the sheet, edit in Excel."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="活动细则文件 · One or more campaign files.")],
    bound: Annotated[
        list[str] | None,
        typer.Option(help="地区=杠杆比，如 140502=5，可重复 · Another region's minimum leverage; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """一次列出细则或公告的全部问题，附规则和依据 · Every problem of terms or notices at once, with the rule's source.

    有错误时退出码为1；只有警告时为0。 Exit code 1 when there are errors; warnings alone are 0.
    """
    bounds = _bounds(bound or [])
    reports = [(str(path), _checked(path, bounds)) for path in files]
    errors = sum(len(report.errors) for _, report in reports)
    warnings = sum(len(report.warnings) for _, report in reports)
    if as_json:
        console.print_json(
            {
                "errors": [problem_data(file, each) for file, report in reports for each in report.errors],
                "warnings": [problem_data(file, each) for file, report in reports for each in report.warnings],
                "not_judged": [file for file, report in reports if not report.judged],
            }
        )
    else:
        for file, report in reports:
            for line in rendering.report_lines(file, report):
                print(line)
        for file in (name for name, report in reports if not report.judged):
            print(rendering.not_judged(file), file=sys.stderr)
        print(f"{len(reports)} 个文件 files: {errors} 个错误 errors, {warnings} 个警告 warnings", file=sys.stderr)
    if errors:
        raise typer.Exit(1)


@app.command()
def explain(
    file: File,
    voucher: Annotated[str, typer.Option(help="券种代号 · The id of a voucher type.")],
    order: Annotated[str, typer.Option(help="订单金额（元），已减商户和平台优惠 · Yuan, after other discounts.")],
    category: Annotated[
        str | None, typer.Option(help="商品类别，默认券种的第一类 · Default: the voucher's first.")
    ] = None,
    klass: Annotated[
        str | None, typer.Option("--class", help="车型等档次类别，或景点 · Class of a tier, or the attraction visited.")
    ] = None,
    invoice: Annotated[str | None, typer.Option(help="发票金额（元），默认同订单 · Default: the order.")] = None,
    at: Annotated[
        str | None, typer.Option(help="核销地区代码，默认发券地 · Where; default: the issuing region.")
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="消费渠道，默认门店 · Default: shop, or what the campaign covers.")
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(
            help="分担协议文件；异地而未给出时用网络默认协议70:30，细则另指协议的须给出 · Funding agreement. Away "
            "without it the network's default, 70:30, is used, as the network itself does; terms that name another "
            "agreement need its file."
        ),
    ] = None,
    leverage: Annotated[
        str | None,
        typer.Option(
            help="核销地对外地券的杠杆比下限或 off，默认其公布值 · The redeeming region's bound on visitors' vouchers, "
            "or off; default: what it has published."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """试算：优惠多少，由谁承担，逐项列出依据；或拒绝的原因 · The discount and who pays it, or why it is refused."""
    terms = _terms(file)
    voucher_type = terms.voucher_type(voucher)
    place = at or terms.issuer
    region(place)
    order_fen = _fen(order, "--order")
    sale = Order(
        order_fen=order_fen,
        category=category or min(voucher_type.categories),
        channel=_one_of(CHANNELS, channel, "--channel") or _channel(terms),
        klass=_one_of(_classes(voucher_type), klass, "--class") or next(iter(_classes(voucher_type)), ""),
        invoice_fen=order_fen if invoice is None else _fen(invoice, "--invoice"),
    )
    agreed = _agreement(agreement)
    explanation = explain_order(terms, voucher_type, sale, place, agreed, _leverage_bound(leverage, place))
    if as_json:
        console.print_json(explanation.as_data())
        return
    title = f"{terms.title_zh} · {voucher_type.title_zh} · {voucher_type.title_en}"
    rendering.show_explanation(explanation, terms, title)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="现行细则 · The version in force.")],
    new: Annotated[Path, typer.Argument(help="修订稿，或公告 · The amended version, or a notice.")],
    as_json: AsJson = False,
) -> None:
    """两版细则的差异，逐项列出对持券人有利与否；也可看公告给了什么 · What changes, and for whom it is better."""
    terms, content = _terms(old), _read(new)
    same_file = _read(old) == content
    if is_notice(content):
        check_notice(parse_notice(content, str(new)), terms, NOTHING_GIVEN, terms.starts_at)
        changes, takes_effect = notice_difference(_read(old), content), NOTICE_TAKES_EFFECT
    else:
        parse_terms(content, str(new))
        changes, takes_effect = difference(_read(old), content), TAKES_EFFECT
    if as_json:
        data = {"changes": [rendering.difference_data(each) for each in changes]}
        console.print_json({"takes_effect": takes_effect._asdict(), "same_file": same_file, **data})
        return
    rendering.show_difference(f"{terms.title_zh} · {terms.title_en}", changes, takes_effect, same_file=same_file)


@app.command()
def show(
    file: File,
    html: Annotated[
        Path | None, typer.Option(help="写出可打印的A4网页 · Write a page that prints on A4 instead.")
    ] = None,
    language: Annotated[
        Literal["zh", "en", "both"], typer.Option(help="语言：zh 中文，en 英文，both 两种 · Language.")
    ] = "both",
    as_json: AsJson = False,
) -> None:
    """以方案附件的形式显示细则 · The terms as a sheet to read and sign off, in Chinese and English."""
    terms = _terms(file)
    sheets = [sheet_of(terms, each) for each in ("zh", "en") if language in (each, "both")]
    if html is not None:
        write_page(html, page_of(sheets))
        print(f"已写出 written: {html}", file=sys.stderr)
    if as_json:
        console.print_json([sheet_data(each) for each in sheets])
    elif html is None:
        for each in sheets:
            show_sheet(each)


@app.command("export-excel")
def export_excel(
    file: File,
    out: Annotated[
        Path | None, typer.Option(help="工作簿，默认与细则同名 · The workbook; default: the file's name with .xlsx.")
    ] = None,
) -> None:
    """细则写成工作簿，用Excel或WPS填写 · The terms as a workbook to edit in Excel or WPS.

    不给出 --out 时不覆盖已有文件。 Without --out nothing that exists is overwritten.
    """
    from node.campaign.workbook.conversion import export_workbook  # half a second that other commands do not need

    content = _read(file)
    with _working("写出工作簿 Writing the workbook"):
        book = export_workbook(content, str(file))
    _write(file.with_suffix(".xlsx"), out, book)


@app.command("import-excel")
def import_excel(
    file: Annotated[Path, typer.Argument(help="工作簿（.xlsx） · The workbook.")],
    out: Annotated[
        Path | None, typer.Option(help="细则文件，默认与工作簿同名 · The campaign file; default: the workbook's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """工作簿读回细则文件，一次列出全部错误 · A workbook back to a campaign file, or every fault with its cell.

    有错误时不写细则，另写标红的副本（.faults.xlsx，已有则 .faults-2.xlsx），退出码为1；自建的表不抄入副本。

    With faults no terms are written but a copy with the faulty cells in red (.faults.xlsx, or .faults-2.xlsx where
    that is there), and the exit code is 1; sheets of your own are not in the copy. Without --out nothing that exists
    is overwritten.
    """
    from node.campaign.workbook.archive import MAX_FILE_BYTES as MAX_WORKBOOK_BYTES
    from node.campaign.workbook.conversion import import_workbook

    content = _read(file, MAX_WORKBOOK_BYTES)
    with _working("读取工作簿 Reading the workbook"):
        found = import_workbook(content, str(file))
    name = _MARKED.sub("", file.stem)
    written = out or file.with_name(f"{name}.toml")
    if not as_json:
        for line in rendering.fault_lines(str(file), found):
            print(line)
        if not found.judged:
            print(rendering.not_judged(str(file)), file=sys.stderr)
        print(rendering.fault_summary(found), file=sys.stderr)
    if found.errors:
        marked = found.marked_copy()
        written = _free_name(file.with_name(f"{name}.faults.xlsx"), marked)
        _write(written, None, marked)
    else:
        _write(written, out, found.content)
    if as_json:
        console.print_json(rendering.import_data(found, written))
    if found.errors:
        raise typer.Exit(1)


def _working(what: str) -> Progress:
    """A bar that moves until the work is done."""
    bar = console.progress()
    bar.add_task(what, total=None)
    return bar


def _write(default: Path, chosen: Path | None, content: bytes) -> None:
    """Writes the chosen file, or the default where nothing else is there yet, whole or not at all."""
    path = chosen or default
    if chosen is None and path.exists() and path.read_bytes() != content:
        remedy = "name the file with --out, this one if it is to be overwritten"
        raise ConfigurationError("exists and says something else", place=str(path), remedy=remedy)
    write_atomically(path, content)
    print(f"已写出 written: {path}", file=sys.stderr)


def _free_name(path: Path, content: bytes) -> Path:
    """The path, or the first like it with a number, where nothing else is: a copy that somebody is mending stays."""
    free, number = path, 1
    while free.exists() and free.read_bytes() != content:
        number += 1
        free = path.with_stem(f"{path.stem}-{number}")
    return free


def _checked(path: Path, bounds: tuple[Bound, ...]) -> Report:
    """A file that cannot be read is a problem of that file, and the others are checked all the same."""
    try:
        content = _read(path)
    except ConfigurationError as error:
        return Report(None, (unreadable(1, "", UNREADABLE.of(fault=error.what)),), ())
    return check_notice_file(content, str(path)) if is_notice(content) else check_campaign(content, str(path), bounds)


def _read(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """At most one byte more than the file may have, whatever it is: a pipe or a disk image ends nowhere."""
    try:
        if not path.is_file():
            raise ConfigurationError("is not a file", place=str(path), remedy="name a campaign file")
        with path.open("rb") as stream:
            return stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        remedy = "name a file that exists and that you may read"
        raise ConfigurationError(f"cannot be read ({reason})", place=str(path), remedy=remedy) from error


def _terms(path: Path) -> Terms:
    return parse_terms(_read(path), str(path))


def _agreement(path: Path | None) -> Agreement | None:
    return None if path is None else parse_agreement(_read(path), str(path))


def _fen(text: str, option: str) -> int:
    found = _YUAN.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"{text!r} 不是以元为单位的金额 is not an amount in yuan",
            place=option,
            remedy="写成 write it like 58 or 58.50",
        )
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def _channel(terms: Terms) -> str:
    return next(channel for channel in CHANNELS if channel in terms.channels)


def _classes(voucher_type: VoucherType) -> list[str]:
    names = [tier.klass for tier in voucher_type.tiers] + [place.id for place in voucher_type.attractions]
    return list(dict.fromkeys(names))


def _one_of(known: Sequence[str], text: str | None, option: str) -> str | None:
    """A slip of the pen is no refusal: the officer is told what there is."""
    if text is not None and known and text not in known:
        raise InvalidInput(f"{text!r} is not known here", place=option, remedy=f"use one of {', '.join(known)}")
    return text


def _leverage_bound(text: str | None, place: str) -> Fraction | None:
    if text is None:
        bound = bound_of(place)
        return bound.minimum if bound and bound.visitors == "refuse" else None
    return None if text == "off" else _ratio(text, "--leverage")


def _bounds(texts: list[str]) -> tuple[Bound, ...]:
    """The published bounds, those given on the command line in their stead."""
    bounds = {bound.region: bound for bound in published_bounds()}
    for text in texts:
        found = _BOUND.fullmatch(text)
        if found is None:
            raise InvalidInput(f"{text!r} is not a bound", place="--bound", remedy="write it like 140502=5")
        code = region(found[1]).code
        bounds[code] = Bound(code, _ratio(found[2], "--bound"), "refuse", f"region {code}")
    return tuple(bounds.values())


def _ratio(text: str, option: str) -> Fraction:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4})?", text):
        raise InvalidInput(f"{text!r} is not a ratio", place=option, remedy="write it like 5 or 3.5")
    return Fraction(text)
