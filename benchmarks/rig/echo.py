"""The bare baseline of a unary call: gRPC and mutual TLS as a service has them, in a process of its own, and an answer
of the same size without a guard, a signature or a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc.aio
import uvloop

from chassis.host import by_name, channel
from pki.credentials import server_credentials
from quanlian.v1 import redemption_pb2_grpc
from quanlian.v1.redemption_pb2 import RedeemRequest, RedeemResponse, SignedAnswer
from rig.timing import in_flight
from simulations.demo.setting import CLEARINGHOUSE

ANSWER_BYTES, CALL_SECONDS, STOP_SECONDS = 600, 60.0, 10.0


class _Echo(redemption_pb2_grpc.RedemptionServiceServicer):
    async def Redeem(  # noqa: N802
        self, request: RedeemRequest, context: grpc.aio.ServicerContext[RedeemRequest, RedeemResponse]
    ) -> RedeemResponse:
        return RedeemResponse(answer=SignedAnswer(answer=bytes(ANSWER_BYTES), signature=request.item.signature))


@contextlib.asynccontextmanager
async def echoing(server_tls: Path, client_tls: Path) -> AsyncIterator[redemption_pb2_grpc.RedemptionServiceStub]:
    """A caller's stub to an echo that runs until the block ends."""
    command = [sys.executable, "-m", "rig.echo", str(server_tls)]
    folder = Path(__file__).parents[1]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = (await asyncio.to_thread(process.stdout.readline)).strip()
        connection = channel(address, CLEARINGHOUSE, client_tls)
        try:
            yield redemption_pb2_grpc.RedemptionServiceStub(connection)  # type: ignore[no-untyped-call]
        finally:
            await connection.close()
            process.terminate()
            process.wait(STOP_SECONDS)


async def echoed(
    stub: redemption_pb2_grpc.RedemptionServiceStub,
    requests: Sequence[RedeemRequest],
    most: int,
    latencies: list[float],
) -> None:
    """Each request sent and answered, `most` at once."""

    async def call(request: RedeemRequest) -> None:
        await stub.Redeem(request, timeout=CALL_SECONDS)

    await in_flight(requests, most, call, latencies)


async def _serve(tls: Path) -> None:
    server = grpc.aio.server()
    redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(_Echo(), by_name(server))  # type: ignore[no-untyped-call]
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tls))
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
