"""How services are registered: gRPC would keep a call of each registered method waiting, and look at all of them."""

from __future__ import annotations

from unittest.mock import Mock

import grpc
import grpc.aio

from chassis.host import by_name
from quanlian.v1 import redemption_pb2_grpc


def test_a_method_is_found_by_its_name_and_no_call_of_it_is_kept_waiting() -> None:
    server = Mock(spec=grpc.aio.Server)
    servicer = redemption_pb2_grpc.RedemptionServiceServicer()
    redemption_pb2_grpc.add_RedemptionServiceServicer_to_server(servicer, by_name(server))  # type: ignore[no-untyped-call]
    server.add_registered_method_handlers.assert_not_called()
    (((found,),), _) = server.add_generic_rpc_handlers.call_args
    called = Mock(spec=grpc.HandlerCallDetails, method="/quanlian.v1.RedemptionService/Redeem")
    assert found.service(called).unary_unary == servicer.Redeem
