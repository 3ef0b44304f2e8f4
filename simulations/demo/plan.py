"""Who claims and who redeems what, where: drawn from the seed before anything runs, so that timing changes nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quanlian.discounts import Order
from quanlian.merchants import ALPHABET, check_character
from quanlian.terms import Terms, VoucherType
from quanlian.v1 import claim_pb2, redemption_pb2
from quanlian.wire import body_to_voucher, bytes_to_token
from simulations.demo.setting import CATEGORIES, CODES, MERCHANTS_PER_REGION

HANGZHOU, JINCHENG, SUZHOU = "330100", "140502", "320500"
HANGZHOU_SHARE = 0.7
AWAY_SHARE = 0.35
REQUEST_ID_BYTES = 16
JINCHENG_PACKS = ("retail", "fuel", "hotel", "catering")


@dataclass(frozen=True, slots=True)
class Merchant:
    code: str
    name: str
    region: str


@dataclass(frozen=True, slots=True)
class PlannedClaim:
    """A shopper's claim of one pack at the issuer's node."""

    issuer: str
    item: bytes
    shopper: int


@dataclass(frozen=True, slots=True)
class HeldVoucher:
    """A voucher in a shopper's wallet."""

    token: bytes
    index: int
    issuer: str
    campaign: str
    type: VoucherType
    roaming: str
    holder_tag: bytes
    not_after: int


@dataclass(frozen=True, slots=True)
class Use:
    """How one voucher is used: `way` is redeem, unary, capture, part (capture less) or void."""

    voucher: HeldVoucher
    region: str
    purchase: redemption_pb2.Purchase
    way: str
    captured_order_fen: int = 0
    refund_order_fen: int = 0


class Plan:
    """All chance of the demonstration. The same seed and number of shoppers give the same plan."""

    def __init__(self, seed: int, shoppers: int) -> None:
        self.seed, self.shoppers = seed, shoppers
        self._random = random.Random(seed)
        self._orders = 0
        self.merchants = {region: [self._merchant(region, n) for n in range(MERCHANTS_PER_REGION)] for region in CODES}

    def request_id(self) -> bytes:
        return self._random.randbytes(REQUEST_ID_BYTES)

    # Claims

    def claims(self, terms: Mapping[str, Terms]) -> list[PlannedClaim]:
        """Hangzhou's residents claim its pack; Jincheng's claim its packs, a few for a car or a motorcycle."""
        claims: list[PlannedClaim] = []
        for shopper in range(self.shoppers):
            if self._random.random() < HANGZHOU_SHARE:
                claims.append(self.claim(HANGZHOU, "hangzhou-2020-r1", terms, shopper))
                continue
            rounds = {each.pack: each.id for each in terms["jincheng-2026"].rounds}
            wanted = [pack for pack in JINCHENG_PACKS if self._random.random() < 0.8]
            vehicle = self._random.random()
            wanted += ["car"] if vehicle < 0.05 else ["motorcycle"] if vehicle < 0.1 else []
            claims += [self.claim(JINCHENG, "jincheng-2026", terms, shopper, rounds[pack]) for pack in wanted]
        return claims

    def claim(
        self, issuer: str, campaign: str, terms: Mapping[str, Terms], shopper: int, round_id: str = ""
    ) -> PlannedClaim:
        opening = terms[campaign].round(round_id) if round_id else terms[campaign].rounds[0]
        item = claim_pb2.ClaimItem(
            request_id=self.request_id(),
            campaign=campaign,
            round=opening.id,
            holder_id=f"demo-shopper-{shopper:07d}",
            evidence=self._evidence() if opening.mode == "application" else None,
        )
        return PlannedClaim(issuer, item.SerializeToString(), shopper)

    def _evidence(self) -> claim_pb2.Evidence:
        number = self._random.getrandbits(64)
        return claim_pb2.Evidence(
            invoice_number=f"{number:020d}",
            vehicle_identification_number=f"LDEMO{number % 10**12:012d}",
            registration_number=f"晋E{number % 10**5:05d}-{number % 10**9:09d}",
            review_reference=f"review-{number:x}",
        )

    # Redemptions

    def uses(self, vouchers: Sequence[HeldVoucher]) -> Iterator[Use]:
        """Most vouchers are used, a third of them away where they may be; some are held first, some returned."""
        ways = ("redeem", "unary", "capture", "part", "void")
        for voucher in vouchers:
            if self._random.random() < 0.25:
                continue
            region = self._where(voucher)
            purchase = self.purchase(voucher, region)
            (way,) = self._random.choices(ways, (76, 3, 12, 4, 5))
            order_fen = purchase.order.order_fen
            captured = order_fen * self._random.randint(50, 95) // 100 if way == "part" else order_fen
            returns = self._random.random()
            refund = 0 if way == "void" or returns > 0.1 else captured
            if 0.04 < returns <= 0.1 and refund:
                refund = max(1, captured * self._random.randint(5, 90) // 100)
            yield Use(voucher, region, purchase, way, captured, refund)

    def purchase(
        self, voucher: HeldVoucher, region: str, order_fen: int = 0, merchant: str = "", category: str = ""
    ) -> redemption_pb2.Purchase:
        """An order at a merchant of the region that the voucher fits, unless the arguments say otherwise."""
        self._orders += 1
        kind = voucher.type
        order = self._order(kind, order_fen)
        return redemption_pb2.Purchase(
            token=voucher.token,
            index=voucher.index,
            order=redemption_pb2.Order(
                merchant=merchant or self._random.choice(self.merchants[region]).code,
                order_id=f"{region}-{self._orders:010d}",
                order_fen=order.order_fen,
                category=category or order.category,
                channel="shop",
                payer_tag=voucher.holder_tag,
                klass=order.klass,
                invoice_fen=order.invoice_fen,
            ),
        )

    def _order(self, kind: VoucherType, order_fen: int) -> Order:
        category = min(kind.categories) if kind.categories else CATEGORIES[0]
        if kind.kind == "tiered":
            tier = self._random.choice(kind.tiers)
            invoice = tier.from_fen + self._random.randint(0, 2_000_000)
            return Order(order_fen or invoice, category, "shop", tier.klass, invoice)
        lowest = kind.minimum_spend_fen or 300_000
        amount = order_fen or lowest * self._random.randint(100, 320) // 100 + self._random.randint(0, 99)
        return Order(amount, category, "shop")

    def _where(self, voucher: HeldVoucher) -> str:
        """At home, or where the voucher roams: not in Jincheng with a Hangzhou voucher, whose leverage is too low."""
        if voucher.roaming == "never" or self._random.random() > AWAY_SHARE:
            return voucher.issuer
        away = [code for code in CODES if code not in (voucher.issuer, JINCHENG)]
        return self._random.choice(away)

    def _merchant(self, region: str, number: int) -> Merchant:
        body = "".join(self._random.choice(ALPHABET) for _ in range(9))
        first = f"91{region}{body}"
        return Merchant(first + check_character(first), f"演示商户 {region}-{number + 1}", region)


def wallet(answers: Sequence[claim_pb2.ClaimAnswer], terms: Mapping[str, Terms]) -> list[HeldVoucher]:
    """The vouchers that were claimed; what was refused gives none."""
    return [voucher for answer in answers if answer.token for voucher in held_vouchers(answer.token, terms)]


def held_vouchers(token: bytes, terms: Mapping[str, Terms]) -> list[HeldVoucher]:
    body = body_to_voucher(bytes_to_token(token).body)
    types = terms[body.campaign].voucher_types
    return [
        HeldVoucher(
            token,
            index,
            body.issuer,
            body.campaign,
            types[number - 1],
            body.roaming,
            body.holder_tag,
            body.not_after,
        )
        for index, number in enumerate(body.voucher_types)
    ]
