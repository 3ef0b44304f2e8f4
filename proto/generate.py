"""Writes the Python stubs of `quanlian/v1/*.proto` beside their sources, or below the folder given as argument."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

SOURCE_ROOT = Path(__file__).parent


def generate(target: Path) -> None:
    """Generate messages, services and type stubs below `target`; raises SystemExit when protoc refuses."""
    well_known = str(resources.files("grpc_tools") / "_proto")
    sources = sorted(str(path) for path in (SOURCE_ROOT / "quanlian" / "v1").glob("*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    plugins = [f"--plugin={path}" for path in sorted(Path(sys.executable).parent.glob("protoc-gen-mypy*"))]
    if protoc.main(["protoc", *plugins, f"-I{SOURCE_ROOT}", f"-I{well_known}", *outputs, *sources]) != 0:
        raise SystemExit("protoc refused the sources; its messages are above")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE_ROOT)
