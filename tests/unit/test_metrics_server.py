"""The port that is scraped: GET alone, garbage, dawdlers, crowds; loopback by default."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.registry import CollectorRegistry

from loadctl.cli.main import cli
from loadctl.errors import UsageError
from loadctl.metrics import serve
from loadctl.metrics.serve import CONNECTIONS_MAX, MetricsServer, parse_address, read_head
from tests.support import scraped

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MetricsServer]:
    with scraped.serving([tmp_path], "rig") as found:
        yield found


def is_well(server: MetricsServer) -> bool:
    return scraped.get(server).value("loadctl_up", site="rig") == 0


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /metrics HTTP/1.1", 200),
        ("GET /metrics HTTP/1.0", 200),
        ("GET /metrics?name[]=x HTTP/1.1", 200),
        ("GET / HTTP/1.1", 404),
        ("GET /metrics/../etc/passwd HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1", 405),
        ("HEAD /metrics HTTP/1.1", 405),
        ("DELETE /metrics HTTP/1.1", 405),
        ("GET /metrics", 400),
        ("GET /metrics HTTP/2.0", 400),
        ("\x00\xff\x16\x03\x01", 400),
        ("", 400),
    ],
)
def test_request_is_answered_with_its_status(
    server: MetricsServer, request_line: str, status: int
) -> None:
    seen = scraped.ask(server, f"{request_line}\r\n\r\n".encode("latin-1"))
    assert seen.status == status
    assert f"Content-Length: {len(seen.body)}" in seen.head
    assert ("Allow: GET" in seen.head) is (status == 405)


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=garbage",
        "text/plain; version=1.x.\xff",
        ";;;=,,,",
        "x" * 4000,
    ],
)
def test_accept_that_is_no_sense_gets_some_text(server: MetricsServer, accept: str) -> None:
    seen = scraped.ask(
        server, f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode("latin-1")
    )
    assert seen.status == 200
    assert b"loadctl_up" in seen.body


def test_garbage_leaves_it_serving(server: MetricsServer) -> None:
    for data in (b"\x00" * 20_000, b"GET ", os.urandom(5_000), b"\r\n" * 3_000):
        with socket.create_connection(server.address) as connection:
            connection.sendall(data)
    assert is_well(server)


def test_request_that_is_too_long_is_cut_off(server: MetricsServer) -> None:
    with socket.create_connection(server.address, 5) as connection:
        connection.sendall(
            b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 2 * serve.REQUEST_BYTES + serve.HEAD_END
        )
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert is_well(server)


class Dripping(socket.socket):
    """One byte whenever it is asked."""

    def recv(self, *_: object) -> bytes:
        return b"x"


def test_dawdler_is_cut_off_however_steadily_it_drips() -> None:
    now_s = iter([0.0, 0.1, 1.0, 2.0, 2.9, 3.1])
    with Dripping() as connection:
        assert read_head(connection, lambda: next(now_s)) is None
    assert list(now_s) == []


def test_crowd_is_turned_away_and_makes_room_again(server: MetricsServer) -> None:
    crowd = [socket.create_connection(server.address) for _ in range(CONNECTIONS_MAX)]
    time.sleep(0.1)
    with socket.create_connection(server.address, 1) as one_more:
        assert one_more.recv(10) == b""  # at once: those in the crowd may dawdle for longer
    for connection in crowd:
        connection.close()
    end_s = time.monotonic() + 10
    while scraped.ask(server, b"GET /metrics HTTP/1.1\r\n\r\n").status != 200:
        assert time.monotonic() < end_s
        time.sleep(0.05)


# the command


@pytest.mark.parametrize("listen", ["0.0.0.0:9763", "192.168.1.5:9763", "[::]:9763"])
def test_address_that_others_reach_is_refused(tmp_path: Path, listen: str) -> None:
    command = ["metrics", "--runtime-dir", str(tmp_path), "--listen", listen]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, UsageError)
    assert "--allow-remote" in str(done.exception)
    assert str(done.exception).startswith(f"--listen {listen}: other machines reach this address")


@pytest.mark.parametrize("listen", ["9763", "localhost:9763", "127.0.0.1:x", "127.0.0.1:70000", ""])
def test_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match="write an address and a port"):
        parse_address(listen)


def test_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = CliRunner().invoke(cli, ["metrics", "--listen", listen])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception) == f"--listen {listen}: Address already in use"


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (["--listen", "127.0.0.1:0"], ""),
        (
            ["--listen", "0.0.0.0:0", "--allow-remote"],
            "warning: 0.0.0.0:0 answers every machine that reaches it\n",
        ),
    ],
)
def test_command_serves_until_it_is_told_to_end(
    tmp_path: Path, options: list[str], warning: str
) -> None:
    command = [sys.executable, "-P", "-m", "loadctl", "metrics", "--runtime-dir", str(tmp_path)]
    process = subprocess.Popen(
        [*command, "--site", "rig", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        port = int(url.removesuffix("/metrics").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        process.terminate()
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, errors) == (0, warning)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9763", 200),
        ("127.0.0.1", 200),
        ("localhost:9763", 200),
        ("LOCALHOST", 200),
        ("[::1]:9763", 200),
        ("::1", 200),
        ("192.0.2.7", 200),
        ("attacker.example:9763", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("", 421),
    ],
)
def test_loopback_answers_only_who_means_this_machine(
    server: MetricsServer, host: str, status: int
) -> None:
    """A web page whose name leads to 127.0.0.1 must not read it."""
    seen = scraped.ask(server, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert seen.status == status


def test_other_addresses_may_be_asked_by_any_name() -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: gateway.example"
    assert b"200 OK" in serve.answer(head, CollectorRegistry(), is_local=False)[:20]
