"""One connection: uvicorn's HTTP/1.1 protocol, with a bound on everything that the client decides.

Bounded are the number of connections, the bytes of a request's head, the time that a head may take, requests sent ahead
of their answers, and the time that a client may take nothing of what it is sent. A connection over a bound is closed,
with an answer where HTTP allows one; requests that are being answered on other connections are not touched.
"""

import asyncio
import socket
import sys
from functools import partial
from typing import Any

import httptools
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from server.errors import (
    ApiError,
    BadRequestError,
    HeadTooLargeError,
    HeadTooSlowError,
    TooManyConnectionsError,
    shown,
)
from server.http.access import json_of, network_of
from server.http.limits import Shares
from server.metrics import Metrics
from server.settings import Settings

MOST_AHEAD = 16  # requests on a connection that wait for the answers before theirs
_IDLE_SECONDS = 75  # longer than load balancers keep idle connections, so that they close first
_SHUTDOWN_SECONDS = 5
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.001, 1.0  # twice as long each time
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_OF_UPGRADE = (b"upgrade", b"http2-settings")  # headers, and words of the header Connection
_RETRY = {"retry-after": "1"}


def uvicorn_config(app: ASGIApp, settings: Settings, metrics: Metrics) -> Config:
    """How uvicorn serves an app within the settings' limits; its other defaults hold."""
    others = OpenConnections(settings.max_connections)
    return Config(
        app,
        host=settings.host,
        port=settings.port,
        http=partial(BoundedProtocol, settings=settings, metrics=metrics, others=others),  # type: ignore[arg-type]  # it is only called
        ws="none",
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


class OpenConnections(Shares):
    """How many connections each client has, and which of them are idle. Nothing here takes longer the more there are.

    Args:
        limit: most of all clients together.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._idle: dict[str, dict[BoundedProtocol, None]] = {}  # by client, the longest idle first

    def is_full(self, client: str) -> bool:
        """Whether there is no room for one more of a client's."""
        return self.num_taken >= self.limit or self.is_spent(client)

    def set_idle(self, client: str, connection: "BoundedProtocol", is_idle: bool) -> None:
        """A client's connection is idle from now on, or no more."""
        own = self._idle.setdefault(client, {})
        own.pop(connection, None)
        if is_idle:
            own[connection] = None
        elif not own:
            del self._idle[client]

    def longest_idle(self, client: str) -> "BoundedProtocol | None":
        """Which connection may go for one more of a client's; of its own where it has its share."""
        own = [self._idle.get(client, {})] if self.is_spent(client) else self._idle.values()
        firsts = (next(iter(connections)) for connections in own if connections)
        return min(firsts, key=lambda connection: connection.idle_since, default=None)


class HeadWithBody:
    """A transport that sends an answer's head together with what follows it: one call of the system, which wakes the
    client once, where uvicorn makes two. All but `write` and what ends the connection is the transport's own.

    Args:
        transport: of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_answering = False  # the head of an answer has been written, and not yet the end of its body
        self._head = b""  # that was written and not sent

    def __getattr__(self, name: str) -> Any:
        """Of the transport."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or hold a head."""
        if not self._is_answering and data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 100"):
            self._is_answering, self._head = True, data
        elif self._head:
            data, self._head = self._head + data, b""
            self._transport.write(data)
        else:
            self._transport.write(data)

    def end_answer(self) -> None:
        """The answer has been written: a head without a body goes now."""
        self._is_answering = False
        self._send_head()

    def close(self) -> None:
        """Send what is held, and close the connection."""
        self._send_head()
        self._transport.close()

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class BoundedProtocol(HttpToolsProtocol):
    """See uvicorn.

    Args:
        config: uvicorn's.
        server_state: uvicorn's, of all connections.
        app_state: of the app's lifespan.
        _loop: the event loop.
        settings: the limits, of this and all other connections.
        metrics: where connections are counted.
        others: of all connections.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        settings: Settings,
        metrics: Metrics,
        others: OpenConnections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = settings
        self._metrics = metrics
        self._open = others
        self.address = ""  # of the client
        self._refusal: ApiError | None = None  # why the parser was stopped
        self._is_in_head, self._is_in_message = False, False
        self._num_heads = 0  # that have begun
        self._head_bytes = 0  # of the head that is being read; where others come before it, its names and values alone
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._refusal_timer: asyncio.TimerHandle | None = None
        self.idle_since = 0.0  # on the loop's clock, while no request is being answered
        self._has_sent_all = False  # the client has closed its side
        self._gone_timer: asyncio.TimerHandle | None = None
        self._data = b""  # that is being parsed

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return (self.cycle is None or self.cycle.response_complete) and not self.pipeline

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the connection, if there is room."""
        super().connection_made(transport)
        self._answers = HeadWithBody(transport)
        self.transport = self._answers  # type: ignore[assignment]  # it has all that a transport has
        self.address = network_of(self.client[0]) if self.client else ""
        self._metrics.connections.inc()
        self.idle_since = self.loop.time()
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._end_slow_head)
        if self._open.is_full(self.address):
            self._make_room()
        self._open.add(self.address, 1)
        self._set_idle(not self.transport.is_closing())

    def _make_room(self) -> None:
        """Close the connection that has been idle longest, if there are too many, or else this one."""
        most = self._limits.max_connections
        longest = self._open.longest_idle(self.address)
        if longest is None:
            message = f"{most} connections may be open, and those that you may have are in use"
            error = TooManyConnectionsError(f"{message} (RNNSERVE_MAX_CONNECTIONS). Try again.", headers=_RETRY)
            self._refuse(error)
        else:
            self._count(TooManyConnectionsError.usual_code)
            longest._set_idle(False)
            longest.transport.abort()

    def _set_idle(self, is_idle: bool) -> None:
        self._open.set_idle(self.address, self, is_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing of it is left."""
        # A timer would keep what the connection has read until it runs out.
        timers = (self._head_timer, self._send_timer, self._refusal_timer, self._gone_timer)
        for timer in (*timers, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        self._metrics.connections.dec()
        self._open.add(self.address, -1)
        self._set_idle(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and see that a head comes to its end."""
        head_bytes = self._head_bytes if self._is_in_head else 0
        num_heads = self._num_heads + (not self._is_in_message)
        self._data = data
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_in_head and self._num_heads == num_heads:  # all of the data belongs to it
            self._head_bytes = head_bytes + len(data)
        if self._is_in_head:
            if self._head_bytes > self._limits.max_head_bytes:
                self._refuse(self._head_too_large())
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(self._limits.head_seconds, self._end_slow_head)
        else:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            if self.is_idle and self.timeout_keep_alive_task is None:  # the rest of a body that nobody wanted
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head, self._is_in_message, self._head_bytes = True, True, 0
        self._num_heads += 1

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._add_to_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._add_to_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. Whether the connection stays open, for what it has asked to be answered.

        A client that has left looks the same until something is sent to it: where nothing of its answer has been, it is
        sent 100 Continue, which clients of HTTP/1.1 pass over, and which the system of one that has left refuses.
        """
        if self._is_in_message or self.is_idle:
            return False
        if not self._has_sent_all and not self.cycle.response_started and self.cycle.scope["http_version"] != "1.0":
            self.transport.write(_CONTINUE)
        if not self._has_sent_all:
            self._has_sent_all = True
            self._look_whether_gone(_FIRST_LOOK_SECONDS)
        return True

    def _look_whether_gone(self, seconds: float) -> None:
        """Now and then see whether what was sent has been refused: the event loop does so only when more is sent."""
        self._gone_timer = self.loop.call_later(seconds, self._end_if_gone, min(2 * seconds, _LAST_LOOK_SECONDS))

    def _end_if_gone(self, next_seconds: float) -> None:
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self._look_whether_gone(next_seconds)

    def on_headers_complete(self) -> None:
        """A head has ended: its request is answered, or waits for those before it."""
        if self.parser.get_method() == b"CONNECT":
            self._stop(BadRequestError("CONNECT is for proxies, and this server is none.", code="not_a_proxy"))
        if self.parser.should_upgrade():  # is parsed again without that; see _unsupported_upgrade_warning
            return
        coding = b", ".join(value.strip().lower() for name, value in self.headers if name == b"transfer-encoding")
        if coding not in (b"", b"chunked"):
            found = shown(coding.decode("latin-1"))
            message = f"The transfer-encoding is {found}; chunked alone is read. To compress, use content-encoding."
            self._stop(BadRequestError(message, code="encoding_unsupported"))
        self._is_in_head = False
        if self.parser.get_http_version() == "1.0":  # does not know 100 Continue
            self.expect_100_continue = False
        if len(self.pipeline) >= MOST_AHEAD:
            self._stop(BadRequestError(f"More than {MOST_AHEAD} requests were sent ahead.", code="requests_ahead"))
        self._set_idle(False)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has ended, too."""
        if self._is_in_head:  # its head is parsed again
            return
        self._is_in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been handed to the transport."""
        self._answers.end_answer()
        super().on_response_complete()
        if self.is_idle and self._has_sent_all:
            self.transport.close()
        if self.is_idle and not self.transport.is_closing():
            self.idle_since = self.loop.time()
            self._set_idle(True)

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(self._limits.send_timeout_seconds, self._end_slow_reader)

    def resume_writing(self) -> None:
        """The client has taken what it was sent."""
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """The connection was not used: it is closed, even if the last answer was never taken."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or what the parser was stopped for, and close."""
        error = sys.exc_info()[1]  # the parser's, which uvicorn handles by this call
        is_plain = isinstance(error, httptools.HttpParserError) and str(error) != "" and self._refusal is None
        why = f": {error}" if is_plain and not isinstance(error, httptools.HttpParserCallbackError) else ""
        self._refuse(self._refusal or BadRequestError(f"{msg.rstrip('.')}{why}."))

    def _unsupported_upgrade_warning(self) -> None:
        """Go on with HTTP/1.1 where a client would rather have another protocol, such as h2c.

        The parser, which takes all after the head for that protocol, is given the request anew without the wish.
        """
        upgrade = sys.exc_info()[1]  # which uvicorn handles by this call
        assert isinstance(upgrade, httptools.HttpParserUpgrade), "uvicorn calls it for that"
        rest = self._data[upgrade.args[0] :]
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
        for name, value in self.headers:
            if name == b"connection":
                words = [word.strip() for word in value.split(b",")]
                value = b", ".join(word for word in words if word.lower() not in _OF_UPGRADE)
            if name not in _OF_UPGRADE:
                lines.append(name + b": " + value)
        self.parser = httptools.HttpRequestParser(self)
        self._data = b"\r\n".join(lines) + b"\r\n\r\n" + rest
        super().data_received(self._data)

    def _count(self, reason: str) -> None:
        self._metrics.connections_closed.labels(reason).inc()

    def _add_to_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > self._limits.max_head_bytes:
            self._stop(self._head_too_large())

    def _head_too_large(self) -> HeadTooLargeError:
        most = self._limits.max_head_bytes
        return HeadTooLargeError(f"The request's head has over {most} bytes (RNNSERVE_MAX_HEAD_BYTES).")

    def _stop(self, error: ApiError) -> None:
        """Stop the parser, which calls `send_400_response` for an exception of a callback."""
        self._refusal = error
        raise error

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if self._is_in_head or self.cycle is None:
            seconds = self._limits.head_seconds
            message = f"The request's head was not here after {seconds:g} s (RNNSERVE_HEAD_SECONDS)."
            self._refuse(HeadTooSlowError(message))

    def _end_slow_reader(self) -> None:
        self._send_timer = None
        self._count("client_gone")
        self.transport.abort()

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error if nothing else is being answered, and close the connection."""
        self._count(error.code)
        if self.transport.is_closing():
            return
        if not self.is_idle or (isinstance(error, HeadTooSlowError) and not self._is_in_head):
            self.transport.abort()
            return
        body = json_of(error.body)
        lines = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in (lines | error.headers).items())
        self.transport.write(STATUS_LINE[error.status] + head.encode() + b"\r\n" + body)
        self.transport.close()
        seconds = self._limits.send_timeout_seconds  # for a client that takes nothing
        self._refusal_timer = self.loop.call_later(seconds, self.transport.abort)
