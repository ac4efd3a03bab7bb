"""The images are built and the compose file is started for real; the published ports are asked.

Skipped unless RNNSERVE_CONTAINER_ENGINE names an engine (see container_engine.py). TORCH_INDEX goes to the image with
torch where it is set; LOCAL_PROMETHEUS=1 puts Debian's Prometheus in the place of the image that compose.yaml names.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.store import Store
from tests.end_to_end.broken_models import hang_in_decode
from tests.end_to_end.container_engine import VARIABLE, ContainerEngine
from tests.end_to_end.real_server import free_port

NAME = os.environ.get(VARIABLE, "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NAME, reason=f"{VARIABLE} is not set: images are not built here"),
]
ROOT = Path()
SERVE, EXPORT, PROMETHEUS = (f"localhost/rnnserve-test-{name}:cpu" for name in ("serve", "export", "prometheus"))
USER = "10001"
DEBIAN_PROMETHEUS = """
FROM docker.io/library/python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* && \
    mkdir /prometheus && chown 65534:65534 /prometheus
USER 65534:65534
ENTRYPOINT ["/usr/bin/prometheus"]
"""


@dataclass(frozen=True)
class Composed:
    """What compose.yaml started."""

    server: httpx.Client
    prometheus: httpx.Client
    container: str  # of the server


@pytest.fixture(scope="module")
def engine() -> ContainerEngine:
    return ContainerEngine(NAME)


@pytest.fixture(scope="module")
def serve_image(engine: ContainerEngine) -> str:
    engine.build(SERVE, Path("docker/Dockerfile"), ROOT, "--target", "serve")
    return SERVE


@pytest.fixture(scope="module")
def export_image(engine: ContainerEngine) -> str:
    index = os.environ.get("TORCH_INDEX")
    options = [] if index is None else ["--build-arg", f"TORCH_INDEX={index}"]
    engine.build(EXPORT, Path("docker/Dockerfile"), ROOT, "--target", "export", *options)
    return EXPORT


@pytest.fixture(scope="module")
def composed(engine: ContainerEngine, serve_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    environment = {}
    if os.environ.get("LOCAL_PROMETHEUS"):
        folder = tmp_path_factory.mktemp("prometheus")
        (folder / "Dockerfile").write_text(DEBIAN_PROMETHEUS)
        engine.build(PROMETHEUS, folder / "Dockerfile", folder)
        environment["PROMETHEUS_IMAGE"] = PROMETHEUS
    with started(engine, serve_image, Path("artifacts").resolve(), environment) as found:
        yield found


@contextlib.contextmanager
def started(
    engine: ContainerEngine, serve_image: str, models: Path, variables: Mapping[str, str], *services: str
) -> Iterator[Composed]:
    """What compose.yaml starts of a store, or of it some services alone; with the server ready."""
    ports = {"PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
    environment = {**ports, "SERVER_IMAGE": serve_image, "MODELS": str(models), **variables}
    project = environment["COMPOSE_PROJECT_NAME"] = f"rnnserve-test-{ports['PORT']}"
    file = Path("docker/compose.yaml")
    start = time.monotonic()
    try:
        engine.compose(file, "up", "--detach", "--no-build", *services, environment=environment)
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{ports['PORT']}", timeout=60) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{ports['PROMETHEUS_PORT']}", timeout=60) as prometheus,
        ):
            until(lambda: server.get("/readyz").status_code == 200, "the server is ready")
            print(f"ready {time.monotonic() - start:.1f} s after `compose up`")
            own = ("--filter", f"label=com.docker.compose.project={project}", "--filter", f"ancestor={serve_image}")
            yield Composed(server, prometheus, engine("ps", "--quiet", "--no-trunc", *own).split()[0])
    finally:
        print(engine.compose(file, "logs", environment=environment)[-3000:])
        engine.compose(file, "down", "--volumes", environment=environment)


def until(is_so: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Ask until it is so; a connection that is refused or broken means that it is not so yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"after {seconds} s it was not so that {what}")


def readable(folder: Path) -> None:
    """Let other users read what pytest makes for its own alone."""
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)


def state_of(engine: ContainerEngine, container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine("inspect", container))[0]["State"]
    return found


def samples(prometheus: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_every_shipped_model_answers_at_the_published_port(composed: Composed) -> None:
    models = {model["id"]: model for model in composed.server.get("/v1/models").json()["data"]}
    assert sorted(models) == Store(Path("artifacts")).names()
    for name, model in models.items():
        if model["task"] == "generation":
            body = {"model": name, "prompt": "ROMEO:", "max_tokens": 20, "seed": 7}
            answer = composed.server.post("/v1/generate", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["text"]
            streamed = composed.server.post("/v1/generate", json={**body, "stream": True}).text
            assert streamed.endswith("data: [DONE]\n\n")
        elif model["task"] == "translation":
            text = {"en": "I am hungry.", "zh": "我饿了。"}[model["languages"]["source"]]
            answer = composed.server.post("/v1/translate", json={"model": name, "text": text})
            assert answer.status_code == 200, answer.text
            assert answer.json()["translations"][0]["text"]
        elif model["task"] == "tagging":
            answer = composed.server.post("/v1/tag", json={"model": name, "text": "Anna read."})
            assert answer.status_code == 200, answer.text
            assert [token["label"] for token in answer.json()["results"][0]["tokens"]] == ["PROPN", "VERB", "PUNCT"]
        elif model["task"] == "forecast":
            answer = composed.server.post(
                "/v1/forecast",
                json={"model": name, "series": [{"start": "2024-01-01", "values": [5.0, 7.0, 6.0] * 30}]},
            )
            assert answer.status_code == 200, answer.text
            assert answer.json()["forecasts"][0]["mean"]
        else:
            assert model["task"] == "sentiment"
            text = "这家酒店太差了。" if name.endswith("-zh") else "What a wonderful film!"
            answer = composed.server.post("/v1/sentiment", json={"model": name, "text": text})
            assert answer.status_code == 200, answer.text
            assert answer.json()["results"][0]["label"] in ("negative", "positive")


def test_prometheus_finds_the_server_up_and_has_its_samples(composed: Composed) -> None:
    assert "rnnserve_requests_total" in composed.server.get("/metrics").text
    composed.server.post("/v1/generate", json={"model": "shakespeare-char", "prompt": "O", "max_tokens": 3})
    up = 'up{job="rnnserve"} == 1'
    until(lambda: bool(samples(composed.prometheus, up)), "Prometheus finds the server up")
    answered = 'rnnserve_requests_total{status="200",model=~"shakespeare-char.*"} > 0'
    until(lambda: bool(samples(composed.prometheus, answered)), "Prometheus has counted an answer")
    print(samples(composed.prometheus, up), samples(composed.prometheus, answered))
    (target,) = composed.prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert target["health"] == "up", target


def test_the_server_runs_without_rights_and_writes_nowhere(engine: ContainerEngine, composed: Composed) -> None:
    assert engine("exec", composed.container, "id", "-u").strip() == USER
    status = engine("exec", composed.container, "cat", "/proc/1/status")
    assert f"Uid:\t{USER}\t{USER}" in status
    assert "CapEff:\t0000000000000000" in status
    with pytest.raises(AssertionError, match="Read-only file system"):
        engine("exec", composed.container, "touch", "/models/new", "/app/new")


def test_the_health_check_of_the_image_works(engine: ContainerEngine, composed: Composed) -> None:
    (image,) = json.loads(engine("image", "inspect", SERVE))
    check = (image.get("Healthcheck") or image["Config"]["Healthcheck"])["Test"]  # podman; docker
    assert check[0] == "CMD"
    assert '"ready"' in engine("exec", composed.container, *check[1:])
    with pytest.raises(AssertionError, match="not ready"):
        engine("exec", "--env", f"RNNSERVE_PORT={free_port()}", composed.container, *check[1:])


def test_serving_has_neither_torch_nor_onnx_nor_build_tools(engine: ContainerEngine, serve_image: str) -> None:
    names = ("torch", "onnx", "onnxscript", "lightning", "training", "models.network", "export.trace")
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n.split('.')[0]) and u.find_spec(n)])"
    found = engine("run", "--rm", "--entrypoint", "python", serve_image, "-c", code)
    assert found.strip() == "[]"
    files = engine("run", "--rm", "--entrypoint", "find", serve_image, "/app", "/opt", "-name", "*pip*")
    assert "site-packages/pip" not in files
    found = engine("run", "--rm", "--entrypoint", "sh", serve_image, "-c", "command -v gcc make git || echo none")
    assert found.strip() == "none"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the server's process belongs to another user")
def test_a_server_that_is_killed_is_started_again_and_serves(engine: ContainerEngine, composed: Composed) -> None:
    pid = state_of(engine, composed.container)["Pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: state_of(engine, composed.container)["Pid"] not in (0, pid), "the container has another process")
    until(lambda: composed.server.get("/readyz").status_code == 200, "the server is ready again")
    answer = composed.server.post(
        "/v1/generate", json={"prompt": "To be", "max_tokens": 3, "model": "shakespeare-char"}
    )
    assert answer.status_code == 200


def test_a_server_whose_runtime_hangs_ends_with_1_is_started_again_and_serves(
    engine: ContainerEngine, serve_image: str, tmp_path: Path
) -> None:
    readable(tmp_path)
    for name in ("shakespeare-char", "sentiment-en"):
        shutil.copytree(f"artifacts/{name}/1", tmp_path / name / "1")
    hang_in_decode(tmp_path / "shakespeare-char/1/onnx/int8")
    variables = {"RNNSERVE_STUCK_SECONDS": "3", "RNNSERVE_GRACE_SECONDS": "1"}
    with started(engine, serve_image, tmp_path, variables, "server") as found, ThreadPoolExecutor() as pool:
        pid = state_of(engine, found.container)["Pid"]
        asked = pool.submit(found.server.post, "/v1/generate", json={"prompt": "To be"})
        with contextlib.suppress(httpx.TransportError):
            assert asked.result().status_code == 503
        until(lambda: state_of(engine, found.container)["Pid"] not in (0, pid), "the container has another process")
        until(lambda: found.server.get("/readyz").status_code == 200, "the server is ready again")
        answer = found.server.post("/v1/sentiment", json={"text": "What a wonderful film!"})
        assert answer.status_code == 200, answer.text
        past = ("--since", "10m", "--until", "0s") if engine.program == "docker" else ("--stream=false",)
        ended = engine("events", *past, "--filter", f"container={found.container}", "--format", "json")
        assert [code for code in re.findall(r'xitCode"?: ?"?(\d+)', ended) if code != "0"] == ["1"], ended


STUB = """
import socket
stub = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
stub.bind(("127.0.0.1", 53))
print("listening", flush=True)
while True:
    query, _ = stub.recvfrom(2000)
    name, at = [], 12
    while query[at]:
        name.append(query[at + 1 : at + 1 + query[at]].decode(errors="replace"))
        at += 1 + query[at]
    print("asked for", ".".join(name), flush=True)
"""
ASK = """
import json, time, urllib.request
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen("http://127.0.0.1:8000" + path, data, timeout=60).read()
for _ in range(600):
    try:
        ask("/readyz")
        break
    except OSError:
        time.sleep(0.1)
for seed in range(3):
    ask("/v1/generate", {"prompt": "To be", "max_tokens": 20, "seed": seed})
    ask("/v1/sentiment", {"model": "sentiment-en", "text": "What a wonderful film!"})
time.sleep(2)
print("answered")
"""


def test_no_look_up_leaves_the_image(engine: ContainerEngine, serve_image: str, tmp_path: Path) -> None:
    """In a network without a way out, where a stub answers for the resolver and prints what it is asked for."""
    readable(tmp_path)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    resolver = ("--volume", f"{tmp_path / 'resolv.conf'}:/etc/resolv.conf:ro")
    python = ("--entrypoint", "python", serve_image, "-u", "-c")
    stub = engine("run", "--detach", "--network", "none", "--user", "0", *resolver, *python, STUB).split()[-1]
    beside = ("--network", f"container:{stub}", *resolver)
    containers = [stub]
    try:
        until(lambda: "listening" in engine("logs", stub), "the stub listens")
        models = ("--volume", f"{Path('artifacts').resolve()}:/models:ro")
        server = engine("run", "--detach", *beside, *models, serve_image).split()[-1]
        containers.insert(0, server)
        assert "answered" in engine("exec", server, "python", "-c", ASK)
        engine("stop", "--time", "60", server)
        assert "asked for" not in engine("logs", stub)
        look_up = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('example.org', 443)"
        engine("run", "--rm", *beside, *python, look_up)
        assert "asked for example.org" in engine("logs", stub)  # it sees them
    finally:
        for container in containers:
            engine("rm", "--force", container)


def test_stop_ends_the_server_with_0(engine: ContainerEngine, serve_image: str) -> None:
    port = free_port()
    models = f"{Path('artifacts').resolve()}:/models:ro"
    container = engine("run", "--detach", "--publish", f"127.0.0.1:{port}:8000", "--volume", models, serve_image)
    container = container.split()[-1]
    try:
        start = time.monotonic()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            until(lambda: client.get("/readyz").status_code == 200, "the server is ready")
        print(f"ready {time.monotonic() - start:.1f} s after `run`")
        start = time.monotonic()
        engine("stop", "--time", "60", container)
        print(f"stopped after {time.monotonic() - start:.1f} s")
        assert state_of(engine, container)["ExitCode"] == 0
    finally:
        engine("rm", "--force", container)


def test_the_export_image_trains_exports_and_verifies(
    engine: ContainerEngine, export_image: str, tmp_path: Path
) -> None:
    readable(tmp_path)
    tmp_path.chmod(0o777)
    shutil.copytree("artifacts/shakespeare-char/1", tmp_path / "shakespeare-char/1")
    run = ("run", "--rm", "--volume", f"{tmp_path}:/models", export_image)
    assert "FAIL" not in engine(*run, "export", "verify", "/models/shakespeare-char/1", seconds=600)
    recipe = ("training", "run", "training/recipes/builtin-tiny.yaml", "store=/models", "run_dir=/tmp/run")
    printed = engine(*run, *recipe, "epochs=1", "model.hidden_size=32", seconds=600)
    bundle = printed.splitlines()[-1]
    engine(*run, "export", "build", bundle, seconds=600)
    assert "FAIL" not in engine(*run, "export", "verify", bundle, seconds=600)
    found = engine("run", "--rm", "--entrypoint", "id", export_image, "-u")
    assert found.strip() == USER


@pytest.fixture(scope="module", autouse=True)
def sizes(engine: ContainerEngine) -> Iterator[None]:
    """The images' sizes, printed at the end."""
    yield
    for image in (SERVE, EXPORT):
        if image in engine("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"):
            print(image, engine("image", "ls", "--format", "{{.Size}}", image).strip())
