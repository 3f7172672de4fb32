"""A proxy in front of a tracking server that injects network faults."""

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.tracking.processes import free_port


@dataclass(frozen=True)
class Request:
    """A request, numbered in order of arrival."""

    number: int
    method: str
    path: str
    client_port: int = 0

    def __contains__(self, part: str) -> bool:
        return part in self.path


@dataclass(frozen=True)
class Fault:
    """What the proxy does with a request: it waits, forwards the request, then answers or cuts the connection."""

    delay: float = 0.0
    """Seconds before the request is forwarded, even if its client gave up."""
    status: int | None = None
    """Status to answer with instead of forwarding."""
    headers: tuple[tuple[str, str], ...] = ()
    times: int = 1
    """How often the request is forwarded."""
    cut: bool = False
    """Whether the connection is cut instead of answering."""


WELL = Fault()


class Proxy:
    """Forwards requests to a server with the faults that `rule` returns; can refuse connections."""

    def __init__(self, server: str) -> None:
        self._target = int(server.rpartition(":")[2])
        self._port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.requests: list[Request] = []
        self.rule: Callable[[Request], Fault] = lambda request: WELL
        self.uri = f"http://127.0.0.1:{self._port}"
        self.open()

    def open(self) -> None:
        """Accepts connections."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                proxy._connections.add(self.connection)

            def finish(self) -> None:
                proxy._connections.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def handle_any(self) -> None:
                with suppress(OSError):  # the client was killed or timed out
                    proxy._handle(self)

            def log_message(self, *args: object) -> None:
                pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *args: object) -> None:
                pass

        self._server = Server(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Refuses new connections and cuts open ones."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for each in list(self._connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            request = Request(len(self.requests) + 1, handler.command, handler.path, handler.client_address[1])
            self.requests.append(request)
        fault = self.rule(request)
        time.sleep(fault.delay)
        if fault.status is not None:
            _answer(handler, fault.status, fault.headers, b"no")
            return
        for _ in range(fault.times):
            status, headers, content = self._pass_on(handler, body)
        if fault.cut:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        _answer(handler, status, headers, content)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=60)
        try:
            headers = {key: value for key, value in handler.headers.items() if key.lower() != "connection"}
            connection.request(handler.command, handler.path, body, {**headers, "Host": f"127.0.0.1:{self._target}"})
            answer = connection.getresponse()
            content = answer.read()
            kept = tuple((k, v) for k, v in answer.getheaders() if k.lower() in ("content-type", "content-encoding"))
            return answer.status, kept, content
        finally:
            connection.close()


def _answer(handler: BaseHTTPRequestHandler, status: int, headers: tuple[tuple[str, str], ...], content: bytes) -> None:
    handler.send_response(status)
    for key, value in (*headers, ("Content-Length", str(len(content)))):
        handler.send_header(key, value)
    handler.end_headers()
    handler.wfile.write(content)
