"""Single vouchers at a node: recalled from the clearinghouse, cancelled for good."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import Config, Json, call, operator_settings
from custodian.showing import Why
from quanlian.errors import InvalidInput
from quanlian.refusals import CHINA, RefusalReason
from quanlian.v1 import node_operator_pb2 as pb
from quanlian.v1.cancellation_pb2 import Cancellation
from quanlian.v1.custody_pb2 import VoucherRef
from quanlian.v1.node_operator_pb2_grpc import NodeOperatorServiceStub

app = typer.Typer(add_completion=False)
LISTED = 20
"""With more vouchers that did not come back, only their numbers are shown."""


@app.command("cancel-voucher")
def cancel_voucher(
    voucher: Annotated[str, typer.Argument(metavar="PACK/INDEX", help="券包编号（十六进制）/序号 · In hexadecimal.")],
    why: Why,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """作废单张券（误发、持券人退回），不可恢复 · Cancel a voucher for good: issued by mistake, or returned.

    预留资金按过期规则退回出资方；已移交的券先行收回 · Its money is free as at expiry; one that is away is recalled.
    """
    request = pb.CancelVoucherRequest(voucher=voucher_ref(voucher, "PACK/INDEX"), why=why)
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.CancelVoucher, request)
    made = answer.cancellation
    if as_json:
        console.print_json(_cancellation_data(made))
        return
    console.say(f"已作废 · Cancelled: {voucher}")
    console.say(
        f"退回出资方 {console.yuan(made.freed_fen)} 元 · {console.yuan(made.freed_fen)} yuan back to the funders"
    )


@app.command("cancellations")
def list_cancellations(config: Config = None, as_json: Json = False) -> None:
    """列出作废的券：经办、原因、退回资金 · List cancelled vouchers, with who, why, and the money freed."""
    request = pb.ListCancellationsRequest()
    answer = call(operator_settings(config), NodeOperatorServiceStub, lambda stub: stub.ListCancellations, request)
    show_cancellations(answer.cancellations, as_json)


def show_cancellations(cancellations: Iterable[Cancellation], as_json: bool) -> None:
    """A table in yuan, its sum last, or JSON in fen."""
    listed = [_cancellation_data(each) for each in cancellations]
    if as_json:
        console.print_json(listed)
        return
    if not listed:
        console.say("没有作废的券 · No voucher is cancelled")
        return
    headings: list[console.Heading] = [
        ("券", "Voucher"),
        ("时间", "When"),
        ("经办", "By"),
        ("原因", "Why"),
        ("退回（元）", "Freed, yuan"),
    ]
    rows: list[list[console.Cell]] = [
        [each["voucher"], each["at"], each["by"], each["why"], console.yuan(each["freed_fen"])] for each in listed
    ]
    rows.append(["合计 Total", "", "", "", console.yuan(sum(each["freed_fen"] for each in listed))])
    console.console.print(console.table("作废的券 · Cancelled vouchers", headings, rows))


def _cancellation_data(made: Cancellation) -> dict[str, Any]:
    return {
        "voucher": voucher_name(VoucherRef(pack_id=made.pack_id, index=made.index)),
        "at": datetime.fromtimestamp(made.at, CHINA).isoformat(),
        "by": made.by,
        "why": made.why,
        "freed_fen": made.freed_fen,
    }


@app.command()
def recall(
    campaign: Annotated[
        str, typer.Option("--campaign", metavar="ID", help="活动全部已移交的券 · All vouchers of a campaign.")
    ] = "",
    vouchers: Annotated[
        list[str] | None,
        typer.Option("--voucher", metavar="PACK/INDEX", help="单张券，可重复 · One voucher; repeatable."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """收回移交清分平台的券及其资金 · Take vouchers back from the clearinghouse, with their money.

    已核销、已占用的券不能收回 · What is redeemed or on hold there does not come back.
    指定的券未能收回时退出码为 1 · Ends with 1 where a voucher that was named does not come back.
    """
    if bool(campaign) == bool(vouchers):
        raise InvalidInput(
            "两者须写其一 · names both or neither", place="--campaign, --voucher", remedy="只写一项 · give one of them"
        )
    settings = operator_settings(config)
    request = pb.RecallVouchersRequest(campaign=campaign, vouchers=[voucher_ref(each) for each in vouchers or ()])
    returned, refused = 0, list[pb.RecallRefused]()
    with console.progress() as bar:
        task = bar.add_task("收回 recalled", total=None)
        while True:
            answer = call(settings, NodeOperatorServiceStub, lambda stub: stub.RecallVouchers, request)
            returned, refused = returned + answer.returned, [*refused, *answer.refused]
            bar.update(task, completed=returned)
            if not answer.HasField("next"):
                break
            request.after.CopyFrom(answer.next)
    show_recalled(returned, refused, as_json)
    if vouchers and refused:
        raise typer.Exit(1)


def show_recalled(returned: int, refused: Sequence[pb.RecallRefused], as_json: bool) -> None:
    """How many came back, and of the others how many for which reason; one by one where they are few, or as JSON."""
    kept = [(voucher_name(each.voucher), RefusalReason(each.reason)) for each in refused]
    if as_json:
        listed = [{"voucher": voucher, "reason": reason.name} for voucher, reason in kept]
        console.print_json({"returned": returned, "refused": listed})
        return
    console.say(f"已收回 {returned:,} 张 · {returned:,} taken back")
    if not kept:
        return
    reason_heading: console.Heading = ("原因", "Reason")
    counts = Counter(reason for _, reason in kept).most_common()
    rows: list[list[console.Cell]] = [[_reason_text(reason), f"{count:,}"] for reason, count in counts]
    rows.append(["合计 Total", f"{len(kept):,}"])
    console.console.print(console.table("未收回 · Not taken back", [reason_heading, ("张数", "Vouchers")], rows))
    if len(kept) <= LISTED:
        rows = [[voucher, _reason_text(reason)] for voucher, reason in kept]
        console.console.print(console.table("逐张 · One by one", [("券", "Voucher"), reason_heading], rows))


def _reason_text(reason: RefusalReason) -> str:
    return f"{reason.summary_zh} {reason.name}"


def voucher_name(voucher: VoucherRef) -> str:
    return f"{voucher.pack_id.hex()}/{voucher.index}"


def voucher_ref(text: str, place: str = "--voucher") -> VoucherRef:
    """`PACK/INDEX`, the pack's id as 30 hexadecimal digits in either case. Raises InvalidInput."""
    if not re.fullmatch(r"[0-9a-fA-F]{30}/[0-9]{1,2}", text):
        raise InvalidInput(
            f"{text!r} 不是券号 · is no voucher",
            place=place,
            remedy="券包编号（30位十六进制）/序号 · write PACK/INDEX, the pack's id as 30 hexadecimal digits",
        )
    pack, _, index = text.partition("/")
    return VoucherRef(pack_id=bytes.fromhex(pack), index=int(index))
