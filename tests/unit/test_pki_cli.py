from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pki.cli import app
from pki.credentials import channel_credentials, server_credentials
from pki.keystore import FileKeyStore
from pki.trust import Trust
from quanlian.errors import ConfigurationError, TrustError


def run(*arguments: str) -> str:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False).output


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_operator_builds_a_network_from_nothing() -> None:
    fingerprint = run("init").split()[-1].removeprefix("(SHA-256)：")
    run("enrol", "330100")
    run("issue", "tls", "node", "--authority", "pki/330100", "--into", "node")
    run("issue", "tls", "platform/alipay", "--authority", "pki/330100", "--into", "alipay")
    run("issue", "signer", "voucher", "--authority", "pki/330100", "--keys", "keys")
    server_credentials(Path("node"))
    channel_credentials(Path("alipay"))
    store = FileKeyStore(Path("keys"))
    key = Trust(Path("node/root.crt").read_bytes(), fingerprint).signing_key(store.chain("voucher"))
    assert (key.owner, key.purpose, key.key_id) == ("330100", "voucher", store.signer("voucher").key_id)


def test_certifying_again_keeps_the_key() -> None:
    run("init"), run("enrol", "330100")
    for _ in range(2):
        run("issue", "signer", "voucher", "--authority", "pki/330100", "--keys", "keys")
        before = FileKeyStore(Path("keys")).public_key("voucher")
    assert FileKeyStore(Path("keys")).public_key("voucher") == before


def test_show_says_what_certificates_contain_for_programs_and_people() -> None:
    run("init"), run("enrol", "330100")
    run("issue", "tls", "node", "--authority", "pki/330100", "--into", "node")
    leaf, intermediate = json.loads(run("show", "node/tls.crt", "--json"))
    assert (leaf["kind"], leaf["identity"]) == ("tls", "spiffe://330100.quanlian/node")
    assert (intermediate["kind"], intermediate["permitted"]) == ("intermediate", "330100.quanlian")
    (root,) = json.loads(run("show", "pki/root/certificate.pem", "--json"))
    table = run("show", "pki/root/certificate.pem")
    assert "root" in table
    assert root["fingerprint"] in table, "on one line"
    assert "指纹" in table


def test_show_shows_no_private_key() -> None:
    run("init")
    with pytest.raises(ConfigurationError, match=r"key\.pem"):
        run("show", "pki/root/key.pem")
    with pytest.raises(ConfigurationError, match="No such file"):
        run("show", "nowhere.pem")


def test_an_authority_refuses_the_identity_of_another_host() -> None:
    run("init"), run("enrol", "330100")
    with pytest.raises(TrustError, match="310000"):
        run("issue", "tls", "spiffe://310000.quanlian/node", "--authority", "pki/330100", "--into", "node")


@pytest.mark.parametrize("group", [[], ["init"], ["enrol"], ["show"], ["issue"], ["issue", "tls"], ["issue", "signer"]])
def test_every_command_explains_itself_in_chinese_and_english(group: list[str]) -> None:
    text = run(*group, "--help")
    assert any("一" <= character <= "鿿" for character in text)
