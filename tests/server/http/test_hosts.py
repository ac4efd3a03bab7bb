"""By which names a server may be asked (DNS rebinding), and where a proxy may have put it."""

import socket
from typing import Any

import httpx
import pytest

from server.http.hosts import AllowedHosts
from server.settings import settings_from
from tests.server.running import Running, running

LOCAL = (
    "localhost",
    "LOCALHOST:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "127.9.9.9:1",
    "[::1]",
    "[::1]:80",
    "a.localhost",
)
PROBES = ("10.1.2.3:8000", "192.168.0.7", "[fd00::1]:8000", "203.0.113.5")
PRIVATE = ("rnnserve:8000", "rnnserve", "rnnserve.default.svc:8000", "a.b.svc.cluster.local", "host.docker.internal:80")
PUBLIC = ("example.org", "evil.org:8000", "127.0.0.1.evil.org", "localhost.evil.org:8000", "a.svc.evil.org", "svc.com")
NONSENSE = (
    "",
    " ",
    ":",
    ":80",
    "a:b",
    "a:1:2",
    "[::1",
    "::1",
    "a/b",
    "evil.org#localhost",
    "x@localhost",
    "生.org",
    "[]",
)


@pytest.mark.parametrize("listening", ["127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.2"])
def test_a_server_on_loopback_is_asked_by_names_of_loopback(listening: str) -> None:
    hosts = AllowedHosts(listening, ())
    assert [host for host in (*LOCAL, *PROBES, *PRIVATE, *PUBLIC, *NONSENSE) if hosts.is_allowed(host)] == list(LOCAL)


@pytest.mark.parametrize("listening", ["0.0.0.0", "::", "10.1.2.3", "my-machine"])
def test_a_server_on_the_network_is_asked_by_what_no_stranger_can_own(listening: str) -> None:
    hosts = AllowedHosts(listening, ())
    assert [host for host in (*LOCAL, *PROBES, *PRIVATE) if not hosts.is_allowed(host)] == []
    assert hosts.is_allowed(f"{socket.gethostname()}:8000")
    assert [host for host in (*PUBLIC, *NONSENSE) if hosts.is_allowed(host)] == []


def test_further_names_are_allowed_beside_those() -> None:
    hosts = AllowedHosts("127.0.0.1", ("api.Example.org", "other.org:81"))
    for host in ("api.example.org", "API.example.org:443", "api.example.org.", "other.org:81", *LOCAL):
        assert hosts.is_allowed(host), host
    assert not hosts.is_allowed("other.org:82")
    assert all(AllowedHosts("127.0.0.1", ("*",)).is_allowed(host) for host in (*PUBLIC, *NONSENSE))


@pytest.mark.parametrize("path", ["/page/app.js", "/livez", "/v1/models", "/docs", "/metrics", "/nowhere"])
def test_a_page_whose_name_is_pointed_at_the_server_reads_nothing(server: Running, path: str) -> None:
    answer = server.client.get(path, headers={"host": "evil.org:8000"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_forbidden")
    assert "'evil.org:8000'" in answer.json()["error"]["message"]
    assert "RNNSERVE_ALLOWED_HOSTS" in answer.json()["error"]["message"]


def test_with_such_a_page_nothing_is_generated(server: Running) -> None:
    headers = {"host": "evil.org", "origin": "http://evil.org"}  # of one origin, as browsers see it
    body = {"prompt": "a", "max_tokens": 1}
    assert server.client.post("/v1/generate", json=body, headers=headers).status_code == 403
    assert server.client.post("/v1/generate", json=body).status_code == 200


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"allowed_hosts": "example.org"}, True),
        ({"allowed_hosts": "*"}, True),
        ({"api_keys": "a-key-of-sixteen-characters"}, True),  # which such a page does not have
        ({"api_keys": "a-key-of-sixteen-characters", "allowed_hosts": "other.org"}, False),
    ],
)
def test_settings_say_which_names_there_are(settings: dict[str, Any], allowed: bool) -> None:
    with running(**settings) as server:
        status = server.client.get("/livez", headers={"host": "example.org"}).status_code
        assert status == (200 if allowed else 403)
        assert server.client.get("/livez").status_code == 200


def test_on_all_addresses_probes_and_services_go_on() -> None:
    with running(host="0.0.0.0") as server:
        for host in (f"127.0.0.1:{server.port}", "10.244.0.17:8000", "rnnserve:8000", "rnnserve.ns.svc.cluster.local"):
            assert server.client.get("/readyz", headers={"host": host}).status_code == 200
        assert server.client.get("/readyz", headers={"host": "evil.org"}).status_code == 403


@pytest.mark.parametrize("takes_off", [False, True])
def test_below_a_path_of_a_proxy_everything_is_as_without(takes_off: bool) -> None:
    with running(root_path="/apps/rnn") as server:
        base = server.url + ("" if takes_off else "/apps/rnn")
        with httpx.Client(base_url=base, headers={"x-forwarded-prefix": "//evil.org"}) as client:
            assert client.get("/livez").status_code == 200
            assert client.post("/v1/generate", json={"prompt": "a", "max_tokens": 1}).status_code == 200
            assert client.get("/v2/models/nobody").json()["error"].startswith("Model 'nobody' not found")
            document = client.get("/openapi.json").json()
            assert document["servers"] == [{"url": "/apps/rnn"}]
            assert "/v1/generate" in document["paths"]
        assert httpx.get(f"{server.url}/apps/rnn-other/livez").status_code == 404


def test_what_a_proxy_says_of_its_path_is_not_believed(server: Running) -> None:
    headers = {"x-forwarded-prefix": "//evil.org", "x-forwarded-host": "evil.org", "x-forwarded-path": "/a"}
    for path in ("/docs", "/openapi.json", "/livez", "/nowhere"):
        answer = server.client.get(path, headers=headers)
        assert "evil" not in answer.text + str(answer.headers)


@pytest.mark.parametrize("value", ["rnn", "/rnn/", "/", "//evil.org", "/a b", "/é", "/a?b"])
def test_a_root_path_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(Exception, match=r"--root-path \(RNNSERVE_ROOT_PATH\)"):
        settings_from(["--root-path", value])
