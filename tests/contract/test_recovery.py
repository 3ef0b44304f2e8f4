"""A database restored from an older copy is noticed, answers nothing, and learns again what its peer holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from local_parties import (
    CLEARINGHOUSE,
    HANGZHOU,
    PLATFORM,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    Party,
    answer_of,
    feed_head,
    item,
    keys_of,
    outcome,
    purchase,
)
from restored_network import (
    ALIPAY,
    CLEARING_KEY,
    NODE_KEY,
    Network,
    back_up,
    in_english,
    receipt,
    restore,
    set_back,
)

from custodian import evidence_file
from custodian.lineage import RecoveryNeeded
from node import schema
from node.feed import FeedGap
from node.receipt_files import receipt_pages
from node.service import NodeService
from quanlian.errors import InvalidInput
from quanlian.evidence import ANSWER_KIND, REQUEST_KIND, Exchange, Message
from quanlian.v1 import custody_pb2, node_operator_pb2, recovery_pb2
from quanlian.v1 import redemption_pb2 as pb


@pytest.fixture
def network(node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path) -> Network:
    return Network(node, clearinghouse, tmp_path)


def story(network: Network, tokens: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Vouchers that went to the clearinghouse, redeemed, held and voided there: requests, and their answers."""
    network.release(*(key for token in tokens for key in keys_of(token)))
    ids = network.node.ids
    items = [item(ids.fresh(), redeem=purchase(token, 0, f"order-{n}")) for n, token in enumerate(tokens)]
    items.append(item(ids.fresh(), authorize=purchase(tokens[0], 1, "order-held")))
    return items, network.redeem(*items)


def money(party: Party) -> dict[str, tuple[int, ...]]:
    """Every account's figures, those that are nothing left out."""
    names = ("posted_fen", "reserved_fen", "held_fen", "limit_fen")
    found = {row["account"]: tuple(row[name] for name in names) for row in party.rows("account")}
    return {account: figures for account, figures in found.items() if any(figures)}


def away(node: LocalNode) -> list[dict[str, Any]]:
    """What the clearinghouse decided for it; the list of redemptions is numbered anew by a recovery."""
    return [{name: value for name, value in row.items() if name not in ("number", "seal")} for row in node.rows("away")]


class TestNoticing:
    def test_a_database_that_goes_on_is_not_held_up(self, network: Network) -> None:
        network.node.claim()
        assert network.lineage(network.node).begin()

    def test_an_older_copy_is_noticed_at_the_start_and_answers_nothing(self, network: Network) -> None:
        copy = back_up(network.node)
        network.node.claim()
        network.node.claim()
        restore(network.node, copy)
        with pytest.raises(RecoveryNeeded, match="RECOVERY_NEEDED"):
            network.redeem(item(bytes(16), redeem=purchase(b"", 0, "order")))
        lineage = network.lineage(network.node)
        assert not lineage.begin()
        assert lineage.lost_commits == 2

    @pytest.mark.parametrize("of", ["the same bytes", "another request for the voucher"])
    def test_a_node_that_is_set_back_while_it_runs_captures_no_voucher_again(self, network: Network, of: str) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        captured = item(bytes(16), redeem=purchase(token, 0, "order"))
        asked = captured if of == "the same bytes" else item(b"\x01" * 16, redeem=purchase(token, 0, "another order"))

        async def run(service: NodeService) -> None:
            answers: list[bytes] = []
            await service.submit(ALIPAY, [captured], answers.extend)
            assert outcome(answers.pop()) == "CAPTURED"
            set_back(network.node, copy)
            for _ in range(2):
                with pytest.raises(RecoveryNeeded, match=r"1 commits that were .* the operator runs: quanlian node"):
                    await service.submit(ALIPAY, [asked], answers.extend)
            assert not answers
            assert "1 commits that were answered for" in service.recovery.job.state().why

        network.do(run)
        assert back_up(network.node) == copy
        assert not network.lineage(network.node).begin(), "it is remembered over a restart"

    @pytest.mark.parametrize("who", ["node", CLEARINGHOUSE])
    def test_a_party_that_is_set_back_while_nothing_is_asked_notices_at_its_sweep(
        self, network: Network, who: str
    ) -> None:
        party = network.node if who == "node" else network.clearinghouse
        copies = [back_up(party)]
        network.release(*keys_of(network.node.claim()[0]))
        copies.append(back_up(party))

        async def run(service: NodeService) -> None:
            swept = service if who == "node" else network.clearinghouse.service
            set_back(party, copies[1])
            await swept.sweep()
            set_back(party, copies[0])
            following = network.clearinghouse.service.follow(HANGZHOU, 99)
            waiting = asyncio.ensure_future(anext(following))
            with pytest.raises(RecoveryNeeded, match="commits that were answered for"):
                await swept.sweep()
            await swept.sweep()
            if who == CLEARINGHOUSE:
                with pytest.raises(RecoveryNeeded):
                    await waiting
            waiting.cancel()

        network.do(run)

    def test_a_lost_file_beside_a_used_database_is_noticed(self, network: Network) -> None:
        network.node.claim()
        (network.folder / "node.lineage").unlink()
        assert not network.lineage(network.node).begin()

    def test_a_node_notices_by_a_hand_over_that_the_clearinghouse_took(self, network: Network) -> None:
        network.release(*keys_of(network.node.claim()[0]))

        async def run(service: NodeService) -> None:
            await service.recovery.compare(custody_pb2.Position(hand_overs=1))
            with pytest.raises(RecoveryNeeded, match="took hand-over 2"):
                await service.recovery.compare(custody_pb2.Position(hand_overs=2))
            with pytest.raises(RecoveryNeeded):
                await service.release(custody_pb2.ReleaseRequest())

        network.do(run)
        assert not network.lineage(network.node).begin(), "it is remembered over a restart"

    def test_a_clearinghouse_notices_by_a_feed_that_a_node_has_seen(self, network: Network) -> None:
        position = custody_pb2.Position(feed=99, head=feed_head(99))

        async def run(service: NodeService) -> None:
            with pytest.raises(RecoveryNeeded, match="has event 99 of its feed"):
                network.clearinghouse.service.recovery.compare(HANGZHOU, position)

        network.do(run)
        assert not network.lineage(network.clearinghouse).begin()

    def test_nothing_is_recovered_that_need_not_be(self, network: Network) -> None:
        with pytest.raises(InvalidInput, match="nothing needs"):
            network.recover_node()
        with pytest.raises(InvalidInput, match="nothing needs"):
            network.recover_clearinghouse()


class TestNode:
    def test_a_node_learns_its_hand_overs_and_its_answers_again(self, network: Network) -> None:
        tokens = network.node.claim(2)
        copy = back_up(network.node)
        items, answers = story(network, tokens)
        network.follow()
        before = money(network.node), network.node.rows("voucher"), away(network.node)
        restore(network.node, copy)
        report = network.recover_node()
        network.follow()
        assert (report.hand_overs, report.vouchers, report.answers) == (1, 4, 3)
        assert not report.disputed
        assert report.incarnation == 2
        assert (money(network.node), network.node.rows("voucher"), away(network.node)) == before
        assert network.redeem(*items) == answers, "a repeated request gets the bytes that it got before the restore"
        network.check()

    def test_two_operators_who_recover_it_at_once_get_one_report(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        network.release(*keys_of(token))
        restore(network.node, copy)

        async def twice(service: NodeService) -> list[object]:
            return [*await asyncio.gather(service.recovery.run(), service.recovery.run(), return_exceptions=True)]

        first, second = network.do(twice)
        assert isinstance(first, recovery_pb2.RecoveryReport)
        assert second == first
        heard = custody_pb2.Position(incarnation=first.incarnation, hand_overs=1)
        assert network.clearinghouse.service.recovery.compare(HANGZHOU, heard).peer_incarnation == first.incarnation

    def test_vouchers_claimed_after_the_copy_are_not_the_node_s_again(self, network: Network) -> None:
        copy = back_up(network.node)
        tokens = network.node.claim(2)
        story(network, tokens)
        limit = network.node.balance("spring/city")[3]
        restore(network.node, copy)
        assert network.recover_node().vouchers == 4
        assert network.node.balance("spring/city")[3] == limit
        assert {row["epoch"] for row in network.node.rows("voucher")} == {1}
        network.check()

    def test_a_hold_that_the_copy_still_has_was_over_when_its_voucher_was_given(self, network: Network) -> None:
        (token,) = network.node.claim()
        (held,) = network.node.redeem(item(network.node.ids.fresh(), authorize=purchase(token, 0, "order")))
        assert outcome(held) == "AUTHORIZED"
        copy = back_up(network.node)
        network.node.pass_seconds(900)
        network.release(*keys_of(token))
        after = money(network.node)
        restore(network.node, copy)
        network.recover_node()
        assert money(network.node) == after
        network.check()

    def test_a_new_life_of_the_clearinghouse_has_open_windows_confirmed_again_once(self, network: Network) -> None:
        for _ in range(2):
            network.do(lambda service: network.clearinghouse.service.settlement.close_window())
        network.follow()
        table = network.node.tables["settlement_window"]
        with network.node.database.transaction() as transaction:
            transaction.update(table, {"number": 1}, {"confirmed": True, "settled": True})
            transaction.update(table, {"number": 2}, {"confirmed": True})

        def confirmed_after(incarnation: int) -> dict[int, bool]:
            position = custody_pb2.Position(incarnation=incarnation, head=feed_head(incarnation=incarnation))
            network.do(lambda service: service.recovery.compare(position))
            return {row["number"]: row["confirmed"] for row in network.node.rows("settlement_window")}

        assert confirmed_after(1) == {1: True, 2: True}
        assert confirmed_after(2) == {1: True, 2: False}
        with network.node.database.transaction() as transaction:
            transaction.update(table, {"number": 2}, {"confirmed": True})
        assert confirmed_after(2) == {1: True, 2: True}

    def test_a_restored_node_helps_a_restored_clearinghouse_before_it_asks_it(self, network: Network) -> None:
        copies = back_up(network.node), back_up(network.clearinghouse)
        story(network, network.node.claim(2))
        restore(network.node, copies[0])
        restore(network.clearinghouse, copies[1])
        network.recover_node()
        complete = [row["region"] for row in network.clearinghouse.rows("receipts_complete")]
        assert complete == [HANGZHOU]

    def test_numbers_go_on_where_the_clearinghouse_has_seen_them(self, network: Network) -> None:
        copy = back_up(network.node)
        network.release(*keys_of(network.node.claim()[0]))
        restore(network.node, copy)
        network.recover_node()
        network.release(*keys_of(network.node.claim()[0]))
        assert [row["number"] for row in network.clearinghouse.rows("hand_over")] == [1, 2]
        network.check()


def test_terms_that_a_node_set_back_has_in_memory_alone_are_fetched_with_the_change_that_names_them(
    network: Network,
) -> None:
    (row,) = network.node.rows("terms")

    async def run(service: NodeService) -> None:
        service.shelf.put(row["document"])
        with service.database.transaction() as transaction:
            transaction.connection.execute(schema.terms.delete())
        await service.directory.require_terms(row["terms_hash"])

    network.do(run)
    assert network.node.rows("terms") == [row]


class TestPlatformReceipts:
    """What a node decided alone after the copy: the platforms hold its signed answers."""

    def story(self, network: Network, token: bytes) -> tuple[list[bytes], list[bytes]]:
        """Held and captured in part, refunded, refused, held: requests a minute apart, and their answers."""
        ids, asked, answers = network.node.ids, list[bytes](), list[bytes]()

        def ask(**operation: Any) -> bytes:
            network.node.pass_seconds(60)
            asked.append(item(ids.fresh(), **operation))
            answers.extend(network.redeem(asked[-1]))
            return answer_of(answers[-1]).redemption_id

        held = ask(authorize=purchase(token, 0, "order-1"))
        ask(capture=pb.Capture(redemption_id=held, order_fen=5000))
        ask(refund=pb.Refund(redemption_id=held, order_fen=1000))
        ask(redeem=purchase(token, 1, "order-2", order_fen=3850))
        ask(authorize=purchase(token, 1, "order-3"))
        kinds = ["AUTHORIZED", "CAPTURED", "PARTLY_REFUNDED", "BELOW_MINIMUM_SPEND", "AUTHORIZED"]
        assert [outcome(answer) for answer in answers] == kinds
        return asked, answers

    def books(self, network: Network) -> list[Any]:
        names = ("voucher", "redemption", "spend", "merchant_order")
        return [money(network.node), *(without_seals(network.node.rows(name)) for name in names)]

    def test_they_are_booked_again_and_every_figure_and_answer_is_as_it_was(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        asked, answers = self.story(network, token)
        before = self.books(network)
        restore(network.node, copy)
        assert self.books(network) != before
        network.node.pass_seconds(60)
        receipts = [receipt(*each) for each in zip(asked, answers, strict=True)]
        shown = network.book(*reversed(receipts))
        assert (shown.kept, shown.known, list(shown.disputed)) == (5, 0, [])
        again = network.book(*receipts)
        assert (again.kept, again.known, list(again.disputed)) == (0, 5, [])
        report = network.recover_node()
        assert (report.receipts, list(report.disputed)) == (5, [])
        assert self.books(network) == before
        assert network.redeem(*asked) == answers
        network.check()

    def test_a_node_asks_for_those_of_every_platform_that_it_has_or_for_the_word_that_there_are_none(
        self, network: Network
    ) -> None:
        (token,) = network.node.claim()
        with network.node.database.transaction() as transaction:
            transaction.insert(schema.platform, [{"name": each, "chain": b"-"} for each in (PLATFORM, "unionpay")])
        copy = back_up(network.node)
        asked, answers = self.story(network, token)
        restore(network.node, copy)
        request = node_operator_pb2.BookReceiptsRequest(receipts=[receipt(asked[0], answers[0])])

        async def run(service: NodeService) -> None:
            for given, missing in (([], f"{PLATFORM}, unionpay"), (["unionpay"], PLATFORM)):
                with pytest.raises(InvalidInput, match=f"no receipt of {missing} came"):
                    await service.recovery.require_receipts(given)
            await service.recovery.book_receipts(request)
            with pytest.raises(InvalidInput, match="no receipt of unionpay came"):
                await service.recovery.require_receipts([])
            await service.recovery.require_receipts(["unionpay"])

        network.do(run)
        network.recover_node()
        network.do(lambda service: service.recovery.require_receipts([]))

    def test_what_is_not_signed_by_the_platform_and_this_node_is_not_believed(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.redeem(content)
        restore(network.node, copy)
        other = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        forged = [
            receipt(content, answer, node_key=CLEARING_KEY),
            receipt(content, answer, platform_key=NODE_KEY),
            receipt(other, answer),
            receipt(content, answer),
            receipt(content, answer),
        ]
        forged[3].answer.signature = bytes(64)
        forged[4].request.content = other
        shown = network.book(*forged)
        assert (shown.kept, shown.known, len(shown.disputed)) == (0, 0, 5)
        for told, why in zip(
            shown.disputed,
            (
                "the answer is signed by clearinghouse's key for message",
                f"the request is signed by {HANGZHOU}'s key for message",
                "the answer is to another request",
                "signature",
                "not among those that were signed",
            ),
            strict=True,
        ):
            assert why in told.reason
        assert network.node.rows("spend") == []

    def test_what_the_books_cannot_give_again_is_disputed_and_its_voucher_dead(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.node)
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.redeem(content)
        (unknown,) = network.node.claim()
        late = item(network.node.ids.fresh(), redeem=purchase(unknown, 0, "order-of-a-later-pack"))
        (told,) = network.redeem(late)
        restore(network.node, copy)
        (use,) = network.node.decide(network.node.intake(item(b"x" * 16, redeem=purchase(token, 1, "order"))))
        assert outcome(use.content) == "CAPTURED", "the copy goes on, and another voucher takes the order"
        network.book(receipt(content, answer), receipt(late, told))
        report = network.recover_node()
        assert report.receipts == 0
        assert [in_english(each.reason) for each in report.disputed] == [
            "is decided otherwise now than it was answered"
        ] * 2
        states = {row["voucher_index"]: row["status"] for row in network.node.rows("voucher")}
        assert states == {0: "cancelled", 1: "captured"}
        network.check()

    def test_answers_of_the_clearinghouse_are_left_to_its_own_receipts(self, network: Network) -> None:
        tokens = network.node.claim(2)
        copy = back_up(network.node)
        asked, answers = story(network, tokens)
        restore(network.node, copy)
        shown = network.book(*(receipt(*each) for each in zip(asked, answers, strict=True)))
        assert (shown.kept, shown.known, list(shown.disputed)) == (0, 3, [])
        assert network.recover_node().answers == 3

    def test_a_node_that_goes_on_takes_none(self, network: Network) -> None:
        (token,) = network.node.claim()
        content = item(network.node.ids.fresh(), redeem=purchase(token, 0, "order"))
        (answer,) = network.redeem(content)
        with pytest.raises(InvalidInput, match="nothing needs to be recovered"):
            network.book(receipt(content, answer))

    def test_a_platform_s_evidence_files_become_calls_in_the_order_of_time(self, network: Network) -> None:
        (token,) = network.node.claim()
        asked, answers = self.story(network, token)
        shown = [receipt(*each) for each in zip(asked, answers, strict=True)]
        asker = f"{HANGZHOU}/{PLATFORM}"
        exchanges = [
            Exchange(asker, HANGZHOU, _message(REQUEST_KIND, each.request), _message(ANSWER_KIND, each.answer))
            for each in reversed(shown)
        ]
        partly = [Exchange(asker, HANGZHOU, exchanges[0].request, None), exchanges[0]._replace(asker=HANGZHOU)]
        files = [
            evidence_file.write(PLATFORM, b"id", each, b"root", lambda key: b"chain of " + key.hex().encode())
            for each in (exchanges[:2] + partly, exchanges[2:])
        ]
        (request,) = receipt_pages(zip(("one.json", "two.json"), files, strict=True))
        assert list(request.receipts) == shown
        assert len(request.chains) == 2
        with pytest.raises(InvalidInput, match=r"three\.json.*is no evidence file"):
            list(receipt_pages([("three.json", b"{}")]))


def _message(kind: str, shown: node_operator_pb2.ShownMessage) -> Message:
    return Message(kind, shown.content, shown.hashes, shown.key_id, shown.signature)


def without_seals(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seal"} for row in rows]


class TestClearinghouse:
    def test_a_clearinghouse_decides_again_what_its_nodes_hold_and_gets_the_same_bytes(self, network: Network) -> None:
        tokens = network.node.claim(2)
        copy = back_up(network.clearinghouse)
        items, answers = story(network, tokens)
        network.follow()
        names = ("redemption", "posting", "spend", "voucher", "participant", "proof")
        before = money(network.clearinghouse), [network.clearinghouse.rows(name) for name in names[2:]]
        at_node = money(network.node)
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert not report.disputed
        assert (report.hand_overs, report.vouchers, report.answers) == (1, 4, 3)
        assert (money(network.clearinghouse), [network.clearinghouse.rows(name) for name in names[2:]]) == before
        network.follow()
        assert money(network.node) == at_node, "what is told again is taken once"
        assert network.redeem(*items) == answers
        network.check()

    def test_a_node_hands_over_the_documents_of_its_own_campaigns_alone(self, network: Network) -> None:
        own = network.node.rows("terms")
        visitors = {**own[0], "terms_hash": bytes(32), "issuer": SHANGHAI}
        with network.node.database.transaction() as transaction:
            transaction.insert(network.node.tables["terms"], [visitors])
        copy = back_up(network.clearinghouse)
        story(network, network.node.claim())
        restore(network.clearinghouse, copy)
        assert not network.recover_clearinghouse(SHANGHAI).disputed

    def test_it_waits_for_every_node_unless_told_not_to(self, network: Network) -> None:
        copy = back_up(network.clearinghouse)
        story(network, network.node.claim())
        restore(network.clearinghouse, copy)
        with pytest.raises(InvalidInput, match=f"{SHANGHAI} have not handed over"):
            network.recover_clearinghouse()

    def test_returns_that_it_gave_are_learned_again(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        network.release(*keys_of(token))
        network.do(lambda service: service.recall(keys_of(token)))
        before = network.clearinghouse.rows("voucher"), money(network.clearinghouse)
        restore(network.clearinghouse, copy)
        report = network.recover_clearinghouse(SHANGHAI)
        assert not report.disputed
        assert (network.clearinghouse.rows("voucher"), money(network.clearinghouse)) == before
        network.follow()
        network.check()

    def test_what_is_decided_otherwise_is_disputed_and_its_voucher_dead(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        network.release(*keys_of(token))
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        restore(network.clearinghouse, copy)
        outbox = network.node.rows("outbox")[0]
        other = item(outbox["own_id"], redeem=purchase(token, 0, "another-order", order_fen=9999))
        with network.node.database.transaction() as transaction:
            transaction.upsert(network.node.tables["outbox"], [{**outbox, "content": other}])
        report = network.recover_clearinghouse(SHANGHAI)
        assert [in_english(each.reason) for each in report.disputed] == [
            "does not follow from its request and the books"
        ]
        assert {row["status"] for row in network.clearinghouse.rows("voucher")} == {"usable", "cancelled"}

    def test_an_answer_that_it_did_not_sign_is_not_believed(self, network: Network) -> None:
        (token,) = network.node.claim()
        copy = back_up(network.clearinghouse)
        network.release(*keys_of(token))
        network.redeem(item(network.node.ids.fresh(), redeem=purchase(token, 0, "order")))
        restore(network.clearinghouse, copy)
        with network.node.database.transaction() as transaction:
            for row in network.node.rows("signed_batch"):
                if row["kind"] == ANSWER_KIND:
                    transaction.upsert(network.node.tables["signed_batch"], [{**row, "signature": bytes(64)}])
        report = network.recover_clearinghouse(SHANGHAI)
        assert len(report.disputed) == 1
        assert network.clearinghouse.rows("spend") == []

    def test_a_copy_from_before_a_window_s_close_is_not_enough(self, network: Network) -> None:
        copy = back_up(network.clearinghouse)
        network.do(lambda service: network.clearinghouse.service.settlement.close_window())
        network.follow()
        restore(network.clearinghouse, copy)
        with pytest.raises(InvalidInput, match="from after that window was closed"):
            network.recover_clearinghouse(SHANGHAI)

    def test_one_event_stands_for_all_that_it_told_and_forgot(self, network: Network) -> None:
        copy, had = back_up(network.clearinghouse), len(network.clearinghouse.feed(HANGZHOU))
        story(network, network.node.claim(3))
        network.follow()
        heard = position_of(network)
        assert heard - had > 1
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        (passed,) = [each for each in network.clearinghouse.feed(HANGZHOU) if each.HasField("forgotten")]
        assert (passed.sequence, passed.forgotten) == (heard, heard - had)
        assert [each.sequence for each in network.clearinghouse.feed(HANGZHOU)][:had] == list(range(1, had + 1))
        network.follow()
        assert position_of(network) == network.clearinghouse.feed(HANGZHOU)[-1].sequence > heard
        network.check()

    @pytest.mark.parametrize("heard", ["a part of what was forgotten", "less than the copy has"])
    def test_a_node_that_is_an_older_copy_passes_over_what_was_forgotten(self, network: Network, heard: str) -> None:
        copies = [back_up(network.node)]
        copy, had = back_up(network.clearinghouse), len(network.clearinghouse.feed(HANGZHOU))
        story(network, network.node.claim(3))
        events = network.clearinghouse.feed(HANGZHOU)
        network.do(lambda service: service.take_news(events[: had + 1], feed_head()))
        copies.append(back_up(network.node))
        network.follow()
        restore(network.clearinghouse, copy)
        network.recover_clearinghouse(SHANGHAI)
        restore(network.node, copies[heard.startswith("a part")])
        network.recover_node()
        network.follow()
        assert position_of(network) == network.clearinghouse.feed(HANGZHOU)[-1].sequence
        network.check()

    def test_what_was_forgotten_hides_no_gap_before_it(self, network: Network) -> None:
        at = position_of(network)
        passed = custody_pb2.FeedEvent(sequence=at + 10**12, forgotten=10**12)
        gap = custody_pb2.FeedEvent(sequence=at + 10**12, forgotten=10**12 - 1)
        with pytest.raises(FeedGap):
            network.do(lambda service: service.take_news([gap], feed_head()))
        network.do(lambda service: service.take_news([passed, gap], feed_head()))
        assert position_of(network) == at + 10**12


def position_of(network: Network) -> int:
    """The last event of the feed that the node has."""
    return network.do(lambda service: service.feed_position())
