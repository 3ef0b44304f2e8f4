"""Merkle trees with the hashing of RFC 6962, section 2.1: SHA-256, leaves prefixed 0x00, nodes 0x01.

A tree is given by its entries (the bytes that leaves hash). A path lists the sibling hashes from the leaf up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import chain

from quanlian.errors import InvalidInput

HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return sha256(b"\0" + data).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over the entries; of none, SHA-256 of nothing (RFC 6962, 2.1)."""
    return _levels(leaves)[-1][0]


def path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of entry `index`. Raises InvalidInput when there is no such entry."""
    _require_entry(index, len(leaves))
    return _path(_levels(leaves), index)


def tree(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root and every entry's audit path, hashing each node once.

    From the root down, so that what two entries share of their paths is put together once.
    """
    levels = _levels(leaves)
    paths: list[tuple[bytes, ...]] = [()] if leaves else []
    for level in levels[-2::-1]:
        width = len(level)
        paths = [
            (level[index ^ 1], *paths[index // 2]) if index ^ 1 < width else paths[index // 2] for index in range(width)
        ]
    return levels[-1][0], paths


def cover(leaves: Sequence[bytes], shown: Iterable[int]) -> list[bytes]:
    """The hashes that give the root together with the entries `shown`: of each largest subtree that holds none of them.

    They stand level by level from the leaves up, each level from the left, so that no place need be told with them.
    Raises InvalidInput when there is no such entry.
    """
    known = sorted(set(shown))
    for index in known:
        _require_entry(index, len(leaves))
    nodes = []
    for level in _levels(leaves)[:-1]:
        here = set(known)
        nodes += [level[index ^ 1] for index in known if index ^ 1 not in here and index ^ 1 < len(level)]
        known = list(dict.fromkeys(index // 2 for index in known))
    return nodes


def root_from_cover(leaf_hashes: Mapping[int, bytes], size: int, nodes: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` entries in which `leaf_hashes` stand at their places and `nodes` cover the rest.

    Whether it is the signed root is the caller's to compare. Raises InvalidInput when a place is not in the tree, a
    hash is not 32 bytes, or the nodes are not as many as the places need.
    """
    places = sorted(leaf_hashes)
    for index in (places[0], places[-1]) if places else (size,):
        _require_entry(index, size)
    if not {HASH_BYTES}.issuperset(map(len, chain(leaf_hashes.values(), nodes))):
        raise InvalidInput("a hash in the tree is not 32 bytes")
    known, rest = {index: leaf_hashes[index] for index in places}, iter(nodes)
    try:
        while size > 1:
            known = _level_above(known, size, rest)
            size = (size + 1) // 2
    except StopIteration:
        raise InvalidInput("the rest of the tree needs more hashes than are given") from None
    if next(rest, None) is not None:
        raise InvalidInput(f"{len(nodes)} hashes are more than the rest of the tree needs")
    return known[0]


def _level_above(known: Mapping[int, bytes], size: int, nodes: Iterator[bytes]) -> dict[int, bytes]:
    """What is known of the next level: each known node with its sibling, known as well or the next of `nodes`.

    Both by their places, from the left. Raises StopIteration when there is no next one.
    """
    above: dict[int, bytes] = {}
    for index, hash_ in known.items():
        place = index >> 1
        if not index & 1:
            right = known.get(index + 1) or (next(nodes) if index + 1 < size else b"")
            above[place] = sha256(b"\1" + hash_ + right).digest() if right else hash_
        elif place not in above:
            above[place] = sha256(b"\1" + next(nodes) + hash_).digest()
    return above


def root_from_path(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` entries in which `leaf_hash` stands at `index` (RFC 9162, 2.1.3.2).

    Whether it is the signed root is the caller's to compare. Raises InvalidInput when index, size and the
    path's length do not fit one another, or a hash is not 32 bytes.
    """
    sides = _sides(index, size)
    if len(leaf_hash) != HASH_BYTES or not {HASH_BYTES}.issuperset(map(len, path)):
        raise InvalidInput("a hash in the audit path is not 32 bytes", remedy="ask the issuer for the path again")
    if len(path) != len(sides):
        raise InvalidInput(
            f"an audit path of {len(path)} hashes does not fit entry {index} of {size}",
            remedy="ask the issuer for the path again",
        )
    result = leaf_hash
    for sibling, stands_left in zip(path, sides, strict=True):
        result = sha256(b"\1" + sibling + result if stands_left else b"\1" + result + sibling).digest()
    return result


@lru_cache(maxsize=1 << 16)
def _sides(index: int, size: int) -> tuple[bool, ...]:
    """Of each sibling on an entry's path, from the leaf up, whether it stands left of it. Raises InvalidInput."""
    _require_entry(index, size)
    sides = []
    while size > 1:
        if index & 1 or index + 1 < size:
            sides.append(bool(index & 1))
        index, size = index >> 1, (size + 1) >> 1
    return tuple(sides)


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels from the leaves up; a last node without a sibling moves up as it is, as in RFC 6962."""
    if not leaves:
        return [[sha256().digest()]]
    levels = [[sha256(b"\0" + leaf).digest() for leaf in leaves]]
    while len(below := levels[-1]) > 1:
        above = [sha256(b"\1" + left + right).digest() for left, right in zip(below[::2], below[1::2], strict=False)]
        levels.append(above + below[len(above) * 2 :])
    return levels


def _path(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    siblings = []
    for level in levels[:-1]:
        if index ^ 1 < len(level):
            siblings.append(level[index ^ 1])
        index //= 2
    return siblings


def _require_entry(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise InvalidInput(f"a tree of {size} entries has no entry {index}", remedy="count entries from 0")
