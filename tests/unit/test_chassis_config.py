"""Settings: where they come from, what paths mean, and that everything wrong is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr

from chassis.config import DatabaseUrl, load_settings
from quanlian.errors import ConfigurationError


class Peer(BaseModel):
    address: str
    certificate: Path


class Settings(BaseModel):
    listen: str
    workers: int = Field(default=2, ge=1)
    credentials: Path = Path("tls")
    database: DatabaseUrl = "sqlite:///party.db"
    archive: Path | None = None
    peers: list[Peer] = []
    secret: SecretStr | None = None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "etc" / "party.toml"
    path.parent.mkdir()
    path.write_text('listen = "0.0.0.0:7000"\n', encoding="utf-8")
    return path


def problems_of(file: Path) -> str:
    with pytest.raises(ConfigurationError) as failure:
        load_settings(Settings, file, "party")
    return str(failure.value)


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(Settings, file, "party").workers == 2
    file.write_text('listen = "a:1"\nworkers = 3\n')
    assert load_settings(Settings, file, "party").workers == 3
    monkeypatch.setenv("QUANLIAN_PARTY_WORKERS", "4")
    assert load_settings(Settings, file, "party").workers == 4
    assert load_settings(Settings, file, "party", {"workers": 5, "listen": None}).workers == 5


def test_settings_may_come_from_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANLIAN_PARTY_LISTEN", "a:1")
    monkeypatch.setenv("QUANLIAN_PARTY_PEERS", '[{"address": "b:2", "certificate": "/b.pem"}]')
    settings = load_settings(Settings, None, "party")
    assert (settings.listen, settings.peers[0].address) == ("a:1", "b:2")


def test_relative_paths_of_the_file_count_from_its_folder(file: Path) -> None:
    file.write_text(
        'listen = "a:1"\narchive = "../archive"\ndatabase = "sqlite:///data/p.db"\n'
        '[[peers]]\naddress = "b:2"\ncertificate = "b.pem"\n'
    )
    settings = load_settings(Settings, file, "party")
    assert settings.archive == file.parent / "../archive"
    assert settings.database == f"sqlite:///{file.parent}/data/p.db"
    assert settings.peers[0].certificate == file.parent / "b.pem"
    assert settings.credentials == file.parent / "tls"


def test_defaults_count_from_the_file_s_folder_too(file: Path) -> None:
    assert load_settings(Settings, file, "party").database == f"sqlite:///{file.parent}/party.db"


def test_paths_of_the_environment_count_from_the_working_directory(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUANLIAN_PARTY_ARCHIVE", "archive")
    assert load_settings(Settings, file, "party").archive == tmp_path / "archive"


def test_absolute_paths_and_server_databases_stay_as_they_are(file: Path) -> None:
    file.write_text('listen = "a:1"\narchive = "/archive"\ndatabase = "postgresql://u:p@h/d"\n')
    settings = load_settings(Settings, file, "party")
    assert (settings.archive, settings.database) == (Path("/archive"), "postgresql://u:p@h/d")


def test_every_problem_is_told_at_once_with_its_remedy(file: Path) -> None:
    file.write_text('workers = "many"\nlisen = "a:1"\n[[peers]]\naddress = "b:2"\n')
    text = problems_of(file)
    assert str(file) in text
    assert "4 problems" in text
    assert "listen: is missing — add `listen = …` or set QUANLIAN_PARTY_LISTEN" in text
    assert "lisen: is not a setting — did you mean listen?" in text
    assert "workers: 'many' is not accepted" in text
    assert "peers.0.certificate: is missing" in text
    for said in ("4处问题", "缺少 — 写明 `listen = …`", "没有此项设置 — 是否应为 listen？", "不能接受此值"):
        assert said in text, said


def test_a_value_of_the_environment_is_told_with_its_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANLIAN_PARTY_WORKERS", "0")
    assert "workers: '0' (from QUANLIAN_PARTY_WORKERS) is not accepted" in problems_of(file)


def test_no_secret_is_shown(file: Path) -> None:
    file.write_text('listen = 5\nsecret = 42\nworkers = "postgresql://u:hidden@h/d"\n')
    text = problems_of(file)
    assert "42" not in text
    assert "hidden" not in text


def test_a_file_that_is_not_there_or_not_toml_is_named_with_the_line(file: Path, tmp_path: Path) -> None:
    assert "no such file" in problems_of(tmp_path / "absent.toml")
    assert "cannot be read" in problems_of(tmp_path)
    file.write_text('listen = "a:1"\nworkers = \n')
    assert "line 2" in problems_of(file)
    file.write_bytes(b"listen = '\xff'")
    assert "UTF-8" in problems_of(file)
