"""The clearinghouse's batches and windows on real databases: custody, caps, funds, and the order of settlement."""

from __future__ import annotations

from unittest import mock

import pytest
from batch_stories import HOLDS_A_BATCH, PACKS, STORIES, Story, redemption_id_of, request_id, requests_of
from hypothesis import given, settings
from local_parties import (
    HANGZHOU,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    StandingFactory,
    answer_of,
    item,
    keys_of,
    message_signer,
    outcome,
    purchase,
    received,
    undone,
)

from clearinghouse.custody import TakeHandOver, overdue, read_hand_over
from clearinghouse.recall import Recall
from clearinghouse.redeeming import Redeem, wanted
from clearinghouse.windows import Close, Confirm
from custodian import overdue as overdue_holds
from custodian.decisions import Elsewhere
from quanlian import hand_overs
from quanlian.errors import InvalidInput
from quanlian.refusals import RefusalReason
from quanlian.signing import digest
from quanlian.v1 import clearing_operator_pb2, custody_pb2, settlement_pb2, signed_pb2
from quanlian.v1 import redemption_pb2 as pb
from quanlian.vouchers import VoucherKey


def released(node: LocalNode, clearinghouse: LocalClearinghouse, packs: int = 1) -> list[bytes]:
    """Packs whose vouchers are in the clearinghouse's custody; their tokens."""
    node.publish()
    clearinghouse.learn(node)
    tokens = node.claim(packs)
    keys = [key for token in tokens for key in keys_of(token)]
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys)))
    return tokens


def redeem(number: int, token: bytes, index: int = 0, order_fen: int = 5800) -> bytes:
    return item(request_id(number), redeem=purchase(token, index, f"order-{number}", order_fen))


class TestCustody:
    def test_a_hand_over_brings_vouchers_with_their_money_and_its_limit(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        released(node, clearinghouse)
        assert clearinghouse.balance("spring/city") == (0, 1334, 0, 1334)
        assert clearinghouse.balance("spring/county") == (0, 666, 0, 666)
        assert node.balance("spring/city") == (0, 0, 0, 400_000 - 1334)
        assert [(row["status"], row["epoch"]) for row in clearinghouse.rows("voucher")] == [("usable", 1)] * 2

    def test_a_hand_over_that_comes_twice_changes_nothing_the_second_time(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        before = {name: clearinghouse.rows(name) for name in clearinghouse.tables}
        again = clearinghouse.hand_overs(node.release(*keys_of(token)))
        taken = [key for keys in clearinghouse.decide(*again, *again) for key in keys]
        assert set(taken) == set(keys_of(token)), "it is acknowledged each time"
        assert {name: clearinghouse.rows(name) for name in clearinghouse.tables} == before

    def test_a_hand_over_of_an_epoch_already_reached_is_kept_and_changes_no_voucher(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        before = clearinghouse.rows("voucher"), clearinghouse.rows("account")
        (message,) = node.release(*keys_of(token))
        stale = hand_overs.read(message.hand_over.body)
        again = hand_overs.sign(stale.head._replace(number=2), stale.leaves, message_signer())
        clearinghouse.decide(read_hand_over(HANGZHOU, again))
        assert (clearinghouse.rows("voucher"), clearinghouse.rows("account")) == before
        assert [row["number"] for row in clearinghouse.rows("hand_over")] == [1, 2]

    @pytest.mark.parametrize("with_recall", [False, True], ids=["by itself", "in a recall, which gives nothing back"])
    def test_a_captured_voucher_is_not_taken_again_whatever_epoch_it_is_given(
        self, node: LocalNode, clearinghouse: LocalClearinghouse, with_recall: bool
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        before = {name: clearinghouse.rows(name) for name in ("voucher", "account", "hand_over", "custody_return")}
        (message,) = node.release(*keys_of(token))
        first = hand_overs.read(message.hand_over.body)
        later = custody_pb2.HandedVoucher.FromString(first.leaves[0])
        later.epoch = 3
        signed = hand_overs.sign(first.head._replace(number=2), [later.SerializeToString()], message_signer())
        again = read_hand_over(HANGZHOU, signed)
        work = Recall(HANGZHOU, {keys_of(token)[0]: 3}, [again]) if with_recall else again
        (refused,) = clearinghouse.decide(work)
        assert isinstance(refused, InvalidInput)
        assert "is captured" in str(refused)
        assert {name: clearinghouse.rows(name) for name in before} == before
        clearinghouse.check_books()

    def test_nobody_hands_over_another_region_s_vouchers(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        (message,) = node.release(*keys_of(node.claim()[0]))
        with pytest.raises(InvalidInput, match=f"goes from {HANGZHOU}"):
            read_hand_over(SHANGHAI, message.hand_over)

    def test_a_voucher_that_is_not_here_must_be_released_first(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        clearinghouse.learn(node)
        (token,) = node.claim()
        (reply,) = clearinghouse.decide(clearinghouse.request(redeem(1, token)))
        assert isinstance(reply, Elsewhere)
        assert wanted(reply) == keys_of(token)[0]
        assert clearinghouse.rows("request") == [], "it is judged anew when the voucher has come"

    def test_a_release_that_failed_is_the_answer_and_stays_it(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        node.publish()
        clearinghouse.learn(node)
        (token,) = node.claim()
        waiting = clearinghouse.request(redeem(1, token))
        waiting.release_failed = RefusalReason.ALREADY_REDEEMED
        (reply,) = clearinghouse.decide(waiting)
        assert outcome(reply.content) == "ALREADY_REDEEMED"
        clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
        assert clearinghouse.redeem(redeem(1, token)) == [reply.content]

    def test_only_the_custodian_expires_a_voucher_and_its_money_is_free(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        released(node, clearinghouse)
        for party in (node, clearinghouse):
            party.pass_seconds(8 * 86_400)
        with clearinghouse.database.snapshot() as transaction:
            clearinghouse.decide(overdue(transaction, 100))
        assert {row["status"] for row in clearinghouse.rows("voucher")} == {"expired"}
        assert clearinghouse.balance("spring/city") == (0, 0, 0, 1334)
        assert {row["status"] for row in node.rows("voucher")} == {"usable"}, "the issuer knows nothing of it"


class TestRedemptions:
    def test_who_pays_an_away_redemption(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        (token,) = released(node, clearinghouse)
        (answer,) = clearinghouse.redeem(redeem(1, token))
        # 10.00 by 70:30; Hangzhou's 7.00 by 667:333; Shanghai's 3.00 from its visitors' fund.
        legs = {leg.account.rpartition("/")[2]: leg.amount_fen for leg in answer_of(answer).legs[:2]}
        assert legs == {"city": 467, "county": 233}
        assert answer_of(answer).legs[2].account == "funding/310000/2026/visitors/city"
        assert answer_of(answer).legs[2].amount_fen == 300
        assert clearinghouse.balance("reimbursement/310000")[0] == -1000
        clearinghouse.check_books()

    def test_the_last_redemption_under_the_debit_cap_is_accepted_and_the_next_refused(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        tokens = released(node, clearinghouse, 3)
        limits = clearing_operator_pb2.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=2 * 700)
        clearinghouse.do(clearinghouse.service.operations.set_limits(limits))
        answers = clearinghouse.redeem(*(redeem(n, token) for n, token in enumerate(tokens)))
        assert [outcome(answer) for answer in answers] == ["CAPTURED", "CAPTURED", "DEBIT_CAP_EXCEEDED"]
        (home,) = clearinghouse.redeem(redeem(9, tokens[2]), region=HANGZHOU)
        assert outcome(home) == "CAPTURED", "a use at home owes nothing to another region"

    def test_the_issuer_pays_what_the_visitors_fund_cannot(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        tokens = released(node, clearinghouse, 2)
        funder = clearing_operator_pb2.VisitorsFunder(name="city", weight=1, budget_fen=300)
        fund = clearing_operator_pb2.SetVisitorsFundRequest(
            region=SHANGHAI, fiscal_year=2026, rule="refuse", funders=[funder]
        )
        clearinghouse.do(clearinghouse.service.operations.set_visitors_fund(fund))
        answers = clearinghouse.redeem(*(redeem(n, token) for n, token in enumerate(tokens)))
        assert [_visitors_fen(answer) for answer in answers] == [300, 0]
        assert {sum(leg.amount_fen for leg in answer_of(answer).legs) for answer in answers} == {1000}

    def test_a_hold_that_expires_frees_the_visitors_money_and_the_cap(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(item(request_id(1), authorize=purchase(token, 0, "order")))
        assert clearinghouse.balance("310000/2026/visitors/city")[2] == 300
        assert _position(clearinghouse, HANGZHOU) == (700, 0, 0)
        clearinghouse.pass_seconds(900)
        late = item(request_id(2), capture=pb.Capture(redemption_id=clearinghouse.rows("redemption")[0]["id"]))
        assert [outcome(answer) for answer in clearinghouse.redeem(late)] == ["HOLD_EXPIRED"]
        assert clearinghouse.balance("310000/2026/visitors/city")[2] == 0
        assert _position(clearinghouse, HANGZHOU) == (0, 0, 0)
        clearinghouse.check_books()

    def test_only_the_region_that_redeemed_may_refund(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        (token,) = released(node, clearinghouse)
        (captured,) = clearinghouse.redeem(redeem(1, token))
        refund = item(request_id(2), refund=pb.Refund(redemption_id=answer_of(captured).redemption_id, order_fen=5800))
        assert [outcome(answer) for answer in clearinghouse.redeem(refund, region=HANGZHOU)] == ["REDEMPTION_UNKNOWN"]
        assert [outcome(answer) for answer in clearinghouse.redeem(refund)] == ["REFUNDED"]

    def test_the_issuer_is_told_every_posting_once_and_in_order(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        tokens = released(node, clearinghouse, 2)
        first, _ = clearinghouse.redeem(*(redeem(n, token) for n, token in enumerate(tokens)))
        refund = item(request_id(5), refund=pb.Refund(redemption_id=answer_of(first).redemption_id, order_fen=2000))
        clearinghouse.redeem(refund, redeem(0, tokens[0]), refund)
        published, *told = clearinghouse.feed(HANGZHOU)
        assert published.HasField("campaign_change")
        assert [(event.sequence, event.posting.discount_fen) for event in told] == [(2, 1000), (3, 1000), (4, -344)]
        assert clearinghouse.feed(SHANGHAI) == [published], "the redeeming region has its answers"

    def test_a_faulty_work_fails_alone_and_the_others_of_its_batch_get_their_answers(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        results = clearinghouse.decide(
            clearinghouse.request(redeem(1, token)), _beyond_budget(node), clearinghouse.request(redeem(2, token, 1))
        )
        assert [outcome(results[n].content) for n in (0, 2)] == ["CAPTURED", "CAPTURED"]
        assert isinstance(results[1], InvalidInput)
        assert [row["number"] for row in clearinghouse.rows("hand_over")] == [1]
        clearinghouse.check_books()

    def test_beside_a_faulty_work_the_others_are_not_decided_one_by_one(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        tokens = released(node, clearinghouse, 16)
        bad, before = _beyond_budget(node), len(clearinghouse.rows("entry"))
        asked = [clearinghouse.request(redeem(n, token)) for n, token in enumerate(tokens)]
        results = clearinghouse.decide(*asked[:11], bad, *asked[11:])
        assert isinstance(results.pop(11), InvalidInput)
        assert [outcome(each.content) for each in results] == ["CAPTURED"] * 16
        assert len(clearinghouse.rows("entry")) - before <= 5, "one for each half without the fault"
        clearinghouse.check_books()


def _visitors_fen(answer: bytes) -> int:
    return sum(leg.amount_fen for leg in answer_of(answer).legs if "/visitors/" in leg.account)


def _position(clearinghouse: LocalClearinghouse, region: str) -> tuple[int, int, int]:
    """What a region owes on hold, owes posted, and is due."""
    (row,) = [row for row in clearinghouse.rows("participant") if row["region"] == region]
    return row["owed_held_fen"], row["owed_posted_fen"], row["due_posted_fen"]


def _beyond_budget(node: LocalNode) -> TakeHandOver:
    """A hand-over of one voucher more than the published budget can pay."""
    (message,) = node.release(*keys_of(node.claim()[0]))
    given = hand_overs.read(message.hand_over.body)
    voucher = custody_pb2.HandedVoucher.FromString(given.leaves[0])
    for leg in voucher.reservation.public:
        leg.amount_fen = 10**9
    leaves = [voucher.SerializeToString(), *given.leaves[1:]]
    return read_hand_over(HANGZHOU, hand_overs.sign(given.head._replace(number=99), leaves, message_signer()))


class TestWindows:
    """`OPEN → CLOSED → CALCULATED → CONFIRMED → INSTRUCTED → SETTLED`, each step where it belongs and nowhere else."""

    def test_a_window_is_settled_step_by_step(self, node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        service = clearinghouse.service
        assert clearinghouse.do(service.settlement.close_window()) == 1
        assert {row["region"]: row["net_fen"] for row in clearinghouse.rows("net_position")} == {
            HANGZHOU: -700,
            SHANGHAI: 700,
        }
        confirm(clearinghouse, HANGZHOU)
        assert state(clearinghouse) == "CALCULATED", "one region has not confirmed yet"
        confirm(clearinghouse, SHANGHAI)
        assert state(clearinghouse) == "CONFIRMED"
        clearinghouse.do(service.settlement.instruct(1))
        pay(clearinghouse, SHANGHAI)
        clearinghouse.do(service.settlement.settle(1))
        assert state(clearinghouse) == "SETTLED"
        assert clearinghouse.balance("settlement/330100")[0] == -(1_000_000 - 700)
        # Its 10.00 came in, 3.00 of its visitors' fund went out, 7.00 were paid out.
        assert clearinghouse.balance("settlement/310000")[0] == -1_000_000
        assert clearinghouse.balance("reimbursement/310000")[0] == 0
        assert _position(clearinghouse, HANGZHOU) == (0, 0, 0)
        clearinghouse.check_books()

    def test_no_step_is_taken_before_its_turn_or_twice(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        released(node, clearinghouse)
        service = clearinghouse.service
        clearinghouse.do(service.settlement.close_window())
        refused(clearinghouse, service.settlement.instruct(1), "window 1 is not confirmed by 310000")
        refused(clearinghouse, service.settlement.settle(1), "is CALCULATED, this step needs INSTRUCTED")
        refused(clearinghouse, service.settlement.settle(1), "场次1已轧差，待各地确认，此步须在“已出具付款指令”之后")
        confirm(clearinghouse, HANGZHOU)
        confirm(clearinghouse, SHANGHAI)
        refused(clearinghouse, service.settlement.settle(1), "is CONFIRMED, this step needs INSTRUCTED")
        clearinghouse.do(service.settlement.instruct(1))
        refused(clearinghouse, service.settlement.instruct(1), "is INSTRUCTED, this step needs CONFIRMED")
        clearinghouse.do(service.settlement.settle(1))
        refused(clearinghouse, service.settlement.settle(1), "is SETTLED, this step needs INSTRUCTED")
        refused(clearinghouse, service.settlement.settle(7), "no window 7")

    def test_a_window_is_not_settled_before_those_who_receive_are_paid(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        for region in (HANGZHOU, SHANGHAI):
            confirm(clearinghouse, region)
        clearinghouse.do(clearinghouse.service.settlement.instruct(1))
        before = clearinghouse.rows("account")
        refused(clearinghouse, clearinghouse.service.settlement.settle(1), "310000 is not marked paid")
        assert clearinghouse.rows("account") == before
        assert state(clearinghouse) == "INSTRUCTED"

    def test_a_payment_keeps_its_reference_and_a_reference_names_one_payment(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        for region in (HANGZHOU, SHANGHAI):
            confirm(clearinghouse, region)
        clearinghouse.do(clearinghouse.service.settlement.instruct(1))
        service = clearinghouse.service.settlement
        taken = clearing_operator_pb2.MarkPaidRequest(window=1, region=SHANGHAI, bank_reference=f"deposit-{HANGZHOU}")
        refused(clearinghouse, service.mark_paid(taken), "names another payment")
        pay(clearinghouse, SHANGHAI)
        pay(clearinghouse, SHANGHAI)
        (marked,) = {row["bank_reference"] for row in clearinghouse.rows("net_position")} - {""}
        another = clearing_operator_pb2.MarkPaidRequest(window=1, region=SHANGHAI, bank_reference="another")
        refused(clearinghouse, service.mark_paid(another), f"is marked with {marked}")
        deposit = clearing_operator_pb2.RecordDepositRequest(region=HANGZHOU, amount_fen=1, bank_reference=marked)
        refused(clearinghouse, service.record_deposit(deposit), "names another payment")

    def test_a_window_that_a_crash_left_closed_is_calculated(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        released(node, clearinghouse)
        clearinghouse.decide(Close())
        assert state(clearinghouse) == "CLOSED"
        clearinghouse.do(clearinghouse.service.settlement.calculate_closed())
        assert state(clearinghouse) == "CALCULATED"

    def test_nobody_confirms_a_statement_that_is_not_the_one(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        other = settlement_pb2.Confirmation(region=HANGZHOU, window=1, statement_digest=bytes(32))
        (result,) = clearinghouse.decide(Confirm(HANGZHOU, signed_pb2.SignedMessage(), other))
        assert isinstance(result, InvalidInput)
        assert "confirms another statement" in str(result)

    def test_what_commits_after_the_close_belongs_to_the_next_window(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        (captured,) = clearinghouse.redeem(redeem(1, token))
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        refund = item(request_id(2), refund=pb.Refund(redemption_id=answer_of(captured).redemption_id, order_fen=5800))
        clearinghouse.redeem(refund)
        assert [(row["kind"], row["settlement_window"]) for row in clearinghouse.rows("posting")] == [
            ("capture", 1),
            ("refund", 2),
        ]

    def test_closing_gives_free_money_back_to_its_issuer_and_no_other(
        self, node: LocalNode, clearinghouse: LocalClearinghouse
    ) -> None:
        (token,) = released(node, clearinghouse)
        clearinghouse.redeem(redeem(1, token))
        clearinghouse.do(clearinghouse.service.settlement.close_window())
        # Of 10.00 reserved the issuer paid 7.00; what its visitors' fund has is Shanghai's own.
        assert clearinghouse.balance("spring/city") == (467, 667, 0, 467 + 667)
        assert clearinghouse.balance("310000/2026/visitors/city") == (300, 0, 0, 100_000)
        (row,) = clearinghouse.rows("fund_return")
        returned = custody_pb2.FundReturn.FromString(row["body"])
        assert sorted(leg.amount_fen for leg in returned.legs) == [100, 200]
        clearinghouse.check_books()


def state(clearinghouse: LocalClearinghouse, number: int = 1) -> str:
    (row,) = [row for row in clearinghouse.rows("settlement_window") if row["number"] == number]
    return str(row["state"])


def confirm(clearinghouse: LocalClearinghouse, region: str) -> None:
    (statement,) = [row for row in clearinghouse.rows("statement") if row["region"] == region]
    confirmation = settlement_pb2.Confirmation(
        region=region, window=1, statement_digest=digest("statement", statement["document"])
    )
    message = signed_pb2.SignedMessage(body=confirmation.SerializeToString())
    (result,) = clearinghouse.decide(Confirm(region, message, confirmation))
    assert not isinstance(result, Exception), result


def pay(clearinghouse: LocalClearinghouse, *regions: str) -> None:
    for region in regions:
        paid = clearing_operator_pb2.MarkPaidRequest(window=1, region=region, bank_reference=f"bank-{region}")
        clearinghouse.do(clearinghouse.service.settlement.mark_paid(paid))


def refused(clearinghouse: LocalClearinghouse, step: object, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        clearinghouse.do(step)  # type: ignore[arg-type]


# A batch and its requests one by one

Pair = tuple[LocalClearinghouse, LocalClearinghouse]


@pytest.fixture(scope="module")
def two_clearinghouses(open_lasting_party: StandingFactory) -> tuple[Pair, list[bytes]]:
    """Two clearinghouses with the same packs in their custody, and the packs' tokens."""
    node = LocalNode(open_lasting_party("node"))
    node.publish()
    tokens = node.claim(PACKS)
    messages = node.release(*(key for token in tokens for key in keys_of(token)))
    pair = []
    for name in ("together", "apart"):
        pair.append(LocalClearinghouse(open_lasting_party(name), visitors_fen=700))
        pair[-1].learn(node)
        pair[-1].decide(*pair[-1].hand_overs(messages))
        limits = clearing_operator_pb2.SetLimitsRequest(region=HANGZHOU, net_debit_cap_fen=3000)
        pair[-1].do(pair[-1].service.operations.set_limits(limits))
    return (pair[0], pair[1]), tokens


@settings(max_examples=25, deadline=None)
@given(story=STORIES, most=HOLDS_A_BATCH)
def test_a_batch_gives_what_its_requests_would_have_given_one_by_one(
    two_clearinghouses: tuple[Pair, list[bytes]], story: Story, most: int
) -> None:
    """Also at the edges: the visitors' fund pays twice, the debit cap admits four."""
    (together, apart), tokens = two_clearinghouses
    with undone(together, apart), mock.patch.object(overdue_holds, "HOLDS_A_BATCH", most):
        asked: list[bytes] = []
        for seconds, steps in story:
            works = [_work(each) for each in requests_of(steps, tokens, asked) if not isinstance(each, VoucherKey)]
            for party in (together, apart):
                party.pass_seconds(seconds)
            singles = [answer for work in works for answer in apart.decide(work)]
            assert together.decide(*works) == singles
        assert together.outcome() == apart.outcome()
        for party in (together, apart):
            party.check_books()


def _work(content: bytes) -> Redeem:
    return Redeem(received(content, SHANGHAI, SHANGHAI, redemption_id_of(content)))
