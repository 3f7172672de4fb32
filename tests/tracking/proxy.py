"""A proxy in front of a tracking server, through which everything can go wrong that a network knows."""

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
    """What came through, in the order of its coming."""

    number: int
    method: str
    path: str
    client_port: int = 0

    def __contains__(self, part: str) -> bool:
        return part in self.path


@dataclass(frozen=True)
class Fault:
    """What is done to a request. The order: wait, then answer or pass on, so often, then cut or answer."""

    delay: float = 0.0
    """Seconds before it is passed on, whether or not its client still waits."""
    status: int | None = None
    """Answered with, without passing it on."""
    headers: tuple[tuple[str, str], ...] = ()
    times: int = 1
    """How often it is passed on."""
    cut: bool = False
    """Whether the connection ends in place of an answer."""


WELL = Fault()


class Proxy:
    """Passes requests on to a server, but for what `rule` makes of them; can refuse connections altogether."""

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
        """Listens."""
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
                with suppress(OSError):  # the client has gone, as it does when it is killed or has waited long enough
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
        """Refuses what comes, and cuts what is under way."""
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
