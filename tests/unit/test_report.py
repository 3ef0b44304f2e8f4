"""The report is one page: it loads nothing, shows the figures, and cannot be broken by a name."""

from __future__ import annotations

import dataclasses
import os
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from quanlian.errors import ConfigurationError
from simulations.auditor import Check
from simulations.demo.report import (
    Fact,
    ReportContent,
    flows_figure,
    funding_figure,
    region_zh,
    render,
    require_writable,
    write_report,
)
from simulations.figures import CampaignFigures, Figures, Flow, Funding, RegionFigures, percent

FIGURES = Figures(
    regions={
        "310000": RegionFigures(0, 0, 0, 700_000, 490_000),
        "330100": RegionFigures(1_234_567_89, 50_000, 700_000, 0, -490_000),
    },
    campaigns={"hangzhou": CampaignFigures(10_000, 8333, 833_300, 987_654_300, 750_000, 1234, 57)},
    flows=[Flow("330100", "310000", 700_000), Flow("330100", "330100", 50_000)],
    funding=[Funding("310000", "visitors/city", 210_000), Funding("330100", "city", 540_000)],
    titles={"hangzhou": ("杭州<b>消费券</b>", "Hangzhou & friends")},
)
CHECKS = [
    Check("a", "每本账借贷平衡", "Every ledger sums to zero", True, 4021, ()),
    Check("b", "净额为零", "Net positions", False, 3, ("window 1: says <7> fen",)),
]
CONTENT = ReportContent(
    title_zh="券联演示",
    title_en="Quanlian demonstration",
    made_at=datetime(2026, 11, 21, 16, 30, tzinfo=UTC),
    seed=2020,
    figures=FIGURES,
    checks=CHECKS,
    refusals={"ALREADY_REDEEMED": 1, "BELOW_MINIMUM_SPEND": 40, "SOMETHING_NEW": 2},
    facts=[Fact("领券人数", "shoppers", "2,000")],
)


class Page(HTMLParser):
    """The page without its scripts: what it asks the browser to load, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self._texts: list[str] = []
        self._code = ""
        self.feed(re.sub(r"(<script[^>]*>).*?</script>", r"\1</script>", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "poster")]
        self._code = tag if tag in ("script", "style") else self._code

    def handle_endtag(self, tag: str) -> None:
        self._code = "" if tag == self._code else self._code

    def handle_data(self, data: str) -> None:
        if self._code == "style":
            self.loads += re.findall(r"@import|url\(", data)
        elif not self._code:
            self._texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._texts))


@pytest.fixture(scope="module")
def page() -> str:
    return render(CONTENT)


def test_the_page_loads_nothing_from_elsewhere(page: str) -> None:
    assert Page(page).loads == []
    assert "cdn.plot.ly/plotly" not in page.partition("<body>")[2]


def test_the_page_shows_the_figures_in_yuan_with_separators_and_two_decimals(page: str) -> None:
    text = Page(page).text
    for figure in ("1,234,567.89", "7,000.00", "-4,900.00", "8,333", "83.33%", "9,876,543.00", "1,316.87", "12.34"):
        assert figure in text, figure


def test_the_page_names_regions_campaigns_and_checks_in_both_languages(page: str) -> None:
    text = Page(page).text
    for name in ("杭州市", "Hangzhou", "上海市", "Shanghai", "每本账借贷平衡", "Every ledger sums to zero", "券已核销"):
        assert name in text, name


def test_the_page_says_when_with_which_seed_and_other_facts(page: str) -> None:
    text = Page(page).text
    assert "2026-11-22 00:30" in text
    assert "随机种子 seed 2020" in text
    assert "领券人数 shoppers 2,000" in text


def test_refusals_are_counted_by_reason_also_by_one_that_the_list_lacks(page: str) -> None:
    text = Page(page).text
    assert "未达最低消费 BELOW_MINIMUM_SPEND 40" in text
    assert "SOMETHING_NEW 2" in text


def test_a_failed_check_is_told_at_the_top_and_with_its_findings(page: str) -> None:
    text = Page(page).text
    assert "a check does not hold" in text
    assert "window 1: says <7> fen" in text
    sound = dataclasses.replace(CONTENT, checks=CHECKS[:1])
    assert "all 1 checks hold" in Page(render(sound)).text


def test_names_cannot_bring_markup_into_the_page(page: str) -> None:
    assert "b" not in Page(page).tags
    assert "杭州&lt;b&gt;消费券" in page
    assert "Hangzhou &amp; friends" in page


def test_flows_lead_from_issuers_on_the_left_to_redeeming_regions_on_the_right() -> None:
    sankey = flows_figure(FIGURES.flows).data[0]
    assert list(sankey.link.value) == [700_000, 50_000]
    assert [sankey.node.label[n].split()[0] for n in sankey.link.source] == ["杭州市", "杭州市"]
    assert [sankey.node.label[n].split()[0] for n in sankey.link.target] == ["上海市", "杭州市"]
    assert max(sankey.node.x[n] for n in sankey.link.source) < min(sankey.node.x[n] for n in sankey.link.target)


def test_funding_is_stacked_by_funder_visitors_funds_apart() -> None:
    bars = {bar.name: list(bar.x) for bar in funding_figure(FIGURES.funding).data}
    assert bars == {"市级 city": [0.0, 5400.0], "异地用券·市级 visitors/city": [2100.0, 0.0]}


def test_a_network_in_which_nothing_happened_gives_a_page_too() -> None:
    nothing = Figures({}, {}, [], [], {})
    empty = dataclasses.replace(CONTENT, figures=nothing, refusals={}, checks=[])
    text = Page(render(empty)).text
    assert "Nothing was refused" in text
    assert "nothing was checked" in text


def test_a_district_is_named_with_its_city() -> None:
    assert [region_zh(code) for code in ("140502", "330100", "310118", "999999")] == [
        "晋城市城区",
        "杭州市",
        "上海市青浦区",
        "999999",
    ]


def test_a_rate_is_cut_to_two_decimals() -> None:
    assert [percent(ppm) for ppm in (0, 1_000_000, 833_399)] == ["0.00%", "100.00%", "83.33%"]


def test_writing_replaces_the_page_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    require_writable(path)
    write_report(path, CONTENT)
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "report.html", tmp_path):
        with pytest.raises(ConfigurationError, match=r"cannot be written \(.*name a file in a directory"):
            require_writable(path)
        with pytest.raises(ConfigurationError, match=re.escape(str(path))):
            write_report(path, CONTENT)
    assert os.listdir(tmp_path) == []
