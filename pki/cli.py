"""密钥与证书 · Make the root, enrol authorities, issue certificates, look at them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from rich.console import Console
from rich.table import Table

from pki import files, profiles
from pki.authority import RegionAuthority, RootAuthority
from pki.credentials import utc_seconds
from pki.description import describe
from pki.identity import Identity
from pki.keystore import FileKeyStore
from quanlian.errors import ConfigurationError

app = typer.Typer(
    name="pki",
    help="密钥、证书与信任 · Keys, certificates and trust.",
    no_args_is_help=True,
    add_completion=False,
)
issue = typer.Typer(help="签发证书 · Issue a certificate.", no_args_is_help=True)
app.add_typer(issue, name="issue")

_HOUR_SECONDS = 3_600
_WIDTH_WITHOUT_TERMINAL = 200
"""A pipe has no width: a fingerprint that is to be compared or searched for stays on its line there."""
_LABELS = {
    "kind": "Kind 类型",
    "identity": "Speaks for 主体身份",
    "subject": "Subject 主体",
    "issuer": "Issuer 签发者",
    "dns_names": "DNS names 域名",
    "permitted": "May vouch for 可签发范围",
    "valid_from": "Valid from 生效时间",
    "valid_to": "Valid to 失效时间",
    "key": "Key 密钥算法",
    "key_id": "Key id 密钥编号",
    "serial": "Serial 序列号",
    "fingerprint": "SHA-256 指纹",
}

RootDirectory = Annotated[Path, typer.Option("--root", help="根证书目录 · The root's directory.")]
AuthorityDirectory = Annotated[
    Path, typer.Option("--authority", help="由 enrol 建立的签发机构目录 · The directory that `enrol` made.")
]


@app.command()
def init(root: RootDirectory = Path("pki/root")) -> None:
    """建立离线根证书 · Make the offline root of trust.

    目录应保存在不联网的机器上；指纹请另行告知各方核对。
    Keep the directory on a machine without a network; pass the fingerprint on by another way than the file.
    """
    authority = RootAuthority.create(root, utc_seconds())
    typer.echo(f"Root made in 根证书已建立：{root}")
    typer.echo(f"Fingerprint 指纹 (SHA-256)：{authority.fingerprint}")


@app.command()
def enrol(
    host: Annotated[str, typer.Argument(help="地区代码 · A region code such as 330100, or clearinghouse.")],
    into: Annotated[
        Path | None,
        typer.Option("--into", help="存放目录 · Where to keep it; pki/HOST by default."),
    ] = None,
    root: RootDirectory = Path("pki/root"),
) -> None:
    """为一个地区或清分平台建立签发机构 · Make the authority of a region or of the clearinghouse.

    该机构只能为本地区签发，不能为他人签发。
    It can vouch for names of its own host and for no other.
    """
    directory = into or Path("pki") / host
    RootAuthority.load(root).enrol(directory, host, utc_seconds())
    typer.echo(f"Authority of {host} made in 签发机构已建立：{directory}")


@issue.command("tls")
def issue_tls(
    party: Annotated[
        str,
        typer.Argument(help="主体身份 · node, server, platform/NAME, operator/NAME, or a whole spiffe:// id."),
    ],
    authority: AuthorityDirectory,
    into: Annotated[Path, typer.Option("--into", help="输出目录 · Directory for tls.crt, tls.key, root.crt.")],
    valid_hours: Annotated[int, typer.Option(min=1, help="有效小时数 · Validity in hours.")] = 24,
) -> None:
    """签发或就地更新 TLS 密钥与证书 · Make a TLS key and certificate, or renew them in place.

    运行中的服务会在下次连接时自动换用新证书。
    Running servers take up the new files with the next connection.
    """
    issuer = RegionAuthority.load(authority)
    uri = party if party.startswith("spiffe://") else Identity(issuer.host, party).uri
    identity = Identity.parse(uri)
    leaf = issuer.issue_tls(identity, into, utc_seconds(), valid_hours * _HOUR_SECONDS)
    typer.echo(f"{identity.uri} → {into} (until 有效至 {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC)")


@issue.command("signer")
def issue_signer(
    purpose: Annotated[str, typer.Argument(help="密钥用途 · What it signs: voucher, terms, message, statement.")],
    authority: AuthorityDirectory,
    keys: Annotated[Path, typer.Option("--keys", help="签名密钥目录 · The key store's directory.")],
    valid_days: Annotated[int, typer.Option(min=1, help="有效天数 · Validity in days.")] = 365,
) -> None:
    """建立签名密钥（如尚无）并签发证书 · Make a signing key if there is none, and certify it."""
    issuer, store = RegionAuthority.load(authority), FileKeyStore(keys)
    public_key = store.public_key(purpose) if store.holds(purpose) else store.create(purpose)
    chain = issuer.issue_signer(purpose, public_key, utc_seconds(), valid_days * profiles.DAY_SECONDS)
    store.install(purpose, chain)
    typer.echo(f"{Identity(issuer.host, 'signer', purpose).uri} → {keys}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="PEM 证书文件 · A PEM file of certificates.")],
    as_json: Annotated[bool, typer.Option("--json", help="输出 JSON · Print JSON for programs.")] = False,
) -> None:
    """查看证书内容，不显示私钥 · Show what the certificates in a file say, never a private key."""
    data = files.read(file, "name a PEM file of certificates, such as tls.crt or certificate.pem")
    try:
        certificates = [describe(each) for each in x509.load_pem_x509_certificates(data)]
    except ValueError as error:
        raise ConfigurationError(
            f"holds no readable certificate: {error}",
            place=str(file),
            remedy="name a PEM file of certificates, such as tls.crt or certificate.pem",
        ) from error
    if as_json:
        typer.echo(json.dumps(certificates, indent=2, ensure_ascii=False))
        return
    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH_WITHOUT_TERMINAL)
    for each in certificates:
        console.print(_table(each))


def _table(description: dict[str, str]) -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in description.items():
        table.add_row(_LABELS[name], value)
    return table
