"""证据 · Check signed evidence, without the network."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from chassis import console
from chassis.operating import read_file
from custodian.evidence_file import Proven
from custodian.evidence_file import verify as verify_file
from quanlian.refusals import CHINA, RefusalReason
from quanlian.state_names import REDEMPTION_STATES_ZH
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import body_to_voucher, bytes_to_token

app = typer.Typer(no_args_is_help=True, add_completion=False)
PURCHASES = ("quote", "authorize", "redeem")
OPERATIONS_ZH = {
    "quote": "询价",
    "authorize": "占用",
    "redeem": "核销",
    "capture": "确认核销",
    "void": "撤销",
    "reverse": "冲正",
    "refund": "退货退款",
}


@app.callback()
def group() -> None:
    """证据：核验一方出示的签名记录 · Check what a party shows of who asked and who answered what."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="证据文件 · The evidence file.")],
    trust: Annotated[str, typer.Option("--trust", metavar="FINGERPRINT", help="根证书指纹 · The root's fingerprint.")],
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON · Print JSON.")] = False,
) -> None:
    """核验证据并说明其内容 · Check every signature and say what it proves; ends with an error where one fails."""
    proven = verify_file(read_file(file), trust)
    if as_json:
        console.print_json([_data(each) for each in proven])
        return
    console.say("签名全部有效 · Every signature holds")
    for each in proven:
        console.say(f"\n{each.asker} → {each.decider}（签名 signed by: {', '.join(each.signers)}）")
        for line in (*_request_lines(each.request), *_answer_lines(each.answer)):
            console.say(f"  {line}")
        for note in each.notes:
            console.say(f"  注 Note: {note}")


def _request_lines(request: pb.RedemptionItem | None) -> list[str]:
    if request is None:
        return []
    data = _request_data(request)
    operation = data["operation"]
    lines = [f"请求 Request {data['request_id']}: {OPERATIONS_ZH[operation]} {operation}"]
    if operation in PURCHASES:
        lines.append(
            f"  券 Voucher {data['issuer']} {data['pack_id']}/{data['index']} ({data['campaign']})，"
            f"订单 order {data['order_id']}，商户 merchant {data['merchant']}，"
            f"{console.yuan(data['order_fen'])} 元 yuan"
        )
    elif "redemption_id" in data:
        amount = f"，{console.yuan(data['order_fen'])} 元 yuan" if data.get("order_fen") else ""
        lines.append(f"  核销记录 redemption {data['redemption_id']}{amount}")
    return lines


def _answer_lines(answer: pb.RedemptionAnswer | None) -> list[str]:
    if answer is None:
        return []
    data = _answer_data(answer)
    at = datetime.fromtimestamp(answer.decided_at, CHINA).strftime("%Y-%m-%d %H:%M:%S")
    head = f"答复 Answer {at}，决定方 decided by {answer.decider}: "
    if answer.HasField("refusal"):
        return [f"{head}拒绝 refused {data['refusal']}", f"  {answer.refusal.message_zh} · {answer.refusal.message_en}"]
    if not answer.redemption_id:
        return [f"{head}优惠 discount {console.yuan(answer.discount_fen)} 元 yuan"]
    state = data["state"]
    return [
        f"{head}{REDEMPTION_STATES_ZH[state]} {state}，优惠 discount {console.yuan(answer.discount_fen)} 元 yuan",
        f"  核销记录 redemption {data['redemption_id']}",
        *(f"  {leg.account} {console.yuan(leg.amount_fen)} 元 yuan" for leg in answer.legs),
    ]


def _data(proven: Proven) -> dict[str, Any]:
    return {
        "asker": proven.asker,
        "decider": proven.decider,
        "signed_by": list(proven.signers),
        "request": _request_data(proven.request) if proven.request else None,
        "answer": _answer_data(proven.answer) if proven.answer else None,
        "notes": list(proven.notes),
    }


def _request_data(request: pb.RedemptionItem) -> dict[str, Any]:
    operation = str(request.WhichOneof("operation"))
    data: dict[str, Any] = {"request_id": request.request_id.hex(), "operation": operation}
    if operation in PURCHASES:
        purchase: pb.Purchase = getattr(request, operation)
        voucher, order = body_to_voucher(bytes_to_token(purchase.token).body), purchase.order
        return data | {
            "issuer": voucher.issuer,
            "campaign": voucher.campaign,
            "pack_id": voucher.pack_id.hex(),
            "index": purchase.index,
            "merchant": order.merchant,
            "order_id": order.order_id,
            "order_fen": order.order_fen,
        }
    if operation == "reverse":
        return data | {"original_request_id": request.reverse.original_request_id.hex()}
    later = getattr(request, operation)
    return data | {"redemption_id": later.redemption_id.hex(), "order_fen": getattr(later, "order_fen", 0)}


def _answer_data(answer: pb.RedemptionAnswer) -> dict[str, Any]:
    refused = answer.HasField("refusal")
    return {
        "request_id": answer.request_id.hex(),
        "decider": answer.decider,
        "decided_at": answer.decided_at,
        "refusal": RefusalReason(answer.refusal.reason).name if refused else None,
        "redemption_id": answer.redemption_id.hex() or None,
        "state": pb.RedemptionState.Name(answer.state).removeprefix("REDEMPTION_STATE_") if answer.state else None,
        "discount_fen": answer.discount_fen,
        "legs": [{"account": leg.account, "amount_fen": leg.amount_fen} for leg in answer.legs],
    }
