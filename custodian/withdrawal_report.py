"""What an operator reads of postings that a restored clearinghouse took back, the same at both parties."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from chassis import console
from custodian.evidence_option import identifier
from quanlian.refusals import CHINA
from quanlian.v1 import recovery_pb2

All = Annotated[bool, typer.Option("--all", help="含已处理的 · Also those that were dealt with.")]
Redemption = Annotated[
    bytes, typer.Argument(metavar="REDEMPTION", parser=identifier, help="核销编号 · The redemption's id.")
]
ClosingReference = Annotated[
    str,
    typer.Option(
        "--reference", metavar="TEXT", help="付款、函件或纪要的编号 · Number of the payment, letter or minutes."
    ),
]
Note = Annotated[
    str, typer.Option("--note", metavar="TEXT", help="如何处理，存档备查 · What was done; kept for audit.")
]

_SIDES = {"merchant": "商户 merchants", "funder": "出资方 funders"}
_POSTING = ("window", "issuer", "redeeming_region", "campaign", "order_fen", "discount_fen", "number")
_CLOSING = ("reference", "note", "by", "at")


def show_withdrawn(postings: Sequence[recovery_pb2.WithdrawnPosting], command: str) -> None:
    """Those still to be dealt with, as `status` tells them; nothing where there are none."""
    if postings:
        console.console.print(
            _table("清分平台恢复后撤回、待处理的入账 · Taken back by a restored clearinghouse", postings)
        )
        console.say(f"处理后登记 · Once dealt with: {command} withdrawn close REDEMPTION --reference … --note …")


def list_withdrawn(postings: Sequence[recovery_pb2.WithdrawnPosting], everything: bool, as_json: bool) -> None:
    """Those to be dealt with, or all with how they were."""
    if as_json:
        console.print_json([withdrawn_data(each) for each in postings])
    elif postings:
        console.console.print(_table("撤回的入账 · Postings that were taken back", postings))
        for each in postings:
            if each.HasField("closing"):
                console.say(_closed(each))
    elif everything:
        console.say("没有撤回的入账 · No posting was ever taken back")
    else:
        console.say("没有待处理的撤回入账 · No posting that was taken back is to be dealt with")


def show_closed(postings: Sequence[recovery_pb2.WithdrawnPosting], as_json: bool) -> None:
    """What was closed now, or was so before with the same words."""
    if as_json:
        console.print_json([withdrawn_data(each) for each in postings])
        return
    for each in postings:
        console.say(_closed(each))


def withdrawn_data(each: recovery_pb2.WithdrawnPosting) -> dict[str, Any]:
    closing = {name: getattr(each.closing, name) for name in _CLOSING} if each.HasField("closing") else None
    return {
        "side": each.side,
        "redemption_id": each.posting.redemption_id.hex(),
        **{name: getattr(each.posting, name) for name in _POSTING},
        "withdrawn_at": each.withdrawn_at,
        "incarnation": each.incarnation,
        "reason": each.reason,
        "closing": closing,
    }


def _table(title: str, postings: Sequence[recovery_pb2.WithdrawnPosting]) -> Any:
    headings: list[console.Heading] = [
        ("场次", "Window"),
        ("核销", "Redemption"),
        ("笔", "Number"),
        ("本方", "This region's"),
        ("发券地", "Issuer"),
        ("核销地", "Redeemed in"),
        ("优惠（元）", "Discount, yuan"),
        ("撤回", "Taken back"),
        ("已处理", "Dealt with"),
    ]
    rows: list[tuple[console.Cell, ...]] = [
        (
            each.posting.window,
            each.posting.redemption_id.hex(),
            each.posting.number,
            _SIDES.get(each.side, ""),
            each.posting.issuer,
            each.posting.redeeming_region,
            console.yuan(each.posting.discount_fen),
            _moment(each.withdrawn_at),
            console.yes_no(each.HasField("closing")),
        )
        for each in postings
    ]
    return console.table(title, headings, rows)


def _closed(each: recovery_pb2.WithdrawnPosting) -> str:
    said, posting = each.closing, each.posting
    return (
        f"{posting.redemption_id.hex()}/{posting.number} 已处理 · dealt with {_moment(said.at)}: "
        f"{said.reference}，{said.note}（{said.by}）"
    )


def _moment(at: int) -> str:
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M:%S")
