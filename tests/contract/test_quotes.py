"""Quotes: the custodian's answer wherever they are asked, nothing booked, and nobody asked to release a voucher."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from batch_stories import request_id
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    NoClearinghouse,
    TestSigner,
    answer_of,
    item,
    keys_of,
    outcome,
    purchase,
)

from chassis.host import Host
from custodian.decisions import Answered
from custodian.servicer import RedemptionServicer
from node.adapters.clearing import ClearingLink
from node.relearning import RelearnAnswer
from node.service import NodeService
from pki.authority import RootAuthority
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import Unavailable
from quanlian.v1 import custody_pb2, redemption_pb2_grpc
from quanlian.v1 import redemption_pb2 as pb
from quanlian.wire import request_id_of

ALIPAY, NODE = Identity(HANGZHOU, "platform", PLATFORM), Identity(HANGZHOU, "node")
SERVER = Identity(CLEARINGHOUSE, "server")


class Between(NoClearinghouse):
    """The clearinghouse as the node reaches it for quotes, or does not."""

    def __init__(self, clearinghouse: LocalClearinghouse) -> None:
        super().__init__()
        self.far, self.reachable, self.asked = clearinghouse, True, list[bytes]()
        self.sent: list[bytes] = []

    def send(self, items: Sequence[bytes]) -> None:
        self.sent += items

    async def quote(self, items: Sequence[bytes]) -> Sequence[bytes]:
        if not self.reachable:
            raise Unavailable("the clearinghouse: cut off")
        self.asked += items
        answers: list[bytes] = []
        await self.far.service.submit(NODE, items, answers.extend)
        return answers


@pytest.fixture
def between(node: LocalNode, clearinghouse: LocalClearinghouse) -> Between:
    node.publish()
    clearinghouse.learn(node)
    node.clearinghouse = Between(clearinghouse)
    return node.clearinghouse


@pytest.fixture
def token(node: LocalNode, clearinghouse: LocalClearinghouse, between: Between) -> bytes:
    """Hangzhou's pack in the clearinghouse's custody."""
    (claimed,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(claimed))))
    return claimed


def ask(node: LocalNode, clearinghouse: LocalClearinghouse, *contents: bytes, lost: bool = False) -> list[bytes]:
    """What the platform is answered at the node; `lost`: the redeem stream has been away for long."""
    service, engine, got = node.another_service(), clearinghouse.service.engine, list[bytes]()
    engine.group = type(engine.group)(engine.decide, name=CLEARINGHOUSE)

    async def run(service: NodeService) -> None:
        if lost:
            service.clearinghouse_lost()
            service._lost_at = asyncio.get_running_loop().time() - 60
        await service.submit(ALIPAY, contents, got.extend)

    service.start()
    engine.group.start()
    try:
        asyncio.run(run(service))
    finally:
        service.close()
        engine.group.close()
    return got


def quote(number: int, token: bytes, index: int = 0, order_fen: int = 5800) -> bytes:
    return item(request_id(number), quote=purchase(token, index, f"order-{number}", order_fen))


def redeemed(clearinghouse: LocalClearinghouse, token: bytes, index: int = 0, operation: str = "redeem") -> None:
    """In Shanghai, by way of the clearinghouse."""
    request = item(clearinghouse.ids.fresh(), **{operation: purchase(token, index, f"away-{index}")})
    (answer,) = clearinghouse.redeem(request, region=SHANGHAI)
    assert not answer_of(answer).HasField("refusal")


class TestAway:
    def test_a_voucher_used_or_held_away_is_not_quoted_as_good_by_its_issuer(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        first, second = ask(node, clearinghouse, quote(1, token, 0), quote(2, token, 1))
        assert [outcome(first), outcome(second)] == ["quoted", "quoted"]
        assert answer_of(first).discount_fen == 1000
        assert answer_of(first).decider == CLEARINGHOUSE
        redeemed(clearinghouse, token, 0)
        redeemed(clearinghouse, token, 1, "authorize")
        answers = ask(node, clearinghouse, quote(3, token, 0), quote(4, token, 1))
        assert sorted(map(outcome, answers)) == ["ALREADY_HELD", "ALREADY_REDEEMED"]

    def test_a_quote_leaves_nothing_in_the_outbox_takes_no_order_and_books_nothing(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        kept = ("voucher", "account", "entry", "redemption")
        before = [{name: party.rows(name) for name in kept} for party in (node, clearinghouse)]
        ask(node, clearinghouse, quote(1, token))
        assert [{name: party.rows(name) for name in kept} for party in (node, clearinghouse)] == before
        assert node.rows("outbox") == node.rows("merchant_order") == between.sent == []

    def test_a_repeated_quote_gets_the_same_bytes_and_asks_nobody_again(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        (first,) = ask(node, clearinghouse, quote(1, token))
        redeemed(clearinghouse, token)
        (again,) = ask(node, clearinghouse, quote(1, token))
        assert again == first
        assert len(between.asked) == 1
        (other,) = ask(node, clearinghouse, quote(1, token, order_fen=5900))
        assert outcome(other) == "REQUEST_ID_REUSED"

    def test_the_same_id_twice_in_one_message_has_one_answer(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        first, again, other = ask(
            node, clearinghouse, quote(1, token), quote(1, token), quote(1, token, order_fen=5900)
        )
        assert first == again
        assert outcome(other) == "REQUEST_ID_REUSED"

    @pytest.mark.parametrize("lost", [False, True], ids=["since now", "for long"])
    def test_while_the_clearinghouse_is_out_of_reach_a_quote_is_refused_to_be_tried_again(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes, lost: bool
    ) -> None:
        between.reachable = False
        (answer,) = ask(node, clearinghouse, quote(1, token), lost=lost)
        assert outcome(answer) == "NOT_IN_CUSTODY"
        assert answer_of(answer).refusal.retryable
        assert node.rows("outbox") == node.rows("merchant_order") == []
        between.reachable = True
        (answer,) = ask(node, clearinghouse, quote(2, token))
        assert outcome(answer) == "quoted"

    def test_what_was_quoted_is_learned_again_after_a_restore_without_an_order_or_an_open_request(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes
    ) -> None:
        (first,) = ask(node, clearinghouse, quote(1, token))
        with node.database.transaction() as transaction:
            transaction.connection.execute(node.tables["request"].delete())
        (row,) = [each for each in clearinghouse.rows("request") if each["operation"] == "quote"]
        (sent,) = node.clearinghouse.asked  # type: ignore[attr-defined]
        answered = custody_pb2.AnsweredItem(item=sent, answer=row["answer"])
        assert node.decide(RelearnAnswer(answered), RelearnAnswer(answered)) == [True, False]
        assert ask(node, clearinghouse, quote(1, token)) == [first]
        assert node.rows("outbox") == node.rows("merchant_order") == []


class TestClearinghouse:
    def test_a_voucher_that_it_never_had_is_quoted_by_its_terms_and_nobody_is_asked_for_it(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between
    ) -> None:
        (claimed,) = node.claim()
        (reply,) = clearinghouse.decide(clearinghouse.request(quote(1, claimed)))
        assert isinstance(reply, Answered)
        assert answer_of(reply.content).discount_fen == 1000
        (reply,) = clearinghouse.decide(clearinghouse.request(quote(2, claimed, order_fen=3000)))
        assert outcome(reply.content) == "BELOW_MINIMUM_SPEND"

    def test_a_quote_at_home_is_the_issuer_s_own(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between
    ) -> None:
        (claimed,) = node.claim()
        (answer,) = ask(node, clearinghouse, quote(1, claimed))
        assert (outcome(answer), answer_of(answer).decider) == ("quoted", HANGZHOU)
        node.redeem(item(b"r" * 16, redeem=purchase(claimed, 0, "order")))
        (answer,) = ask(node, clearinghouse, quote(2, claimed))
        assert outcome(answer) == "ALREADY_REDEEMED"
        assert between.asked == []

    def test_a_quote_that_was_reversed_while_it_was_asked_stays_reversed(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, between: Between, token: bytes
    ) -> None:
        reverse = item(b"v" * 16, reverse=pb.Reverse(original_request_id=request_id(1)))
        first, second = ask(node, clearinghouse, quote(1, token), reverse)
        assert [outcome(first), outcome(second)] == ["done", "REVERSED"]


async def linked(
    node: LocalNode, clearinghouse: LocalClearinghouse, folder: Path, told: Callable[..., Awaitable[list[bytes]]]
) -> list[bytes]:
    """What `told` is answered by a node whose link leads to a clearinghouse's real server, and then to none."""
    now = int(time.time())
    root = RootAuthority.create(folder / "root", now)
    trust = Trust((folder / "root/certificate.pem").read_bytes(), root.fingerprint)
    for identity in (NODE, SERVER):
        root.enrol(folder / identity.host, identity.host, now).issue_tls(identity, folder / identity.role, now)
    server = Host(
        listen="127.0.0.1:0",
        credentials_directory=folder / "server",
        trust=trust,
        now=lambda: int(time.time()),
        allow={"/quanlian.v1.RedemptionService/RedeemStream": frozenset({"node"})},
    )
    redemptions = RedemptionServicer(clearinghouse.service, KEYRING, TestSigner(CLEARINGHOUSE, "message"))
    server.add(lambda added: redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(redemptions, added))
    address = f"127.0.0.1:{await server.start()}"
    link = ClearingLink(address, folder / "node", TestSigner(HANGZHOU, "message"), KEYRING)
    node.clearinghouse = link  # type: ignore[assignment]
    service = node.another_service()
    service.start()
    try:
        found = await told(service)
        await server.stop(0)
        return [*found, *await told(service)]
    finally:
        await server.stop(0)
        await link.close()
        await asyncio.to_thread(service.close)


def test_a_node_asks_over_a_real_connection_and_says_so_when_there_is_none(
    node: LocalNode, clearinghouse: LocalClearinghouse, token: bytes, tmp_path: Path
) -> None:
    redeemed(clearinghouse, token, 1)
    engine, numbers = clearinghouse.service.engine, itertools.count(1)
    engine.group = type(engine.group)(engine.decide, name=CLEARINGHOUSE)

    async def told(service: NodeService) -> list[bytes]:
        got: list[bytes] = []
        quotes = [quote(next(numbers), token, index) for index in (0, 1)]
        await service.submit(ALIPAY, quotes, got.extend)
        answers = {answer_of(each).request_id: each for each in got}
        return [answers[request_id_of(each)] for each in quotes]

    engine.group.start()
    try:
        answers = asyncio.run(linked(node, clearinghouse, tmp_path, told))
    finally:
        engine.group.close()
    assert [outcome(each) for each in answers] == ["quoted", "ALREADY_REDEEMED", "NOT_IN_CUSTODY", "NOT_IN_CUSTODY"]
