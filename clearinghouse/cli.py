"""清分平台 · Run and operate the clearinghouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chassis import telemetry
from chassis.config import load_settings
from clearinghouse.config import ClearinghouseSettings

app = typer.Typer(no_args_is_help=True, help=__doc__)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="设置文件 · Settings file (TOML); QUANLIAN_CLEARINGHOUSE_… override it."),
]


@app.callback()
def group() -> None:
    """清分平台 · Run and operate the clearinghouse."""


@app.command()
def serve(config: Config = None) -> None:
    """启动服务 · Serve until Ctrl-C or SIGTERM."""
    from clearinghouse.server import serve as run

    settings = load_settings(ClearinghouseSettings, config, "clearinghouse")
    telemetry.configure()
    run(settings)
