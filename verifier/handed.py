"""A line of evidence with a hand-over: its signed head, vouchers that redemptions need, and hashes for the others."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from pki.identity import CLEARINGHOUSE
from quanlian import hand_overs
from quanlian.errors import BadSignature, InvalidInput, QuanlianError
from quanlian.hand_overs import Extract, HandedMoney
from quanlian.merkle import HASH_BYTES
from quanlian.signing import Verifier
from verifier.findings import Finding
from verifier.keys import require_valid
from verifier.lines import HandOverLine

REGION_BYTES, NUMBER_BYTES = 6, 8
NAME_BYTES = REGION_BYTES + NUMBER_BYTES
RECORD_BYTES = NAME_BYTES + HASH_BYTES


class Handed(NamedTuple):
    """A sound hand-over; `record` is its issuer and number, and a digest of the head that it was signed with."""

    money: HandedMoney
    record: bytes


def read_hand_over(line: HandOverLine, verifier: Verifier) -> Handed | Finding:
    """The issuer's signed word on the money that it reserved, or why it does not count."""
    what = "signature"
    try:
        issuer, number = line.issuer, line.number
        key = verifier.verify(bytes.fromhex(line.key_id), hand_overs.KIND, line.head, line.signature)
        if (key.owner, key.purpose) != (issuer, "message"):
            raise BadSignature(f"is signed by {key.owner}'s key for {key.purpose}")
        signed = hand_overs.read_head(line.head)
        if (signed.giver, signed.taker, signed.number) != (issuer, CLEARINGHOUSE, number):
            raise BadSignature(f"is {signed.giver}/{signed.number} to {signed.taker}")
        require_valid(key, signed.at)
        what = "vouchers"
        shown = _extract(line)
        hand_overs.read_extract(shown)
        money = HandedMoney(issuer, shown.leaves.values())
        name = issuer.encode("ascii").ljust(REGION_BYTES) + number.to_bytes(NUMBER_BYTES, "big")
    except (QuanlianError, ValueError, OverflowError) as error:
        return Finding(f"hand-over {line.issuer}/{line.number}", what, str(error))
    return Handed(money, name + sha256(line.head).digest())


def hand_over_name(record: bytes) -> str:
    """Of a record, as findings write it."""
    return f"{record[:REGION_BYTES].decode()}/{int.from_bytes(record[REGION_BYTES:NAME_BYTES], 'big')}"


def _extract(line: HandOverLine) -> Extract:
    leaves = dict(line.vouchers)
    if len(leaves) != len(line.vouchers):
        raise InvalidInput("one place of its tree is told twice")
    nodes = line.nodes
    return Extract(line.head, leaves, [nodes[at : at + HASH_BYTES] for at in range(0, len(nodes), HASH_BYTES)])
