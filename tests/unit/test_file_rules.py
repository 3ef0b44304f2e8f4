"""Every rule of a file is told in Chinese and in English, with a remedy, and figures filled into both."""

from __future__ import annotations

import re
import string

import pytest

from node.campaign import cli
from quanlian import agreements, campaign_check, file_rules, notices, terms_rules
from quanlian.file_rules import Rule, Words

CHINESE = re.compile("[一-鿿]")
RULES = {
    f"{module.__name__}.{name}": each
    for module in (file_rules, terms_rules, agreements, notices, cli)
    for name, each in vars(module).items()
    if isinstance(each, Rule)
}


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("told", RULES.values(), ids=RULES)
def test_a_rule_and_its_remedy_are_told_in_both_languages(told: Rule) -> None:
    for words in told:
        assert CHINESE.search(words.zh) or words.zh.startswith("{"), words
        assert words.en, words
        assert not CHINESE.search(words.en), words


@pytest.mark.parametrize("told", RULES.values(), ids=RULES)
def test_both_languages_name_the_same_figures(told: Rule) -> None:
    named = {name for words in told for name in placeholders(words.en)}
    assert named >= {name for words in told for name in placeholders(words.zh)}
    filled = told.of(**{name: Words("数", "figure") for name in named})
    assert not any(placeholders(text) for words in filled for text in words)
    assert not any("figure" in words.zh or "数" in words.en for words in filled)


def test_the_catalogue_holds_the_rules_that_a_file_of_many_mistakes_breaks() -> None:
    content = b"[campaign]\nid = 'A'\nissuer = '9'\nregions = ['mars']\nhold_seconds = 0\n[[pack]]\nid = 'p'\n"
    found = campaign_check.check_campaign(content, "a.toml").errors
    assert len({each.rule for each in found}) > 4
    assert all(CHINESE.search(each.rule_zh) and CHINESE.search(each.remedy_zh) for each in found)
