"""Who pays what does not depend on the order in which a dictionary or a set gives its entries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from clearinghouse.domain.windows import Flow, Turnover, bilateral, statement_lines, totals
from quanlian.netting import net_positions, payouts_after_shortfall
from quanlian.statements import Statement, statement_to_json

REGIONS = ("310000", "320500", "330100", "340100")
PAIRS = st.dictionaries(
    st.tuples(st.sampled_from(REGIONS), st.sampled_from(REGIONS)).filter(lambda pair: pair[0] != pair[1]),
    st.integers(0, 10**6),
    min_size=1,
)
STORY = """
import hashlib, json, sys
from quanlian.apportionment import CoFunder, FundingPlan, reserve, split
from quanlian.agreements import Agreement, Fixed
names = {"province", "city", "county", "town", "bank"}
left = {name: 400 + 37 * len(name) for name in names}
told = []
for amount in range(1, 1200, 7):
    plan = FundingPlan(("province", "city", "county"), (4, 4, 2), "cascade", True)
    held = reserve(amount, [CoFunder("bank", "bank", 90_001, True)], plan, left.__getitem__)
    if held is None:
        told.append(None)
        continue
    visitors = FundingPlan(("town",), (1,), "refuse")
    agreed = Agreement("A", 1, "fixed", Fixed(7, 3))
    paid = split(amount // 2, amount * 3, held, agreed, "310000", "330100", visitors, left.__getitem__)
    told.append([held, paid])
print(hashlib.sha256(json.dumps(told).encode()).hexdigest())
"""


def test_another_hash_seed_gives_the_same_splits() -> None:
    digests = set()
    for seed in ("0", "1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        root = Path(__file__).parents[2]
        ran = subprocess.run(
            [sys.executable, "-c", STORY], env=environment, capture_output=True, text=True, check=True, cwd=root
        )
        digests.add(ran.stdout)
    assert len(digests) == 1


@given(PAIRS, st.randoms(use_true_random=False))
def test_netting_does_not_depend_on_the_order_of_its_pairs(pairs: dict[tuple[str, str], int], chance: object) -> None:
    shuffled = list(pairs.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    nets, other = net_positions(pairs), net_positions(dict(shuffled))
    assert nets == other
    credits = {region: fen for region, fen in nets.items() if fen > 0}
    short = sum(credits.values()) // 3
    backwards = dict(reversed(list(credits.items())))
    assert payouts_after_shortfall(credits, short) == payouts_after_shortfall(backwards, short)


@given(PAIRS, st.randoms(use_true_random=False))
def test_a_statement_has_the_same_bytes_whatever_order_its_totals_come_in(
    pairs: dict[tuple[str, str], int], chance: object
) -> None:
    turnovers = [Turnover(f"funding/{a}/2026/spring/city", b, fen) for (a, b), fen in pairs.items()]
    flows = [Flow(a, b, "spring", 1, fen * 5, fen, 0, 0, 0) for (a, b), fen in pairs.items()]
    documents = set()
    for _ in range(2):
        lines, funders = statement_lines("330100", totals(turnovers, flows))
        documents.add(statement_to_json(Statement(1, "330100", 0, 1, 0, lines, funders)))
        assert bilateral(turnovers) == {pair: fen for pair, fen in pairs.items() if fen}
        chance.shuffle(turnovers)  # type: ignore[attr-defined]
        chance.shuffle(flows)  # type: ignore[attr-defined]
    assert len(documents) == 1
