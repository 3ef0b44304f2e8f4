"""The one tree of exceptions. A refusal is data (`refusals.py`); an exception is a fault.

QuanlianError
├── InvalidInput          a file or message breaks a rule; names the place and the remedy
├── ConfigurationError    a setting, path, port or database that the operator must mend
├── TrustError            a certificate or key that does not lead to the trusted root
│   └── BadSignature      signed bytes that do not match their signature
├── UnknownKey            a signature by a key that nobody vouched for
├── Unavailable           a peer or a database that does not answer now; try again
└── BooksDoNotBalance     an invariant of the ledger is broken; nothing was committed
"""

from __future__ import annotations


class QuanlianError(Exception):
    """Base of every error that Quanlian raises on purpose; its text is written for a person."""


class InvalidInput(QuanlianError):
    """Input that breaks a rule. `place` says where (a file and line, a field), `remedy` what to do."""

    def __init__(self, what: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(_sentence(what, place, remedy))
        self.what, self.place, self.remedy = what, place, remedy


class ConfigurationError(InvalidInput):
    """A setting, path, port or database that the operator must mend before the command can run."""


class TrustError(QuanlianError):
    """A certificate, key or identity that does not lead to the trusted root."""


class BadSignature(TrustError):
    """Signed bytes that do not match their signature."""


class UnknownKey(QuanlianError):
    """A signature by a key that nobody vouched for."""


class Unavailable(QuanlianError):
    """A peer or a database does not answer now; the same request may be sent again."""


class BooksDoNotBalance(QuanlianError):
    """An invariant of the ledger is broken. The transaction was rolled back."""


def _sentence(what: str, place: str, remedy: str) -> str:
    text = f"{place}: {what}" if place else what
    return f"{text} — {remedy}" if remedy else text
