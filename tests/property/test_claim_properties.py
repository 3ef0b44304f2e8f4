"""A pack issued in the usual way is the one that its funders' money, looked at funder by funder, gives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from workbook_edits import complete_file

from node.domain.claims import ClaimFacts, Evidence, Issue, decide_claim, usual_issue
from quanlian.refusals import Refusal
from quanlian.terms import SHORTFALL_RULES, Round, Terms
from quanlian.terms_parsing import parse_terms

TERMS = parse_terms(complete_file(), "complete.toml")
FACTS = ClaimFacts(
    terms=None,
    round_id="",
    claimed_in_round=0,
    claimed_by_holder=0,
    claimed_by_holder_today=0,
    evidence=Evidence(complete=True, used=False),
)


@st.composite
def funded_terms(draw: st.DrawFn) -> Terms:
    rule = draw(st.sampled_from(SHORTFALL_RULES))
    weights = st.integers(1, 5) if rule != "cascade" else st.integers(0, 5)
    funders = tuple(replace(each, weight=draw(weights)) for each in TERMS.funders)
    if not any(each.weight for each in funders):
        funders = (replace(funders[0], weight=1), *funders[1:])
    cofunders = tuple(replace(each, public_pays_if_dry=draw(st.booleans())) for each in TERMS.cofunders)
    return replace(TERMS, funders=funders, cofunders=cofunders, shortfall_rule=rule)


def outcome(result: Issue | Refusal) -> object:
    return result.reservations if isinstance(result, Issue) else result


@given(funded_terms(), st.sampled_from(TERMS.rounds), st.data())
def test_the_usual_issue_changes_nothing(terms: Terms, opening: Round, data: st.DataObject) -> None:
    usual = usual_issue(terms, opening.id)
    assert usual is not None
    money = {account: data.draw(st.integers(0, 2 * fen + 1)) for account, fen in usual.needs.items()}
    facts = replace(FACTS, terms=terms, round_id=opening.id)
    at = opening.opens_at
    looked_at = decide_claim(facts, money.__getitem__, at)
    assert outcome(decide_claim(replace(facts, usual=usual), money.__getitem__, at)) == outcome(looked_at)
    if all(money[account] >= fen for account, fen in usual.needs.items()):
        assert outcome(looked_at) == usual.reservations
