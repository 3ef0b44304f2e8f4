"""What must go right when something goes wrong: each incident has its own named outcome, checked as it happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from quanlian.merchants import check_character
from quanlian.refusals import RefusalReason
from quanlian.terms import Terms
from quanlian.v1 import redemption_pb2
from simulations.demo.plan import HANGZHOU, JINCHENG, SUZHOU, HeldVoucher, PlannedClaim
from simulations.demo.shopping import claim
from simulations.demo.stage import Stage, answer_of, say

SHANGHAI, HEFEI = "310000", "340100"
RACES = 10
RACE_STEP_SECONDS = 0.004
"""The home side of a race starts up to four such steps later, so that sometimes it loses."""
EACH = 5
FLASH_PACKS = 6
WITNESSES = 1_000_000
"""Holder numbers of the shoppers in these scenes, beside those of the plan."""

Item = redemption_pb2.RedemptionItem
_BASE_ORDER_FEN = 5800


def witness_claims(stage: Stage) -> list[PlannedClaim]:
    """Packs for the scenes: Hangzhou's for most, one Jincheng car for a rule on regions."""
    packs = RACES + 9 * EACH
    claims = [stage.plan.claim(HANGZHOU, "hangzhou-2020-r1", stage.terms, WITNESSES + n) for n in range(packs)]
    car = next(each.id for each in stage.terms["jincheng-2026"].rounds if each.pack == "car")
    return [*claims, stage.plan.claim(JINCHENG, "jincheng-2026", stage.terms, WITNESSES, car)]


def flash_claims(stage: Stage) -> list[PlannedClaim]:
    return [stage.plan.claim(SUZHOU, "flash-demo", stage.terms, WITNESSES + n) for n in range(FLASH_PACKS)]


class Incidents:
    """Plays the scenes with one voucher of a fresh pack each."""

    def __init__(self, stage: Stage, vouchers: Iterable[HeldVoucher]) -> None:
        self._stage = stage
        by_pack = {each.token: each for each in vouchers if each.index == 0}
        self._car = next(each for each in by_pack.values() if each.issuer == JINCHENG)
        self._packs: Iterator[HeldVoucher] = iter([each for each in by_pack.values() if each.issuer == HANGZHOU])

    async def play(self) -> None:
        await self._races()
        await self._repeats()
        await self._changed_amounts()
        await self._forged()
        await self._expect_refusals(
            "订单未满最低消费", "an order under the minimum", "BELOW_MINIMUM_SPEND", SHANGHAI, order_fen=3850
        )
        await self._expect_refusals(
            "商户未参加活动", "a merchant that is not admitted", "MERCHANT_NOT_ADMITTED", HEFEI, merchant=_stranger()
        )
        await self._expect_refusals(
            "杭州40减10在晋城城区（杠杆4倍 < 5倍）", "Hangzhou's 40−10 in Jincheng", "LEVERAGE_TOO_LOW", JINCHENG
        )
        await self._expect_refusals(
            "券种不适用此类商品",
            "a category the voucher does not cover",
            "CATEGORY_NOT_COVERED",
            SUZHOU,
            category="fuel",
        )
        await self._car_away()
        await self._two_vouchers_on_one_order()

    async def _races(self) -> None:
        """One voucher at the same moment at home and in another region: exactly one wins, and is refunded in full."""
        wins = {"home": 0, "away": 0}
        for n in range(RACES):
            voucher = next(self._packs)
            home = self._item("redeem", self._purchase(voucher, HANGZHOU))
            away = self._item("redeem", self._purchase(voucher, SHANGHAI))
            answers = await asyncio.gather(
                self._call(HANGZHOU, home, after=n % 5 * RACE_STEP_SECONDS), self._call(SHANGHAI, away)
            )
            winners = [place for place, answer in enumerate(answers) if not answer.HasField("refusal")]
            self._stage.expect(len(winners) == 1, f"{len(winners)} winners in a race for one voucher")
            for place, answer in zip((HANGZHOU, SHANGHAI), answers, strict=True):
                if answer.HasField("refusal"):
                    self._refusal_is(answer, RefusalReason.ALREADY_REDEEMED)
                else:
                    wins["home" if place == HANGZHOU else "away"] += 1
                    refund = redemption_pb2.Refund(redemption_id=answer.redemption_id, order_fen=answer.order_fen)
                    returned = await self._call(place, self._refund(refund))
                    self._stage.expect(returned.discount_fen == 0, "a full refund leaves nothing of the discount")
        say(
            f"同一张券同时在杭州和上海核销 {RACES} 次：各只成功一次"
            f"（杭州 {wins['home']}，上海 {wins['away']}），随即全额退款",
            f"one voucher at home and away at once, {RACES} times: exactly one wins each time",
        )

    async def _repeats(self) -> None:
        """The same request again: the same answer, byte for byte."""
        same = 0
        for n in range(EACH):
            region = (HANGZHOU, SHANGHAI)[n % 2]
            item = self._item("redeem", self._purchase(next(self._packs), region))
            first = await self._bytes(region, item)
            same += first == await self._bytes(region, item)
        self._stage.expect(same == EACH, f"{EACH - same} repeated requests got another answer")
        say(f"重复请求 {EACH} 次：回答逐字节相同", "a repeated request gets the same answer, byte for byte")

    async def _changed_amounts(self) -> None:
        for n in range(EACH):
            region = (HANGZHOU, SUZHOU)[n % 2]
            item = self._item("redeem", self._purchase(next(self._packs), region))
            await self._bytes(region, item)
            item.redeem.order.order_fen += 100
            await self._refused(region, item, RefusalReason.REQUEST_ID_REUSED)
        self._told("同一请求号改金额", "the same request id with a changed amount", "REQUEST_ID_REUSED")

    async def _forged(self) -> None:
        for n in range(EACH):
            voucher = next(self._packs)
            purchase = self._purchase(voucher, (HANGZHOU, SHANGHAI)[n % 2])
            position = purchase.token.index(voucher.holder_tag)
            forged = bytearray(purchase.token)
            forged[position] ^= 1
            purchase.token = bytes(forged)
            purchase.order.payer_tag = bytes(forged[position : position + len(voucher.holder_tag)])
            await self._refused(
                (HANGZHOU, SHANGHAI)[n % 2], self._item("redeem", purchase), RefusalReason.BAD_SIGNATURE
            )
        self._told("伪造签名", "a forged signature", "BAD_SIGNATURE")

    async def _expect_refusals(
        self,
        zh: str,
        en: str,
        reason: str,
        region: str,
        order_fen: int = _BASE_ORDER_FEN,
        merchant: str = "",
        category: str = "",
    ) -> None:
        for _ in range(EACH):
            purchase = self._stage.plan.purchase(next(self._packs), region, order_fen, merchant, category)
            answer = await self._refused(region, self._item("redeem", purchase), RefusalReason[reason])
        self._told(zh, en, reason, answer)

    async def _car_away(self) -> None:
        purchase = self._stage.plan.purchase(self._car, HANGZHOU)
        answer = await self._refused(HANGZHOU, self._item("redeem", purchase), RefusalReason.REGION_NOT_COVERED)
        self._told("晋城购车补贴在杭州", "Jincheng's car subsidy in Hangzhou", "REGION_NOT_COVERED", answer)

    async def _two_vouchers_on_one_order(self) -> None:
        for _ in range(EACH):
            voucher = next(self._packs)
            purchase = self._purchase(voucher, SUZHOU)
            await self._bytes(SUZHOU, self._item("redeem", purchase))
            purchase.index = 1
            await self._refused(SUZHOU, self._item("redeem", purchase), RefusalReason.ORDER_ALREADY_DISCOUNTED)
        self._told("一笔订单两张券", "two public vouchers on one order", "ORDER_ALREADY_DISCOUNTED")

    # Building and sending

    def _purchase(self, voucher: HeldVoucher, region: str) -> redemption_pb2.Purchase:
        return self._stage.plan.purchase(voucher, region, _BASE_ORDER_FEN)

    def _item(self, operation: str, purchase: redemption_pb2.Purchase) -> Item:
        item = Item(request_id=self._stage.plan.request_id())
        getattr(item, operation).CopyFrom(purchase)
        return item

    def _refund(self, refund: redemption_pb2.Refund) -> Item:
        return Item(request_id=self._stage.plan.request_id(), refund=refund)

    async def _bytes(self, region: str, item: Item) -> bytes:
        operation = str(item.WhichOneof("operation"))
        return await self._stage.clients.platforms[region].call(operation, item.SerializeToString())

    async def _call(self, region: str, item: Item, after: float = 0.0) -> redemption_pb2.RedemptionAnswer:
        await asyncio.sleep(after)
        return answer_of(await self._bytes(region, item))

    async def _refused(self, region: str, item: Item, reason: RefusalReason) -> redemption_pb2.RedemptionAnswer:
        answer = await self._call(region, item)
        self._refusal_is(answer, reason)
        return answer

    def _refusal_is(self, answer: redemption_pb2.RedemptionAnswer, reason: RefusalReason) -> None:
        name = self._stage.refused(answer.refusal) if answer.HasField("refusal") else "accepted"
        self._stage.expect(name == reason.name, f"expected {reason.name}, got {name}")

    def _told(self, zh: str, en: str, reason: str, answer: redemption_pb2.RedemptionAnswer | None = None) -> None:
        message = f"：“{answer.refusal.message_zh}”" if answer else ""
        say(f"{zh} → {reason}{message}", en)


class FlashIncidents(Incidents):
    """Suzhou's small campaign: holds that end after seconds, vouchers that expire while we watch."""

    def __init__(self, stage: Stage, vouchers: list[HeldVoucher]) -> None:
        self._stage = stage
        self._vouchers = vouchers

    async def hold(self) -> list[redemption_pb2.RedemptionAnswer]:
        """Four holds at home and away: one is captured, one voided; the two that are returned run out."""
        captured = await self._later("capture", await self._hold(0, SUZHOU), SUZHOU)
        voided = await self._later("void", await self._hold(1, SHANGHAI), SHANGHAI)
        self._stage.expect(captured.state == redemption_pb2.REDEMPTION_STATE_CAPTURED, "a hold was captured")
        self._stage.expect(voided.state == redemption_pb2.REDEMPTION_STATE_VOIDED, "a hold was voided")
        say("占用后确认一笔、撤销一笔", "one hold captured, one voided")
        return [await self._hold(2, SUZHOU), await self._hold(3, SHANGHAI)]

    async def _hold(self, number: int, region: str) -> redemption_pb2.RedemptionAnswer:
        purchase = self._stage.plan.purchase(self._vouchers[number], region, 2500)
        return await self._call(region, self._item("authorize", purchase))

    async def _later(
        self, operation: str, held: redemption_pb2.RedemptionAnswer, region: str
    ) -> redemption_pb2.RedemptionAnswer:
        item = Item(request_id=self._stage.plan.request_id())
        getattr(item, operation).redemption_id = held.redemption_id
        return await self._call(region, item)

    async def expire(self, held: list[redemption_pb2.RedemptionAnswer]) -> None:
        """Two holds run out; then the vouchers themselves."""
        await _sleep_until(max(answer.expires_at for answer in held))
        for answer, region in zip(held, (SUZHOU, SHANGHAI), strict=True):
            capture = redemption_pb2.Capture(redemption_id=answer.redemption_id)
            item = Item(request_id=self._stage.plan.request_id(), capture=capture)
            late = await self._refused(region, item, RefusalReason.HOLD_EXPIRED)
        self._told("占用到期后再确认", "a capture after the hold ran out", "HOLD_EXPIRED", late)
        await _sleep_until(self._vouchers[0].not_after)
        for number, voucher in enumerate(self._vouchers[4:10]):
            region = (SUZHOU, SHANGHAI, HEFEI)[number % 3]
            purchase = self._stage.plan.purchase(voucher, region, 2500)
            late = await self._refused(region, self._item("redeem", purchase), RefusalReason.EXPIRED)
        self._told("券已过期", "an expired voucher", "EXPIRED", late)


async def claim_flash(stage: Stage, terms: Terms) -> FlashIncidents:
    """Claim the small campaign's packs."""
    vouchers = await claim(stage, flash_claims(stage))
    say(f"{terms.title_zh}：{len(vouchers)} 张券，数秒后到期", f"{terms.title_en}: they end in seconds")
    return FlashIncidents(stage, vouchers)


async def _sleep_until(at: int) -> None:
    """Until the clock has reached `at`, UTC seconds."""
    await asyncio.sleep(max(0.0, at - time.time()))


def _stranger() -> str:
    """A well-formed code of a merchant that nobody admitted."""
    first = "91340100MA0000000"
    return first + check_character(first)
