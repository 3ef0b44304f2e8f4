"""Text journals: what accounts hold, and what an entry moves, as a person writes them.

    province    limit 320  reserved 96  held 224
    visitors @330100    held -240  posted 240

Accounts go by the short names of the test; what is zero is left out, `@` names the counterpart region. Comparing two
such texts shows a failure as the difference of two journals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from quanlian.ledger import Balance, Movement, check_limits, lines

QUANTITIES = ("limit", "reserved", "held", "posted")


class Journal(NamedTuple):
    """Reads and writes the journals of accounts with short names."""

    codes: Mapping[str, str]

    def balances(self, text: str) -> dict[str, Balance]:
        """The accounts of a journal, by their codes."""
        return {balance.account: balance for balance in map(self._balance, text.strip().splitlines())}

    def after(self, before: str, *entries: Iterable[Movement]) -> str:
        """The journal that `before` becomes by booking whole entries, each within every limit."""
        balances = self.balances(before)
        for entry in entries:
            for movement in lines(entry):
                known = balances.get(movement.account, Balance(movement.account))
                balances[movement.account] = known.moved(movement)
            check_limits(balances.values())
        return self._write(balance for balance in balances.values() if any(balance[1:]))

    def entry(self, movements: Iterable[Movement]) -> str:
        """An entry as the ledger books it: one line per account and counterpart, which sum to zero."""
        return self._write(lines(movements))

    def tidy(self, text: str) -> str:
        """A journal as `after` and `entry` write it: sorted, without blank lines and indentation."""
        rows = [line.split() for line in text.strip().splitlines()]
        named = [row[:2] if len(row) % 2 == 0 else row[:1] for row in rows]
        return _aligned(
            (" ".join(name), "  ".join(f"{key} {fen}" for key, fen in _pairs(row[len(name) :])))
            for name, row in zip(named, rows, strict=True)
        )

    def _balance(self, line: str) -> Balance:
        name, *rest = line.split()
        fen = {key: int(amount) for key, amount in _pairs(rest)}
        return Balance(self.codes[name], *(fen.get(key, 0) for key in ("posted", "reserved", "held", "limit")))

    def _write(self, rows: Iterable[Balance | Movement]) -> str:
        names = {code: name for name, code in self.codes.items()}
        return _aligned(
            (
                names[row.account] + (f" @{row.counterpart}" if isinstance(row, Movement) and row.counterpart else ""),
                "  ".join(f"{key} {getattr(row, f'{key}_fen')}" for key in QUANTITIES if getattr(row, f"{key}_fen")),
            )
            for row in rows
        )


def _pairs(words: list[str]) -> Iterable[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def _aligned(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<22}{amounts}" for name, amounts in sorted(rows))
