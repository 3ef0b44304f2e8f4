"""Merkle trees hash as RFC 6962 says; expected hashes are the test vectors of Certificate Transparency."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quanlian.errors import InvalidInput
from quanlian.merkle import cover, leaf_hash, path, root, root_from_cover, root_from_path, tree

ENTRIES = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_the_root_is_that_of_certificate_transparency(size: int) -> None:
    assert root(ENTRIES[:size]).hex() == ROOTS[size - 1]


def test_the_root_of_nothing_is_the_hash_of_nothing() -> None:
    assert root([]) == hashlib.sha256().digest()
    assert tree([]) == (hashlib.sha256().digest(), [])


@pytest.mark.parametrize("size", range(1, 9))
def test_every_entry_leads_to_the_root(size: int) -> None:
    found, paths = tree(ENTRIES[:size])
    for index, entry in enumerate(ENTRIES[:size]):
        assert list(paths[index]) == path(ENTRIES[:size], index)
        assert root_from_path(leaf_hash(entry), index, size, paths[index]) == found


def test_a_path_too_short_or_too_long_is_malformed() -> None:
    audit = path(ENTRIES, 2)
    for wrong in (audit[:-1], [*audit, bytes(32)], []):
        with pytest.raises(InvalidInput, match="does not fit entry 2 of 8"):
            root_from_path(leaf_hash(ENTRIES[2]), 2, 8, wrong)


def test_a_hash_of_another_length_is_malformed() -> None:
    with pytest.raises(InvalidInput, match="not 32 bytes"):
        root_from_path(leaf_hash(b""), 0, 2, [bytes(31)])


@pytest.mark.parametrize(("index", "size"), [(8, 8), (-1, 8), (0, 0)])
def test_an_entry_outside_the_tree_is_malformed(index: int, size: int) -> None:
    with pytest.raises(InvalidInput, match="has no entry"):
        root_from_path(leaf_hash(b""), index, size, [])
    with pytest.raises(InvalidInput, match="has no entry"):
        path(ENTRIES[:size], index)


# Several entries at once


@given(size=st.integers(1, 40), data=st.data())
def test_any_entries_and_their_cover_lead_to_the_root(size: int, data: st.DataObject) -> None:
    entries = [bytes([number]) for number in range(size)]
    shown = data.draw(st.sets(st.integers(0, size - 1), min_size=1))
    nodes = cover(entries, shown)
    hashes = {index: leaf_hash(entries[index]) for index in shown}
    assert root_from_cover(hashes, size, nodes) == root(entries)
    for index in shown:
        other = {**hashes, index: leaf_hash(b"another")}
        assert root_from_cover(other, size, nodes) != root(entries)


@pytest.mark.parametrize("index", range(8))
def test_the_cover_of_one_entry_is_its_path(index: int) -> None:
    assert cover(ENTRIES, [index]) == path(ENTRIES, index)


def test_all_entries_need_no_cover_and_half_of_them_one_hash() -> None:
    assert cover(ENTRIES, range(8)) == []
    assert cover(ENTRIES, range(4)) == [root(ENTRIES[4:])]


def test_a_cover_too_short_or_too_long_is_malformed() -> None:
    nodes, hashes = cover(ENTRIES, [1, 6]), {index: leaf_hash(ENTRIES[index]) for index in (1, 6)}
    with pytest.raises(InvalidInput, match="needs more hashes"):
        root_from_cover(hashes, 8, nodes[:-1])
    with pytest.raises(InvalidInput, match="are more than"):
        root_from_cover(hashes, 8, [*nodes, bytes(32)])
    with pytest.raises(InvalidInput, match="not 32 bytes"):
        root_from_cover(hashes, 8, [*nodes[:-1], bytes(31)])


@pytest.mark.parametrize("places", [(), (8,), (-1,), (0, 9)])
def test_a_shown_entry_outside_the_tree_is_malformed(places: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="has no entry"):
        root_from_cover(dict.fromkeys(places, bytes(32)), 8, [])
