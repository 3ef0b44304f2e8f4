"""Whether a shopper gets a pack, and what is reserved for it (protocol.md, Claiming; money.md, Reserved at issue)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from node.domain.claims import RUN_MODES, ClaimFacts, Evidence, Issue, china_day, decide_claim
from quanlian.refusals import Refusal, RefusalReason
from quanlian.signing import SigningKey
from quanlian.terms import Terms
from quanlian.terms_parsing import parse_terms

HANGZHOU = Path(__file__).parents[2] / "examples" / "campaigns" / "hangzhou-2020-r1.toml"
TERMS = parse_terms(HANGZHOU.read_bytes(), HANGZHOU.name)
NOTHING_SHOWN = Evidence(complete=False, used=False)
FACTS = ClaimFacts(
    TERMS,
    "r1",
    claimed_in_round=0,
    claimed_by_holder=0,
    claimed_by_holder_today=0,
    evidence=NOTHING_SHOWN,
)


def beijing(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp())


OPENS, CLOSES = beijing("2020-03-27T10:00:00"), beijing("2020-04-02T16:00:00")


def a_round(**changes: object) -> Terms:
    return replace(TERMS, rounds=(replace(TERMS.rounds[0], **changes),))  # type: ignore[arg-type]


def a_pack(**changes: object) -> Terms:
    return replace(TERMS, packs=(replace(TERMS.packs[0], **changes),))  # type: ignore[arg-type]


def left(**budgets: int) -> Callable[[str], int]:
    """Everyone has plenty, but those named by the last part of their account."""
    return lambda account: budgets.get(account.rpartition("/")[2], 10**9)


def issued(facts: ClaimFacts = FACTS, free_fen: Callable[[str], int] = left(), at: int = OPENS) -> Issue:  # noqa: B008
    result = decide_claim(facts, free_fen, at)
    assert isinstance(result, Issue), result
    return result


def refused(facts: ClaimFacts = FACTS, free_fen: Callable[[str], int] = left(), at: int = OPENS) -> Refusal:  # noqa: B008
    result = decide_claim(facts, free_fen, at)
    assert isinstance(result, Refusal), result
    return result


class TestIssue:
    def test_each_voucher_of_the_pack_has_its_highest_discount_reserved(self) -> None:
        issue = issued()
        assert (issue.pack.id, issue.round.id) == ("five-tens", "r1")
        assert len(issue.reservations) == 5
        for reservation in issue.reservations:
            assert {leg.account.rpartition("/")[2]: leg.amount_fen for leg in reservation.legs()} == {
                "alipay": 200,
                "province": 320,
                "city": 320,
                "county": 160,
            }
        assert issue.reserved_fen == 5000

    def test_money_for_one_pack_is_enough_for_one_pack(self) -> None:
        assert issued(free_fen=left(alipay=1000, province=1600, city=1600, county=800)).reserved_fen == 5000

    def test_each_voucher_sees_what_the_ones_before_it_took(self) -> None:
        issue = issued(free_fen=left(city=700))
        city = [reservation.public[1].amount_fen for reservation in issue.reservations]
        province = [reservation.public[0].amount_fen for reservation in issue.reservations]
        assert city == [320, 320, 60, 0, 0]
        assert province == [320, 320, 320, 320, 320]
        assert {reservation.total_fen for reservation in issue.reservations} == {1000}


class TestMoney:
    def test_all_vouchers_of_a_pack_are_reserved_or_none(self) -> None:
        refusal = refused(free_fen=left(province=1600, city=1600, county=799))
        assert refusal.reason is RefusalReason.FUNDING_EXHAUSTED
        assert refusal.retryable

    def test_a_dry_platform_refuses_though_the_public_has_money(self) -> None:
        assert refused(free_fen=left(alipay=999)).reason is RefusalReason.FUNDING_EXHAUSTED

    def test_the_public_pays_for_a_dry_platform_where_the_terms_say_so(self) -> None:
        generous = replace(TERMS, cofunders=(replace(TERMS.cofunders[0], public_pays_if_dry=True),))
        issue = issued(replace(FACTS, terms=generous), left(alipay=999))
        assert [reservation.cofunders[0].amount_fen for reservation in issue.reservations] == [200, 200, 200, 200, 0]
        assert issue.reserved_fen == 5000


class TestTime:
    @pytest.mark.parametrize("at", [OPENS, CLOSES - 1])
    def test_a_round_is_open_from_its_opening_until_before_its_close(self, at: int) -> None:
        issued(at=at)

    @pytest.mark.parametrize("at", [OPENS - 1, CLOSES])
    def test_outside_its_times_it_says_when_it_is_open(self, at: int) -> None:
        refusal = refused(at=at)
        assert refusal == Refusal(RefusalReason.ROUND_NOT_OPEN, {"opens_at": OPENS, "closes_at": CLOSES})
        assert refusal.message_zh == "发放时间为2020-03-27 10:00:00至2020-04-02 16:00:00"

    def test_a_pack_whose_validity_is_over_is_not_given_though_the_round_is_open(self) -> None:
        until = beijing("2020-04-01T00:00:00")
        facts = replace(FACTS, terms=a_pack(valid_days=None, valid_until=until))
        issued(facts, at=until - 1)
        assert refused(facts, at=until).figures == {"opens_at": OPENS, "closes_at": until}

    @pytest.mark.parametrize(
        "pack", [{}, {"valid_days": None, "valid_until": TERMS.ends_at + 50}], ids=["days", "until"]
    )
    def test_a_round_longer_than_its_campaign_ends_with_it(self, pack: dict[str, int | None]) -> None:
        terms = replace(a_round(closes_at=TERMS.ends_at + 100), packs=a_pack(**pack).packs)
        issued(replace(FACTS, terms=terms), at=TERMS.ends_at - 1)
        assert refused(replace(FACTS, terms=terms), at=TERMS.ends_at).reason is RefusalReason.ROUND_NOT_OPEN

    def test_a_day_is_beijings(self) -> None:
        assert china_day(beijing("1970-01-01T08:00:00")) == 0
        assert china_day(beijing("2020-03-28T00:00:00")) - china_day(beijing("2020-03-27T23:59:59")) == 1
        assert china_day(beijing("2020-03-27T23:59:59")) == china_day(beijing("2020-03-27T00:00:00"))


class TestCaps:
    def test_one_pack_a_person(self) -> None:
        refusal = refused(replace(FACTS, claimed_by_holder=1))
        assert refusal == Refusal(RefusalReason.CLAIM_LIMIT_REACHED, {"limit": 1})
        assert refusal.message_zh == "已达领取上限：每人1份"

    def test_a_cap_per_day_binds_below_the_cap_per_person(self) -> None:
        facts = replace(FACTS, terms=a_round(per_person=10, per_day=2), claimed_by_holder=5)
        issued(replace(facts, claimed_by_holder_today=1))
        assert refused(replace(facts, claimed_by_holder_today=2)).figures == {"limit_per_day": 2}
        assert refused(replace(facts, claimed_by_holder=10, claimed_by_holder_today=0)).figures == {"limit": 10}

    def test_a_quota_is_exact(self) -> None:
        issued(replace(FACTS, claimed_in_round=1_999_999))
        assert refused(replace(FACTS, claimed_in_round=2_000_000)).reason is RefusalReason.QUOTA_EXHAUSTED

    def test_a_quota_lowered_below_what_was_claimed_gives_no_more(self) -> None:
        facts = replace(FACTS, terms=a_round(quota=5), claimed_in_round=6)
        assert refused(facts).reason is RefusalReason.QUOTA_EXHAUSTED


class TestApplications:
    FACTS = replace(FACTS, terms=a_round(mode="application"))

    def test_complete_and_new_evidence_is_approved(self) -> None:
        issued(replace(self.FACTS, evidence=Evidence(complete=True, used=False)))

    def test_incomplete_evidence_may_be_sent_again(self) -> None:
        refusal = refused(self.FACTS)
        assert refusal.reason is RefusalReason.EVIDENCE_MISSING
        assert refusal.retryable

    def test_an_invoice_counts_once(self) -> None:
        refusal = refused(replace(self.FACTS, evidence=Evidence(complete=True, used=True)))
        assert refusal.reason is RefusalReason.EVIDENCE_ALREADY_USED

    def test_first_come_asks_for_no_evidence(self) -> None:
        issued(replace(FACTS, evidence=Evidence(complete=False, used=True)))

    def test_lottery_and_targeted_rounds_are_not_run_yet(self) -> None:
        assert {"first-come", "application"} == RUN_MODES


class TestOrderOfReasons:
    def test_the_first_that_fails_is_the_answer(self) -> None:
        broke, late = left(province=0, city=0, county=0), CLOSES
        worst = replace(
            FACTS,
            terms=None,
            round_id="r2",
            claimed_by_holder=1,
            claimed_in_round=2_000_000,
        )
        region = replace(worst, region="330100", region_suspended_at=OPENS)
        paused = replace(worst, terms=a_round(mode="application"), suspended=True, suspended_at=OPENS)
        steps = [
            ("REGION_SUSPENDED", region, late),
            ("CAMPAIGN_UNKNOWN", worst, late),
            ("CAMPAIGN_SUSPENDED", paused, late),
            ("ROUND_UNKNOWN", replace(worst, terms=a_round(mode="application")), late),
            ("ROUND_NOT_OPEN", (known := replace(worst, terms=a_round(mode="application"), round_id="r1")), late),
            ("EVIDENCE_MISSING", known, OPENS),
            ("EVIDENCE_ALREADY_USED", (shown := replace(known, evidence=Evidence(True, True))), OPENS),
            ("CLAIM_LIMIT_REACHED", (new := replace(shown, evidence=Evidence(True, False))), OPENS),
            ("QUOTA_EXHAUSTED", (first := replace(new, claimed_by_holder=0)), OPENS),
            ("FUNDING_EXHAUSTED", replace(first, claimed_in_round=0), OPENS),
        ]
        assert [refused(facts, broke, at).reason.name for _, facts, at in steps] == [name for name, _, _ in steps]
        of_claims = {reason.name for reason in RefusalReason if reason >= RefusalReason.ROUND_UNKNOWN}
        assert of_claims < {name for name, _, _ in steps}, "a reason without a claim that leads to it"


class TestTheSigningKey:
    """No voucher is issued that nobody would take; nothing is said for good."""

    KEY = SigningKey(b"k", "330100", "voucher", b"", OPENS - 1, OPENS + 100)

    def test_a_sound_key_issues(self) -> None:
        assert issued(replace(FACTS, key=self.KEY))
        assert issued(replace(FACTS, key=self.KEY._replace(revoked_from=OPENS + 1)))

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            (KEY._replace(not_after=OPENS), RefusalReason.KEY_NOT_VALID),
            (KEY._replace(not_before=OPENS + 1), RefusalReason.KEY_NOT_VALID),
            (KEY._replace(revoked_from=OPENS), RefusalReason.KEY_REVOKED),
        ],
    )
    def test_one_that_does_not_count_refuses_for_now(self, key: SigningKey, reason: RefusalReason) -> None:
        refusal = refused(replace(FACTS, key=key, region="330100", region_suspended_at=OPENS))
        assert (refusal.reason, refusal.retryable, refusal.reason.consumes_request_id) == (reason, True, False)
