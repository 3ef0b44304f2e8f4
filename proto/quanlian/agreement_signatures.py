"""Who must sign a funding agreement before it counts, and with which key (protocol.md, Conventions)."""

from __future__ import annotations

from typing import Final

from quanlian.agreements import Agreement
from quanlian.custody import CLEARINGHOUSE
from quanlian.errors import BadSignature
from quanlian.signing import Verifier

KIND: Final = "agreement"
REGION_PURPOSE, CLEARINGHOUSE_PURPOSE = "terms", "statement"


def signatories(agreement: Agreement) -> tuple[str, ...]:
    """Both regions, then the clearinghouse; of the network's default the clearinghouse alone."""
    return (*agreement.parties, CLEARINGHOUSE)


def verify_signature(document: bytes, key_id: bytes, signature: bytes, verifier: Verifier) -> str:
    """Who signed an agreement's file: a region's code, or `clearinghouse`.

    Raises UnknownKey, or BadSignature for a wrong signature or a key that is for other things.
    """
    key = verifier.verify(key_id, KIND, document, signature)
    purpose = CLEARINGHOUSE_PURPOSE if key.owner == CLEARINGHOUSE else REGION_PURPOSE
    if key.purpose != purpose:
        raise BadSignature(f"an agreement is signed by {key.owner}'s key for {key.purpose}, not for {purpose}")
    return key.owner
