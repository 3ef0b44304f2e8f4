"""A bank's reference in the one form in which it is booked, however it was typed or pasted."""

from __future__ import annotations

import unicodedata

from quanlian.errors import InvalidInput


def booked_form(typed: str) -> str:
    """Without what cannot be seen: invisible letters, and blanks but single ones between words; each letter in its
    plain form (NFKC), so full-width figures are figures. Raises InvalidInput where nothing is left.
    """
    plain = unicodedata.normalize("NFKC", typed)
    visible = "".join(letter for letter in plain if unicodedata.category(letter) != "Cf")
    if booked := " ".join(visible.split()):
        return booked
    raise InvalidInput(
        "缺少银行流水号 · has no bank reference",
        place="bank_reference",
        remedy="用 --reference 写明银行流水号 · give it with --reference",
    )
