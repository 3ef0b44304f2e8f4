"""The demonstration from beginning to end: the network's main job on real input."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis import console
from quanlian.errors import ConfigurationError
from simulations.auditor import Check, Party, Promise, audit
from simulations.demo import incidents, opening, settling, shopping, summary
from simulations.demo.client import Clients
from simulations.demo.network import Network
from simulations.demo.plan import Plan
from simulations.demo.stage import Stage, step
from simulations.figures import Figures, figures


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run brought. `surprises` are events that did not come out as planned."""

    figures: Figures
    refusals: dict[str, int]
    checks: list[Check]
    surprises: list[str]

    @property
    def sound(self) -> bool:
        return not self.surprises and all(check.holds for check in self.checks)

    def as_data(self) -> dict[str, Any]:
        return summary.as_data(self.figures, self.refusals, self.checks)


async def run(network: Network, seed: int, shoppers: int) -> Outcome:
    """Create the network anew, run the six steps, stop every process, then audit what is in the databases."""
    fingerprint = network.create(int(time.time()))
    with network.running():
        async with Clients(network) as clients:
            stage = Stage(network, clients, Plan(seed, shoppers))
            await _play(stage, fingerprint)
    found, checks = examine(network, clients.promises)
    summary.show(found, stage.refusals, checks)
    return Outcome(found, dict(stage.refusals), checks, stage.surprises)


def examine(network: Network, promises: Sequence[Promise] = ()) -> tuple[Figures, list[Check]]:
    """Figures and checks from a network's databases, and of what platforms were told, by code that the network does not
    use.
    """
    parties = [Party(party, network.party_url(party), network.party_schema(party)) for party in network.parties]
    return figures(parties), audit(parties, promises=promises)


def write_json(path: Path, outcome: Outcome) -> None:
    """Raises ConfigurationError when the file cannot be written."""
    try:
        path.write_text(json.dumps(outcome.as_data(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror})", place=str(path), remedy="choose another --json file"
        ) from error


async def _play(stage: Stage, fingerprint: str) -> None:
    await opening.admit(stage, fingerprint)
    await opening.publish(stage, int(time.time()))
    step(3, "居民领券", "Shoppers claim")
    stage.vouchers = await shopping.claim(stage, stage.plan.claims(stage.terms))
    shopping.tell_vouchers(stage.vouchers)
    uses = list(stage.plan.uses(stage.vouchers))
    step(4, "本地与异地核销", "Redemptions at home and away")
    witnesses = await shopping.claim(stage, incidents.witness_claims(stage))
    flash_terms = await opening.publish_flash(stage, int(time.time()))
    flash = await incidents.claim_flash(stage, flash_terms)
    held = await flash.hold()
    await shopping.redeem(stage, uses)
    await incidents.Incidents(stage, witnesses).play()
    await flash.expire(held)
    await settling.settle(stage)


def tell_end(network: Network, outcome: Outcome, seconds: float) -> None:
    out = console.console
    if outcome.sound:
        out.print(f"\n[bold green]全部核对成立[/bold green] · every check holds ({seconds:.0f} s)")
    else:
        out.print("\n[bold red]有核对不成立[/bold red] · a check failed")
        for surprise in outcome.surprises[:10]:
            out.print(f"  [red]{surprise}[/red]")
    out.print(f"数据库、密钥与日志留在 · databases, keys and logs stay in {network.directory}")
