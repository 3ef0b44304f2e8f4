"""What a node asks the clearinghouse for, and what made-up vouchers cannot make it ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from local_parties import (
    AT,
    HANGZHOU,
    KEYRING,
    PLATFORM,
    LocalNode,
    TestKeyring,
    TestSigner,
    answer_of,
    item,
    merchant_code,
    outcome,
    purchase,
)

from pki.identity import Identity
from quanlian import wire
from quanlian.errors import TrustError, Unavailable
from quanlian.v1 import directory_pb2, signed_pb2
from quanlian.vouchers import SUITE_ED25519, Token, Voucher

ALIPAY = Identity(HANGZHOU, "platform", PLATFORM)


class Asked:
    """A clearinghouse that counts what it is asked for, and does not know it."""

    def __init__(self) -> None:
        self.directories = self.documents = 0

    async def directory(self) -> directory_pb2.GetDirectoryResponse:
        self.directories += 1
        return directory_pb2.GetDirectoryResponse(clearinghouse_chains=[b"no certificate"])

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        self.documents += 1
        return directory_pb2.GetTermsResponse()

    def send(self, items: list[bytes]) -> None: ...

    async def publish_terms(self, terms: signed_pb2.SignedMessage) -> None: ...


class ChoosyKeyring(TestKeyring):
    """The test's keys, and no chain leads to the root."""

    def add(self, chain: bytes) -> None:
        raise TrustError("does not lead to the root")


def made_up(token: bytes, **changes: Any) -> bytes:
    """A token whose body was changed after it was signed."""
    known = wire.bytes_to_token(token)
    voucher: Voucher = wire.body_to_voucher(known.body)._replace(**changes)
    return wire.token_to_bytes(known._replace(body=wire.voucher_to_body(voucher)))


def ask_for(node: LocalNode, tokens: list[bytes]) -> tuple[Asked, list[str]]:
    asked = Asked()
    node.clearinghouse = asked  # type: ignore[assignment]
    service, answers = node.another_service(ChoosyKeyring(KEYRING)), list[bytes]()
    service.start()
    items = [item(node.ids.fresh(), redeem=purchase(token, 0, f"order-{n}")) for n, token in enumerate(tokens)]
    asyncio.run(service.submit(ALIPAY, items, answers.extend))
    service.close()
    return asked, [outcome(answer) for answer in answers]


def test_unknown_keys_ask_for_the_directory_once_and_a_bad_chain_in_it_is_passed_over(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    asked, answers = ask_for(node, [made_up(token, key_id=bytes([n]) * 8, issuer="310000") for n in range(5)])
    assert answers == ["UNKNOWN_KEY"] * 5
    assert (asked.directories, asked.documents) == (1, 0)


def test_terms_are_asked_for_only_by_a_voucher_whose_signature_holds(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    asked, answers = ask_for(node, [made_up(token, issuer="310000", terms_hash=bytes([n]) * 32) for n in range(5)])
    assert answers == ["BAD_SIGNATURE"] * 5
    assert asked.documents == 0


def test_all_who_meet_the_same_terms_at_a_time_ask_for_them_once(node: LocalNode) -> None:
    asked, answers = ask_for(node, [visitors_token()] * 20)
    assert asked.documents == 1
    assert answers == ["CAMPAIGN_UNKNOWN"] * 20


class Absent(Asked):
    """A clearinghouse that cannot be reached."""

    async def directory(self) -> directory_pb2.GetDirectoryResponse:
        raise Unavailable("the clearinghouse: cut off")

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        raise Unavailable("the clearinghouse: cut off")


class Silent(Asked):
    """A clearinghouse that does not answer."""

    async def terms(self, terms_hash: bytes) -> directory_pb2.GetTermsResponse:
        await asyncio.Event().wait()
        raise AssertionError


def visitors_token(**changes: Any) -> bytes:
    """A voucher of Shanghai's whose terms Hangzhou has not met."""
    signer = TestSigner("310000", "voucher")
    KEYRING.setdefault(signer.key_id, signer.certified)
    voucher = Voucher(
        version=1,
        suite=SUITE_ED25519,
        key_id=signer.key_id,
        issuer="310000",
        campaign="autumn",
        terms_hash=bytes(32),
        pack_id=bytes(15),
        voucher_types=(1,),
        holder_tag=bytes(16),
        issued_at=AT,
        not_before=AT,
        not_after=AT + 1000,
        roaming="on-demand",
    )
    body = wire.voucher_to_body(voucher._replace(**changes))
    return wire.token_to_bytes(Token(body, signer.sign("voucher", body), 0, 0, ()))


def redeem(node: LocalNode, token: bytes) -> bytes:
    request_id = node.ids.fresh()
    return item(request_id, redeem=purchase(token, 0, request_id.hex()))


def test_a_voucher_whose_terms_cannot_be_had_now_is_refused_for_now_and_stops_no_other(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    node.clearinghouse = Absent()  # type: ignore[assignment]
    items = [redeem(node, each) for each in (visitors_token(), token)]
    service, answers = node.another_service(), list[bytes]()
    service.start()
    asyncio.run(service.submit(ALIPAY, items, answers.extend))
    asyncio.run(service.submit(ALIPAY, items[:1], answers.extend))
    service.close()
    assert [outcome(answer) for answer in answers] == ["NOT_IN_CUSTODY", "CAPTURED", "NOT_IN_CUSTODY"]
    assert answers[2] == answers[0]
    assert answer_of(answers[0]).refusal.retryable
    assert sorted(row["operation"] for row in node.rows("request")) == ["claim", "redeem", "redeem"], (
        "what was answered is kept: the same id gets the same answer"
    )
    assert node.redeem(items[0]) == [answers[0]]


NOT_ADMITTED = merchant_code(2)
BEFORE_CUSTODY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "KEY_NOT_VALID": ({"issued_at": AT - 10 * 86_400}, {}),
    "NOT_YET_VALID": ({"not_before": AT + 1}, {}),
    "EXPIRED": ({"not_after": AT}, {}),
    "REGION_NOT_COVERED": ({"roaming": "never"}, {}),
    "MERCHANT_NOT_ADMITTED": ({}, {"merchant": NOT_ADMITTED}),
    "CATEGORY_NOT_COVERED": ({}, {"category": "dining"}),
    "ORDER_ALREADY_DISCOUNTED": ({}, {"order_id": "taken"}),
    "NOT_IN_CUSTODY": ({}, {}),
}
"""What a node can tell of a visitor's voucher without its terms: changes of the voucher and of the order."""


@pytest.mark.parametrize("reason", BEFORE_CUSTODY)
def test_a_voucher_whose_terms_cannot_be_had_now_is_judged_by_what_the_node_knows(node: LocalNode, reason: str) -> None:
    """Each is wrong as named, and not in custody; what comes first in the order of reasons is the answer."""
    node.publish()
    (token,) = node.claim()
    node.redeem(item(node.ids.fresh(), redeem=purchase(token, 0, "taken")))
    node.clearinghouse = Absent()  # type: ignore[assignment]
    voucher, order = BEFORE_CUSTODY[reason]
    buying = purchase(visitors_token(**voucher), 0, "order")
    for name, value in order.items():
        setattr(buying.order, name, value)
    service, answers = node.another_service(), list[bytes]()
    service.start()
    asyncio.run(service.submit(ALIPAY, [item(node.ids.fresh(), redeem=buying)], answers.extend))
    service.close()
    assert [outcome(answer) for answer in answers] == [reason]
    node.check_books()


def test_nothing_else_is_judged_of_a_voucher_whose_key_cannot_be_had_now(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    node.clearinghouse = Absent()  # type: ignore[assignment]
    unknown = made_up(token, key_id=bytes(8), issuer="310000", not_after=AT - 1)
    service, answers = node.another_service(), list[bytes]()
    service.start()
    asyncio.run(service.submit(ALIPAY, [redeem(node, unknown)], answers.extend))
    service.close()
    assert [outcome(answer) for answer in answers] == ["UNKNOWN_KEY"]


def test_an_item_that_waits_for_terms_holds_up_no_other_of_its_message(node: LocalNode) -> None:
    node.publish()
    (token,) = node.claim()
    node.clearinghouse = Silent()  # type: ignore[assignment]
    items = [redeem(node, each) for each in (visitors_token(), token)]
    service, answers = node.another_service(), list[bytes]()
    service.start()

    async def run() -> None:
        waiting = asyncio.create_task(service.submit(ALIPAY, items, answers.extend))
        async with asyncio.timeout(30):
            while not answers:
                await asyncio.sleep(0.01)
        waiting.cancel()

    asyncio.run(run())
    service.close()
    assert [outcome(answer) for answer in answers] == ["CAPTURED"]
