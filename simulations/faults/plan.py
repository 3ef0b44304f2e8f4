"""What a schedule holds, drawn from its seed: what shoppers and operators do, and what goes wrong meanwhile.

Every step stands for itself with its own time, so that any of them can be left out to make a failing plan shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from pki.identity import CLEARINGHOUSE
from simulations.faults import parties
from simulations.faults.network import Link, Mishap
from simulations.faults.opening import CAMPAIGNS, HOLD_SECONDS, PACK_SIZE, READY_PACKS
from simulations.faults.stage import platform_machine
from simulations.faults.storage import CrashPoint

STORM_SECONDS = 3.0
OPERATIONS, FAULTS = (3, 6), (2, 5)
DECREES = 0.2
"""The share of schedules in which an operator decrees something."""

RUNNING = "while it runs"
"""How a restore of a party that goes on is told from one that it starts from."""

ORDER_FEN = (4000, 5800, 9900)
AT_ISSUE = [campaign for campaign, roaming in CAMPAIGNS.items() if roaming == "at-issue"]


@dataclass(frozen=True, slots=True)
class VoucherChoice:
    """A voucher of a pack that was ready, or (`claim` given) of one that a claim in the plan brings."""

    issuer: str
    pack: int
    index: int
    claim: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that somebody asks for at `region`. `of` is the number of the operation that it follows up."""

    number: int
    at: float
    kind: str
    region: str
    campaign: str = ""
    voucher: VoucherChoice | None = None
    order: str = ""
    order_fen: int = 0
    of: int | None = None
    altered: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `where` is a party or a link, `seconds` how long it lasts or how far a clock jumps."""

    number: int
    at: float
    kind: str
    party: str = ""
    link: Link | None = None
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`settles`: afterwards every window is taken to its end; `asks_again`: so is every request asked once more."""

    seed: str
    regions: tuple[str, ...]
    operations: tuple[Operation, ...]
    faults: tuple[Fault, ...]
    settles: bool
    asks_again: bool


def draw(seed: int, schedule: int) -> Plan:
    """Schedule number `schedule` of a seed."""
    name = f"{seed}/{schedule}"
    random = Random(name)
    regions = parties.REGIONS[: 3 if random.random() < 0.1 else 2]
    operations = _Drawing(random, regions).operations()
    moments = [each.at for each in operations]
    count = random.randint(*FAULTS)
    faults = [_fault(random, number, regions, moments) for number in range(1, count + 1)]
    faults += _lost_hand_overs(random, operations, count)
    settles, asks_again = random.random() < 0.1, random.random() < 0.2
    operations += _decrees(random, operations)
    faults = [_while_it_runs(random, each) for each in faults]
    return Plan(name, regions, operations, tuple(faults), settles, asks_again)


class _Drawing:
    """Operations that get into each other's way: most concern a few vouchers, many come at the same moment."""

    def __init__(self, random: Random, regions: tuple[str, ...]) -> None:
        self._random, self._regions = random, regions
        choices = [
            VoucherChoice(region, pack, index)
            for region in regions
            for pack in range(len(READY_PACKS))
            for index in range(PACK_SIZE)
        ]
        self._wanted = random.sample(choices, random.randint(1, 4))
        self._drawn: list[Operation] = []
        self._at = 0.0

    def operations(self) -> tuple[Operation, ...]:
        for number in range(1, self._random.randint(*OPERATIONS) + 1):
            self._drawn.append(self._operation(number))
        return tuple(self._drawn)

    def _operation(self, number: int) -> Operation:
        random = self._random
        if random.random() < 0.5:
            self._at = random.uniform(0, STORM_SECONDS - 1)
        else:
            self._at = min(STORM_SECONDS, self._at + random.choice((0.0, 0.0, 0.002, 0.05, 0.4)))
        purchases = [each for each in self._drawn if each.kind in ("redeem", "authorize")]
        chance = random.random()
        if chance < 0.09:
            at = random.choice(purchases).at + random.uniform(0.0, 0.1) if purchases else self._at
            return Operation(number, at, "close-window", CLEARINGHOUSE)
        if chance < 0.13:
            return self._recall(number, purchases)
        if chance < 0.21:
            return Operation(number, self._at, "claim", random.choice(self._regions), random.choice(list(CAMPAIGNS)))
        if chance < 0.31 and purchases:
            return self._companion(number, random.choice(purchases))
        if chance < 0.55 and purchases:
            return self._follow_up(number, random.choice(purchases))
        if chance < 0.65 and self._drawn:
            return self._again(number)
        return self._purchase(number)

    def _purchase(self, number: int) -> Operation:
        random = self._random
        claims = [each for each in self._drawn if each.kind == "claim"]
        voucher = random.choice(self._wanted)
        if claims and random.random() < 0.4:
            claim = random.choice(claims)
            voucher = VoucherChoice(claim.region, 0, random.randrange(PACK_SIZE), claim.number)
        return Operation(
            number,
            self._at,
            random.choice(("redeem", "redeem", "authorize")),
            random.choice(self._regions),
            voucher=voucher,
            order=f"order-{random.randint(1, 4)}" if random.random() < 0.2 else f"order-of-{number}",
            order_fen=random.choice(ORDER_FEN),
        )

    def _recall(self, number: int, purchases: list[Operation]) -> Operation:
        """An issuer takes a voucher back: one that was just handed over, or that somebody is using."""
        random = self._random
        claims = [each for each in self._drawn if each.campaign in AT_ISSUE]
        if claims and random.random() < 0.7:
            claim = random.choice(claims)
            voucher = VoucherChoice(claim.region, 0, random.randrange(PACK_SIZE), claim.number)
            return Operation(number, claim.at + random.uniform(0, 0.05), "recall", claim.region, voucher=voucher)
        voucher, at = random.choice(self._wanted), self._at
        if purchases:
            used = random.choice(purchases)
            voucher, at = used.voucher or voucher, used.at + random.uniform(0, 0.3)
        return Operation(number, at, "recall", voucher.issuer, voucher=voucher)

    def _companion(self, number: int, purchase: Operation) -> Operation:
        """The other voucher of the pack, at the same moment and place, for an order of its own."""
        assert purchase.voucher is not None
        other = replace(purchase.voucher, index=(purchase.voucher.index + 1) % PACK_SIZE)
        return replace(purchase, number=number, voucher=other, order=f"order-of-{number}")

    def _follow_up(self, number: int, purchase: Operation) -> Operation:
        random = self._random
        if purchase.kind == "authorize":
            kind = random.choice(("capture", "capture", "capture", "void", "reverse"))
        else:
            kind = random.choice(("refund", "refund", "reverse"))
        whole = random.random() < 0.5
        amount = purchase.order_fen if kind == "refund" and whole else 0 if whole else purchase.order_fen // 2
        return Operation(number, self._at, kind, purchase.region, of=purchase.number, order_fen=amount)

    def _again(self, number: int) -> Operation:
        known = [each for each in self._drawn if each.kind not in ("close-window", "recall", "again")]
        if not known:
            return self._purchase(number)
        of = self._random.choice(known)
        altered = self._random.random() < 0.3
        return Operation(number, self._at, "again", of.region, of=of.number, altered=altered)


def _decrees(random: Random, operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """Now and then an issuer's operator stops a voucher, just before or after its use, or its campaign, or amends the
    terms.
    """
    purchases = [each for each in operations if each.voucher is not None and each.kind in ("redeem", "authorize")]
    if not purchases or random.random() >= DECREES:
        return ()
    used = random.choice(purchases)
    assert used.voucher is not None
    kind, at = random.choice(("pause", "suspend", "amend")), used.at + random.uniform(0, 0.6)
    if kind == "suspend" and random.random() < 0.5:
        at = max(0.0, used.at - random.uniform(0.05, 0.6))
    campaign = READY_PACKS[used.voucher.pack] if used.voucher.claim is None else random.choice(list(CAMPAIGNS))
    return (Operation(len(operations) + 1, at, kind, used.voucher.issuer, campaign, used.voucher),)


def _while_it_runs(random: Random, fault: Fault) -> Fault:
    """Every other restore is one of a party that goes on running."""
    return replace(fault, detail=RUNNING) if fault.kind == "restore" and random.random() < 0.5 else fault


_FAULTS = ("cut", "cut", "slow", "mishap", "mishap", "crash", "commit", "commit", "commit", "clock", "restore")


def _fault(random: Random, number: int, regions: tuple[str, ...], moments: Sequence[float]) -> Fault:
    """Most strike while something is under way."""
    at, kind = random.uniform(0, STORM_SECONDS), random.choice(_FAULTS)
    if random.random() < 0.6:
        at = max(0.0, random.choice(moments) + random.uniform(-0.02, 0.1))
    party = random.choice((CLEARINGHOUSE, *regions))
    if kind in ("cut", "slow", "mishap"):
        return _link_fault(random, number, at, kind, _link(random, regions))
    if kind == "clock":
        ahead = random.choice((1, 3, HOLD_SECONDS + 5, 3600))
        return Fault(number, at, kind, party, seconds=random.choice((1, 1, -1)) * ahead)
    if kind == "restore":
        return Fault(number, at, kind, party, seconds=random.uniform(0.3, 2))
    point = random.choice(list(CrashPoint)) if kind == "commit" else ""
    return Fault(number, at, kind, party, seconds=random.choice((0.05, 0.5, 2.0)), detail=point)


def _lost_hand_overs(random: Random, operations: Sequence[Operation], count: int) -> list[Fault]:
    """Now and then what a claim hands over is lost while its issuer recalls it: the rarest way to cross a release."""
    claims = {each.number: each for each in operations if each.campaign in AT_ISSUE}
    recalled = [each.voucher.claim for each in operations if each.kind == "recall" and each.voucher]
    lost = [claims[number] for number in recalled if number in claims and random.random() < 0.7]
    return [
        Fault(number, claim.at + 0.01, "mishap", link=Link(claim.region, CLEARINGHOUSE), detail=Mishap.LOST)
        for number, claim in enumerate(lost, count + 1)
    ]


def _link_fault(random: Random, number: int, at: float, kind: str, link: Link) -> Fault:
    if kind == "mishap":
        return Fault(number, at, kind, link=link, detail=random.choice(list(Mishap)))
    if kind == "slow":
        return Fault(number, at, kind, link=link, seconds=random.uniform(0.5, 3), detail=random.choice(("0.3", "2.5")))
    detail = random.choice(("one way", "one way", "both ways"))
    return Fault(number, at, kind, link=link, seconds=random.uniform(0.3, 4), detail=detail)


def _link(random: Random, regions: tuple[str, ...]) -> Link:
    region = random.choice(regions)
    other = CLEARINGHOUSE if random.random() < 0.7 else platform_machine(region)
    return Link(region, other) if random.random() < 0.5 else Link(other, region)
