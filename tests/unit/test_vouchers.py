"""Voucher tokens: what is signed, and how anyone finds a forged one (protocol.md, The voucher token)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pki import suites
from quanlian import merkle, wire
from quanlian.errors import BadSignature, InvalidInput, QuanlianError, UnknownKey
from quanlian.signing import SigningKey, signing_bytes
from quanlian.vouchers import (
    BATCH_LIMIT,
    SUITE_ED25519,
    SUITE_ED25519_BATCH,
    Token,
    Voucher,
    holder_tag,
    key_was_revoked,
    key_was_valid,
    leaf,
    make_pack_id,
    root_payload,
    verify,
)

HANGZHOU, SHANGHAI = "330100", "310000"
ISSUED_AT = 1_585_300_000


class Keys:
    """Signing keys by owner and purpose: signs with one library, verifies with the other."""

    def __init__(self) -> None:
        self._private: dict[bytes, Ed25519PrivateKey] = {}
        self._known: dict[bytes, SigningKey] = {}

    def add(self, owner: str, purpose: str) -> bytes:
        private = Ed25519PrivateKey.from_private_bytes(bytes([len(self._known) + 1]) * 32)
        public = private.public_key().public_bytes_raw()
        key_id = suites.key_id(public)
        self._private[key_id] = private
        self._known[key_id] = SigningKey(key_id, owner, purpose, public, ISSUED_AT - 10, ISSUED_AT + 10)
        return key_id

    def sign(self, key_id: bytes, kind: str, payload: bytes) -> bytes:
        return self._private[key_id].sign(signing_bytes(kind, payload))

    def key(self, key_id: bytes) -> SigningKey:
        if key_id not in self._known:
            raise UnknownKey(key_id.hex())
        return self._known[key_id]

    def verify(self, key_id: bytes, kind: str, payload: bytes, signature: bytes) -> SigningKey:
        suites.verify_payload(self.key(key_id).public_key, kind, payload, signature)
        return self._known[key_id]


KEYS = Keys()
HANGZHOUS = KEYS.add(HANGZHOU, "voucher")
SHANGHAIS = KEYS.add(SHANGHAI, "voucher")
FOR_TERMS = KEYS.add(HANGZHOU, "terms")


def a_voucher(suite: int, key_id: bytes = HANGZHOUS, number: int = 0) -> Voucher:
    return Voucher(
        version=1,
        suite=suite,
        key_id=key_id,
        issuer=HANGZHOU,
        campaign="hangzhou-2020-r1",
        terms_hash=bytes(range(32)),
        pack_id=make_pack_id(ISSUED_AT * 1000 + number, b"123456789"),
        voucher_types=(1, 1, 1, 1, 1),
        holder_tag=b"h" * 16,
        issued_at=ISSUED_AT,
        not_before=ISSUED_AT,
        not_after=ISSUED_AT + 600_000,
        roaming="on-demand",
    )


def single(voucher: Voucher) -> Token:
    body = wire.voucher_to_body(voucher)
    return Token(body, KEYS.sign(voucher.key_id, "voucher", body))


def batch(size: int, key_id: bytes = HANGZHOUS) -> list[tuple[Token, Voucher]]:
    """All tokens of a tree."""
    vouchers = [a_voucher(SUITE_ED25519_BATCH, key_id, number) for number in range(size)]
    bodies = [wire.voucher_to_body(voucher) for voucher in vouchers]
    root, paths = merkle.tree([signing_bytes("voucher", body) for body in bodies])
    signature = KEYS.sign(key_id, "voucher-root", root_payload(size, root))
    return [
        (Token(body, signature, size, index, tuple(path)), voucher)
        for index, (body, path, voucher) in enumerate(zip(bodies, paths, vouchers, strict=True))
    ]


def read(content: bytes) -> SigningKey:
    """Reads and verifies a token as a node does."""
    token = wire.bytes_to_token(content)
    return verify(token, wire.body_to_voucher(token.body), KEYS)


def flipped(content: bytes) -> Iterator[bytes]:
    """Every copy with one bit changed."""
    for position in range(len(content)):
        for bit in range(8):
            yield content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]


SINGLE = single(a_voucher(SUITE_ED25519))
BATCHED = batch(6)[3][0]
both_suites = pytest.mark.parametrize("token", [SINGLE, BATCHED], ids=["ed25519", "ed25519-batch"])


class TestWhatIsSigned:
    def test_a_pack_id_is_the_time_and_nine_random_bytes(self) -> None:
        assert make_pack_id(0x017F22E279B0, b"123456789").hex() == "017f22e279b0" + b"123456789".hex()
        with pytest.raises(InvalidInput, match="9 random bytes"):
            make_pack_id(0, b"12345678")

    def test_packs_sort_by_time(self) -> None:
        assert make_pack_id(1_000, b"\xff" * 9) < make_pack_id(1_001, bytes(9))

    def test_a_holder_tag_is_the_hmac_of_rfc_4231_cut_to_16_bytes(self) -> None:
        assert holder_tag(b"Jefe", "what do ya want for nothing?").hex() == "5bdcc146bf60754e6a042426089575c7"

    def test_one_person_has_one_tag_in_a_campaign_and_another_in_the_next(self) -> None:
        assert holder_tag(b"spring", "张三") == holder_tag(b"spring", "张三")
        assert len({holder_tag(b"spring", "张三"), holder_tag(b"autumn", "张三"), holder_tag(b"spring", "李四")}) == 3

    def test_a_leaf_hashes_the_signing_bytes_of_the_body(self) -> None:
        assert leaf(b"body") == merkle.leaf_hash(b"quanlian/v1/voucher\0body")

    def test_a_root_is_signed_with_the_size_of_its_tree(self) -> None:
        assert root_payload(256, b"r" * 32) == b"\0\0\1\0" + b"r" * 32


class TestSound:
    @both_suites
    def test_a_token_verifies_and_names_its_key(self, token: Token) -> None:
        assert read(wire.token_to_bytes(token)) == KEYS.key(HANGZHOUS)

    @pytest.mark.parametrize("size", [1, 2, 5, 8, BATCH_LIMIT])
    def test_every_token_of_a_tree_verifies(self, size: int) -> None:
        for token, voucher in batch(size)[:: max(1, size // 8)]:
            assert verify(token, voucher, KEYS).owner == HANGZHOU

    def test_a_path_of_the_largest_tree_has_eight_steps(self) -> None:
        assert len(batch(BATCH_LIMIT)[-1][0].path) == 8


class TestForged:
    @both_suites
    def test_no_bit_of_a_token_can_be_changed(self, token: Token) -> None:
        content = wire.token_to_bytes(token)
        for forged in flipped(content):
            with pytest.raises((BadSignature, UnknownKey, InvalidInput)):
                read(forged)

    @both_suites
    def test_no_token_can_be_cut_short(self, token: Token) -> None:
        content = wire.token_to_bytes(token)
        for length in range(len(content)):
            with pytest.raises(QuanlianError):
                read(content[:length])

    @both_suites
    def test_no_bit_of_the_body_can_be_changed(self, token: Token) -> None:
        voucher = wire.body_to_voucher(token.body)
        for body in flipped(token.body):
            with pytest.raises(BadSignature):
                verify(token._replace(body=body), voucher, KEYS)

    @both_suites
    def test_no_bit_of_the_signature_can_be_changed(self, token: Token) -> None:
        voucher = wire.body_to_voucher(token.body)
        for signature in [*flipped(token.signature), b"", token.signature[:-1], token.signature + b"\0"]:
            with pytest.raises(BadSignature):
                verify(token._replace(signature=signature), voucher, KEYS)

    @pytest.mark.parametrize("step", range(3))
    def test_no_bit_of_a_path_can_be_changed(self, step: int) -> None:
        voucher = wire.body_to_voucher(BATCHED.body)
        for sibling in flipped(BATCHED.path[step]):
            path = (*BATCHED.path[:step], sibling, *BATCHED.path[step + 1 :])
            with pytest.raises(BadSignature):
                verify(BATCHED._replace(path=path), voucher, KEYS)

    @pytest.mark.parametrize(
        "changed",
        [
            *({"leaf_index": index} for index in (0, 1, 2, 4, 5, 6, 2**32 - 1)),
            *({"tree_size": size} for size in (0, 1, 4, 5, 7, 8, 256, 257, 2**32 - 1)),
            *({"path": path} for path in [(), BATCHED.path[:-1], (*BATCHED.path, bytes(32)), BATCHED.path[::-1]]),
            {"path": (BATCHED.path[0][:-1], *BATCHED.path[1:])},
        ],
        ids=str,
    )
    def test_index_size_and_path_belong_to_the_leaf(self, changed: dict[str, object]) -> None:
        with pytest.raises(BadSignature):
            verify(BATCHED._replace(**changed), wire.body_to_voucher(BATCHED.body), KEYS)  # type: ignore[arg-type]

    def test_a_tree_larger_than_the_limit_is_refused_though_its_root_is_signed(self) -> None:
        token, voucher = batch(BATCH_LIMIT + 1)[0]
        with pytest.raises(BadSignature, match="a tree has 1 to 256 packs, not 257"):
            verify(token, voucher, KEYS)

    @pytest.mark.parametrize("suite", [SUITE_ED25519, SUITE_ED25519_BATCH])
    def test_a_region_cannot_sign_for_another(self, suite: int) -> None:
        token = single(a_voucher(suite, SHANGHAIS)) if suite == SUITE_ED25519 else batch(2, SHANGHAIS)[0][0]
        with pytest.raises(BadSignature, match=f"{SHANGHAIS.hex()} may not sign vouchers of 330100"):
            verify(token, wire.body_to_voucher(token.body), KEYS)

    def test_a_key_for_terms_signs_no_voucher(self) -> None:
        voucher = a_voucher(SUITE_ED25519, FOR_TERMS)
        with pytest.raises(BadSignature, match="may not sign vouchers"):
            verify(single(voucher), voucher, KEYS)

    def test_a_key_that_nobody_vouched_for_is_unknown(self) -> None:
        with pytest.raises(UnknownKey):
            verify(SINGLE, a_voucher(SUITE_ED25519, b"unknown!"), KEYS)

    def test_a_signature_of_another_kind_does_not_serve_a_voucher(self) -> None:
        body = wire.voucher_to_body(a_voucher(SUITE_ED25519))
        with pytest.raises(BadSignature):
            verify(Token(body, KEYS.sign(HANGZHOUS, "terms", body)), a_voucher(SUITE_ED25519), KEYS)

    @pytest.mark.parametrize("suite", [0, 3])
    def test_an_unknown_suite_is_refused(self, suite: int) -> None:
        voucher = a_voucher(suite)
        with pytest.raises(BadSignature, match=f"suite {suite} is not known"):
            verify(single(voucher), voucher, KEYS)

    def test_a_single_signature_does_not_pass_for_a_batch_nor_the_reverse(self) -> None:
        as_batch, as_single = a_voucher(SUITE_ED25519_BATCH), a_voucher(SUITE_ED25519)
        with pytest.raises(BadSignature):
            verify(single(as_batch)._replace(tree_size=1), as_batch, KEYS)
        [(token, _)] = batch(1)
        with pytest.raises(BadSignature):
            verify(token._replace(body=wire.voucher_to_body(as_single)), as_single, KEYS)


class TestKeyOverTime:
    KEY = SigningKey(bytes(8), HANGZHOU, "voucher", bytes(32), not_before=100, not_after=200)

    @pytest.mark.parametrize(("issued_at", "valid"), [(99, False), (100, True), (199, True), (200, False)])
    def test_its_validity_is_judged_at_issue(self, issued_at: int, valid: bool) -> None:
        assert key_was_valid(self.KEY, issued_at) is valid

    @pytest.mark.parametrize(
        ("revoked_from", "issued_at", "revoked"),
        [(None, 150, False), (150, 149, False), (150, 150, True), (150, 151, True), (0, 100, True)],
    )
    def test_it_is_bad_from_its_revocation_on(self, revoked_from: int | None, issued_at: int, revoked: bool) -> None:
        assert key_was_revoked(self.KEY._replace(revoked_from=revoked_from), issued_at) is revoked
