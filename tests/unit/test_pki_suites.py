from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl.signing import SigningKey

from pki import suites
from quanlian.errors import BadSignature, TrustError

SEED = bytes(range(32))
RFC_8032_SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_8032_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_8032_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_vector_of_rfc_8032_verifies() -> None:
    suites.verify(RFC_8032_PUBLIC, b"\x72", RFC_8032_SIGNATURE)
    assert SigningKey(RFC_8032_SECRET).sign(b"\x72").signature == RFC_8032_SIGNATURE


def test_what_one_library_signs_the_other_verifies() -> None:
    ours, theirs = SigningKey(SEED), Ed25519PrivateKey.from_private_bytes(SEED)
    public_key = theirs.public_key().public_bytes_raw()
    suites.verify(public_key, b"voucher", theirs.sign(b"voucher"))
    Ed25519PublicKey.from_public_bytes(public_key).verify(ours.sign(b"voucher").signature, b"voucher")
    with pytest.raises(InvalidSignature):
        theirs.public_key().verify(ours.sign(b"voucher").signature, b"another voucher")


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_signature_with_one_changed_bit_is_bad(position: int) -> None:
    changed = bytearray(RFC_8032_SIGNATURE)
    changed[position] ^= 1
    with pytest.raises(BadSignature):
        suites.verify(RFC_8032_PUBLIC, b"\x72", bytes(changed))


@pytest.mark.parametrize("signature", [b"", RFC_8032_SIGNATURE[:-1], RFC_8032_SIGNATURE + b"\0", bytes(64)])
def test_a_signature_of_another_length_or_of_zeros_is_bad(signature: bytes) -> None:
    with pytest.raises(BadSignature):
        suites.verify(RFC_8032_PUBLIC, b"\x72", signature)


def test_a_signature_with_the_group_order_added_is_bad() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(RFC_8032_SIGNATURE[32:], "little") + order
    with pytest.raises(BadSignature):
        suites.verify(RFC_8032_PUBLIC, b"\x72", RFC_8032_SIGNATURE[:32] + scalar.to_bytes(32, "little"))


def test_a_key_id_is_the_first_eight_bytes_of_the_hash_of_the_public_key() -> None:
    assert suites.key_id(b"").hex() == "e3b0c44298fc1c14"


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(32), b"\1" + bytes(31), b"\2" + bytes(31), b"\xff" * 32])
def test_bytes_that_are_no_sound_public_key_are_refused(public_key: bytes) -> None:
    with pytest.raises(TrustError):
        suites.check_public_key(public_key)


def test_a_sound_public_key_is_taken() -> None:
    suites.check_public_key(RFC_8032_PUBLIC)
