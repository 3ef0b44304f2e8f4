"""Merkle trees hash as RFC 6962 says; expected hashes are the test vectors of Certificate Transparency."""

from __future__ import annotations

import hashlib

import pytest

from quanlian.errors import InvalidInput
from quanlian.merkle import leaf_hash, path, root, root_from_path, tree

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
        assert paths[index] == path(ENTRIES[:size], index)
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
