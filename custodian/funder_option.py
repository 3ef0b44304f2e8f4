"""The options by which an operator names a funder that paid something ahead."""

from __future__ import annotations

from typing import Annotated

import typer

from custodian.prefund import Funder
from quanlian.errors import InvalidInput

FunderName = Annotated[
    str, typer.Option("--funder", metavar="CAMPAIGN/NAME", help="出资方 · The funder who paid it ahead.")
]
Year = Annotated[
    int,
    typer.Option(
        "--year",
        metavar="YEAR",
        min=0,
        help="异地用券资金所属年度，不写为今年 · Year whose use a visitors' fund's money pays; 0 or none: this year.",
    ),
]


def named(text: str, year: int) -> Funder:
    """The funder that `CAMPAIGN/NAME` names. Raises InvalidInput for anything else."""
    campaign, _, name = text.partition("/")
    if not campaign or not name:
        raise InvalidInput(
            f"{text!r} 不是出资方 · {text!r} is no funder",
            place="--funder",
            remedy="写 活动/出资方，如 spring/city · write CAMPAIGN/NAME, like spring/city",
        )
    return Funder(campaign, name, year)
