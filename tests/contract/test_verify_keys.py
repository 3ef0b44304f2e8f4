"""What a key signed before it was valid, after it had expired, or once it was revoked, does not count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from evidence_files import Authorities, Exported
from local_parties import (
    AT,
    CLEARINGHOUSE,
    HANGZHOU,
    KEYRING,
    SHANGHAI,
    LocalClearinghouse,
    LocalNode,
    TestSigner,
    answer_of,
    item,
    keys_of,
    message_signer,
    open_standing,
    purchase,
)

from chassis import cli
from pki.denylist import KIND, DenyList
from pki.keystore import FileKeyStore
from quanlian.errors import TrustError
from quanlian.signing import SigningKey
from quanlian.suspensions import SuspensionKind
from reporting.evidence_files import DENY_LIST
from reporting.signed_file import SignedFile
from verifier.findings import Finding
from verifier.verification import verify

EXPIRED_AT = AT - 1
EXPIRED = "until 2026-05-29T04:26:39+08:00, and it is of 2026-05-29T04:26:40+08:00"
REVOKED = "is revoked from 2026-05-29T04:26:40+08:00, and it is of 2026-05-29T04:26:40+08:00"
REDEMPTIONS = f"redemptions redemptions-{SHANGHAI}-window-1.jsonl"
CLEARING = TestSigner(CLEARINGHOUSE, "message")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClearinghouse]:
    """A closed window with one use of Hangzhou's voucher in Shanghai, all of it at the same second."""
    folder = tmp_path_factory.mktemp("parties")
    node = LocalNode(open_standing(f"sqlite:///{folder / 'node'}.db", ""))
    clearinghouse = LocalClearinghouse(open_standing(f"sqlite:///{folder / 'clearinghouse'}.db", ""))
    play(node, clearinghouse)
    yield clearinghouse
    for party in (node, clearinghouse):
        party.database.close()


def play(node: LocalNode, clearinghouse: LocalClearinghouse) -> None:
    node.publish()
    clearinghouse.learn(node)
    (token,) = node.claim()
    clearinghouse.decide(*clearinghouse.hand_overs(node.release(*keys_of(token))))
    (answer,) = clearinghouse.redeem(item(bytes(16), redeem=purchase(token, 0, "order-1")))
    assert not answer_of(answer).HasField("refusal")
    clearinghouse.do(clearinghouse.service.settlement.close_window())


def exported(clearinghouse: LocalClearinghouse, authorities: Authorities, out: Path) -> Exported:
    authorities.introduce(clearinghouse)
    authorities.admit(clearinghouse, CLEARING.certified)
    return authorities.export(clearinghouse, out, SHANGHAI, [1])


def key_of(owner: str, purpose: str) -> SigningKey:
    return next(each for each in KEYRING.values() if (each.owner, each.purpose) == (owner, purpose))


def findings_of(files: Exported, denylist: Path | None = None) -> list[Finding]:
    options = (files.terms, files.agreements, files.fingerprint)
    return verify(files.statement, files.redemptions, *options, denylist=denylist).findings


def told_of(findings: list[Finding], place: str, what: str) -> str:
    return " ".join(each.found for each in findings if each.place.startswith(place) and each.what == what)


SIGNED_WITH = [
    (CLEARINGHOUSE, "statement", "statement", "signature"),
    (CLEARINGHOUSE, "statement", REDEMPTIONS, "seal"),
    (CLEARINGHOUSE, "statement", "agreement TEST-v1.toml", "signature"),
    (HANGZHOU, "message", f"hand-over {HANGZHOU}/1", "signature"),
    (HANGZHOU, "terms", "campaign-change", "signature"),
    (HANGZHOU, "voucher", "redemption", "token"),
]


@pytest.mark.parametrize(("owner", "purpose", "place", "what"), SIGNED_WITH)
def test_what_an_expired_key_signed_is_named_with_the_key_and_both_times(
    story: LocalClearinghouse, tmp_path: Path, owner: str, purpose: str, place: str, what: str
) -> None:
    authorities = Authorities(tmp_path / "pki", {(owner, purpose): EXPIRED_AT})
    told = told_of(findings_of(exported(story, authorities, tmp_path / "out")), place, what)
    assert f"its key {key_of(owner, purpose).key_id.hex()} was valid from " in told
    assert EXPIRED in told


def test_terms_whose_key_had_expired_when_they_were_published_do_not_count(
    story: LocalClearinghouse, tmp_path: Path
) -> None:
    """An old key of the issuer signs them anew; the change that publishes them stays as it was."""
    authorities = Authorities(tmp_path / "pki")
    files = exported(story, authorities, tmp_path / "out")
    (path,) = files.terms.glob("*.toml")
    store = FileKeyStore(tmp_path / "old")
    chain = authorities.certified(HANGZHOU, "terms", store.create("terms"), EXPIRED_AT)
    old = store.signer("terms")
    SignedFile("terms", path.read_bytes(), old.key_id, old.sign("terms", path.read_bytes()), chain).write(path)
    told = told_of(findings_of(files), f"terms {path.name}", "document")
    assert old.key_id.hex() in told
    assert EXPIRED in told


def test_a_seal_is_judged_by_the_time_that_it_tells(story: LocalClearinghouse, tmp_path: Path) -> None:
    authorities = Authorities(tmp_path / "pki", {(CLEARINGHOUSE, "statement"): AT + 60})
    assert findings_of(exported(story, authorities, tmp_path / "in time")) == []
    story.pass_seconds(60)
    files = authorities.export(story, tmp_path / "late", SHANGHAI, [1])
    story.database.at = AT
    (finding,) = findings_of(files)
    assert (finding.place, finding.what) == (REDEMPTIONS, "seal")
    assert "and it is of 2026-05-29T04:27:40+08:00" in finding.found


# The deny-list


def deny_list(path: Path, key: SigningKey, bad_from: int, signer: TestSigner = CLEARING) -> Path:
    body = DenyList(1, AT, {}, {key.key_id: bad_from}).payload()
    SignedFile(KIND, body, signer.key_id, signer.sign(KIND, body)).write(path)
    return path


@pytest.mark.parametrize(("owner", "purpose", "place", "what"), SIGNED_WITH)
def test_what_a_key_signed_from_its_revocation_on_is_named(
    story: LocalClearinghouse, tmp_path: Path, owner: str, purpose: str, place: str, what: str
) -> None:
    files, key = exported(story, Authorities(tmp_path / "pki"), tmp_path / "out"), key_of(owner, purpose)
    assert findings_of(files) == [], "nobody gave the deny-list"
    assert REVOKED in told_of(findings_of(files, deny_list(tmp_path / "denied", key, AT)), place, what)
    assert findings_of(files, deny_list(tmp_path / "denied", key, AT + 1)) == [], "it was revoked later"


def test_the_deny_list_is_exported_with_the_evidence(
    node: LocalNode, clearinghouse: LocalClearinghouse, tmp_path: Path
) -> None:
    play(node, clearinghouse)
    authorities = Authorities(tmp_path / "pki")
    exported(clearinghouse, authorities, tmp_path / "before")
    assert not (tmp_path / "before" / DENY_LIST).exists()
    clearinghouse.suspend(SuspensionKind.KEY, key_of(HANGZHOU, "voucher").key_id.hex(), bad_from=AT)
    files = exported(clearinghouse, authorities, tmp_path / "after")
    assert REVOKED in told_of(findings_of(files, tmp_path / "after" / DENY_LIST), "redemption", "token")


def test_a_deny_list_that_the_clearinghouse_did_not_sign_is_refused(
    story: LocalClearinghouse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = exported(story, Authorities(tmp_path / "pki"), tmp_path / "out")
    path = deny_list(tmp_path / "denied", key_of(HANGZHOU, "voucher"), AT, message_signer())
    with pytest.raises(TrustError, match="only the message key of clearinghouse"):
        findings_of(files, path)
    proof = {"kind": KIND, "key_id": "00" * 8, "signature": "", "chain": ""}
    path.with_name("denied.sig").write_text(json.dumps(proof))
    command = ["verify", str(files.statement), "--redemptions", str(files.redemptions[0]), "--trust", files.fingerprint]
    command += ["--terms", str(files.terms), "--agreements", str(files.agreements), "--denylist", str(path)]
    assert cli.main(command) != 0
    told = capsys.readouterr().err
    assert "the deny-list does not count: 没有编号为 0000000000000000 的签名密钥 · no known signing key" in told
