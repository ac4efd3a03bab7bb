"""/docs: complete, of one piece, and its forms send. The document that it is made from: test_openapi.py."""

import base64
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from server.api.generate import GenerateRequest
from server.api.sentiment import SentimentRequest
from server.api.translate import TranslateRequest
from server.http.body import request_from
from tests.server.running import Running, fake_classifier, fake_model, fake_translator, running


@pytest.fixture(scope="module")
def several() -> Iterator[Running]:
    with running(fake_model(), fake_translator(), fake_classifier()) as server:
        yield server


@pytest.fixture(scope="module")
def document(several: Running) -> dict[str, Any]:
    found: dict[str, Any] = several.client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def html(several: Running) -> str:
    return several.client.get("/docs").text


def test_the_page_names_every_endpoint_field_and_status(document: dict[str, Any], html: str) -> None:
    for request in (GenerateRequest, TranslateRequest, SentimentRequest):
        for field in request.model_fields:
            assert f"<code>{field}</code>" in html
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            section = html[html.index(f'<section id="{operation["operationId"]}">') :]
            section = section[: section.index("</section>")]
            assert f"<code>{method.upper()} {path}</code>" in section
            assert operation["description"] == "" or operation["description"].split("`")[0] in unescape(section)
            for status in operation["responses"]:
                assert f"<td><code>{status}</code>" in section
            assert "curl -s" in section
            assert "httpx.request" in section
            assert f'data-path="{path}"' in section
    for name in document["components"]["schemas"]:
        assert f'id="shape-{name}"' in html
    assert "integer &gt;= 1 &lt;= 4096" in html
    assert "x-request-timeout-ms" in html
    assert "text/event-stream: each event" in html


def test_every_reference_leads_somewhere(document: dict[str, Any], html: str) -> None:
    text = json.dumps(document)
    for reference in re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', text):
        assert reference in document["components"]["schemas"]
    assert "#/$defs/" not in text
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= ids


def test_the_page_needs_nothing_else_and_runs_no_other_script(several: Running, html: str) -> None:
    without_calls = re.sub(r'<pre class="(curl|python)">.*?</pre>', "", html, flags=re.DOTALL)
    assert not re.search(r"https?://|src=|@import|url\(|\son\w+=", without_calls)
    policy = several.client.get("/docs").headers["content-security-policy"]
    for kind in ("script", "style"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert several.client.get("/docs").headers["x-content-type-options"] == "nosniff"


def test_the_examples_are_requests_that_are_allowed_and_are_shown(document: dict[str, Any], html: str) -> None:
    for path, kind in (
        ("/v1/generate", GenerateRequest),
        ("/v1/translate", TranslateRequest),
        ("/v1/sentiment", SentimentRequest),
    ):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        request_from(kind, json.dumps(example).encode())
        assert json.dumps(example, ensure_ascii=False, indent=1) in unescape(html)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_calls_that_are_shown_run(several: Running, html: str) -> None:
    paths = ("/v1/generate", "/v1/translate", "/v1/sentiment", "/v1/models", "/tokenize", "/v1/sessions", "/livez")
    programs = []
    for path in paths:
        section = html[: html.index(f'data-path="{path}"')].rpartition("<section")[2]
        found = re.findall(r'<pre class="(?:curl|python)">(.*?)</pre>', section, re.DOTALL)
        curl, python = (unescape(call).replace("http://127.0.0.1:8000", several.url) for call in found)
        done = subprocess.run([*shlex.split(curl), "-w", "%{http_code}"], check=True, capture_output=True, text=True)
        assert done.stdout.endswith("200"), done
        programs.append(python)
    command = [sys.executable, "-c", "\n".join(programs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.count("200 {") == len(paths), done


def test_what_a_request_may_take_and_took_is_described(document: dict[str, Any]) -> None:
    for path in ("/v1/generate", "/v1/translate", "/v1/sentiment"):
        operation = document["paths"][path]["post"]
        (header,) = operation["parameters"]
        assert (header["name"], header["schema"]["maximum"]) == ("x-request-timeout-ms", 600_000)
        assert "504" in operation["responses"]
        assert "x-queue-time" in operation["responses"]["200"]["headers"]


def test_dialects_have_their_own_errors_and_keys_a_scheme() -> None:
    with running(api_keys="a-key-of-sixteen-characters") as server:
        document = server.client.get("/openapi.json").json()
    paths = document["paths"]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert paths["/v1/generate"]["post"]["security"] == [{"key": []}]
    assert "401" in paths["/v1/models"]["get"]["responses"]
    assert "security" not in paths["/livez"]["get"]
    assert "422" in paths["/v1/generate"]["post"]["responses"]
    for path in ("/v1/completions", "/tokenize", "/v2/models/{name}/infer"):
        assert "422" not in paths[path]["post"]["responses"]
    answer = paths["/v2/models/{name}/infer"]["post"]["responses"]["400"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/ErrorText"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs Chromium and its driver")
def test_a_form_sends_shows_the_answer_and_the_call() -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=390,800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    key = "a-key-of-sixteen-characters"
    with running(api_keys=key) as server:
        try:
            browser.get(f"{server.url}/docs/")
            width = browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= browser.execute_script("return document.documentElement.clientWidth")
            browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")

            def sent(path: str, body: str | None = None, **fields: str) -> str:
                form = browser.find_element(By.CSS_SELECTOR, f"form[data-path='{path}']")
                for name, value in fields.items():
                    form.find_element(By.NAME, name.replace("_", "-")).send_keys(value)
                if body is None:
                    form.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
                else:
                    area = form.find_element(By.NAME, "body")
                    area.clear()
                    area.send_keys(body, Keys.CONTROL, Keys.ENTER)
                output = form.find_element(By.TAG_NAME, "output")
                stop = form.find_element(By.NAME, "stop")
                server.until(lambda: output.is_displayed() and not stop.is_enabled())
                return output.text

            assert sent("/v1/models").startswith("401 Unauthorized")
            browser.find_element(By.ID, "key").send_keys(key)
            assert sent("/v1/models").startswith("200 OK")
            assert '"id": "fake"' in sent("/v1/models/{model}", model="fake/1")
            assert "x-request-id" in sent("/v1/generate", '{"prompt": "a", "max_tokens": 2}')
            streamed = sent("/v1/generate", '{"prompt": "it\'s", "max_tokens": 9, "stream": true}')
            assert "text/event-stream" in streamed
            assert streamed.endswith("data: [DONE]")
            assert "field_unknown" in sent("/v1/generate", '{"prompt": "a", "<b>": 1}')
            section = browser.find_element(By.ID, "post_v1_generate")
            assert "Bearer KEY" in section.find_element(By.CLASS_NAME, "curl").text
            assert key not in browser.execute_script("return document.documentElement.innerText")
            log = browser.get_log("browser")  # type: ignore[no-untyped-call]
            assert [line for line in log if "Content Security Policy" in line["message"]] == []
        finally:
            browser.quit()
