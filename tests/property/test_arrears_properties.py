"""Whatever a window's debtors lack: what is withheld stays what stands in arrears, and nobody goes below zero."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from clearinghouse.domain.arrears import Balance, cure, released_after_cure, shortfall
from quanlian.netting import payouts_after_shortfall

REGIONS = ("310000", "320500", "330100", "340100")
FEN = st.integers(0, 1_000)


@st.composite
def sound_balances(draw: st.DrawFn) -> dict[str, Balance]:
    """Some are in arrears; as much is withheld from the others, on whose balance it is beside what is promised."""
    debtors = draw(st.sets(st.sampled_from(REGIONS), max_size=3))
    creditors = [region for region in REGIONS if region not in debtors]
    balances = {}
    for region in REGIONS:
        promised, there = draw(FEN), draw(FEN) if region in creditors else 0
        balances[region] = Balance(promised + there, draw(FEN) if region in debtors else 0, 0, promised)
    arrears_fen = sum(each.arrears_fen for each in balances.values())
    for region, fen in released_after_cure(dict.fromkeys(creditors, 1), arrears_fen).items():
        balance = balances[region]
        balances[region] = balance._replace(settlement_fen=balance.settlement_fen + fen, withheld_fen=fen)
    return balances


@st.composite
def net_positions(draw: st.DrawFn) -> dict[str, int]:
    nets = {region: draw(st.integers(-2_000, 2_000)) for region in REGIONS[1:]}
    return {REGIONS[0]: -sum(nets.values())} | nets


def bank_fen(balances: Mapping[str, Balance]) -> int:
    return sum(each.settlement_fen - each.arrears_fen for each in balances.values())


def settled(balances: dict[str, Balance], nets: Mapping[str, int]) -> dict[str, Balance]:
    """As the clearinghouse settles a window of which nothing was paid before."""
    after = {
        region: each._replace(settlement_fen=each.settlement_fen + nets[region]) for region, each in balances.items()
    }
    lacking_fen = 0
    for region, each in after.items():
        change = shortfall(each)
        lacking_fen += sum(change)
        after[region] = changed(each, change.arrears_fen, -change.passed_on_fen)
    credits = {region: fen for region, fen in nets.items() if fen > 0}
    there = payouts_after_shortfall(credits, lacking_fen)
    for region, fen in credits.items():
        after[region] = changed(after[region], 0, fen - there[region])
    return cured(after)


def cured(balances: Mapping[str, Balance]) -> dict[str, Balance]:
    after, freed_fen = dict(balances), 0
    for region, each in balances.items():
        change = cure(each)
        freed_fen -= sum(change)
        after[region] = changed(each, change.arrears_fen, -change.passed_on_fen)
    withheld = {region: each.withheld_fen for region, each in after.items() if each.withheld_fen}
    for region, fen in released_after_cure(withheld, freed_fen).items():
        after[region] = changed(after[region], 0, -fen)
    return after


def changed(balance: Balance, arrears_fen: int, withheld_fen: int) -> Balance:
    settlement, arrears, withheld, promised = balance
    return Balance(settlement + arrears_fen, arrears + arrears_fen, withheld + withheld_fen, promised)


def is_sound(balances: Mapping[str, Balance]) -> bool:
    each_is = all(each.arrears_fen >= 0 and 0 <= each.withheld_fen <= each.usable_fen for each in balances.values())
    in_both = any(each.arrears_fen and each.withheld_fen for each in balances.values())
    withheld, stands = (sum(each[n] for each in balances.values()) for n in (2, 1))
    return each_is and not in_both and withheld == stands


@given(sound_balances(), st.lists(net_positions(), min_size=1, max_size=4))
def test_windows_one_after_the_other_leave_sound_balances_and_the_bank_its_money(
    balances: dict[str, Balance], windows: list[dict[str, int]]
) -> None:
    assert is_sound(balances)
    before = bank_fen(balances)
    for nets in windows:
        balances = settled(balances, nets)
        assert is_sound(balances)
        assert bank_fen(balances) == before


@given(sound_balances(), net_positions(), st.sampled_from(REGIONS), FEN)
def test_money_that_arrives_pays_arrears_as_far_as_it_goes(
    balances: dict[str, Balance], nets: dict[str, int], region: str, fen: int
) -> None:
    balances = settled(balances, nets)
    owed = balances[region].arrears_fen
    balances[region] = balances[region]._replace(settlement_fen=balances[region].settlement_fen + fen)
    after = cured(balances)
    assert is_sound(after)
    assert after[region].arrears_fen == max(0, owed - fen)
