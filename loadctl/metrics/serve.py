"""The port that Prometheus scrapes: GET of one page, each connection short and of bounded cost.

Whatever comes in is answered with a status or cut off: a request is at most REQUEST_BYTES and must
be there within REQUEST_WITHIN_s; at most CONNECTIONS_MAX are served at a time. Knows nothing of
sites.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.registry import CollectorRegistry

from loadctl.errors import UsageError

PATH = "/metrics"
REQUEST_BYTES = 8_192
REQUEST_WITHIN_s = 3.0
ANSWER_WITHIN_s = 5.0
CONNECTIONS_MAX = 8
HEAD_END = b"\r\n\r\n"
PORT = re.compile(r":\d*$")
TEXT = "text/plain; charset=utf-8"


class Address(NamedTuple):
    host: str
    port: int

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.ip.version == 6 else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """127.0.0.1:9763 or [::1]:9763; a name would be looked up, and may mean anything."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        found = Address(host, int(port))
    except ValueError:
        found = None
    if found is None or not colon or not 0 <= found.port <= 65_535:
        raise UsageError(f"--listen {text!r}: write an address and a port, as in 127.0.0.1:9763")
    return found


class MetricsServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: Address, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        if address.ip.version == 6:
            self.address_family = socket.AF_INET6
        super().__init__((address.host, address.port), Handler)

    @property
    def address(self) -> Address:
        return Address(*self.server_address[:2])  # type: ignore[arg-type]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is its own affair; anything else is shown as usual."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(socketserver.BaseRequestHandler):
    server: MetricsServer

    def handle(self) -> None:
        head = read_head(self.request, time.monotonic)
        if head is not None:
            self.request.settimeout(ANSWER_WITHIN_s)
            is_local = self.server.address.ip.is_loopback
            self.request.sendall(answer(head, self.server.registry, is_local=is_local))


def read_head(connection: socket.socket, now_s: Callable[[], float]) -> bytes | None:
    """The request up to its empty line; None when the other side goes, dawdles or overdoes it."""
    until_s = now_s() + REQUEST_WITHIN_s
    head = b""
    while HEAD_END not in head:
        left_s = until_s - now_s()
        if left_s <= 0 or len(head) > REQUEST_BYTES:
            return None
        connection.settimeout(left_s)
        with contextlib.suppress(TimeoutError):
            data = connection.recv(REQUEST_BYTES)
            if not data:
                return None
            head += data
    return head.partition(HEAD_END)[0]


def answer(head: bytes, registry: CollectorRegistry, *, is_local: bool) -> bytes:
    """The whole reply to one request. `is_local`: only to who means this machine. A web page whose
    name was made to lead to 127.0.0.1 has its browser ask for that name."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return reply(HTTPStatus.BAD_REQUEST)
    if is_local and not all(is_here(host) for host in fields_of(lines[1:], "host")):
        return reply(HTTPStatus.MISDIRECTED_REQUEST)
    method, target, _ = words
    if method != "GET":
        return reply(HTTPStatus.METHOD_NOT_ALLOWED, extra="Allow: GET\r\n")
    if target.partition("?")[0] != PATH:
        return reply(HTTPStatus.NOT_FOUND, f"metrics are at {PATH}\n".encode())
    encode, content_type = encoder_for(",".join(fields_of(lines[1:], "accept")))
    return reply(HTTPStatus.OK, encode(registry), content_type)


def fields_of(lines: list[str], wanted: str) -> list[str]:
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip().lower() == wanted]


def is_here(host: str) -> bool:
    """An address, or localhost; with or without a port."""
    name = PORT.sub("", host) if host.startswith("[") or host.count(":") == 1 else host
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def encoder_for(accept: str) -> tuple[Callable[[Any], bytes], str]:
    """As the library negotiates it; a version that is none gets the plain text."""
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):
        return generate_latest, CONTENT_TYPE_PLAIN_0_0_4


def reply(
    status: HTTPStatus, body: bytes | None = None, content_type: str = TEXT, extra: str = ""
) -> bytes:
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{extra}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
