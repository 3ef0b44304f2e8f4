"""Settings of a service: one TOML file, overridden by the environment, checked by a pydantic model.

Whatever is wrong is told at once: one ConfigurationError lists every problem with its field, value and
remedy.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
import types
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import sqlalchemy as sa
from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from quanlian.errors import ConfigurationError

T = TypeVar("T", bound=BaseModel)

_DATABASE_URL = "database url"
DatabaseUrl = Annotated[str, _DATABASE_URL]
"""A database URL; the relative path of an `sqlite:///` one is resolved as a Path is."""

_SECRET_NAME = re.compile(r"password|secret|token|passphrase", re.IGNORECASE)


def load_settings(model: type[T], path: Path | None, prefix: str, overrides: dict[str, Any] | None = None) -> T:
    """The settings from `path`, then `QUANLIAN_<PREFIX>_<FIELD>`, then `overrides` (the command line),
    later ones win.

    Relative paths in the file, and defaults, count from the file's folder; those of the environment and of
    `overrides` from the working directory. Lists and tables in the environment are written as JSON.
    """
    working_directory = Path.cwd()
    folder = path.absolute().parent if path else working_directory
    values: dict[str, Any] = {}
    for source, base in (
        (_defaults(model), folder),
        (_read(path) if path else {}, folder),
        (_environment(model, prefix), working_directory),
        ({key: value for key, value in (overrides or {}).items() if value is not None}, working_directory),
    ):
        values.update(_with_paths(model, source, base))
    try:
        return model.model_validate(values, extra="forbid")
    except ValidationError as error:
        problems = [_problem(model, prefix, detail) for detail in error.errors(include_url=False)]
    place = str(path) if path else f"settings QUANLIAN_{prefix.upper()}_*"
    if len(problems) == 1:
        raise ConfigurationError(problems[0], place=place)
    listed = "".join(f"\n  {problem}" for problem in problems)
    raise ConfigurationError(f"{len(problems)}处问题 · {len(problems)} problems:{listed}", place=place)


class DatabaseSettings(BaseModel):
    """Where a party's database is."""

    database_url: DatabaseUrl = Field(description="sqlite:///… or postgresql://…")
    database_schema: str = Field(default="", description="PostgreSQL schema of this party")


class IdentitySettings(BaseModel):
    """Where a party's certificates are."""

    tls_directory: Path = Field(description="tls.crt, tls.key and root.crt")
    keys_directory: Path = Field(description="signing keys, with the chains that vouch for them")


def shared_settings(model: type[T], path: Path) -> T:
    """What the settings file of any service says of `model`. Raises ConfigurationError when it does not say."""
    values = {name: value for name, value in _read(path).items() if name in model.model_fields}
    try:
        return model.model_validate(_with_paths(model, values, path.absolute().parent))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise ConfigurationError(_problem(model, "", detail), place=str(path)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            "没有此文件 · no such file", place=str(path), remedy="新建或另写 · create it or name another one"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"无法读取 · cannot be read ({error.strerror})",
            place=str(path),
            remedy="检查路径和权限 · check its path and permissions",
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            "不是 UTF-8 文本 · is not UTF-8 text", place=str(path), remedy="存为 UTF-8 · save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"不是有效的 TOML · is not valid TOML: {error}",
            place=str(path),
            remedy="改正该行 · correct that line",
        ) from None


def _environment(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        text = os.environ.get(_variable(prefix, name))
        if text is not None:
            values[name] = _structured(text) if _is_structured(field.annotation) else text
    return values


def _structured(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _is_structured(annotation: Any) -> bool:
    return any(
        (isinstance(kind, type) and issubclass(kind, BaseModel | list | tuple | set | frozenset | dict))
        for kind in (get_origin(choice) or choice for choice in _choices(annotation))
    )


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    """The defaults that are paths: only these depend on where the file is."""
    return {
        name: field.default
        for name, field in model.model_fields.items()
        if isinstance(field.default, Path) or (_DATABASE_URL in field.metadata and isinstance(field.default, str))
    }


def _with_paths(model: type[BaseModel], values: dict[str, Any], base: Path) -> dict[str, Any]:
    fields = model.model_fields
    return {
        name: _resolved(fields[name].annotation, fields[name].metadata, value, base) if name in fields else value
        for name, value in values.items()
    }


def _resolved(annotation: Any, metadata: list[Any], value: Any, base: Path) -> Any:
    """`value` with the paths in it made absolute, wherever the annotation says that there is one."""
    if _DATABASE_URL in metadata and isinstance(value, str):
        return _resolved_url(value, base)
    for choice in _choices(annotation):
        arguments = get_args(choice)
        if get_origin(choice) is Annotated:
            return _resolved(arguments[0], list(arguments[1:]), value, base)
        if choice is Path and isinstance(value, str | Path):
            return base / Path(value).expanduser()
        if isinstance(choice, type) and issubclass(choice, BaseModel) and isinstance(value, dict):
            return _with_paths(choice, value, base)
        if isinstance(value, list) and arguments:
            return [_resolved(arguments[0], [], item, base) for item in value]
        if isinstance(value, dict) and len(arguments) == 2:
            return {key: _resolved(arguments[1], [], item, base) for key, item in value.items()}
    return value


def _resolved_url(value: str, base: Path) -> str:
    try:
        url = sa.make_url(value)
    except (sa.exc.ArgumentError, ValueError):
        return value
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return value
    return url.set(database=str(base / Path(url.database).expanduser())).render_as_string(hide_password=False)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _problem(model: type[BaseModel], prefix: str, detail: ErrorDetails) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    first = str(detail["loc"][0]) if detail["loc"] else ""
    variable = _variable(prefix, first)
    if detail["type"] == "missing":
        return f"{place}: is missing — add `{place} = …` or set {variable} · 缺少 — 写明 `{place} = …` 或设 {variable}"
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(first, model.model_fields, n=1) if len(detail["loc"]) == 1 else []
        en, zh = (f"did you mean {near[0]}?", f"是否应为 {near[0]}？") if near else ("remove it", "删去")
        return f"{place}: is not a setting — {en} · 没有此项设置 — {zh}"
    source = f" (from {variable})" if variable in os.environ else ""
    shown = _shown(model.model_fields.get(first), place, detail["input"])
    what = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{place}: {shown}{source} is not accepted — {what} · 不能接受此值"


def _shown(field: FieldInfo | None, place: str, value: Any) -> str:
    if _SECRET_NAME.search(place) or (field is not None and SecretStr in _choices(field.annotation)):
        return "the secret value"
    text = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", repr(value))
    return text if len(text) <= 120 else text[:117] + "…"


def _variable(prefix: str, name: str) -> str:
    return f"QUANLIAN_{prefix}_{name}".upper()
