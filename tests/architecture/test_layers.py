"""The house keeps its layers: the import contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def test_no_import_goes_against_the_layers() -> None:
    run = subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"an import breaks a contract of pyproject.toml:\n{run.stdout}{run.stderr}"


def test_every_shipped_package_is_under_the_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    shipped = {Path(package).name for package in project["hatch"]["build"]["targets"]["wheel"]["packages"]}
    watched = set(project["importlinter"]["root_packages"])
    assert shipped == watched, f"shipped but not watched: {shipped - watched}; watched only: {watched - shipped}"
