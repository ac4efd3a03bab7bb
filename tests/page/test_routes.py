"""The page's files, without a browser."""

import re

import httpx

from server.page.routes import FOLDER
from tests.server.running import fake_model, running

MAX_BYTES = 150_000
FILES = sorted(path.name for path in FOLDER.iterdir())
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


def words_of(language: str) -> dict[str, str]:
    """The texts of one language in words.js."""
    (block,) = re.findall(rf"^  {language}: {{\n(.*?)^  }},$", SOURCES["words.js"], re.DOTALL | re.MULTILINE)
    return dict(re.findall(r'^    (\w+):\s+"(.*)",$', block, re.MULTILINE))


def test_the_page_is_small_and_names_no_other_origin() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MAX_BYTES
    for name, source in SOURCES.items():
        found = set(re.findall(r"\w+://[^\s\"'`)]+", source)) - {"http://www.w3.org/2000/svg"}
        assert not found, (name, found)


def test_no_text_becomes_html() -> None:
    for name, source in SOURCES.items():
        if name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(", source
            ), name


def test_both_languages_say_the_same_things() -> None:
    english, chinese = words_of("en"), words_of("zh")
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", chinese[key])), key
    code = "".join(source for name, source in SOURCES.items() if name != "words.js")
    unused = [key for key in english if f'"{key}"' not in code and not re.match(r"(task|label|live)_", key)]
    assert unused == []


def test_every_file_is_served_with_a_strict_policy_and_an_etag() -> None:
    with running(fake_model()) as server, httpx.Client(base_url=server.url) as client:
        for path in ("/", *(f"/page/{name}" for name in FILES)):
            found = client.get(path)
            assert found.status_code == 200
            policy = found.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert found.headers["x-content-type-options"] == "nosniff"
            again = client.get(path, headers={"if-none-match": f'"other", W/{found.headers["etag"]}'})
            assert (again.status_code, again.content) == (304, b"")
            assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200
            head = client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(found.content))
        assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_nothing_else_is_served() -> None:
    with running(fake_model()) as server:
        for path in ("/page/nothing.js", "/page/routes.py", "/page/..%2froutes.py", "/page/", "/page"):
            found = server.client.get(path)
            assert (found.status_code, found.json()["error"]["code"]) == (404, "route_not_found")


def test_the_page_is_there_before_the_models() -> None:
    """Uptime checkers and people get it at once; it says by itself that the models are being loaded."""
    with running(fake_model()) as server:
        server.service.phase = "loading"
        assert server.client.get("/").status_code == 200
        assert server.client.get("/v1/models").status_code == 503
        server.service.phase = "ready"


def test_metrics_can_be_read_by_name() -> None:
    with running(fake_model()) as server:
        server.generate(prompt="a", max_tokens=3)
        some = server.client.get("/metrics", params={"name[]": ["rnnserve_batch_size_sum", "rnnserve_rows_running"]})
        names = {line.split("{")[0] for line in some.text.splitlines() if not line.startswith("#")}
        assert names == {"rnnserve_batch_size_sum", "rnnserve_rows_running"}
        whole = server.client.get("/metrics").text
        assert len(whole) > 20 * len(some.text)
        assert all(line in whole for line in some.text.splitlines() if line.startswith("rnnserve_batch_size_sum"))
