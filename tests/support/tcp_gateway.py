"""A gateway that speaks RTU over TCP to one client at a time and refuses all others."""

import os
import select
import socket
import threading
from collections.abc import Callable

from tests.support.rtu_frames import answer, request_length


class OneClientGateway:
    """`respond(request)` gives the bytes of the reply. One thread."""

    def __init__(self, respond: Callable[[bytes], bytes] = answer) -> None:
        self.requests: list[bytes] = []
        self.n_clients = 0
        self.n_refused = 0
        self._respond = respond
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"socket://127.0.0.1:{self.port}"
        self._stop_read, self._stop_write = os.pipe()
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "OneClientGateway":
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._listener.close()
        if self._client is not None:
            self._client.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def drop(self) -> None:
        """Close the connection; the next client is welcome."""
        os.write(self._stop_write, b"d")

    def _serve(self) -> None:
        received = b""
        while True:
            sources: list[int] = [self._listener.fileno(), self._stop_read]
            if self._client is not None:
                sources.append(self._client.fileno())
            ready = select.select(sources, (), ())[0]
            if self._stop_read in ready:
                if os.read(self._stop_read, 1) == b"x":
                    return
                self._leave()
            elif self._client is not None and self._client.fileno() in ready:
                data = self._client.recv(512)
                received = received + data if data else b""
                if not data:
                    self._leave()
                while len(received) >= request_length(received):
                    length = request_length(received)
                    request, received = received[:length], received[length:]
                    self.requests.append(request)
                    assert self._client is not None
                    self._client.sendall(self._respond(request))
            elif self._listener.fileno() in ready:
                self._welcome(self._listener.accept()[0])

    def _welcome(self, client: socket.socket) -> None:
        if self._client is not None:
            self.n_refused += 1
            client.close()
            return
        self.n_clients += 1
        self._client = client

    def _leave(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
