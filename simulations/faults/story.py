"""A schedule in words: what was planned, what went wrong, who told whom what, and what is violated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from quanlian.refusals import RefusalReason
from quanlian.v1 import claim_pb2, custody_pb2, redemption_pb2
from simulations.faults.network import Mishap
from simulations.faults.plan import Fault, Operation, Plan
from simulations.faults.trace import Event
from simulations.faults.world import Result

_DULL = ("GetDirectory", "GetTerms", "GetStatement", "GetWindow")
_FATES = {Mishap.LOST: "LOST", Mishap.REPEATED: "arrives twice", Mishap.OVERTAKEN: "is overtaken"}


def story(plan: Plan, result: Result) -> list[str]:
    """Line by line, times in virtual seconds."""
    return [
        f"种子/场次 Seed/schedule {plan.seed}，参与方 parties: clearinghouse, {', '.join(plan.regions)}",
        "",
        "计划 Plan",
        *(f"  {line}" for line in _plan(plan)),
        "",
        "经过 What happened",
        *(f"  {line}" for line in _events(result)),
        "",
        "结果 Outcome",
        *(f"  ✗ {violation}" for violation in result.violations),
        *([] if result.violations else ["  ✓ 全部不变式成立 every invariant holds"]),
    ]


def _plan(plan: Plan) -> Iterator[str]:
    steps = [(each.at, _operation(each)) for each in plan.operations] + [
        (each.at, _fault(each)) for each in plan.faults
    ]
    for at, words in sorted(steps):
        yield f"{at:7.3f}  {words}"


def _operation(step: Operation) -> str:
    words = f"step {step.number}: {step.kind} at {step.region}"
    if step.voucher is not None:
        pack = f"the pack of step {step.voucher.claim}" if step.voucher.claim else f"ready pack {step.voucher.pack}"
        words += f", voucher {step.voucher.index} of {pack} of {step.voucher.issuer}"
        words += f", {step.order} of {_yuan(step.order_fen)}" if step.order else ""
    elif step.campaign:
        words += f", {step.campaign}"
    elif step.of is not None:
        words += f", of step {step.of}"
        words += " with other bytes" if step.altered else f", {_yuan(step.order_fen)}" if step.order_fen else ""
    return words


def _fault(fault: Fault) -> str:
    where = f"{fault.link.source} → {fault.link.target}" if fault.link else fault.party
    words = {
        "cut": f"link cut {fault.detail} for {fault.seconds:.1f} s",
        "slow": f"messages {fault.detail} s late for {fault.seconds:.1f} s",
        "mishap": f"the next message is {fault.detail}",
        "crash": f"crash, down for {fault.seconds:g} s",
        "commit": f"crash {fault.detail} its next commit, down for {fault.seconds:g} s",
        "restore": f"back to the copy of now {fault.detail}".rstrip() + f", {fault.seconds:.1f} s later",
        "clock": f"the clock jumps by {fault.seconds:+.0f} s",
    }[fault.kind]
    return f"fault {fault.number}: {where}: {words}"


def _events(result: Result) -> Iterator[str]:
    names = _Names(result.names)
    for event in result.trace.events:
        if event.message is None and event.words.split(" ")[-1].startswith(("RedeemStream", "CustodyStream")):
            continue
        if any(event.words.endswith(dull) for dull in _DULL) or _is_ping(event.message):
            continue
        yield f"{event.seconds:7.3f}  {_event(event, names)}"


def _is_ping(message: Any) -> bool:
    """A message on a stream by which one end shows that it is there."""
    if isinstance(message, redemption_pb2.RedeemStreamRequest):
        return not message.items
    return isinstance(message, redemption_pb2.RedeemStreamResponse) and not message.answers


def _event(event: Event, names: _Names) -> str:
    if "{" in event.words or (event.message is None and not _is_message(event)):
        who = f"{event.who} " if event.who else ""
        return who + event.words.format(*event.details)
    target, _, fate = event.details
    what = f": {names.message(event.message)}" if event.message is not None else ""
    ending = f" — {_FATES[fate]}" if fate else ""
    return f"{event.who} → {target}  {event.words}{what}{ending}"


def _is_message(event: Event) -> bool:
    return event.words.startswith(("calls ", "answers ", "sends on ", "ends "))


class _Names:
    """Messages in words; ids by the names of the steps that they belong to."""

    def __init__(self, names: dict[bytes, str]) -> None:
        self._names = names

    def message(self, message: Any) -> str:
        return "; ".join(self._parts(message)) or type(message).__name__

    def _parts(self, message: Any) -> Iterable[str]:
        fields = {field.name for field, _ in message.ListFields()}
        if isinstance(message, redemption_pb2.RedeemStreamRequest):
            return map(self._item, message.items)
        if isinstance(message, redemption_pb2.RedeemStreamResponse):
            return map(self._answer, message.answers)
        if isinstance(message, claim_pb2.ClaimRequest):
            return [self._named(claim_pb2.ClaimItem.FromString(message.item).request_id)]
        if isinstance(message, claim_pb2.ClaimResponse):
            return [self._claimed(message.answer)]
        if isinstance(message, custody_pb2.CustodyStreamRequest | custody_pb2.CustodyStreamResponse):
            return self._custody(message)
        if isinstance(message, custody_pb2.FollowFeedResponse):
            return [self._news(event) for event in message.events]
        if "item" in fields:
            return [self._item(message.item.item)]
        if "answer" in fields:
            return [self._answer(message.answer.answer)]
        return []

    def _item(self, content: bytes) -> str:
        item = redemption_pb2.RedemptionItem.FromString(content)
        operation = item.WhichOneof("operation") or "?"
        return f"{self._named(item.request_id)} {operation}"

    def _answer(self, content: bytes) -> str:
        answer = redemption_pb2.RedemptionAnswer.FromString(content)
        name = self._named(answer.request_id)
        if answer.HasField("refusal"):
            return f"{name} refused {RefusalReason(answer.refusal.reason).name} by {answer.decider}"
        if not answer.redemption_id:
            return f"{name} done by {answer.decider}"
        state = redemption_pb2.RedemptionState.Name(answer.state).removeprefix("REDEMPTION_STATE_")
        return f"{name} {state} {_yuan(answer.discount_fen)} by {answer.decider}, window {answer.window}"

    def _claimed(self, content: bytes) -> str:
        answer = claim_pb2.ClaimAnswer.FromString(content)
        name = self._named(answer.request_id)
        return (
            f"{name} refused {RefusalReason(answer.refusal.reason).name}"
            if answer.HasField("refusal")
            else f"{name} claimed"
        )

    def _custody(self, message: Any) -> list[str]:
        which = message.WhichOneof("message")
        if which == "hand_over":
            body = custody_pb2.HandOver.FromString(message.hand_over.body)
            head = custody_pb2.HandOverHead.FromString(body.head)
            handed = map(custody_pb2.HandedVoucher.FromString, body.vouchers)
            vouchers = [f"{self._voucher(each)} epoch {each.epoch}" for each in handed]
            return [f"hand-over {head.number} of {', '.join(vouchers)}"]
        if which == "release_refused":
            refused = custody_pb2.CustodyRefused.FromString(message.release_refused.body)
            return [f"release of {self._voucher(refused.voucher)} refused {RefusalReason(refused.reason).name}"]
        if which == "release_request":
            return ["release " + ", ".join(map(self._voucher, message.release_request.vouchers))]
        if which == "hand_over_taken":
            return [f"hand-over {message.hand_over_taken} taken"]
        return [str(which)]

    def _news(self, event: Any) -> str:
        which = event.WhichOneof("event")
        detail = ""
        if which == "posting":
            detail = f" {self._named(event.posting.redemption_id)} {_yuan(event.posting.discount_fen)}"
        elif which in ("statement_ready", "window_settled"):
            detail = f" {getattr(event, which)}"
        return f"news {event.sequence} {which}{detail}"

    def _voucher(self, ref: Any) -> str:
        return f"{self._named(ref.pack_id)}#{ref.index}"

    def _named(self, id: bytes) -> str:
        return self._names.get(id, id.hex()[-6:])


def _yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}"
