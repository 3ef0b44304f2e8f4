"""What the campaign commands show: problems, explanations and differences, in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from chassis import console
from chassis.problems import problem_line
from quanlian.campaign_check import Report
from quanlian.explanation import Explanation, funder_title
from quanlian.file_rules import Words
from quanlian.money import yuan
from quanlian.regions import full_name
from quanlian.terms import Terms
from quanlian.terms_difference import Difference, Holders

if TYPE_CHECKING:
    from node.campaign.workbook.conversion import Import

_HOLDERS: Mapping[Holders, str] = {
    "better": "有利 better",
    "worse": "不利 worse",
    "depends": "视情形 depends",
    "neither": "—",
    "refused": "不可修订\ncannot be amended",
}


def not_judged(file: str) -> str:
    """What is said of a file with errors that keep a warning from being judged."""
    return f"{file}: 警告尚未全部判定，请先改正错误 not all warnings are judged yet: mend the errors first"


def report_lines(file: str, report: Report) -> Iterator[str]:
    """Errors, then warnings, each in the order of the file."""
    for severity, problems in (("错误 error", report.errors), ("警告 warning", report.warnings)):
        for problem in problems:
            yield problem_line(file, severity, problem)


def fault_lines(file: str, found: Import) -> Iterator[str]:
    """A workbook's errors, then its warnings, then the tabs that were not read, one to a line."""
    for severity, faults in (("错误 error", found.errors), ("警告 warning", found.warnings)):
        for fault in faults:
            yield f"{file}: {severity}: {fault}"
    lost = "，也不在标红的副本中 nor in the marked copy" if found.errors else ""
    for title in found.unread:
        yield f"{file}: 未读取 not read: {title}{lost}"


def fault_summary(found: Import) -> str:
    return f"{len(found.errors)} 个错误 errors, {len(found.warnings)} 个警告 warnings"


def import_data(found: Import, written: Path) -> dict[str, Any]:
    """`written` is the campaign file, or with errors the copy in which they are marked."""
    terms = found.terms
    return {
        "errors": [fault.as_data() for fault in found.errors],
        "warnings": [fault.as_data() for fault in found.warnings],
        "not_read": list(found.unread),
        "campaign": terms.campaign if terms else None,
        "terms_hash": terms.terms_hash.hex() if terms else None,
        "written": str(written) if terms else None,
        "marked": None if terms else str(written),
    }


def show_explanation(explanation: Explanation, terms: Terms, title: str) -> None:
    """The steps in Chinese and English, then the legs as a table."""
    out = console.console
    out.print(Text(title, style="bold"))
    for number, step in enumerate(explanation.steps, 1):
        out.print(Text(f"{number}. {step.zh}"))
        out.print(Text(f"   {step.en} [{step.source}]", style="dim"))
    if explanation.refusal is not None:
        out.print(Text(f"不予核销 Refused: {explanation.refusal.reason.name}", style="bold red"))
        return
    headings: list[console.Heading] = [("地区", "Region"), ("出资方", "Funder"), ("金额（元）", "Yuan")]
    rows: list[Sequence[console.Cell]] = [
        (f"{full_name(leg.region)} {leg.region}", _both(funder_title(terms, leg.funder)), console.yuan(leg.amount_fen))
        for leg in explanation.legs
    ]
    out.print(console.table(f"优惠 Discount {yuan(explanation.discount_fen)}", headings, rows))


def difference_data(each: Difference) -> dict[str, Any]:
    words = {"label": each.label, "before": each.before, "after": each.after}
    told = {f"{name}_{language}": text for name, pair in words.items() for language, text in pair._asdict().items()}
    return {"field": each.field, "kind": each.kind, "holders": each.holders, **told}


def show_difference(title: str, changes: Sequence[Difference], takes_effect: Words, *, same_file: bool) -> None:
    """A row for each change, and from when it counts; two files may differ and say the same."""
    if not changes:
        console.say(
            "没有变更 · Nothing changed"
            if same_file
            else "细则相同，只是注释、写法或排列不同 · Same terms; the file differs in comments, spelling or order"
        )
        return
    headings: list[console.Heading] = [
        ("字段", "Field"),
        ("现行", "Before"),
        ("修订后", "After"),
        ("对持券人", "For holders"),
    ]
    rows: list[Sequence[console.Cell]] = [
        (*(_both(words) for words in (each.label, each.before, each.after)), _HOLDERS[each.holders]) for each in changes
    ]
    table = console.table(title, headings, rows)
    table.show_lines = True
    console.console.print(table)
    console.say(f"{takes_effect.zh}\n{takes_effect.en}")


def _both(words: Words) -> str:
    return words.zh if words.zh == words.en else f"{words.zh}\n{words.en}"
