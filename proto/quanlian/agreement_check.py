"""An agreement's file before it is signed: every rule that it breaks, and what is allowed but seldom meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from quanlian.agreements import Agreement, read_agreement
from quanlian.file_rules import Rule, rule
from quanlian.refusals import CHINA
from quanlian.terms_file import Document, InvalidTerms, Path, Problem

OLD_FIGURES_YEARS: Final = 3
LONGEST_TERM_YEARS: Final = 3
_SECONDS_A_YEAR: Final = 366 * 86_400

OLD_FIGURES: Final = rule(
    "比协议生效早 {years} 年以上",
    "is over {years} years before the agreement starts",
    "采用最新公布的数据",
    "use the newest published figures",
)
NO_CEILING: Final = rule(
    "未约定年度上限：其承担额只受异地用券资金约束",
    "has no yearly_ceiling: only its visitors' fund bounds what it pays",
    "约定 yearly_ceiling",
    "agree a yearly_ceiling",
)
LONG_TERM: Final = rule(
    "使期限超过 {years} 年",
    "makes a term of over {years} years",
    "缩短期限，到期续签",
    "agree on a shorter term and renew it",
)
LONG_NOTICE: Final = rule(
    "与整个期限一样长，无从按期通知",
    "is as long as the whole term: nobody could give notice in time",
    "缩短通知期，或延长期限",
    "give fewer days, or a longer term",
)


class AgreementReport(NamedTuple):
    """What checking a file found, in the order of its lines. `agreement` is None if it has errors."""

    agreement: Agreement | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_agreement(content: bytes, name: str) -> AgreementReport:
    """Every problem of the file called `name`; never raises for what the file holds."""
    try:
        agreement, document = read_agreement(content, name)
    except InvalidTerms as error:
        return AgreementReport(None, error.problems, ())
    errors = tuple(sorted(document.problems))
    if errors:
        return AgreementReport(None, errors, ())
    warnings = tuple(sorted(warning for judge in _RULES for warning in judge(agreement, document)))
    return AgreementReport(agreement, (), warnings)


def _old_figures(agreement: Agreement, document: Document) -> Iterator[Problem]:
    """Shares that stand on figures of long ago."""
    starts = datetime.fromtimestamp(agreement.effective_from, CHINA).year
    if agreement.year is not None and starts - agreement.year > OLD_FIGURES_YEARS:
        yield _warning(document, ("year",), str(agreement.year), OLD_FIGURES.of(years=OLD_FIGURES_YEARS))


def _no_ceiling(agreement: Agreement, document: Document) -> Iterator[Problem]:
    """A party that pays for visitors with no bound but its fund."""
    if agreement.method == "issuer-pays":
        return
    for index, office in enumerate(agreement.offices):
        if office.yearly_ceiling_fen is None:
            yield _warning(document, ("party", index, "region"), office.region, NO_CEILING)


def _long_term(agreement: Agreement, document: Document) -> Iterator[Problem]:
    ends = agreement.effective_until
    if ends is not None and ends - agreement.effective_from > LONGEST_TERM_YEARS * _SECONDS_A_YEAR:
        yield _warning(document, ("effective_until",), "", LONG_TERM.of(years=LONGEST_TERM_YEARS))


def _short_notice(agreement: Agreement, document: Document) -> Iterator[Problem]:
    """Notice that the term leaves no room for."""
    clauses, ends = agreement.clauses, agreement.effective_until
    if clauses and ends is not None and clauses.notice_days * 86_400 >= ends - agreement.effective_from:
        yield _warning(document, ("termination", "notice_days"), str(clauses.notice_days), LONG_NOTICE)


def _warning(document: Document, path: Path, value: str, broken: Rule) -> Problem:
    return document.problem(path, value, broken, "agreements.md")


_RULES: Final[tuple[Callable[[Agreement, Document], Iterator[Problem]], ...]] = (
    _old_figures,
    _no_ceiling,
    _long_term,
    _short_notice,
)
