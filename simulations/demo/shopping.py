"""Steps 3 and 4: shoppers claim, and redeem at home and away, over the stream and over unary calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from quanlian.v1 import claim_pb2, node_operator_pb2, redemption_pb2, refusal_pb2
from simulations.demo.plan import HeldVoucher, PlannedClaim, Use, held_vouchers
from simulations.demo.setting import CODES
from simulations.demo.stage import Stage, answer_of, counting, say, until

UNARY_IN_FLIGHT = 16
ASKED_AGAIN = 3
"""How often a till asks again for what was refused for now, where a busy machine's parties answer each other late."""


async def claim(stage: Stage, claims: Sequence[PlannedClaim]) -> list[HeldVoucher]:
    """Claim in the order of the plan, each issuer's stream by itself. Returns every voucher, in that order."""
    tokens: dict[int, bytes] = {}
    with counting("领券份数", "packs claimed", len(claims)) as progressed:

        async def claim_at(issuer: str) -> None:
            numbered = [(n, each) for n, each in enumerate(claims) if each.issuer == issuer]
            items = [each.item for _, each in numbered]
            answers = await stage.clients.platforms[issuer].claim(items, progressed)
            for (number, _), answer in zip(numbered, answers, strict=True):
                _take_claim(stage, answer, number, tokens)

        await asyncio.gather(*(claim_at(issuer) for issuer in sorted({each.issuer for each in claims})))
    await quiet(stage)
    return [voucher for number in sorted(tokens) for voucher in held_vouchers(tokens[number], stage.terms)]


def _take_claim(stage: Stage, answer: claim_pb2.ClaimAnswer, number: int, tokens: dict[int, bytes]) -> None:
    if answer.token:
        tokens[number] = answer.token
    else:
        stage.expect(False, f"a claim was refused: {stage.refused(answer.refusal)}")


async def redeem(stage: Stage, uses: Sequence[Use]) -> None:
    """All ordinary uses: at once or in two phases, then the returns."""
    accepted: dict[bytes, tuple[Use, bytes]] = {}
    refused = await _ask(stage, uses, accepted)
    for _ in range(ASKED_AGAIN):
        for_now = [use for use, refusal in refused if refusal.retryable]
        if not for_now:
            break
        refused = [each for each in refused if not each[1].retryable]
        refused += await _ask(stage, for_now, accepted)
    for _, refusal in refused:
        stage.expect(False, f"an ordinary redemption was refused: {stage.refused(refusal)}")
    await _second_phase(stage, accepted)
    await _returns(stage, accepted)


async def _ask(
    stage: Stage, uses: Sequence[Use], accepted: dict[bytes, tuple[Use, bytes]]
) -> list[tuple[Use, refusal_pb2.Refusal]]:
    """Ask for each use under a new request id; returns what was refused."""
    by_id: dict[bytes, Use] = {}
    streamed: dict[str, list[bytes]] = {code: [] for code in CODES}
    unary: list[tuple[str, bytes]] = []
    for use in uses:
        item = _first_item(stage, use)
        by_id[item.request_id] = use
        content = item.SerializeToString()
        if use.way == "unary":
            unary.append((use.region, content))
        else:
            streamed[use.region].append(content)
    with counting("核销请求", "redemption requests", len(uses)) as progressed:
        streams = [
            stage.clients.platforms[region].stream(items, progressed) for region, items in streamed.items() if items
        ]
        answered, singly = await asyncio.gather(asyncio.gather(*streams), _call_each(stage, unary, progressed))
    refused = []
    for content in (*(each for answers in answered for each in answers.values()), *singly):
        answer = answer_of(content)
        use = by_id[answer.request_id]
        if answer.HasField("refusal"):
            refused.append((use, answer.refusal))
        else:
            accepted[answer.request_id] = (use, answer.redemption_id)
    return refused


def _first_item(stage: Stage, use: Use) -> redemption_pb2.RedemptionItem:
    item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id())
    kind = "redeem" if use.way in ("redeem", "unary") else "authorize"
    getattr(item, kind).CopyFrom(use.purchase)
    return item


async def _call_each(
    stage: Stage, calls: Sequence[tuple[str, bytes]], progressed: Callable[[int], None]
) -> list[bytes]:
    in_flight = asyncio.Semaphore(UNARY_IN_FLIGHT)

    async def call(region: str, content: bytes) -> bytes:
        async with in_flight:
            answer = await stage.clients.platforms[region].call("redeem", content)
        progressed(1)
        return answer

    return await asyncio.gather(*(call(region, content) for region, content in calls))


async def _second_phase(stage: Stage, accepted: dict[bytes, tuple[Use, bytes]]) -> None:
    """Holds are captured, in part or whole, or voided."""
    items: dict[str, list[bytes]] = {code: [] for code in CODES}
    for use, redemption_id in accepted.values():
        item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id())
        if use.way in ("capture", "part"):
            order_fen = use.captured_order_fen if use.way == "part" else 0
            item.capture.CopyFrom(redemption_pb2.Capture(redemption_id=redemption_id, order_fen=order_fen))
        elif use.way == "void":
            item.void.CopyFrom(redemption_pb2.Void(redemption_id=redemption_id))
        else:
            continue
        items[use.region].append(item.SerializeToString())
    await _send_all(stage, items, "占用后确认或撤销", "holds captured or voided")


async def _returns(stage: Stage, accepted: dict[bytes, tuple[Use, bytes]]) -> None:
    items: dict[str, list[bytes]] = {code: [] for code in CODES}
    for use, redemption_id in accepted.values():
        if use.refund_order_fen:
            refund = redemption_pb2.Refund(redemption_id=redemption_id, order_fen=use.refund_order_fen)
            item = redemption_pb2.RedemptionItem(request_id=stage.plan.request_id(), refund=refund)
            items[use.region].append(item.SerializeToString())
    await _send_all(stage, items, "退货退款", "refunds, full and partial")


async def _send_all(stage: Stage, items: dict[str, list[bytes]], zh: str, en: str) -> None:
    with counting(zh, en, sum(map(len, items.values()))) as progressed:
        platforms = stage.clients.platforms
        results = await asyncio.gather(
            *(platforms[region].stream(each, progressed) for region, each in items.items() if each)
        )
    for answers in results:
        for content in answers.values():
            answer = answer_of(content)
            if answer.HasField("refusal"):
                stage.expect(False, f"{en}: refused with {stage.refused(answer.refusal)}")


async def quiet(stage: Stage) -> None:
    """Wait until no node has a request or a hand-over open."""

    async def nothing_open() -> bool:
        for operator in stage.clients.operators.values():
            status = await operator.do(operator.node.GetNodeStatus, node_operator_pb2.GetNodeStatusRequest())
            if status.unanswered or status.hand_overs_open:
                return False
        return True

    await until(nothing_open, "requests and hand-overs in flight")


def tell_vouchers(vouchers: Sequence[HeldVoucher]) -> None:
    packs = len({each.token for each in vouchers})
    say(f"已发 {packs:,} 份、{len(vouchers):,} 张券，资金已逐张占用", "each claim reserved its money from its funders")
