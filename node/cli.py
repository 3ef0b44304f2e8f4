"""节点 · Run and operate a region's node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chassis import telemetry
from chassis.config import load_settings
from node.config import NodeSettings

app = typer.Typer(no_args_is_help=True, help=__doc__)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="设置文件 · Settings file (TOML); QUANLIAN_NODE_… override it."),
]


@app.callback()
def group() -> None:
    """节点 · Run and operate a region's node."""


@app.command()
def serve(config: Config = None) -> None:
    """启动服务 · Serve until Ctrl-C or SIGTERM."""
    from node.server import serve as run

    settings = load_settings(NodeSettings, config, "node")
    telemetry.configure()
    run(settings)
