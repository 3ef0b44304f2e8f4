"""What is left of a demonstration's processes, seen from the operating system."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import psutil


def living(directory: Path) -> list[str]:
    """Command lines of the processes that serve from `directory`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or ())
        if " serve " in command and str(directory) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(command)
    return found


def open_ports(directory: Path) -> list[str]:
    """Addresses of the network in `directory` at which somebody still listens."""
    addresses = [tomllib.loads(path.read_text())["listen"] for path in directory.glob("*/settings.toml")]
    assert addresses, f"no network was created in {directory}"
    return [address for address in addresses if _answers(address)]


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
