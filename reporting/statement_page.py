"""A statement to print and sign, with a chart of what flows to and from each counterpart.

One A4 page holds the statement of a usual day: some five lines and a dozen funders. A longer one goes on over further
pages, for who signs must see every line; where to sign stands with the balance on the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from quanlian.money import yuan
from quanlian.statements import Statement, net_fen
from reporting import names

MOST_BARS = 5
"""Counterparts in the chart, the largest flows first; the lines name them all."""

CHART_WIDTH, LABEL_WIDTH, BAR_HEIGHT, ROW_HEIGHT = 400, 108, 11, 30
AMOUNT_WIDTH = 78
"""Beside the longest bar."""


class Bar(NamedTuple):
    """What one counterpart pays us and gets of us, and how long the bars are, in pixels."""

    code: str
    received_fen: int
    paid_fen: int
    received_width: int
    paid_width: int


def statement_page(statement: Statement, reference: str) -> str:
    """The page as text; it loads nothing. `reference` names the signed document that it shows."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        yuan=yuan,
        region_zh=names.region_zh,
        region_en=names.region_en,
        role=names.role,
        funder=names.funder,
        moment=names.moment,
    )
    lines = [(key, statement.lines[key], net_fen(key, statement.lines[key])) for key in sorted(statement.lines)]
    flows = bars(statement)
    source = resources.files("reporting").joinpath("statement.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        statement=statement,
        balances=[
            (*label, getattr(statement, f"{name}_fen"), name) for name, label in names.STATEMENT_BALANCES.items()
        ],
        reference=reference,
        lines=lines,
        funders=sorted(statement.funders.items()),
        bars=flows[:MOST_BARS],
        other_bars=len(flows[MOST_BARS:]),
        chart={"width": CHART_WIDTH, "label": LABEL_WIDTH, "bar": BAR_HEIGHT, "row": ROW_HEIGHT},
    )


def bars(statement: Statement) -> list[Bar]:
    """Both directions of each counterpart, on one scale, the largest flow first."""
    flows: dict[str, tuple[int, int]] = {}
    for key, figures in statement.lines.items():
        fen = net_fen(key, figures)
        received, paid = flows.get(key.counterpart, (0, 0))
        flows[key.counterpart] = (received + max(0, fen), paid + max(0, -fen))
    shown: Mapping[str, tuple[int, int]] = {code: both for code, both in flows.items() if any(both)}
    largest = max((max(both) for both in shown.values()), default=0)
    room = CHART_WIDTH - LABEL_WIDTH - AMOUNT_WIDTH
    return [
        Bar(code, received, paid, received * room // largest, paid * room // largest)
        for code, (received, paid) in sorted(shown.items(), key=lambda item: (-max(item[1]), item[0]))
    ]
