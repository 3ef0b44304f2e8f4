"""Bytes that are signed and carried are those of an independent implementation, to the last bit (proto/vectors).

Signatures are checked with a second library, `cryptography`, and hashes with its own SHA-256.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pki import suites
from quanlian import merkle, wire
from quanlian.errors import BadSignature, UnknownKey
from quanlian.signing import SigningKey, digest, signing_bytes
from quanlian.terms_parsing import parse_terms
from quanlian.vouchers import Token, Voucher, holder_tag, leaf, make_pack_id, root_payload, verify

Case = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]


class TheKey:
    """A verifier that knows one key, of the voucher's own issuer."""

    def __init__(self, voucher: Voucher, public_key: bytes) -> None:
        key_id, at = suites.key_id(public_key), voucher.issued_at
        self._key = SigningKey(key_id, voucher.issuer, "voucher", public_key, at, at + 1)

    def key(self, key_id: bytes) -> SigningKey:
        if key_id != self._key.key_id:
            raise UnknownKey(key_id.hex())
        return self._key

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        suites.verify_payload(self.key(key_id).public_key, kind, payload, signature)
        return self._key


def octets(case: Case, field: str) -> bytes:
    return bytes.fromhex(case[field])


def sha256(content: bytes) -> bytes:
    """By the second library."""
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(content)
    return bytes(hasher.finalize())


def a_voucher(case: Case) -> Voucher:
    """The voucher of a case: octet strings are written in hexadecimal, the rest as it is."""
    given = dict(case["voucher"])
    for field in ("key_id", "terms_hash", "pack_id", "holder_tag"):
        given[field] = bytes.fromhex(given[field])
    return Voucher(**{**given, "voucher_types": tuple(given["voucher_types"])})


class TestTokens:
    def test_a_body_is_serialised_to_these_bytes_and_read_from_them(self, token_case: Case) -> None:
        assert wire.voucher_to_body(a_voucher(token_case)).hex() == token_case["body"]
        assert wire.body_to_voucher(octets(token_case, "body")) == a_voucher(token_case)

    def test_what_is_signed_is_the_body_behind_its_kind(self, token_case: Case) -> None:
        assert signing_bytes("voucher", octets(token_case, "body")).hex() == token_case["signing_bytes"]

    def test_a_token_is_serialised_to_these_bytes_and_read_from_them(self, token_case: Case) -> None:
        token = Token(octets(token_case, "body"), octets(token_case, "signature"))
        assert wire.token_to_bytes(token).hex() == token_case["token"]
        assert wire.bytes_to_token(octets(token_case, "token")) == token

    def test_a_pack_id_is_of_its_time_and_randomness(self, token_case: Case) -> None:
        made = make_pack_id(token_case["unix_milliseconds"], octets(token_case, "random"))
        assert made.hex() == token_case["voucher"]["pack_id"]

    def test_a_holder_tag_is_of_its_holder_and_campaign(self, token_case: Case) -> None:
        key, holder = octets(token_case, "campaign_key"), token_case["holder_id"]
        second = hmac.HMAC(key, hashes.SHA256())
        second.update(holder.encode())
        assert holder_tag(key, holder).hex() == token_case["voucher"]["holder_tag"] == second.finalize()[:16].hex()

    def test_a_key_id_is_of_the_public_key(self, token_case: Case) -> None:
        public_key = octets(token_case, "public_key")
        assert suites.key_id(public_key).hex() == token_case["voucher"]["key_id"] == sha256(public_key)[:8].hex()

    def test_both_libraries_agree_on_the_signature(self, token_case: Case) -> None:
        voucher, token = a_voucher(token_case), wire.bytes_to_token(octets(token_case, "token"))
        assert verify(token, voucher, TheKey(voucher, octets(token_case, "public_key"))).owner == voucher.issuer

        private_key = Ed25519PrivateKey.from_private_bytes(octets(token_case, "private_key"))
        private_key.public_key().verify(token.signature, octets(token_case, "signing_bytes"))
        assert private_key.sign(octets(token_case, "signing_bytes")) == token.signature
        assert private_key.public_key().public_bytes_raw() == octets(token_case, "public_key")

    def test_a_token_one_bit_off_is_refused(self, token_case: Case) -> None:
        voucher, token = a_voucher(token_case), wire.bytes_to_token(octets(token_case, "token"))
        body = token.body[:-1] + bytes([token.body[-1] ^ 1])
        with pytest.raises(BadSignature):
            verify(token._replace(body=body), voucher, TheKey(voucher, octets(token_case, "public_key")))


class TestMerklePaths:
    def test_a_leaf_is_of_the_signing_bytes_of_its_body(self, merkle_path_case: Case) -> None:
        body = octets(merkle_path_case, "body")
        assert leaf(body).hex() == merkle_path_case["leaf"]
        assert sha256(b"\0quanlian/v1/voucher\0" + body).hex() == merkle_path_case["leaf"]

    def test_the_path_leads_from_the_leaf_to_the_root(self, merkle_path_case: Case) -> None:
        case = merkle_path_case
        path = [bytes.fromhex(sibling) for sibling in case["path"]]
        root = merkle.root_from_path(octets(case, "leaf"), case["leaf_index"], case["tree_size"], path)
        assert root.hex() == case["root"]

    def test_what_is_signed_is_the_size_and_the_root(self, merkle_path_case: Case) -> None:
        payload = root_payload(merkle_path_case["tree_size"], octets(merkle_path_case, "root"))
        assert signing_bytes("voucher-root", payload).hex() == merkle_path_case["signing_bytes"]

    def test_the_leaf_stands_where_the_case_says(self, merkle_path_case: Case) -> None:
        leaves = merkle_path_case["leaves"]
        if leaves:
            assert len(leaves) == merkle_path_case["tree_size"]
            assert leaves[merkle_path_case["leaf_index"]] == merkle_path_case["leaf"]
            assert _root([bytes.fromhex(each) for each in leaves]).hex() == merkle_path_case["root"]

    def test_both_libraries_agree_on_the_signature_of_the_root(self, merkle_path_case: Case) -> None:
        case = merkle_path_case
        token = wire.bytes_to_token(octets(case, "token"))
        assert wire.token_to_bytes(token).hex() == case["token"]
        assert (token.body.hex(), token.tree_size, token.leaf_index) == (
            case["body"],
            case["tree_size"],
            case["leaf_index"],
        )
        voucher = wire.body_to_voucher(token.body)
        public_key = octets(case, "public_key")
        assert verify(token, voucher, TheKey(voucher, public_key)).owner == voucher.issuer
        Ed25519PublicKey.from_public_bytes(public_key).verify(octets(case, "signature"), octets(case, "signing_bytes"))


class TestTermsHashes:
    def test_terms_are_named_by_the_hash_of_their_bytes(self, terms_hash_case: Case) -> None:
        content = _terms(terms_hash_case)
        assert len(content) == terms_hash_case["bytes"]
        assert digest("terms", content).hex() == terms_hash_case["terms_hash"]
        assert sha256(b"quanlian/v1/terms\0" + content).hex() == terms_hash_case["terms_hash"]

    def test_published_terms_carry_that_hash(self, terms_hash_case: Case) -> None:
        if "file" in terms_hash_case:
            parsed = parse_terms(_terms(terms_hash_case), terms_hash_case["file"])
            assert parsed.terms_hash.hex() == terms_hash_case["terms_hash"]


def _terms(case: Case) -> bytes:
    if "file" in case:
        return REPOSITORY.joinpath(str(case["file"])).read_bytes()
    return str(case["text"]).encode("utf-8")


def _root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over leaf hashes, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + _root(leaves[:half]) + _root(leaves[half:]))
