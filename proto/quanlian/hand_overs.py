"""A hand-over: vouchers that change their custodian with their money (protocol.md, Custody).

The giver signs its head alone, which names the Merkle root over the vouchers: so one of thousands can be shown with the
giver's signature and a few hashes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from quanlian import merkle, wire
from quanlian.apportionment import Reservation
from quanlian.custody import CLEARINGHOUSE, VoucherState
from quanlian.errors import BadSignature
from quanlian.signing import Signer, signing_bytes
from quanlian.v1 import custody_pb2, signed_pb2
from quanlian.vouchers import PACK_ID_BYTES, VoucherKey

KIND, LEAF_KIND = "hand-over", "handed-voucher"
_LEAF_PREFIX = signing_bytes(LEAF_KIND, b"")
_PACK_ID = slice(2, 2 + PACK_ID_BYTES)
"""Where a voucher's pack stands when its first field is written first, as by every serialiser that is in use."""


class Incarnations(NamedTuple):
    """Which lives of their databases giver and taker are in, the taker's as far as the giver knows."""

    giver: int
    taker: int


class Head(NamedTuple):
    """What a hand-over's signature covers; `at` is UTC seconds, `size` and `root` are of the tree of its vouchers."""

    giver: str
    taker: str
    number: int
    at: int
    incarnations: Incarnations
    size: int = 0
    root: bytes = b""

    @property
    def issuer(self) -> str:
        """The region whose vouchers they are: the one of the two that is not the clearinghouse."""
        return self.taker if self.giver == CLEARINGHOUSE else self.giver


class HandOver(NamedTuple):
    """A hand-over as it travels and is stored; `leaves` are its vouchers as they were hashed."""

    head: Head
    leaves: tuple[bytes, ...]

    def vouchers(self) -> list[VoucherState]:
        """As their taker stores them. Raises InvalidInput for another region's money or a negative amount."""
        return [_voucher(leaf, self.head.issuer) for leaf in self.leaves]

    def money(self) -> HandedMoney:
        """Raises InvalidInput."""
        return HandedMoney(self.head.issuer, self.leaves)


def leaf(voucher: VoucherState) -> bytes:
    """A voucher, as its giver stores it, on its way to the taker with the epoch that this makes."""
    return wire.handed_message(voucher, voucher.epoch + 1).SerializeToString()


def sign(head: Head, leaves: Sequence[bytes], signer: Signer) -> signed_pb2.SignedMessage:
    """The giver's word on these vouchers; their number and root are put into `head`."""
    content = custody_pb2.HandOverHead(
        giver=head.giver,
        taker=head.taker,
        number=head.number,
        at=head.at,
        giver_incarnation=head.incarnations.giver,
        taker_incarnation=head.incarnations.taker,
        size=len(leaves),
        root=merkle.root(_entries(leaves)),
    ).SerializeToString()
    body = custody_pb2.HandOver(head=content, vouchers=leaves).SerializeToString()
    return signed_pb2.SignedMessage(body=body, key_id=signer.key_id, signature=signer.sign(KIND, content))


def read(body: bytes) -> HandOver:
    """A hand-over whose vouchers are those that its head names; whether the head is signed is the caller's to ask.

    Raises InvalidInput for what is none, BadSignature for other vouchers.
    """
    found = kept(body)
    if (found.head.size, found.head.root) != (len(found.leaves), merkle.root(_entries(found.leaves))):
        raise BadSignature(f"hand-over {found.head.number} brings other vouchers than its head names")
    return found


def kept(body: bytes) -> HandOver:
    """A hand-over that was signed here, or read before it was stored. Raises InvalidInput."""
    message = wire.parse(custody_pb2.HandOver, body, KIND)
    return HandOver(read_head(message.head), tuple(message.vouchers))


def read_head(content: bytes) -> Head:
    """Raises InvalidInput."""
    message = wire.parse(custody_pb2.HandOverHead, content, f"{KIND} head")
    incarnations = Incarnations(message.giver_incarnation, message.taker_incarnation)
    return Head(message.giver, message.taker, message.number, message.at, incarnations, message.size, message.root)


def signed_head(message: signed_pb2.SignedMessage) -> signed_pb2.SignedMessage:
    """What of a hand-over is signed, to be verified. Raises InvalidInput."""
    head = wire.parse(custody_pb2.HandOver, message.body, KIND).head
    return signed_pb2.SignedMessage(body=head, key_id=message.key_id, signature=message.signature)


class Extract(NamedTuple):
    """Some vouchers of a hand-over, by their places in its tree; `nodes` cover the others."""

    head: bytes
    leaves: dict[int, bytes]
    nodes: list[bytes]


def extract(body: bytes, wanted: Collection[tuple[bytes, int]]) -> Extract:
    """What proves the vouchers `wanted`, by pack and index, without the others. Raises InvalidInput."""
    message = wire.parse(custody_pb2.HandOver, body, KIND)
    vouchers = tuple(message.vouchers)
    leaves = _found(vouchers, wanted)
    return Extract(message.head, leaves, merkle.cover(_entries(vouchers), leaves))


def read_extract(extract: Extract) -> Head:
    """The head of a hand-over that has these vouchers; whether it is signed is the caller's to ask.

    Raises InvalidInput for nodes that do not cover the rest, BadSignature for vouchers that are not in it.
    """
    head = read_head(extract.head)
    hashes = {place: merkle.leaf_hash(_LEAF_PREFIX + leaf) for place, leaf in extract.leaves.items()}
    if merkle.root_from_cover(hashes, head.size, extract.nodes) != head.root:
        raise BadSignature("the vouchers and hashes do not give the root that is signed")
    return head


class HandedMoney:
    """The reserved money of vouchers that an issuer handed over: they may be many, and most have the same."""

    def __init__(self, issuer: str, leaves: Iterable[bytes]) -> None:
        """Raises InvalidInput."""
        self._issuer = issuer
        self._written: dict[tuple[bytes, int], bytes] = {}
        self._first: dict[bytes, tuple[bytes, custody_pb2.HandedVoucher]] = {}
        """Of those with the same money the first, with the bytes that stand for it."""
        for each in wire.parse_each(custody_pb2.HandedVoucher, leaves, LEAF_KIND):
            written = each.reservation.SerializeToString()
            self._written[(each.pack_id, each.index)] = self._first.setdefault(written, (written, each))[0]

    def written(self, issuer: str, pack_id: bytes, index: int) -> bytes | None:
        """What the issuer reserved for a voucher, in bytes that vouchers with other money do not share."""
        return self._written.get((pack_id, index)) if issuer == self._issuer else None

    def reservation(self, key: VoucherKey) -> Reservation | None:
        """What the issuer reserved for a voucher. Raises InvalidInput for another region's money."""
        written = self.written(*key)
        return None if written is None else wire.handed_voucher(self._first[written][1], self._issuer).reservation


def _voucher(leaf: bytes, issuer: str) -> VoucherState:
    return wire.handed_voucher(wire.parse(custody_pb2.HandedVoucher, leaf, LEAF_KIND), issuer)


def _found(leaves: Sequence[bytes], wanted: Collection[tuple[bytes, int]]) -> dict[int, bytes]:
    """The vouchers that are wanted, by their places: few of thousands, so those are read first that look like one."""
    packs = {pack_id for pack_id, _ in wanted}
    likely = {place: _ref(leaf) for place, leaf in enumerate(leaves) if leaf[_PACK_ID] in packs}
    if not set(likely.values()).issuperset(wanted):
        likely = {place: _ref(leaf) for place, leaf in enumerate(leaves)}
    return {place: leaves[place] for place, ref in likely.items() if ref in wanted}


def _ref(leaf: bytes) -> tuple[bytes, int]:
    message = wire.parse(custody_pb2.HandedVoucher, leaf, LEAF_KIND)
    return message.pack_id, message.index


def _entries(leaves: Iterable[bytes]) -> list[bytes]:
    return [_LEAF_PREFIX + leaf for leaf in leaves]
