"""What `quanlian verify` shows of a finding: words in both languages, yuan and times; `--json` keeps names and fen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifier.findings import Finding
from verifier.wording import PLACES, WHAT, cells

VERIFIER = Path(__file__).parents[2] / "verifier"


@pytest.mark.parametrize(
    ("finding", "shown"),
    [
        (
            Finding("redemption 0a", "discount_fen", "100050", "100000"),
            ("核销 redemption 0a", "优惠金额 discount_fen", "1,000.50", "1,000.00"),
        ),
        (
            Finding("redemption 0a refund 2", "leg funding/330100/2026/spring/city", "-3", "0"),
            ("核销 redemption 0a refund 2", "分担 leg funding/330100/2026/spring/city", "-0.03", "0.00"),
        ),
        (
            Finding("redemption 0a", "order_fen", "7999 gives no discount: BELOW_THRESHOLD"),
            ("核销 redemption 0a", "订单金额 order_fen", "79.99 gives no discount: BELOW_THRESHOLD", ""),
        ),
        (
            Finding("redemption 0a", "capture 1 at", "1785542400", "1785542401 to 1785546000"),
            (
                "核销 redemption 0a",
                "核销 capture 1 at",
                "2026-08-01 08:00:00",
                "2026-08-01 08:00:01 to 2026-08-01 09:00:00",
            ),
        ),
        (
            Finding("statement line issuer/310000/spring", "captures", "3", "2"),
            ("对账单 statement line issuer/310000/spring", "核销笔数 captures", "3", "2"),
        ),
        (
            Finding("agreement HZ-SH v1", "document", "not there", "there"),
            ("协议 agreement HZ-SH v1", "文件 document", "缺 not there", "有 there"),
        ),
        (
            Finding("line", "redemption 0a", "on line 7", "once, on line 3"),
            ("行 line", "核销 redemption 0a", "在第7行 on line 7", "一次，在第3行 once, on line 3"),
        ),
    ],
)
def test_a_finding_is_shown_in_both_languages(finding: Finding, shown: tuple[str, ...]) -> None:
    assert cells(finding) == shown


def test_there_are_chinese_words_for_every_place_and_kind_of_finding() -> None:
    places, kinds = set[str](), set[str]()
    for path in VERIFIER.glob("*.py"):
        for call in (each for each in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(each, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name == "Finding" and len(call.args) > 1:
                places |= set(first_words(call.args[0]))
                kinds |= set(first_words(call.args[1]))
            elif name in {"equal", "note"} and call.args:
                kinds |= set(first_words(call.args[0]))
            elif name == "Finder":
                places |= set(first_words(call.args[0]))
    assert len(places) > 5
    assert len(kinds) > 15
    assert places <= PLACES.keys()
    assert kinds <= WHAT.keys()


def first_words(node: ast.expr) -> Iterator[str]:
    """Of a text as far as it is written out there."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value.split(" ", 1)[0]
