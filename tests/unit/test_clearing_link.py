"""The node's link to the clearinghouse takes up a renewed certificate without a restart."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from local_parties import KEYRING, TestSigner

from node.adapters.clearing import ClearingLink
from pki.authority import RootAuthority
from pki.identity import Identity


def test_a_replaced_certificate_gets_a_channel_of_its_own(tmp_path: Path) -> None:
    at, node = int(time.time()), Identity("330100", "node")
    region = RootAuthority.create(tmp_path / "root", at).enrol(tmp_path / "region", "330100", at)
    region.issue_tls(node, tmp_path / "tls", at)

    async def replace() -> tuple[object, object, object]:
        link = ClearingLink("127.0.0.1:1", tmp_path / "tls", TestSigner("330100", "message"), KEYRING)
        first = link._channel
        link._renew_channel()
        kept = link._channel
        region.issue_tls(node, tmp_path / "tls", at)
        link._renew_channel()
        renewed = link._channel
        await link.close()
        return first, kept, renewed

    first, kept, renewed = asyncio.run(replace())
    assert kept is first
    assert renewed is not first
