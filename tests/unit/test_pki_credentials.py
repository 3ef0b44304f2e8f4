from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pki import tls_files
from pki.authority import RegionAuthority, RootAuthority
from pki.credentials import channel_credentials, peer_identity, server_credentials, target_options
from pki.identity import Identity
from pki.trust import Trust
from quanlian.errors import ConfigurationError, TrustError

AT = 1_800_000_000
NODE, ALIPAY = Identity("330100", "node"), Identity("330100", "platform", "alipay")


@pytest.fixture
def hangzhou(tmp_path: Path) -> RegionAuthority:
    root = RootAuthority.create(tmp_path / "root", AT)
    return root.enrol(tmp_path / "330100", "330100", AT)


@pytest.fixture
def trust(tmp_path: Path, hangzhou: RegionAuthority) -> Trust:
    return Trust((tmp_path / "root/certificate.pem").read_bytes())


@pytest.fixture
def tls(tmp_path: Path, hangzhou: RegionAuthority) -> Path:
    hangzhou.issue_tls(NODE, tmp_path / "tls", AT)
    return tmp_path / "tls"


def clock(at: int = AT) -> Callable[[], int]:
    return lambda: at


def test_issued_files_make_credentials(tls: Path) -> None:
    server_credentials(tls, clock())
    channel_credentials(tls, clock())
    assert tls_files.read(tls, AT).identity == NODE


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "root.crt"])
def test_a_missing_unreadable_or_damaged_file_is_named_with_the_remedy(tls: Path, name: str) -> None:
    path = tls / name
    good = path.read_bytes()
    for damaged in [b"", b"rubbish", good[: len(good) // 2]]:
        path.write_bytes(damaged)
        assert_refused(tls, f"{name}: .*quanlian pki issue tls")
    path.unlink()
    assert_refused(tls, f"{name}: .*No such file.*quanlian pki issue tls")
    path.mkdir()
    assert_refused(tls, f"{name}: .*directory")


def test_a_key_of_another_certificate_is_refused(tls: Path, tmp_path: Path, hangzhou: RegionAuthority) -> None:
    hangzhou.issue_tls(NODE, tmp_path / "other", AT)
    shutil.copy(tmp_path / "other/tls.key", tls / "tls.key")
    assert_refused(tls, r"tls\.key: is not the key of tls\.crt")


def test_a_key_that_others_can_read_is_refused(tls: Path) -> None:
    (tls / "tls.key").chmod(0o644)
    assert_refused(tls, "chmod 600")


@pytest.mark.parametrize(("at", "reason"), [(AT + 86_400, "expired"), (AT - 61, "only from")])
def test_a_certificate_outside_its_validity_is_refused(tls: Path, at: int, reason: str) -> None:
    assert_refused(tls, f"tls.crt: .*{reason}", at)


def test_a_certificate_of_another_root_is_refused(tls: Path, tmp_path: Path) -> None:
    RootAuthority.create(tmp_path / "other-root", AT)
    shutil.copy(tmp_path / "other-root/certificate.pem", tls / "root.crt")
    assert_refused(tls, "tls.crt: .*trusted root")


def test_a_platforms_certificate_calls_but_does_not_serve(tmp_path: Path, hangzhou: RegionAuthority) -> None:
    hangzhou.issue_tls(ALIPAY, tmp_path / "alipay", AT)
    channel_credentials(tmp_path / "alipay", clock())
    with pytest.raises(ConfigurationError, match="may call but not serve"):
        server_credentials(tmp_path / "alipay", clock())


@pytest.mark.parametrize("surviving_steps", range(4))
def test_a_renewal_cut_off_by_a_crash_leaves_the_old_pair_or_the_new_one(
    tls: Path, hangzhou: RegionAuthority, monkeypatch: pytest.MonkeyPatch, surviving_steps: int
) -> None:
    before = tls_files.read(tls, AT)
    steps, real = iter(range(surviving_steps)), os.rename

    def crashing(source: str | Path, target: str | Path) -> None:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", crashing)
    with pytest.raises(KeyboardInterrupt):
        hangzhou.issue_tls(NODE, tls, AT)
    monkeypatch.undo()
    after = tls_files.read(tls, AT)
    assert (after.chain == before.chain) is (after.key == before.key) is (surviving_steps < 3)
    hangzhou.issue_tls(NODE, tls, AT)
    assert tls_files.read(tls, AT).key not in (before.key, after.key)
    assert sorted(each.name for each in tls.iterdir()) == ["root.crt", "tls.crt", "tls.key"]


@pytest.mark.parametrize("reads_before", range(4))
def test_a_reader_that_a_renewal_overtakes_gets_one_whole_pair(
    tls: Path, hangzhou: RegionAuthority, monkeypatch: pytest.MonkeyPatch, reads_before: int
) -> None:
    reads, real = iter(range(reads_before)), Path.read_bytes

    def overtaken(path: Path) -> bytes:
        if next(reads, None) is None:
            monkeypatch.undo()
            hangzhou.issue_tls(NODE, tls, AT)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", overtaken)
    material = tls_files.read(tls, AT)
    key = serialization.load_pem_private_key(material.key, None)
    assert key.public_key() == x509.load_pem_x509_certificate(material.chain).public_key()


def test_a_channel_expects_the_name_of_the_host_it_calls() -> None:
    assert target_options("clearinghouse") == [("grpc.ssl_target_name_override", "clearinghouse.quanlian")]


def auth_context(tls: Path, spiffe_id: str = NODE.uri) -> dict[str, list[bytes]]:
    leaf, intermediate = (
        each.public_bytes(serialization.Encoding.PEM)
        for each in x509.load_pem_x509_certificates((tls / "tls.crt").read_bytes())
    )
    return {
        "peer_spiffe_id": [spiffe_id.encode()],
        "x509_pem_cert": [leaf],
        "x509_pem_cert_chain": [intermediate],
    }


def test_a_call_is_attributed_to_its_certificate_with_the_leaf_in_the_chain_or_beside_it(
    tls: Path, trust: Trust
) -> None:
    context = auth_context(tls)
    assert peer_identity(context, trust, AT) == NODE
    whole = context | {"x509_pem_cert_chain": [(tls / "tls.crt").read_bytes()]}
    assert peer_identity(whole, trust, AT) == NODE
    assert peer_identity({name: values[0] for name, values in context.items()}, trust, AT) == NODE


@pytest.mark.parametrize("name", ["peer_spiffe_id", "x509_pem_cert", "x509_pem_cert_chain"])
def test_a_call_without_certificate_or_with_an_ambiguous_one_is_nobodys(tls: Path, trust: Trust, name: str) -> None:
    context = auth_context(tls)
    for values in [[], [b""], context[name] * 2]:
        with pytest.raises(TrustError, match=name):
            peer_identity(context | {name: values}, trust, AT)
    with pytest.raises(TrustError):
        peer_identity({}, trust, AT)


def test_a_call_whose_spiffe_id_chain_and_certificate_disagree_is_nobodys(
    tls: Path, trust: Trust, tmp_path: Path, hangzhou: RegionAuthority
) -> None:
    hangzhou.issue_tls(ALIPAY, tmp_path / "alipay", AT)
    theirs = auth_context(tmp_path / "alipay")
    with pytest.raises(TrustError):
        peer_identity(auth_context(tls, ALIPAY.uri), trust, AT)
    whole = {"x509_pem_cert_chain": [(tmp_path / "alipay/tls.crt").read_bytes()]}
    with pytest.raises(TrustError):
        peer_identity(auth_context(tls) | whole, trust, AT)
    with pytest.raises(TrustError):
        peer_identity(auth_context(tls) | {"x509_pem_cert": theirs["x509_pem_cert"]}, trust, AT)


def assert_refused(tls: Path, message: str, at: int = AT) -> None:
    for make in [server_credentials, channel_credentials]:
        with pytest.raises(ConfigurationError, match=message):
            make(tls, clock(at))
