"""How long a clearinghouse takes to recover after a restore, in what memory, and whether `status` answers meanwhile.

41 regions, vouchers of fifty campaigns. The copy is from after the hand-overs and before all redemptions: each of them
comes back as the redeeming region's signed answer and as the posting that its issuer was told of, as nodes hand them
over. They are made in a process of their own, so that the memory is what recovering takes.

    python benchmarks/recovery.py --count 50000 --json recovery.json

The books are checked at the end; where they do not balance, or anything is disputed, nothing is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import multiprocessing
import pickle
import resource
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rig.books import require_balance
from rig.delta import CLEARINGHOUSE, Setting, delta_cities, open_clearinghouse, open_database, publish_campaigns
from rig.issuing import PACK, Issuer
from rig.machine import durability, machine, need_room
from rig.traffic import MERCHANT

from chassis.database import Database
from chassis.ids import FreshIds
from chassis.service import COLLECT_AFTER
from clearinghouse.custody import read_hand_over
from clearinghouse.redeeming import Redeem
from clearinghouse.service import ClearinghouseService
from custodian.lineage import Lineage
from custodian.paging import pages
from custodian.receiving import receive
from custodian.servicer import sign_answers
from custodian.verification import RootMemory
from quanlian import wire
from quanlian.signing import Signer
from quanlian.v1 import custody_pb2, redemption_pb2

USUAL, QUICK, BATCH, PAGE = 50_000, 2_000, 100, 2_000
BYTES_A_REDEMPTION = 30_000
ASK_EVERY_SECONDS = 0.5
Receipts = dict[str, list[custody_pb2.Receipt]]


class Lost:
    """A clearinghouse's life after its copy was made, and what its nodes hold of it."""

    def __init__(self, folder: Path, setting: Setting, at: int, count: int) -> None:
        self._folder, self._setting, self._at, self._count = folder, setting, at, count
        self._ids, self._roots = FreshIds(), RootMemory(setting.keyring)

    def live(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        path = self._folder / "clearinghouse.sqlite"
        with closing(open_database(f"sqlite:///{path}", "")) as database:
            service = await open_clearinghouse(self._setting, database)
            service.continuity.begin(Lineage(database, self._folder / "lineage"))
            items = await self._hand_over(service)
            service.close()
        shutil.copy(path, self._folder / "copy.sqlite")
        with closing(open_database(f"sqlite:///{path}", "")) as database:
            service = _service(self._setting, database, self._folder)
            held: Receipts = defaultdict(list)
            for region, contents in items.items():
                for start in range(0, len(contents), BATCH):
                    self._redeem(service, region, contents[start : start + BATCH], held)
            service.close()
        shutil.move(self._folder / "copy.sqlite", path)
        with (self._folder / "receipts").open("wb") as file:
            for region, receipts in held.items():
                for page in pages(receipts, custody_pb2.Receipt.ByteSize, PAGE):
                    pickle.dump((region, custody_pb2.HandReceiptsRequest(receipts=page).SerializeToString()), file)

    async def _hand_over(self, service: ClearinghouseService) -> dict[str, list[bytes]]:
        """Vouchers of all campaigns come here; returns what is redeemed of them, by region, in no order."""
        issuer = Issuer(self._setting, self._at)
        items: dict[str, list[bytes]] = defaultdict(list)
        campaigns = await publish_campaigns(self._setting, service, self._at)
        for terms in campaigns:
            handed = issuer.hand_over(terms, max(1, self._count // PACK // len(campaigns)))
            await service.engine.group.submit(read_hand_over(terms.issuer, handed.message))
            others = [code for code in self._setting.regions if code != terms.issuer]
            for each in handed.vouchers:
                items[issuer.random.choice(others)].append(_item(each.token, each.state.key.voucher_index, issuer))
        for contents in items.values():
            issuer.random.shuffle(contents)
        return items

    def _redeem(self, service: ClearinghouseService, region: str, contents: list[bytes], held: Receipts) -> None:
        works = [Redeem(self._received(region, content)) for content in contents]
        answers = [reply.content for reply in service.engine.decide(works)]
        signed = sign_answers(answers, self._setting.signers[(CLEARINGHOUSE, "message")])
        hashes = b"".join(hashlib.sha256(answer).digest() for answer in answers)
        signer = self._setting.signers[(region, "message")]
        for content, answer in zip(contents, answers, strict=True):
            shown = custody_pb2.AnsweredItem(
                item=content, answer=answer, hashes=hashes, key_id=signed.key_id, signature=signed.signature
            )
            _sign_item(shown, signer)
            decided = redemption_pb2.RedemptionAnswer.FromString(answer)
            held[region].append(custody_pb2.Receipt(at=decided.decided_at, answered=shown))
            told = decided.posting
            told.request_id = decided.request_id
            told.ClearField("state")
            held[told.issuer].append(custody_pb2.Receipt(at=told.at, told=told))

    def _received(self, region: str, content: bytes) -> Any:
        return receive(
            content,
            participant=region,
            acquirer="",
            redeeming_region=region,
            redemption_id=self._ids.uuid7(),
            verifier=self._roots,
        )


class Recovery:
    """The recovery of that clearinghouse, its status asked for all the while."""

    def __init__(self, folder: Path, setting: Setting) -> None:
        self._folder, self._setting = folder, setting
        self.waits: list[float] = []

    async def measure(self) -> dict[str, float]:
        with closing(open_database(f"sqlite:///{self._folder / 'clearinghouse.sqlite'}", "")) as database:
            service = _service(self._setting, database, self._folder)
            assert service.continuity.broken, "the copy is not noticed"
            print(f"  {durability(database)}")
            before, taken = _peak_mb(), 0
            cpu = time.process_time()
            for region, page in self._pages():
                taken += len(page.receipts)
                await service.recovery.hand_receipts(region, page)
            for region in self._setting.regions:
                await service.recovery.hand_receipts(region, custody_pb2.HandReceiptsRequest(complete=True))
            handed, handed_mb = time.process_time() - cpu, _peak_mb()
            asking = asyncio.ensure_future(self._ask(service))
            cpu, wall = time.process_time(), time.perf_counter()
            report = await service.recover(())
            recovered, waited = time.process_time() - cpu, time.perf_counter() - wall
            asking.cancel()
            assert report is not None
            require_complete = (len(report.disputed), len(report.lacking))
            assert require_complete == (0, 0), f"disputed, lacking: {require_complete}"
            service.close()
            print(f"  books: {require_balance(database, 1, report.answers)}")
        return {
            "receipts": taken,
            "answers": report.answers,
            "hand_over_cpu_s": handed,
            "recover_cpu_s": recovered,
            "recover_wall_s": waited,
            "cpu_us_a_receipt": 1e6 * recovered / taken,
            "status_asked": len(self.waits),
            "status_slowest_s": max(self.waits),
            "memory_before_mb": before,
            "memory_handed_over_mb": handed_mb,
            "memory_peak_mb": _peak_mb(),
        }

    def _pages(self) -> Iterator[tuple[str, custody_pb2.HandReceiptsRequest]]:
        with (self._folder / "receipts").open("rb") as file:
            while file.peek(1):
                region, content = pickle.load(file)
                yield region, custody_pb2.HandReceiptsRequest.FromString(content)

    async def _ask(self, service: ClearinghouseService) -> None:
        """What `quanlian clearinghouse status` asks for."""
        while True:
            started = time.perf_counter()
            await service.operations.status()
            state = await asyncio.to_thread(service.recovery.state)
            self.waits.append(time.perf_counter() - started)
            assert state.why
            await asyncio.sleep(ASK_EVERY_SECONDS)


def _service(setting: Setting, database: Database, folder: Path) -> ClearinghouseService:
    signers = [setting.signers[(CLEARINGHOUSE, purpose)] for purpose in ("message", "statement")]
    service = ClearinghouseService(database, setting.keyring, *signers, 1.0)
    service.start()
    service.continuity.begin(Lineage(database, folder / "lineage"))
    return service


def _item(token: bytes, index: int, issuer: Issuer) -> bytes:
    request_id = issuer.fresh()
    order = redemption_pb2.Order(
        merchant=MERCHANT, order_id=request_id.hex(), category="retail", channel="shop",
        order_fen=issuer.random.randrange(4000, 30_000),
    )  # fmt: skip
    purchase = redemption_pb2.Purchase(token=token, index=index, order=order)
    return redemption_pb2.RedemptionItem(request_id=request_id, redeem=purchase).SerializeToString()


def _sign_item(shown: custody_pb2.AnsweredItem, signer: Signer) -> None:
    """As the node shows what it sent: signed anew by itself."""
    digest = hashlib.sha256(b"".join(wire.item_hashes([shown.item]))).digest()
    shown.item_key_id, shown.item_signature = signer.key_id, signer.sign("redemption-batch", digest)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _in_a_process_of_its_own(job: Callable[[], None]) -> None:
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join()
    assert process.exitcode == 0, "the redemptions were not made"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--count", type=int, help=f"redemptions, of two receipts each; {USUAL:,} without it")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} redemptions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as data too")
    options = parser.parse_args()
    count, at = options.count or (QUICK if options.quick else USUAL), int(time.time())
    gc.set_threshold(*COLLECT_AFTER)
    with tempfile.TemporaryDirectory(prefix="quanlian-bench-") as name:
        folder = Path(name)
        print(f"{count:,} redemptions: {need_room(folder, count * BYTES_A_REDEMPTION)}")
        setting = Setting(folder / "pki", delta_cities())
        setting.certify(at - 60)
        _in_a_process_of_its_own(Lost(folder, setting, at, count).live)
        figures = asyncio.run(Recovery(folder, setting).measure())
    for what, figure in figures.items():
        print(f"  {what:24} {figure:12,.2f}")
    print(machine())
    if options.json:
        options.json.write_text(json.dumps(figures | {"machine": machine()}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
