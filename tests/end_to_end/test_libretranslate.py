"""LibreTranslate's dialect, by the official client and by requests that browsers and scripts send."""

import json
import re
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from libretranslatepy import LibreTranslateAPI

from tests.end_to_end.real_server import RealServer, real_server

KEY = "a key of sixteen characters"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    log = tmp_path_factory.mktemp("libretranslate") / "log"
    with real_server(Path("artifacts"), "--models", "translate-en-zh", log=log) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RealServer) -> LibreTranslateAPI:
    return LibreTranslateAPI(server.url)


def native(server: RealServer, text: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = server.client.post("/v1/translate", json={"text": text, **fields}).json()["translations"][0]
    return found


def refused(ask: Callable[[], Any]) -> tuple[int, str]:
    """The status and the sentence of the client's own error."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask()
    body = json.loads(caught.value.read())
    assert list(body) == ["error"]
    return caught.value.code, body["error"]


def test_the_client_translates(client: LibreTranslateAPI, server: RealServer) -> None:
    text = "Where is the station? This is too expensive!"
    assert client.translate(text, "en", "zh") == native(server, text)["text"]
    assert client.translate(text, "auto", "zh") == native(server, text)["text"]
    assert client.translate(text, "EN", "zh-CN") == native(server, text)["text"]
    assert client.translate("今天天气很好。", "auto", "zh") == "今天天气很好。"


def test_the_client_detects_and_lists_languages(client: LibreTranslateAPI) -> None:
    assert client.detect("Bonjour tout le monde")[0]["language"] == "fr"
    assert client.detect("今天天气很好") == [{"confidence": 100, "language": "zh"}]
    assert client.detect("Hello world")[0]["language"] == "en"
    assert client.detect("42") == [{"confidence": 0, "language": "en"}]
    assert client.languages() == [
        {"code": "en", "name": "English", "targets": ["en", "zh"]},
        {"code": "zh", "name": "Chinese", "targets": ["zh"]},
    ]


def test_the_client_raises_its_error_with_our_sentence(client: LibreTranslateAPI) -> None:
    assert refused(lambda: client.translate("hello", "zz", "zh")) == (400, "zz is not supported")
    assert refused(lambda: client.translate("hello", "en", "zz")) == (400, "zz is not supported")
    assert refused(lambda: client.translate("", "en", "zh")) == (400, "Invalid request: missing q parameter")
    assert refused(lambda: client.detect("")) == (400, "Invalid request: missing q parameter")
    status, message = refused(lambda: client.translate("你好", "zh", "en"))
    assert status == 400
    assert message.startswith("English (en) is not available as a target language from Chinese (zh).")
    assert "The loaded models translate en to zh." in message
    status, message = refused(lambda: client.translate("Je ne sais pas où est la gare.", "auto", "zh"))
    assert message.startswith("Chinese (zh) is not available as a target language from French (fr).")
    status, message = refused(lambda: client.translate("word " * 2000, "en", "zh"))
    assert "at most 1024 are allowed (RNNSERVE_MAX_SOURCE_TOKENS)" in message


def test_json_form_and_query_are_one(server: RealServer) -> None:
    fields = {"q": "I love you.", "source": "en", "target": "zh"}
    expected = {"translatedText": "我爱你。"}
    post = server.client.post
    for answer in (
        post("/translate", json=fields),
        post("/translate", data=fields),
        post("/translate", params=fields),
        post("/translate", params={"source": "en", "target": "de"}, json={"q": "I love you.", "target": "zh"}),
    ):
        assert (answer.status_code, answer.json()) == (200, expected)
    assert post("/detect", params={"q": "Guten Tag, wie geht es Ihnen?"}).json()[0]["language"] == "de"
    listed = post("/translate", data={**fields, "q": ["I love you.", "I love you."]})
    assert listed.json() == {"translatedText": ["我爱你。"] * 2}


def test_each_text_of_a_list_is_detected_by_itself(server: RealServer) -> None:
    texts = ["I love you.", "今天天气很好。", "", "42"]
    answer = server.client.post("/translate", json={"q": texts, "source": "auto", "target": "zh", "alternatives": 2})
    found = answer.json()
    assert found["translatedText"] == ["我爱你。", "今天天气很好。", "", "42"]
    assert [each["language"] for each in found["detectedLanguage"]] == ["en", "zh", "en", "en"]
    assert [each["confidence"] > 50 for each in found["detectedLanguage"]] == [True, True, False, False]
    alternatives = native(server, "I love you.", alternatives=2)["alternatives"]
    assert found["alternatives"] == [[other["text"] for other in alternatives], [], [], []]
    assert found["warnings"][3][0]["code"] == "copied"


def test_html_keeps_its_tags_around_their_words(server: RealServer) -> None:
    document = (
        '<p class="a b">I <b>love</b> you. <a href="x?a=1&b=2" title=\'>\'>This is too expensive!</a></p>\n'
        "<ul><li>Where is the <i>station</i>?</li></ul><script>if (a < b) {}</script><code>ls &amp; cd</code>"
    )
    body = {"q": [document, "5 &lt; 6"], "source": "auto", "target": "zh", "format": "html", "alternatives": 1}
    found = server.client.post("/translate", json=body).json()
    html = found["translatedText"][0]
    assert html == (
        '<p class="a b">我<b>爱</b>你。<a href="x?a=1&b=2" title=\'>\'>这太贵了！</a></p>\n'
        "<ul><li><i>车站</i>在哪里？</li></ul><script>if (a < b) {}</script><code>ls &amp; cd</code>"
    )
    assert found["detectedLanguage"][0]["language"] == "en"
    assert found["translatedText"][1] == "5 &lt; 6"
    (other,) = found["alternatives"][0]
    assert other != html
    tags = re.compile(r"<[^>]*>")
    assert sorted(tags.findall(other)) == sorted(tags.findall(html))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            '<p>Hello <b>my friend</b>, where is <a href="/x">the station</a>?</p>',
            '<p>我<b>朋友</b>，<a href="/x">车站</a>在哪里？</p>',
        ),
        ("She lives in <b>the house</b> on <i>the hill</i>.", "她<b>住在</b><i>山里</i>。"),
        (
            "<b>The</b> <i>book</i> <u>is</u> <s>on</s> <a>the</a> <em>table</em>.",
            "<b><i>书</i></b><s>在</s><em>桌</em><u>上</u><a>。</a>",
        ),
    ],
)
def test_no_element_with_words_comes_out_empty(document: str, expected: str, server: RealServer) -> None:
    body = {"q": document, "source": "en", "target": "zh", "format": "html"}
    assert server.client.post("/translate", json=body).json()["translatedText"] == expected


@pytest.mark.parametrize(
    ("request_fields", "message"),
    [
        ({"json": {"q": "x", "source": "en"}}, "Invalid request: missing target parameter"),
        ({"json": {"q": [], "source": "en", "target": "zh"}}, "Invalid request: missing q parameter"),
        ({"json": {"q": 1, "source": "en", "target": "zh"}}, "q: must be a string or a list of strings (got 1)."),
        ({"json": {"q": ["a"] * 65, "source": "en", "target": "zh"}}, "q: 65 strings; at most 64 are allowed"),
        ({"json": {"q": "x", "source": "en", "target": "zh", "format": "pdf"}}, "format: Input should be 'text' or"),
        ({"json": {"q": "x", "source": "en", "target": "zh", "alternatives": "x"}}, "alternatives: Input should be"),
        ({"json": {"q": "x", "source": "en", "target": "zh", "alternatives": 16}}, "less than or equal to 15"),
        ({"json": {"q": "x", "source": ["en"], "target": "zh"}}, "source: Input should be a valid string"),
        ({"content": b"[1]"}, "The body must be a JSON object, not [1]."),
        ({"content": b'{"q":' + b"[" * 900 + b"]" * 900 + b',"source":"en","target":"zh"}'}, "q: must be a string or"),
        ({"json": {"q": "x", "source": "en", "target": "zh", "format": None}}, "format: Input should be"),
        ({"json": {"q": "x", "source": "en", "target": "zh", "api_key": 5}}, "api_key: Input should be a valid string"),
        ({"content": b"{"}, "The body is not valid JSON in UTF-8"),
        ({"files": {"q": (None, "x")}}, "Send JSON, or a form as application/x-www-form-urlencoded."),
        ({"params": [("a", "b")] * 101}, "The form has more than 100 fields."),
        ({}, "Invalid request: missing q parameter"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(request_fields: dict[str, Any], message: str, server: RealServer) -> None:
    answer = server.client.post("/translate", **request_fields)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_paths_that_are_not_there_and_methods_that_are_not_taken_have_the_shape(server: RealServer) -> None:
    answer = server.client.get("/translate")
    assert answer.status_code == 405
    assert "Allowed: OPTIONS, POST" in answer.json()["error"]
    settings = server.client.get("/frontend/settings").json()
    assert (settings["apiKeys"], settings["keyRequired"], settings["charLimit"]) == (False, False, -1)
    assert settings["language"]["target"] == {"code": "zh", "name": "Chinese"}


def test_a_key_is_asked_for_where_the_server_has_keys(tmp_path: Path) -> None:
    environment = {"RNNSERVE_API_KEYS": KEY}
    with real_server(
        Path("artifacts"), "--models", "translate-en-zh", log=tmp_path / "log", environment=environment
    ) as server:
        with_key, without = LibreTranslateAPI(server.url, KEY), LibreTranslateAPI(server.url)
        assert with_key.translate("I love you.", "en", "zh") == "我爱你。"
        assert with_key.detect("I love you.")[0]["language"] == "en"
        assert with_key.languages() == without.languages()
        wrong = LibreTranslateAPI(server.url, "another key of sixteen characters")
        for client, expected in (
            (wrong, (403, "Invalid API key")),
            (without, (400, "This server asks for an API key.")),
        ):
            for ask in (lambda c=client: c.translate("x", "en", "zh"), lambda c=client: c.detect("x")):
                status, message = refused(ask)
                assert status == expected[0]
                assert message.startswith(expected[1])
        fields = {"q": "I love you.", "source": "en", "target": "zh"}
        bearer = {"authorization": f"Bearer {KEY}"}
        assert server.client.post("/translate", json=fields, headers=bearer).status_code == 200
        bad = server.client.post("/translate", json={**fields, "api_key": KEY}, headers={"authorization": "Bearer x"})
        assert (bad.status_code, list(bad.json())) == (401, ["error"])
        assert server.client.get("/frontend/settings").json()["keyRequired"] is True
