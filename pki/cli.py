"""`quanlian pki`: make the root, enrol authorities, issue certificates, look at them."""

from __future__ import annotations

import json
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
    help="Keys, certificates and trust. 密钥、证书与信任。",
    no_args_is_help=True,
)
issue = typer.Typer(help="Issue a certificate. 签发证书。", no_args_is_help=True)
app.add_typer(issue, name="issue")

_HOUR_SECONDS = 3_600
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

RootDirectory = Annotated[Path, typer.Option("--root", help="The root's directory. 根证书目录。")]
AuthorityDirectory = Annotated[
    Path, typer.Option("--authority", help="The directory that `enrol` made. 由 enrol 建立的机构目录。")
]


@app.command()
def init(root: RootDirectory = Path("pki/root")) -> None:
    """Make the offline root of trust. 建立离线根证书。

    Keep the directory on a machine without a network; pass the fingerprint on by another way than the file.
    目录应保存在不联网的机器上；指纹请另行告知各方核对。
    """
    authority = RootAuthority.create(root, utc_seconds())
    typer.echo(f"Root made in 根证书已建立：{root}")
    typer.echo(f"Fingerprint 指纹 (SHA-256)：{authority.fingerprint}")


@app.command()
def enrol(
    host: Annotated[str, typer.Argument(help="An adcode such as 330100, or clearinghouse. 地区代码。")],
    into: Annotated[
        Path | None,
        typer.Option("--into", help="Where to keep it; default pki/HOST. 存放目录，默认 pki/HOST。"),
    ] = None,
    root: RootDirectory = Path("pki/root"),
) -> None:
    """Make the authority of one region or of the clearinghouse. 为一个地区或清算所建立签发机构。

    It can vouch for names of its own host and for no other. 该机构只能为本地区签发，不能为他人签发。
    """
    directory = into or Path("pki") / host
    RootAuthority.load(root).enrol(directory, host, utc_seconds())
    typer.echo(f"Authority of {host} made in 签发机构已建立：{directory}")


@issue.command("tls")
def issue_tls(
    party: Annotated[
        str,
        typer.Argument(help="node, server, platform/NAME, operator/NAME, or a whole spiffe:// id. 主体身份。"),
    ],
    authority: AuthorityDirectory,
    into: Annotated[Path, typer.Option("--into", help="Directory for tls.crt, tls.key, root.crt. 输出目录。")],
    valid_hours: Annotated[int, typer.Option(min=1, help="Validity in hours. 有效小时数。")] = 24,
) -> None:
    """Make a TLS key and certificate, or renew them in place. 签发或就地更新 TLS 密钥与证书。

    Running servers take up the new files with the next connection. 运行中的服务会在下次连接时自动换用新证书。
    """
    issuer = RegionAuthority.load(authority)
    uri = party if party.startswith("spiffe://") else Identity(issuer.host, party).uri
    identity = Identity.parse(uri)
    leaf = issuer.issue_tls(identity, into, utc_seconds(), valid_hours * _HOUR_SECONDS)
    typer.echo(f"{identity.uri} → {into} (until 有效至 {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC)")


@issue.command("signer")
def issue_signer(
    purpose: Annotated[str, typer.Argument(help="What the key signs: voucher, terms, message, statement. 密钥用途。")],
    authority: AuthorityDirectory,
    keys: Annotated[Path, typer.Option("--keys", help="The key store's directory. 签名密钥目录。")],
    valid_days: Annotated[int, typer.Option(min=1, help="Validity in days. 有效天数。")] = 365,
) -> None:
    """Make a signing key if there is none, and certify it. 建立签名密钥（如尚无）并为其签发证书。"""
    issuer, store = RegionAuthority.load(authority), FileKeyStore(keys)
    public_key = store.public_key(purpose) if store.holds(purpose) else store.create(purpose)
    chain = issuer.issue_signer(purpose, public_key, utc_seconds(), valid_days * profiles.DAY_SECONDS)
    store.install(purpose, chain)
    typer.echo(f"{Identity(issuer.host, 'signer', purpose).uri} → {keys}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A PEM file of certificates. PEM 证书文件。")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs. 输出 JSON。")] = False,
) -> None:
    """Show what the certificates in a file say; private keys are never shown. 查看证书内容（不显示私钥）。"""
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
    for each in certificates:
        Console().print(_table(each))


def _table(description: dict[str, str]) -> Table:
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in description.items():
        table.add_row(_LABELS[name], value)
    return table
