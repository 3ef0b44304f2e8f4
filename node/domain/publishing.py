"""Which campaigns a node may publish: its own, in modes that it runs, over the leverage that its region asks for."""

from __future__ import annotations

from fractions import Fraction

from node.domain.claims import RUN_MODES
from quanlian.errors import InvalidInput
from quanlian.terms import Terms


def check_publishable(terms: Terms, name: str, region: str, minimum_leverage: Fraction | None) -> None:
    """Raises InvalidInput, with `name` of the file, for terms that the node of `region` must not publish.

    A threshold voucher's leverage is its minimum spend ÷ face (杠杆比: Jincheng plan, part 6).
    """
    if terms.issuer != region:
        raise InvalidInput(
            f"is a campaign of {terms.issuer}, this is the node of {region}",
            place=name,
            remedy=f"publish it at the node of {terms.issuer}",
        )
    for opening in terms.rounds:
        if opening.mode not in RUN_MODES:
            raise InvalidInput(
                f"round {opening.id} has mode {opening.mode}, which this version can check and show but not run · "
                f"轮次 {opening.id} 的发放方式 {opening.mode} 可检查、可展示，本版本尚不能执行",
                place=name,
                remedy=f"use {' or '.join(sorted(RUN_MODES))} · 改用其中之一",
            )
    if minimum_leverage is None:
        return
    low = [
        f"{each.id} has {each.leverage}"
        for each in terms.voucher_types
        if each.leverage is not None and each.leverage < minimum_leverage
    ]
    if low:
        raise InvalidInput(
            f"leverage under the minimum of {region}, {minimum_leverage}: {', '.join(low)}",
            place=name,
            remedy="raise minimum_spend or lower face",
        )
