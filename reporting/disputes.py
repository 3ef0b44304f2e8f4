"""Disputes as a person reads them, and as data: what is disputed, how it was decided, what went back to funders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from chassis import console
from reporting import names

OUTCOMES = {"open": "待处理", "upheld": "成立", "rejected": "驳回"}
HEADINGS: list[console.Heading] = [
    ("地区", "Region"),
    ("号", "No."),
    ("场次", "Window"),
    ("行", "Lines"),
    ("理由", "Why"),
    ("结果", "Outcome"),
    ("处理理由", "Decided because"),
]


def dispute_cells(dispute: Any, outcome: str, resolution: str) -> list[console.Cell]:
    """A row below `HEADINGS`."""
    lines = " ".join(_line(line) for line in dispute.lines)
    shown = f"{OUTCOMES[outcome]} {outcome}"
    return [dispute.region, dispute.number, dispute.window, lines, dispute.why, shown, resolution]


def dispute_data(dispute: Any, outcome: str, resolution: str) -> dict[str, Any]:
    return {
        "region": dispute.region,
        "number": dispute.number,
        "window": dispute.window,
        "lines": [
            {
                "role": line.role,
                "counterpart": line.counterpart,
                "campaign": line.campaign,
                "left_out": bool(line.redemption_ids),
                "own_figures": list(line.own_figures),
                "redemption_ids": [each.hex() for each in line.redemption_ids],
            }
            for line in dispute.lines
        ],
        "why": dispute.why,
        "by": dispute.by,
        "outcome": outcome,
        "resolution": resolution,
    }


def booked_table(booked: Iterable[Any], title: str = "") -> Table:
    """What went back to funders, and where the clearinghouse's journal has it."""
    headings: list[console.Heading] = [
        ("核销", "Redemption"),
        ("退回出资方（元）", "Back to funders, yuan"),
        ("分录", "Entry"),
        ("场次", "Window"),
    ]
    rows: list[list[console.Cell]] = [
        [each.redemption_id.hex(), console.yuan(each.amount_fen), each.entry, each.window] for each in booked
    ]
    return console.table(title, headings, rows)


def booked_data(booked: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "redemption_id": each.redemption_id.hex(),
            "amount_fen": each.amount_fen,
            "entry": each.entry,
            "window": each.window,
        }
        for each in booked
    ]


def _line(line: Any) -> str:
    left_out = "（漏列 left out）" if line.redemption_ids else ""
    return f"{names.ROLES[line.role][0]}/{line.counterpart}/{line.campaign}{left_out}"
