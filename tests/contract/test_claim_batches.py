"""Claims decided together give what they would have given one by one, at the edges of quota, caps and budgets too."""

from __future__ import annotations

from typing import Any

import pytest
from batch_stories import request_id
from hypothesis import given, settings
from hypothesis import strategies as st
from local_parties import PLATFORM, LocalNode, StandingFactory, undone

from node.claiming import read_claim
from quanlian import wire
from quanlian.v1 import claim_pb2

CLAIM = st.tuples(st.integers(0, 30), st.integers(0, 4), st.sampled_from(("r1",) * 9 + ("r9",)))
"""The number of its request, which may come again with another content; its holder; its round, mostly one that is."""

BATCHES = st.lists(st.lists(CLAIM, min_size=1, max_size=16), min_size=1, max_size=4)
EDGES = {"money": {"quota": 200, "city": 110, "county": 60}, "quota": {"quota": 9}}
"""Funds for a few packs, or a quota of a few; five holders with three packs each are more than either."""


@pytest.fixture(scope="module", params=sorted(EDGES))
def two_nodes(request: pytest.FixtureRequest, open_lasting_party: StandingFactory) -> tuple[LocalNode, LocalNode]:
    """Two nodes with the same keys and campaign."""
    together, apart = (LocalNode(open_lasting_party(f"{name}_{request.param}")) for name in ("together", "apart"))
    for node in (together, apart):
        node.publish(per_person=3, **EDGES[request.param])
    return together, apart


@settings(max_examples=20, deadline=None)
@given(batches=BATCHES)
def test_a_batch_of_claims_gives_what_they_would_have_given_one_by_one(
    two_nodes: tuple[LocalNode, LocalNode], batches: list[list[tuple[int, int, str]]]
) -> None:
    together, apart = two_nodes
    with undone(together, apart):
        asked = 0
        for batch in batches:
            claims = [_claim(asked + n, *each) for n, each in enumerate(batch)]
            asked += len(batch)
            singles = [answer for claim in claims for answer in apart.decide(claim())]
            assert [_told(each) for each in together.decide(*(claim() for claim in claims))] == [
                _told(each) for each in singles
            ]
            for node in (together, apart):
                node.pass_seconds(1)
        assert _books(together) == _books(apart)
        for node in (together, apart):
            node.check_books()


def _claim(position: int, number: int, holder: int, round_id: str) -> Any:
    """A claim, made anew for each node; its pack's id is its position in the story."""
    made = claim_pb2.ClaimItem(
        request_id=request_id(number), campaign="spring", round=round_id, holder_id=f"holder-{holder}"
    )
    return lambda: read_claim(made.SerializeToString(), PLATFORM, bytes(32), position.to_bytes(15, "big"))


def _told(answer: bytes) -> tuple[bytes, bytes]:
    """A refusal as it is; of a pack its body, for packs signed together share a signature."""
    message = claim_pb2.ClaimAnswer.FromString(answer)
    if message.HasField("refusal"):
        return answer, b""
    return message.request_id, wire.bytes_to_token(message.token).body


def _books(node: LocalNode) -> list[Any]:
    accounts = [row for row in node.rows("account") if any(v for k, v in row.items() if k.endswith("_fen"))]
    figures = [{k: v for k, v in row.items() if k == "account" or k.endswith("_fen")} for row in accounts]
    packs = [(row["pack_id"], row["reserved_fen"], row["not_after"]) for row in node.rows("pack")]
    return [figures, packs, node.rows("claim_round"), node.rows("holder_claim")]
