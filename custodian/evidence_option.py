"""The command that asks a party for evidence, the same at node and clearinghouse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from chassis import console
from pki import files

ID_BYTES = 16


def identifier(text: str) -> bytes:
    """An id as the reports and answers write it: 32 hexadecimal digits. Raises BadParameter."""
    try:
        read = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        read = b""
    if len(read) != ID_BYTES:
        raise typer.BadParameter(f"{text!r} is no id — give its 32 hexadecimal digits")
    return read


Id = Annotated[
    bytes,
    typer.Argument(metavar="ID", parser=identifier, help="核销记录或请求的编号 · A redemption's or a request's id."),
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="写入的文件 · The file to write; it must be new.")]


def write_evidence(document: bytes, out: Path, as_json: bool) -> None:
    """Write the file and say what is in it. Raises ConfigurationError for a path that is taken or unusable."""
    files.write_new(out, document)
    exchanges = json.loads(document)["exchanges"]
    if as_json:
        console.print_json({"file": str(out), "exchanges": len(exchanges)})
        return
    for each in exchanges:
        shown = [zh_en for name, zh_en in (("request", "请求 request"), ("answer", "答复 answer")) if each[name]]
        console.say(f"{each['asker']} → {each['decider']}: {', '.join(shown)}")
    console.say(f"已写入 · Written to {out}")
