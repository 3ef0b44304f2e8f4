"""What a person and a log collector see."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys

import pytest
from rich.console import Console

from chassis import console, service, telemetry


def rendered(table: object) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100).print(table)
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("fen", "text"),
    [(0, "0.00"), (5, "0.05"), (123456789, "1,234,567.89"), (-5, "-0.05"), (-123400, "-1,234.00")],
)
def test_fen_are_shown_as_yuan_with_two_decimals(fen: int, text: str) -> None:
    assert console.yuan(fen).plain == text


def test_figures_stand_to_the_right_under_their_headings() -> None:
    rows = [["杭州", 1200, console.yuan(5)], ["[b]上海", 3, console.yuan(123400)]]
    lines = rendered(console.table("Payments", ["Region", ("笔数", "Count"), "Yuan"], rows))
    body = [line.replace("│", " ").rstrip() for line in lines if "杭州" in line or "上海" in line]
    assert body[0].endswith("1,200       0.05")
    assert body[1].endswith("    3   1,234.00")
    assert "[b]上海" in body[1]


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_a_figure_is_neither_cut_nor_folded_however_narrow_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(console, "console", console._Terminal(file=out, width=width))
    amounts = [("订单金额（元）", f"Orders {n}, yuan") for n in range(6)]
    row = ["funding/330100/2026/spring/city", *(console.yuan(123_456_789_00 + n) for n in range(6))]
    console.console.print(console.table("", [("账户", "Account"), *amounts], [row]))
    shown = out.getvalue()
    assert [f"123,456,789.0{n}" in shown for n in range(6)] == [True] * 6
    folded = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert "".join(folded) == "funding/330100/2026/spring/city"


def test_json_is_written_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"b": "券", "a": [1]})
    text = capsys.readouterr().out
    assert json.loads(text) == {"b": "券", "a": [1]}
    assert "券" in text


def test_a_log_line_is_json_on_stderr_and_hides_what_is_private(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("json", "info")
    log = telemetry.logger("test")
    log.debug("unheard")
    log.info("admitted", phone="13800000000", key=b"\x01\xff", region="330100")
    captured = capsys.readouterr()
    line = json.loads(captured.err)
    assert captured.out == ""
    assert (line["event"], line["phone"], line["key"], line["region"], line["component"]) == (
        "admitted",
        "***",
        "01ff",
        "330100",
        "test",
    )


def test_an_exception_is_logged_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.configure("json")
    telemetry.logger("test").error("failed", exc_info=ZeroDivisionError("x"))
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().err)["exception"]


def test_a_log_goes_to_the_stderr_of_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    telemetry.configure("json")
    first.close()
    monkeypatch.setattr(sys, "stderr", second)
    telemetry.logger("test").warning("still heard")
    assert json.loads(second.getvalue())["event"] == "still heard"


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_announces_itself_and_stops_when_asked(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = []

    async def main(stop: asyncio.Event) -> None:
        service.announce_ready("node", "127.0.0.1:7000")
        os.kill(os.getpid(), number)
        await stop.wait()
        stopped.append(number)

    service.run(main)
    assert stopped == [number]
    assert capsys.readouterr().out == "ready node 127.0.0.1:7000\n"
