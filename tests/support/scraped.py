"""A metrics server on loopback for tests, and what one request to it brings."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from loadctl.metrics.collect import SiteCollector
from loadctl.metrics.serve import MetricsServer, parse_address

WITHIN_s = 10.0


class Answer(NamedTuple):
    status: int
    head: str
    body: bytes

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by its name and labels."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.body.decode())
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """The one sample of that name with at least these labels."""
        (found,) = self.all(name, **labels)
        return found

    def all(self, name: str, **labels: str) -> list[float]:
        return [
            value
            for (found, at), value in self.values().items()
            if found == name and labels.items() <= dict(at).items()
        ]

    def names(self) -> set[str]:
        return {name for name, _ in self.values()}


@contextmanager
def serving(dirs: list[Path], site_name: str | None = None, **more: Any) -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    registry.register(SiteCollector(dirs, site_name, **more))
    with MetricsServer(parse_address("127.0.0.1:0"), registry) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def get(server: MetricsServer, target: str = "/metrics", accept: str | None = None) -> Answer:
    field = "" if accept is None else f"Accept: {accept}\r\n"
    return ask(server, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n".encode())


def ask(server: MetricsServer, request: bytes) -> Answer:
    """Send these bytes and read to the end; status 0: nothing came."""
    with socket.create_connection(server.address, WITHIN_s) as connection:
        connection.sendall(request)
        data = b""
        while part := connection.recv(65_536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    words = head.decode().split()
    return Answer(int(words[1]) if words else 0, head.decode(), body)
