"""Every audit path leads to its root, and nothing else does."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from quanlian.merkle import leaf_hash, root, root_from_path, tree

ENTRIES = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def root_as_defined(entries: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if len(entries) == 1:
        return leaf_hash(entries[0])
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\1" + root_as_defined(entries[:k]) + root_as_defined(entries[k:])).digest()


@given(ENTRIES)
def test_the_root_is_as_the_rfc_defines_it(entries: list[bytes]) -> None:
    assert root(entries) == root_as_defined(entries)


@given(ENTRIES)
def test_every_path_leads_to_the_root(entries: list[bytes]) -> None:
    found, paths = tree(entries)
    assert found == root(entries)
    for index, entry in enumerate(entries):
        assert root_from_path(leaf_hash(entry), index, len(entries), paths[index]) == found


@given(ENTRIES, st.data())
def test_any_flipped_bit_leads_elsewhere(entries: list[bytes], data: st.DataObject) -> None:
    found, paths = tree(entries)
    index = data.draw(st.integers(0, len(entries) - 1))
    hashes = [leaf_hash(entries[index]), *paths[index]]
    which, bit = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, 255))
    flipped = bytearray(hashes[which])
    flipped[bit // 8] ^= 1 << bit % 8
    hashes[which] = bytes(flipped)
    assert root_from_path(hashes[0], index, len(entries), hashes[1:]) != found
