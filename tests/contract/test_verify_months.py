"""A month's statement is recomputed from the evidence of all its windows, by the command that a third party runs."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from evidence_files import Authorities, Exported
from local_parties import (
    AT,
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    answer_of,
    item,
    keys_of,
    purchase,
)

from chassis import cli
from quanlian.v1 import redemption_pb2

JUNE_1 = 1_780_243_200
MONTH = "2026-05"


@pytest.fixture
def may(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Exported:
    """Three windows of May: a use, a use and a refund of the first, nothing; June refunds once more."""
    authorities = Authorities(tmp_path / "pki")
    authorities.introduce(clearinghouse)
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    number = iter(range(1, 100))

    def ask(**operation: Any) -> bytes:
        (answer,) = clearinghouse.redeem(item(next(number).to_bytes(16, "big"), **operation))
        assert not answer_of(answer).HasField("refusal"), answer_of(answer)
        return answer_of(answer).redemption_id

    def close() -> None:
        clearinghouse.pass_seconds(60)
        clearinghouse.do(clearinghouse.service.settlement.close_window())

    first = ask(redeem=purchase(token, 0, "order-1"))
    close()
    ask(redeem=purchase(token, 1, "order-2", 9999))
    ask(refund=redemption_pb2.Refund(redemption_id=first, order_fen=2000))
    close()
    clearinghouse.pass_seconds(JUNE_1 - clearinghouse.database.at - 60)
    close()
    ask(refund=redemption_pb2.Refund(redemption_id=first, order_fen=100))
    close()
    clearinghouse.check_books()
    return authorities.export(clearinghouse, tmp_path / "out", SHANGHAI, [1, 2, 3], MONTH)


def quanlian_verify(files: Exported, *redemptions: Path) -> tuple[int, dict[str, Any]]:
    options = [f"--redemptions={path}" for path in redemptions or files.redemptions]
    options += [f"--terms={files.terms}", f"--agreements={files.agreements}", f"--trust={files.fingerprint}", "--json"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        code = cli.main(["verify", str(files.statement), *options])
    return code, json.loads(shown.getvalue())


def test_a_month_holds_with_the_evidence_of_all_its_windows(may: Exported) -> None:
    code, verdict = quanlian_verify(may)
    assert (code, verdict["findings"]) == (0, [])
    assert verdict["statement"] == f"statement-{SHANGHAI}-{MONTH}.json"
    assert verdict["redemptions"] == 3, "the first stands in two windows, once captured and once refunded"
    statement = json.loads(may.statement.read_bytes())
    assert statement["windows"] == [1, 2, 3]
    assert [(each["captures"], each["refunds"]) for each in statement["lines"]] == [(2, 1)]
    assert statement["opened_at"] == AT


def test_a_window_left_out_or_given_twice_is_named(may: Exported) -> None:
    code, verdict = quanlian_verify(may, *may.redemptions[1:])
    found = {(each["place"], each["what"], each["found"]) for each in verdict["findings"]}
    assert code == 1
    assert ("redemptions", "windows", "[2, 3]") in found
    assert (f"statement line redeemer/{HANGZHOU}/spring", "captures", "2") in found
    code, verdict = quanlian_verify(may, *may.redemptions, may.redemptions[0])
    assert code == 1
    assert any(each["what"] == "stands there" for each in verdict["findings"])


def test_a_posting_outside_the_month_is_named_with_its_line(may: Exported) -> None:
    path = may.redemptions[1]
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines, 1) if line.startswith(b'{"kind":"redemption"'))
    line = json.loads(lines[at - 1])
    line["postings"][-1]["at"] = JUNE_1 + 1
    lines[at - 1] = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    _, verdict = quanlian_verify(may)
    late = [each for each in verdict["findings"] if each["found"] == str(JUNE_1 + 1)]
    assert [(each["file"], each["line"]) for each in late] == [(path.name, at)]


def test_a_history_that_two_files_tell_differently_is_named(may: Exported) -> None:
    path = may.redemptions[1]
    lines = path.read_bytes().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if b'"kind":"refund"' in line)
    line = json.loads(lines[at])
    line["postings"][0]["at"] += 1
    lines[at] = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    _, verdict = quanlian_verify(may)
    assert [each["place"] for each in verdict["findings"] if each["what"] == "posting 1"] == [
        f"redemption {line['id']}"
    ]
