"""What an operator reads of a fault, why something is disputed, parked or refused, is Chinese and English."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = {"InvalidInput", "Different", "NotYet", "Contradicted"}
MODULES = (
    "clearinghouse/agreements.py",
    "clearinghouse/custody.py",
    "clearinghouse/disputes.py",
    "clearinghouse/evidence.py",
    "clearinghouse/money.py",
    "clearinghouse/recall.py",
    "clearinghouse/recovery.py",
    "clearinghouse/relearning.py",
    "clearinghouse/reversing.py",
    "clearinghouse/settlement.py",
    "clearinghouse/settling.py",
    "clearinghouse/signed_answers.py",
    "clearinghouse/silence.py",
    "clearinghouse/statements.py",
    "clearinghouse/suspending.py",
    "clearinghouse/windows.py",
    "clearinghouse/withdrawing.py",
    "custodian/campaigns.py",
    "custodian/continuity.py",
    "custodian/recovering.py",
    "custodian/suspensions.py",
    "custodian/withdrawals.py",
    "node/cancelling.py",
    "node/claiming.py",
    "node/feed.py",
    "node/platform_receipts.py",
    "node/recall.py",
    "node/recovery.py",
    "node/relearning.py",
    "node/replaying.py",
    "node/reversing.py",
    "node/settling.py",
    "node/suspending.py",
    "node/vouchers_cli.py",
    "proto/quanlian/campaign_changes.py",
    "proto/quanlian/redemptions.py",
    "proto/quanlian/suspensions.py",
)
CHINESE, WORD = re.compile("[\u4e00-\u9fff]"), re.compile("[A-Za-z]{2}")


def said(fault: ast.Call) -> Iterator[tuple[str, str]]:
    """What it says and the remedy, as far as they are written out there; (which, text)."""
    named = [("what", each) for each in fault.args[:1]]
    named += [("remedy", each.value) for each in fault.keywords if each.arg == "remedy"]
    for which, node in named:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield which, node.value
        elif isinstance(node, ast.JoinedStr):
            yield which, "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))


@pytest.mark.parametrize("module", MODULES)
def test_every_fault_is_told_in_both_languages(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    calls = [each for each in ast.walk(tree) if isinstance(each, ast.Call) and getattr(each.func, "id", "") in FAULTS]
    english = [
        f"{module}:{each.lineno} {which}: {text}"
        for each in calls
        for which, text in said(each)
        if WORD.search(text) and not (CHINESE.search(text) and " · " in text)
    ]
    assert english == []
