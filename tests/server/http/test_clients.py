"""What clients do with HTTP that others do not: other protocols wished for, closed sides, bodies announced."""

import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.http.test_connections import answered, connected, posted, received
from tests.server.running import Running, running

BODY = {"prompt": "a", "max_tokens": 3, "seed": 1}
STREAM = {**BODY, "stream": True}
GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
JAVA = """
import java.net.URI;
import java.net.http.*;

class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
            .header("content-type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(arguments[1])).build();
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


def with_lines(request: bytes, lines: bytes) -> bytes:
    """A request with further lines in its head."""
    return request.replace(b"\r\n", b"\r\n" + lines, 1)


def texts(choices: Any) -> list[str]:
    return [choice["text"] for choice in choices]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("kind", ["whole", "stream", "get"])
def test_curl_that_would_rather_have_http_2_is_answered(server: Running, kind: str) -> None:
    command = ["curl", "-sS", "--http2", "--max-time", "20", "-w", "\n%{http_code} %{http_version}"]
    if kind == "get":
        command += [f"{server.url}/livez", f"{server.url}/readyz"]  # the second on the same connection
    else:
        command += [f"{server.url}/v1/generate", "-d", json.dumps(STREAM if kind == "stream" else BODY)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.endswith("200 1.1")
    assert {"whole": '"text"', "stream": "data: [DONE]", "get": "ready"}[kind] in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK")
def test_java_that_would_rather_have_http_2_is_answered(server: Running, tmp_path: Path) -> None:
    source = tmp_path / "Ask.java"
    source.write_text(JAVA, encoding="utf-8")
    command = ["java", str(source), f"{server.url}/v1/generate", json.dumps(BODY)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert [line[:9] for line in done.stdout.splitlines()] == ['200 {"id"'] * 2


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, x"])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_wish_for_another_protocol_is_passed_over(server: Running, protocol: bytes, size: int) -> None:
    """However the bytes come, and with requests behind it on the connection."""
    post = with_lines(posted("/v1/generate", BODY), H2C.replace(b"h2c", protocol))
    chunked = b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    body = json.dumps(BODY).encode()
    chunked = with_lines(chunked, H2C) + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    data = post + with_lines(GET + b"\r\n", H2C) + chunked + posted("/v1/generate", BODY)
    with connected(server) as connection:
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
        assert [answered(connection) for _ in range(4)] == [200] * 4


def test_wishes_sent_ahead_count_as_requests(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(with_lines(GET + b"\r\n", H2C) * 500)
        assert received(connection).count(b"HTTP/1.1 200") <= 18
    assert server.client.get("/livez").status_code == 200


@pytest.mark.parametrize("fields", [BODY, STREAM])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_client_that_has_closed_its_side_is_answered(fields: dict[str, Any], is_early: bool) -> None:
    with running() as server:
        whole = server.generate(**BODY)["choices"]
        gate = server.steps.gate = threading.Event()
        with connected(server) as connection:
            connection.sendall(GET + b"\r\n" + posted("/v1/generate", fields))
            if not is_early:
                server.until(lambda: server.service.num_requests == 1)
            connection.shutdown(socket.SHUT_WR)
            server.until(lambda: server.service.num_requests == 1)
            gate.set()
            found = received(connection)  # to its end: the server closes the connection
        assert found.count(b"HTTP/1.1 200") == 2
        if fields is STREAM:
            assert found.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            events = [json.loads(part.split(b"\n")[0]) for part in found.split(b"data: ")[1:-1]]
            assert "".join(text for event in events for text in texts(event["choices"])) == whole[0]["text"]
        else:
            assert json.loads(found.rpartition(b"\r\n\r\n")[2])["choices"] == whole
        server.until(lambda: server.service.num_requests == 0)


@pytest.mark.parametrize("fields", [BODY, STREAM])
def test_a_client_that_has_left_is_not_taken_for_one_that_closed_its_side(fields: dict[str, Any]) -> None:
    """Its system refuses what it is sent, and its request is dropped while the model still works on it."""
    with running() as server:
        server.steps.gate = threading.Event()
        server.ask_and_leave("/v1/generate", fields)
        assert "client_gone" in server.client.get("/metrics").text


@pytest.mark.parametrize("piece", [b"", b"GET /li", GET, GET + b"content-length: 5\r\n\r\nab"])
def test_a_request_that_can_come_to_no_end_any_more_is_dropped(server: Running, piece: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        found = received(connection)
    assert found == b"" or (piece.endswith(b"ab") and found.startswith(b"HTTP/1.1 200"))  # /livez reads no body


def test_a_client_of_http_1_0_that_has_closed_its_side_is_sent_the_answer_alone(server: Running) -> None:
    content = json.dumps(BODY).encode()
    with connected(server) as connection:
        connection.sendall(b"POST /v1/generate HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
        connection.shutdown(socket.SHUT_WR)
        assert received(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (b"content-length: 2\r\ncontent-length: 2\r\n", "Duplicate Content-Length"),
        (b"content-length: 2\r\ncontent-length: 9\r\n", "Duplicate Content-Length"),
        (b"content-length: 2, 2\r\n", "Content-Length"),
        (b"content-length: +2\r\n", "Content-Length"),
        (b"content-length: -2\r\n", "Content-Length"),
        (b"content-length: 99999999999999999999999\r\n", "Content-Length"),
        (b"content-length: 2\r\ntransfer-encoding: chunked\r\n", "Transfer-Encoding"),
        (b"transfer-encoding: gzip, chunked\r\n", "transfer-encoding is 'gzip, chunked'"),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "ransfer-"),
        (b"transfer-encoding: identity\r\n", "ransfer-"),
        (b"host : a\r\n", "Invalid header token"),
    ],
)
def test_a_request_whose_end_is_not_sure_is_400_and_the_connection_closed(
    server: Running, lines: bytes, why: str
) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\n" + lines + b"\r\n{}" + GET + b"\r\n")
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in head
    assert why in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("hosts", [b"", b"host: localhost\r\nhost: localhost\r\n", b"host: localhost\r\nHost: b\r\n"])
def test_a_request_has_one_host(server: Running, hosts: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + hosts + b"connection: close\r\n\r\n")
        found = received(connection)
    assert found.startswith(b"HTTP/1.1 400")
    assert b"has one Host header" in found


@pytest.mark.parametrize("target", [b"http://localhost/livez", b"http://LOCALHOST:8000/livez?x=1", b"/livez?x=1#y"])
def test_a_target_may_be_a_whole_url(server: Running, target: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert received(connection).endswith(b'{"status":"alive"}')


def test_a_client_that_asks_first_is_told_to_go_on_where_its_body_is_read(server: Running) -> None:
    content = json.dumps(BODY).encode()
    head, asking = posted("/v1/generate", BODY)[: -len(content)], b"expect: 100-continue\r\n"
    with connected(server) as connection:
        connection.sendall(with_lines(head, asking))
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(content)
        assert answered(connection) == 200
        connection.sendall(with_lines(head, b"expect: something else\r\n") + content)
        assert answered(connection) == 200
    with connected(server) as connection:  # one of HTTP/1.0 would not understand it
        connection.sendall(with_lines(head, asking).replace(b"HTTP/1.1", b"HTTP/1.0") + content)
        assert received(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("path", "lines", "status"),
    [
        ("/nowhere", b"", 404),
        ("/livez", b"", 405),
        ("/v1/generate", b"content-encoding: br\r\n", 415),
        ("/v1/generate", b"origin: https://evil.org\r\n", 403),
        ("/v2/models/nobody/ready", b"", 405),
    ],
)
def test_a_client_that_asks_first_is_refused_without_its_body(
    server: Running, path: str, lines: bytes, status: int
) -> None:
    """And the connection is closed, because it may send the body all the same."""
    request = posted(path, BODY)
    head = request[: request.index(b"\r\n\r\n") + 4]
    with connected(server) as connection:
        connection.sendall(with_lines(head, b"expect: 100-continue\r\n" + lines))
        found = received(connection)
    assert found.startswith(b"HTTP/1.1 %d" % status)
    assert b"connection: close" in found


@pytest.mark.parametrize("path", ["/v1/generate/", "/v1/generate///"])
def test_a_slash_at_the_end_of_a_path_changes_nothing(server: Running, path: str) -> None:
    assert server.post(path, **BODY)["choices"] == server.generate(**BODY)["choices"]
    assert server.client.get(path).status_code == 405


@pytest.mark.parametrize("path", ["/v1/models/", "/livez/", "/docs/", "/v1/models/fake/", "/openapi.json/", "/v2/"])
def test_nor_does_it_where_a_page_is_asked_for(server: Running, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 200
    assert answer.content == server.client.get(path[:-1]).content


@pytest.mark.parametrize("path", ["//evil.org/", "//evil.org/v1/models/", "/\\evil.org/", "///", "/.//evil.org/"])
def test_no_path_leads_to_another_host(server: Running, path: str) -> None:
    with connected(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        head = received(connection).partition(b"\r\n\r\n")[0]
    assert b"location" not in head.lower()
    assert int(head.split()[1]) in (200, 400, 404)


ALLOWED = [
    ("/v1/generate", "OPTIONS, POST"),
    ("/v1/sessions", "GET, HEAD, OPTIONS, POST"),
    ("/v1/sessions/a", "DELETE, GET, HEAD, OPTIONS"),
    ("/v1/sessions/a/state", "GET, HEAD, OPTIONS, PUT"),
    ("/v1/models", "GET, HEAD, OPTIONS"),
    ("/v1/models/fake/1", "GET, HEAD, OPTIONS"),
    ("/v2/models/fake/infer", "OPTIONS, POST"),
    ("/docs", "GET, HEAD, OPTIONS"),
]


@pytest.mark.parametrize(("path", "allowed"), ALLOWED)
def test_a_path_says_which_methods_it_takes(server: Running, path: str, allowed: str) -> None:
    answer = server.client.options(path)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allowed, b"")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"} - set(allowed.split(", ")):
        answer = server.client.request(method, path)
        if method == "QUERY":  # the parser does not know it
            assert answer.status_code in (400, 405)
            continue
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), method


def test_the_server_says_which_methods_it_takes() -> None:
    with running() as server, connected(server) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        found = received(connection)
    assert found.startswith(b"HTTP/1.1 204")
    assert b"allow: DELETE, GET, HEAD, OPTIONS, POST, PUT\r\n" in found


def test_where_keys_are_set_methods_are_told_to_those_who_have_one() -> None:
    key = "a-key-of-sixteen-characters"
    with running(api_keys=key) as server:
        assert httpx.options(f"{server.url}/v1/generate").status_code == 401
        headers = {"authorization": f"Bearer {key}"}
        assert httpx.options(f"{server.url}/v1/generate", headers=headers).headers["allow"] == "OPTIONS, POST"
