"""A server that answers every question well once, and from then on with status 200 and something wrong."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODELS = [
    {"id": "writer", "task": "generation", "backend": "onnxruntime-cpu"},
    {
        "id": "translate-en-zh",
        "task": "translation",
        "backend": "onnxruntime-cpu",
        "languages": {"source": "en", "target": "zh"},
    },
    {"id": "sentiment-en", "task": "sentiment", "backend": "onnxruntime-cpu", "labels": ["negative", "positive"]},
]


def truth(path: str, body: dict[str, Any], label: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": f"{body['model']}/1"}
    if path == "/v1/generate":
        answer["choices"] = [{"index": 0, "text": "and so on", "finish_reason": "length", "stop_reason": None}]
        answer["usage"] = {"completion_tokens": 9}
    elif path == "/v1/translate":
        answer |= {"source": "en", "target": "zh", "translations": [{"text": "好", "score": -0.5}]}
    else:
        other = {"negative": "positive", "positive": "negative"}[label]
        answer["results"] = [{"label": label, "score": 0.75, "scores": {label: 0.75, other: 0.25}}]
    return answer


def lie(path: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
    """Another text, an empty one, the other label: one lie for each kind of question."""
    if path == "/v1/generate":
        answer["choices"][0]["text"] = "and so forth"
    elif path == "/v1/translate":
        answer["translations"][0]["text"] = ""
    else:
        result = answer["results"][0]
        result["label"] = "neutral"
        result["scores"]["neutral"] = result["scores"].pop("positive", 0.75)


@contextlib.contextmanager
def lying_server(labels: dict[str, str]) -> Iterator[str]:
    """The server's address while it runs. `labels`: the right label of each text."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(json.dumps({"object": "list", "data": MODELS}), "application/json")

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            body = json.loads(text)
            answer = truth(self.path, body, labels.get(body.get("text", ""), "negative"))
            asked[self.path + text] += 1
            if asked[self.path + text] > 1:
                lie(self.path, body, answer)
            if body.get("stream"):
                self._send(f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n", "text/event-stream")
            else:
                self._send(json.dumps(answer), "application/json")

        def _send(self, text: str, kind: str) -> None:
            content = text.encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Nothing: pytest shows what matters."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
