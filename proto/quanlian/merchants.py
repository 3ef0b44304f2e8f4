"""Merchants are named by their unified social credit code, 18 characters with a check character (GB 32100-2015)."""

from __future__ import annotations

from quanlian.errors import InvalidInput

ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""Without I, O, S, V and Z, which are read as digits too easily."""

_WEIGHTS = tuple(pow(3, position, 31) for position in range(17))


def check_character(first_17: str) -> str:
    """The 18th character. Raises InvalidInput for characters that no code has."""
    try:
        total = sum(weight * ALPHABET.index(each) for weight, each in zip(_WEIGHTS, first_17, strict=True))
    except ValueError as error:
        raise InvalidInput(f"{first_17!r} is not the start of a code", place="unified social credit code") from error
    return ALPHABET[-total % 31]


def check_code(code: str) -> str:
    """The code itself. Raises InvalidInput for one that is not 18 characters or whose check character is wrong."""
    if len(code) != 18 or check_character(code[:17]) != code[17]:
        raise InvalidInput(
            f"{code!r} is not a unified social credit code",
            place="merchant",
            remedy="check for a slip: 18 characters, the last one checks the others",
        )
    return code
