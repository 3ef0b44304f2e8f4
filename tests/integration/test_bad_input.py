"""Bad input to the real command: one message that says what, where and what to do; nothing half done."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from simulations.demo.network import MARKER, Network

ROOT = Path(__file__).parents[2]
CAMPAIGNS = ROOT / "examples" / "campaigns"
HANGZHOU, JINCHENG, CLEARINGHOUSE = "330100", "140502", "clearinghouse"
SERVE = {HANGZHOU: ("node", "serve"), CLEARINGHOUSE: ("clearinghouse", "serve")}
MARK = "错误 Error: "
WRONG_COMMAND_LINE, MENDABLE = 2, 1


def quanlian(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, in a wide terminal, without settings of the surroundings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QUANLIAN_")}
    return subprocess.run(
        [sys.executable, "-m", "chassis", *map(str, arguments)],
        env={**clean, "COLUMNS": "250", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def refused(*arguments: str | Path, code: int = MENDABLE, **environment: str) -> str:
    """The one message with which the command ends."""
    result = quanlian(*arguments, **environment)
    assert result.returncode == code, result.stderr + result.stdout
    assert "Traceback" not in result.stderr + result.stdout
    assert "ready " not in result.stdout
    if code == MENDABLE:
        assert result.stderr.startswith(MARK), result.stderr
        assert result.stderr.count(MARK) == 1, result.stderr
    return result.stderr.removeprefix(MARK).strip()


def in_one_line(message: str) -> str:
    assert len(message.splitlines()) == 1, message
    assert " — " in message, f"no remedy: {message}"
    return message


class Party:
    """A party's folder, ready to serve; tests spoil something in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.configure(database_url="sqlite:///own.sqlite", listen="127.0.0.1:0")

    @property
    def settings(self) -> Path:
        return self.folder / "settings.toml"

    def configure(self, **changes: object) -> None:
        settings = tomllib.loads(self.settings.read_text(encoding="utf-8")) | changes
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        self.settings.write_text("".join(lines), encoding="utf-8")

    def refuses_to_serve(self, **environment: str) -> str:
        message = refused(*SERVE[self.name], "--config", self.settings, **environment)
        assert not (self.folder / "own.sqlite").exists(), "a database was made all the same"
        return message


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Authorities, keys and settings of a network that does not run."""
    network = Network(tmp_path_factory.mktemp("network") / "demo")
    network.create(int(time.time()))
    return network


@pytest.fixture(params=[HANGZHOU, CLEARINGHOUSE])
def party(network: Network, request: pytest.FixtureRequest, tmp_path: Path) -> Party:
    """A node, then the clearinghouse."""
    return Party(shutil.copytree(network.directory / request.param, tmp_path / request.param))


@pytest.fixture
def node(network: Network, tmp_path: Path) -> Party:
    return Party(shutil.copytree(network.directory / HANGZHOU, tmp_path / HANGZHOU))


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield f"127.0.0.1:{holder.getsockname()[1]}"


# Serving


def test_a_taken_port_is_named_before_the_database_is_touched(party: Party) -> None:
    with taken_port() as address:
        party.configure(listen=address)
        message = in_one_line(party.refuses_to_serve())
    assert message.startswith(f"{address}: cannot listen here")


def test_an_address_of_another_machine_is_named(node: Party) -> None:
    node.configure(listen="192.0.2.1:7100")
    assert in_one_line(node.refuses_to_serve()).startswith("192.0.2.1:7100: cannot listen here")


@pytest.mark.parametrize("file", ["tls/tls.crt", "tls/root.crt", "tls/tls.key", "keys/message.key", "keys/message.crt"])
def test_a_missing_certificate_or_key_is_named_with_the_command_that_makes_it(party: Party, file: str) -> None:
    (party.folder / file).unlink()
    message = in_one_line(party.refuses_to_serve())
    assert message.startswith(f"{party.folder / file}: cannot be used: No such file or directory — ")
    assert "quanlian pki issue" in message


@pytest.mark.parametrize("file", ["tls/tls.key", "keys/message.key"])
def test_a_key_that_others_can_read_is_not_used(node: Party, file: str) -> None:
    (node.folder / file).chmod(0o644)
    message = in_one_line(node.refuses_to_serve())
    assert message.startswith(f"{node.folder / file}: the private key has mode 0644")
    assert "chmod 600" in message


def test_the_certificate_of_another_party_is_not_served_with(node: Party, network: Network) -> None:
    shutil.rmtree(node.folder / "tls")
    shutil.copytree(network.directory / JINCHENG / "tls", node.folder / "tls")
    message = in_one_line(node.refuses_to_serve())
    assert f"{node.folder / 'tls'}: the certificate is spiffe://140502.quanlian/node" in message


def test_a_file_that_is_no_certificate_is_named(node: Party) -> None:
    (node.folder / "tls/tls.crt").write_text("not a certificate\n")
    assert in_one_line(node.refuses_to_serve()).startswith(str(node.folder / "tls/tls.crt"))


# Settings


def test_settings_with_an_unknown_key_suggest_the_right_one(party: Party) -> None:
    party.configure(listn="127.0.0.1:1")
    message = in_one_line(party.refuses_to_serve())
    assert message == (
        f"{party.settings}: listn: is not a setting — did you mean listen? · 没有此项设置 — 是否应为 listen？"
    )


def test_a_wrong_value_in_the_environment_is_named_with_its_variable(node: Party) -> None:
    message = in_one_line(node.refuses_to_serve(QUANLIAN_NODE_REGION="Hangzhou"))
    assert "region: 'Hangzhou' (from QUANLIAN_NODE_REGION) is not accepted" in message


@pytest.mark.parametrize("bound", ["5/0", "0", "high"])
def test_a_minimum_leverage_that_is_no_ratio_is_refused(node: Party, bound: str) -> None:
    node.configure(minimum_leverage=bound)
    assert f"minimum_leverage: '{bound}' is not accepted" in in_one_line(node.refuses_to_serve())


def test_every_missing_setting_is_told_at_once() -> None:
    message = refused("node", "serve")
    for name in ("region", "database_url", "tls_directory", "keys_directory", "clearinghouse"):
        assert f"{name}: is missing — add `{name} = …` or set QUANLIAN_NODE_{name.upper()}" in message


@pytest.mark.parametrize(("content", "problem"), [("listen = ", "is not valid TOML"), (None, "no such file")])
def test_a_settings_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "settings.toml"
    if content is not None:
        path.write_text(content)
    message = in_one_line(refused("node", "serve", "--config", path))
    assert message.startswith(f"{path}: ")
    assert problem in message


# Databases


def test_a_database_of_another_kind_is_refused(party: Party) -> None:
    party.configure(database_url="mysql://quanlian:s3cret@db/quanlian")
    message = in_one_line(party.refuses_to_serve())
    assert "mysql://quanlian:***@db/quanlian: 'mysql' is not a database Quanlian runs on" in message


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(party: Party) -> None:
    letter = party.folder / "letter.txt"
    letter.write_text("Dear Hangzhou, " * 500)
    before = letter.read_bytes()
    party.configure(database_url="sqlite:///letter.txt")
    message = in_one_line(party.refuses_to_serve())
    assert f"{letter}: the file is not an SQLite database" in message
    assert letter.read_bytes() == before


def test_a_database_in_a_folder_that_does_not_exist_is_refused(party: Party) -> None:
    party.configure(database_url="sqlite:///absent/books.sqlite")
    message = in_one_line(party.refuses_to_serve())
    assert message.startswith(f"{party.folder / 'absent'}: the folder does not exist")


def test_a_database_that_cannot_be_reached_is_named_without_its_password(party: Party) -> None:
    with taken_port() as address:
        pass
    party.configure(database_url=f"postgresql://quanlian:s3cret@{address}/quanlian")
    message = in_one_line(party.refuses_to_serve())
    assert message.startswith(f"postgresql://quanlian:***@{address}/quanlian: the server does not answer")
    assert "s3cret" not in message


def test_a_wrong_password_is_named_as_such_and_not_shown(party: Party) -> None:
    with server_that_refuses_the_password() as address:
        party.configure(database_url=f"postgresql://quanlian:s3cret@{address}/quanlian")
        message = in_one_line(party.refuses_to_serve())
    assert message.startswith(f"postgresql://quanlian:***@{address}/quanlian: the server refuses the password")
    assert "s3cret" not in message


def test_a_database_that_acknowledges_before_it_writes_is_refused(party: Party, postgres_url: str) -> None:
    party.configure(database_url=without_synchronous_commit(postgres_url), database_schema="bad_input")
    message = in_one_line(party.refuses_to_serve())
    assert "an acknowledged commit could be lost in a crash — PostgreSQL's synchronous_commit is off" in message
    engine = sa.create_engine(sa.make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        assert "bad_input" not in sa.inspect(connection).get_schema_names()
    engine.dispose()


def without_synchronous_commit(url: str) -> str:
    off = sa.make_url(url).update_query_dict({"options": "-c synchronous_commit=off"})
    return off.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def server_that_refuses_the_password() -> Iterator[str]:
    """PostgreSQL's protocol up to the refusal; an embedded server trusts everybody."""
    error = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "quanlian"\0\0'
    negotiations = {80877103, 80877104}

    def answer(connection: socket.socket) -> None:
        with connection:
            while header := connection.recv(8):
                length, code = struct.unpack("!II", header)
                connection.recv(length - 8) if length > 8 else b""
                if code in negotiations:
                    connection.sendall(b"N")
                    continue
                connection.sendall(b"E" + struct.pack("!I", len(error) + 4) + error)
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


# The demonstration


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The directory of an earlier demonstration."""
    directory = tmp_path / "demo"
    directory.mkdir()
    (directory / MARKER).touch()
    (directory / "figures.txt").write_text("kept")
    return directory


def demo(directory: Path, *arguments: str | Path, **environment: str) -> str:
    return refused("demo", "--directory", directory, *arguments, **environment)


def test_a_demo_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    message = in_one_line(demo(file / "demo"))
    assert message.startswith(f"{file / 'demo'}: cannot be written (Not a directory)")


def test_a_demo_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert in_one_line(demo(file)).startswith(f"{file}: cannot be written")
    assert file.read_text() == "mine"


def test_a_demo_directory_that_holds_other_things_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    message = in_one_line(demo(tmp_path))
    assert message.startswith(f"{tmp_path}: holds files that no demonstration wrote")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_whose_database_cannot_be_reached_leaves_the_earlier_one(earlier: Path) -> None:
    with taken_port() as address:
        pass
    url = f"postgresql://quanlian:s3cret@{address}/quanlian"
    for message in (demo(earlier, "--database-url", url), demo(earlier, QUANLIAN_DATABASE_URL=url)):
        assert in_one_line(message).startswith(f"postgresql://quanlian:***@{address}/quanlian: the server does not")
    assert (earlier / "figures.txt").read_text() == "kept"


def test_a_demo_with_a_wrong_password_leaves_the_earlier_one(earlier: Path) -> None:
    with server_that_refuses_the_password() as address:
        message = in_one_line(demo(earlier, "--database-url", f"postgresql://quanlian:s3cret@{address}/quanlian"))
    assert "the server refuses the password" in message
    assert "s3cret" not in message
    assert (earlier / "figures.txt").read_text() == "kept"


@pytest.mark.parametrize("url", ["mysql://quanlian:s3cret@db/quanlian", "sqlite:///books.sqlite", "nonsense"])
def test_a_demo_takes_no_other_database_than_postgresql(earlier: Path, url: str) -> None:
    message = in_one_line(demo(earlier, "--database-url", url))
    assert message.startswith("--database-url or QUANLIAN_DATABASE_URL: is no PostgreSQL database")
    assert "s3cret" not in message
    assert (earlier / "figures.txt").read_text() == "kept"


def test_a_demo_on_a_database_that_loses_commits_is_refused_at_once(earlier: Path, postgres_url: str) -> None:
    message = in_one_line(demo(earlier, "--database-url", without_synchronous_commit(postgres_url)))
    assert "PostgreSQL's synchronous_commit is off" in message
    assert (earlier / "figures.txt").read_text() == "kept"


@pytest.mark.parametrize("option", ["--json", "--report"])
def test_results_for_a_folder_that_does_not_exist_are_refused_before_the_work(earlier: Path, option: str) -> None:
    target = earlier.parent / "absent" / "result"
    message = in_one_line(demo(earlier, option, target))
    assert message.startswith(f"{target}: cannot be written (its directory does not exist)")
    assert (earlier / "figures.txt").read_text() == "kept"


@pytest.mark.parametrize("shoppers", ["0", "-5", "many", "200001"])
def test_a_demo_needs_a_sensible_number_of_shoppers(earlier: Path, shoppers: str) -> None:
    message = refused("demo", "--directory", earlier, "--shoppers", shoppers, code=WRONG_COMMAND_LINE)
    assert "Invalid value for '--shoppers'" in message
    assert message.count("Invalid value") == 1
    assert (earlier / "figures.txt").read_text() == "kept"


# An operator's files; what the services answer is in test_operator_commands.py


def operate(network: Network, *arguments: str | Path, party: str = HANGZHOU, **environment: str) -> str:
    group = "clearinghouse" if party == CLEARINGHOUSE else "node"
    return refused(group, *arguments, "--config", network.directory / party / "operator.toml", **environment)


def test_a_broken_campaign_file_is_told_line_by_line_without_calling_the_node(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "campaign.toml"
    text = (CAMPAIGNS / "hangzhou-2020-r1.toml").read_text(encoding="utf-8")
    text = text.replace('issuer = "330100"', 'issuer = "330199"').replace("face = 10.00", "face = 10.0")
    path.write_text(text, encoding="utf-8")
    lines = operate(network, "publish", path).splitlines()
    assert len(lines) == 2, lines
    for line, field in zip(lines, ("campaign.issuer", "voucher_type[1].face"), strict=True):
        place, number, name = line.split(":", 3)[:3]
        assert (place, name.strip()) == (str(path), field)
        assert field.rpartition(".")[2] in text.splitlines()[int(number) - 1]
        assert " — " in line


@pytest.mark.parametrize("command", ["publish", "merchants", "platform"])
def test_a_file_that_is_not_there_is_named(network: Network, tmp_path: Path, command: str) -> None:
    path = tmp_path / "absent"
    assert in_one_line(operate(network, command, path)).startswith(f"{path}: cannot be used: No such file")


def test_every_bad_line_of_a_merchants_file_is_told(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "merchants.csv"
    path.write_text("code,name,categories\n123,店,retail\n91330100MA2XXXXXXX,,retail\n", encoding="utf-8-sig")
    first, second = operate(network, "merchants", path).splitlines()
    assert first.startswith(f"{path}:2: code: '123' 不是统一社会信用代码 · '123' is not a unified social credit code")
    assert second.startswith(f"{path}:3: ")


def test_a_chain_that_does_not_lead_to_the_root_is_named(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "key.crt"
    path.write_text("not a certificate\n")
    message = in_one_line(operate(network, "platform", path))
    assert message.startswith(f"{path}: ")
    assert "quanlian pki issue signer" in message


def test_a_party_that_does_not_run_is_named_with_its_address(network: Network) -> None:
    message = in_one_line(operate(network, "status"))
    assert message.startswith(f"330100 at {network.address(HANGZHOU)}: nothing answers there")


def test_an_operator_s_certificate_of_another_party_is_refused_before_the_call(network: Network) -> None:
    other = network.operator_tls(JINCHENG)
    message = in_one_line(operate(network, "status", QUANLIAN_OPERATOR_TLS_DIRECTORY=str(other)))
    assert message.startswith(f"{other}: the certificate is spiffe://140502.quanlian/operator/demo")


def test_a_node_s_certificate_operates_nothing(network: Network) -> None:
    folder = network.directory / HANGZHOU / "tls"
    message = in_one_line(operate(network, "status", QUANLIAN_OPERATOR_TLS_DIRECTORY=str(folder)))
    assert "spiffe://330100.quanlian/node, which does not operate 330100" in message


def test_an_operator_without_settings_learns_which_are_needed() -> None:
    message = refused("clearinghouse", "status")
    for name in ("host", "address", "tls_directory"):
        assert f"{name}: is missing — add `{name} = …` or set QUANLIAN_OPERATOR_{name.upper()}" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("node", "receipt", "12.5", "--reference", "x"), "'YUAN': '12.5' is not an amount in yuan"),
        (("node", "receipt", "1,000.00", "--reference", "x"), "'YUAN': '1,000.00' is not an amount"),
        (
            ("clearinghouse", "deposit", "330100", "-5.00", "--reference", "x"),
            "'YUAN': '-5.00' is not an amount in yuan",
        ),
        (("clearinghouse", "deposit", "330100", "-5.00", "--reference", "x"), "金额以元计，不为负，写两位小数或整元"),
        (("clearinghouse", "deposit", "330100", "5.00", "--refrence", "x"), "No such option: --refrence"),
        (("clearinghouse", "visitors", "330100", "2026", "--rule", "refuse", "city=1"), "'city=1' is not NAME=WEIGHT:"),
        (("clearinghouse", "limits", "330100", "--cap", "x", "--credit", "0", "--offset-bp", "0"), "'--cap': 'x' is"),
        (("clearinghouse", "settle", "first"), "'NUMBER'"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_named(arguments: tuple[str, ...], named: str) -> None:
    assert named in refused(*arguments, code=WRONG_COMMAND_LINE)
