"""The demonstration as a newcomer runs it: `quanlian demo`, its six processes, its figures, its end."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from network_processes import living, open_ports

BACKENDS = ("sqlite", "postgresql")
SHOPPERS, SEED = "40", "7"
RUN_SECONDS = 500
STOP_SECONDS = 120
PARTIES = ("clearinghouse", "310000", "320500", "330100", "340100", "140502")
CHECKS = {
    "voucher_captured_at_most_once",
    "ledgers_sum_to_zero",
    "discounts_equal_legs",
    "captured_as_held",
    "refunded_in_proportion",
    "one_voucher_an_order",
    "funders_conserved",
    "net_positions_sum_to_zero",
    "caps_kept",
    "node_books_equal_clearinghouse",
    "running_totals_equal_redemptions",
    "dedicated_accounts_hold",
    "promises_kept",
    "postings_stand",
}
PLANNED_REFUSALS = {
    "ALREADY_REDEEMED",
    "BAD_SIGNATURE",
    "BELOW_MINIMUM_SPEND",
    "CATEGORY_NOT_COVERED",
    "EXPIRED",
    "HOLD_EXPIRED",
    "LEVERAGE_TOO_LOW",
    "MERCHANT_NOT_ADMITTED",
    "ORDER_ALREADY_DISCOUNTED",
    "REGION_NOT_COVERED",
    "REQUEST_ID_REUSED",
}
STEPS = (
    "Trust, admission, money and limits",
    "Publishing campaigns from their files",
    "Shoppers claim",
    "Redemptions at home and away",
    "The window closes",
    "Summary and checks",
)


class Run(NamedTuple):
    """A demonstration that has ended."""

    directory: Path
    database_url: str
    exit_code: int
    output: str
    errors: str
    data: dict[str, Any]
    report: str


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    """`quanlian demo` as a process of its own."""
    quanlian = Path(sys.executable).with_name("quanlian")
    return subprocess.Popen(
        [quanlian, "demo", "--shoppers", SHOPPERS, "--seed", SEED, "--directory", directory, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "QUANLIAN_DATABASE_URL": ""},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, network_database: Callable[[str], str]) -> dict[str, Run]:
    """The demonstration from one seed on each database, side by side."""
    started = {}
    for backend in BACKENDS:
        folder, url = tmp_path_factory.mktemp(backend), network_database(backend)
        options = ["--json", str(folder / "figures.json"), "--report", str(folder / "report.html")]
        options += ["--database-url", url] if url else []
        started[backend] = (folder, url, start(folder / "network", *options))
    return {backend: _ended(*each) for backend, each in started.items()}


def _ended(folder: Path, url: str, process: subprocess.Popen[str]) -> Run:
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, f"the demonstration failed:\n{output[-3000:]}\n{errors[-3000:]}"
    data = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    report = (folder / "report.html").read_text(encoding="utf-8")
    return Run(folder / "network", url, process.returncode, output, errors, data, report)


@pytest.fixture(params=BACKENDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


def test_every_check_holds(run: Run) -> None:
    assert run.data["checks"] == dict.fromkeys(CHECKS, True)


def test_the_same_seed_gives_the_same_figures_whatever_the_database(runs: dict[str, Run]) -> None:
    assert runs["sqlite"].data == runs["postgresql"].data


def test_every_refusal_that_was_planned_came_and_no_other(run: Run) -> None:
    assert set(run.data["refusals"]) == PLANNED_REFUSALS
    assert min(run.data["refusals"].values()) > 0


def test_the_data_has_the_shape_that_programs_rely_on(run: Run) -> None:
    assert set(run.data) == {"regions", "campaigns", "refusals", "checks", "net_sum_fen"}
    assert set(run.data["regions"]) == set(PARTIES) - {"clearinghouse"}
    assert set(run.data["campaigns"]) == {"flash-demo", "hangzhou-2020-r1", "jincheng-2026"}
    for region in run.data["regions"].values():
        assert set(region) == {
            "issued_fen",
            "redeemed_home_fen",
            "redeemed_away_fen",
            "accepted_for_others_fen",
            "net_fen",
        }
    for campaign in run.data["campaigns"].values():
        assert set(campaign) == {
            "issued_count",
            "redeemed_count",
            "rate_ppm",
            "order_fen",
            "redeemed_fen",
            "refunded_fen",
            "merchants",
        }
    numbers = [
        figure for part in ("regions", "campaigns") for row in run.data[part].values() for figure in row.values()
    ]
    assert {type(number) for number in (*numbers, *run.data["refusals"].values())} == {int}


def test_the_figures_agree_with_one_another(run: Run) -> None:
    regions, campaigns = run.data["regions"].values(), run.data["campaigns"].values()
    home, away, accepted, net = (
        sum(region[name] for region in regions)
        for name in ("redeemed_home_fen", "redeemed_away_fen", "accepted_for_others_fen", "net_fen")
    )
    assert net == run.data["net_sum_fen"] == 0
    assert away == accepted > 0, "what was redeemed away was accepted by somebody"
    assert home + away == sum(campaign["redeemed_fen"] for campaign in campaigns)
    assert all(each["redeemed_count"] * 10**6 // each["issued_count"] == each["rate_ppm"] for each in campaigns)
    assert sum(campaign["refunded_fen"] for campaign in campaigns) > 0


def test_every_step_is_told_in_chinese_and_english(run: Run) -> None:
    for number, english in enumerate(STEPS, 1):
        assert re.search(rf"\[{number}/6\] [\u4e00-\u9fff，]+ · {english}", run.output), english
    assert "every check holds" in run.output
    assert "Traceback" not in run.errors


def test_nothing_keeps_running(run: Run) -> None:
    assert living(run.directory) == []
    assert open_ports(run.directory) == []


def test_every_party_has_books_of_its_own_that_stay(run: Run) -> None:
    if run.database_url:
        engine = sa.create_engine(run.database_url.replace("postgresql:", "postgresql+psycopg:"))
        schemas = set(sa.inspect(engine).get_schema_names())
        engine.dispose()
        assert schemas >= {f"quanlian_demo_{party}" for party in PARTIES}
        assert not list(run.directory.glob("*/*.sqlite"))
        return
    for party in PARTIES:
        books = sqlite3.connect(run.directory / party / "books.sqlite")
        assert books.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert books.execute("SELECT count(*) FROM entry").fetchone()[0] > 0
        books.close()


def test_the_report_opens_without_a_network(run: Run) -> None:
    assert run.report.lstrip().lower().startswith("<!doctype html")
    assert re.search(r'"type":\s*"sankey"', run.report), "the flows between regions are missing"
    assert not re.search(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?https?:""", run.report)
    for reason in ("MERCHANT_NOT_ADMITTED", "LEVERAGE_TOO_LOW"):
        assert reason in run.report


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_in_the_middle_ends_the_demonstration_and_every_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    demonstration = start(tmp_path / "network")
    try:
        assert demonstration.stdout is not None
        said = next((line for line in demonstration.stdout if line.startswith("[4/6]")), None)
        assert said, demonstration.communicate()[1]
        assert len(living(tmp_path)) == len(PARTIES)
        demonstration.send_signal(number)
        _, errors = demonstration.communicate(timeout=STOP_SECONDS)
    finally:
        demonstration.kill()
    assert demonstration.returncode == 130, errors
    assert "Traceback" not in errors
    assert living(tmp_path) == []
    assert open_ports(tmp_path / "network") == []
