"""What a reader of the repository relies on: docstrings, links, commands that exist, nothing of anyone's machine."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "chassis", "clearinghouse", "custodian", "node", "pki", "proto", "simulations")
BINARY = {".binpb", ".png", ".pyc"}

MACHINE_PATHS = re.compile(r"(?<![\w.\-/~}*])(/(?:home|root|work|Users)/\w|[A-Z]:\\Users)")
REGISTRY_HOSTS = re.compile(
    "|".join(rf"{name}\.{top}" for name, top in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "(org|com)")])
    + r"|index[-_]url\s*="
)
FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"(?:^|`|\$ )make ([a-z][a-z-]*)", re.MULTILINE)
COMMAND = re.compile(r"(?:^|`|\$ |bin/)quanlian ([a-z]+)", re.MULTILINE)
SECTION = re.compile(r'\b(protocol|money|security)\.md, (?:"([^"]+)"|([A-Z][A-Za-z ]*?)(?=[.;:,)\]]))')


def files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in (".ci", ".gitignore") for part in parts)
        built = any(part in ("__pycache__", "build", "dist") or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not hidden and not built and path.suffix not in BINARY:
            yield path


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


FILES = list(files())
MODULES = [
    path
    for path in FILES
    if path.suffix == ".py"
    and path.relative_to(ROOT).parts[0] in PACKAGES
    and "_pb2" not in path.name
    and not (path.name == "__init__.py" and not path.read_bytes().strip())
]
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]


def test_no_file_speaks_of_a_machine_or_a_package_registry() -> None:
    found = []
    for path in FILES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATHS.search(line) or REGISTRY_HOSTS.search(line):
                found.append(f"{name_of(path)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name_of(path)} has no docstring"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_every_link_of_a_document_leads_somewhere(path: Path) -> None:
    text = FENCES.sub("", path.read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:")]
    dead = [target for target in targets if not (path.parent / target).resolve().exists()]
    outside = [target for target in targets if not (path.parent / target).resolve().is_relative_to(ROOT)]
    assert not dead, f"{name_of(path)}: nothing is at {dead}"
    assert not outside, f"{name_of(path)}: outside the repository: {outside}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_documents_name_only_commands_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = set(project["entry-points"]["quanlian.commands"])
    missing = [f"make {name}" for name in MAKE.findall(text) if name not in targets]
    missing += [f"quanlian {name}" for name in COMMAND.findall(text) if name not in groups]
    assert not missing, f"{name_of(path)} names {', '.join(missing)}"


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_a_readme_begins_with_the_two_commands(readme: str) -> None:
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert {"demo", "test"} <= set(MAKE.findall(text)), f"{readme} must name make demo and make test"


def test_every_section_that_code_refers_to_is_in_the_documents() -> None:
    lost = []
    for path in MODULES:
        text = " ".join(path.read_text(encoding="utf-8").split())
        for document, quoted, plain in SECTION.findall(text):
            content = (ROOT / "docs" / f"{document}.md").read_text(encoding="utf-8")
            if not re.search(rf"^#+ {re.escape(quoted or plain)}", content, re.MULTILINE):
                lost.append(f"{name_of(path)}: {document}.md, {quoted or plain}")
    assert not lost, "\n".join(lost)


def test_the_constraints_are_names_and_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][0-9a-z.]*", line)]
    assert lines, "constraints.txt pins nothing"
    assert not wrong, f"not name==version: {wrong}"


def test_decisions_are_numbered_and_tell_their_price() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    numbers = [int(record.name[:4]) for record in records]
    assert numbers == list(range(1, len(records) + 1)), f"numbers are missing or taken twice: {numbers}"
    for record in records:
        headings = re.findall(r"^## (.+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[:3] == ["Context", "Decision", "Consequences"], f"{record.name}: {headings}"
