"""GET /docs: the contract as one page that needs nothing from the network, written from the OpenAPI description.

Each endpoint has what it reads and answers, the same call for curl and Python, and a form that sends it (docs.js).
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_COUNTS = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("", "maxProperties", "entries"),
)
_ADDRESS = "http://127.0.0.1:8000"  # until the page's script puts the real one there


def page(description: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The page's HTML, of an OpenAPI description, and the headers that it is sent with.

    Its policy lets the browser run the page's own script, and ask this server, alone.
    """
    style, script = (Path(__file__).with_name(f"docs.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    info, schemas = description["info"], description["components"]["schemas"]
    operations = [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    title = escape(f"{info['title']} {info['version']}")
    tags = dict.fromkeys(tag for _, _, operation in operations for tag in operation["tags"])
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style><h1>{title}</h1><p>{escape(info['summary'])}. {_text(info['description'])} "
        'Machines: <a href="openapi.json" id="machines">/openapi.json</a>.</p>'
        '<label>API key, where the server asks for one <input id="key" type="password" autocomplete="off"></label><nav>'
    ]
    for tag in tags:
        links = (
            f'<li><a href="#{operation["operationId"]}">{method.upper()} {escape(path)}</a>'
            for path, method, operation in operations
            if tag in operation["tags"]
        )
        parts.append(f"<h2>{escape(tag)}</h2><ul>{''.join(links)}</ul>")
    parts.append("</nav><main>")
    for tag in tags:
        parts.append(f"<h2>{escape(tag)}</h2>")
        for path, method, operation in operations:
            if tag in operation["tags"]:
                parts += _operation(path, method, operation, schemas)
    parts.append("<h2>Shapes</h2>")
    for name, schema in schemas.items():
        parts.append(f'<section id="shape-{escape(name)}"><h3>{escape(name)}</h3>{_shape(schema)}</section>')
    parts.append(f"</main><script>{script}</script></html>")
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return "".join(parts), {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _text(text: str) -> str:
    """A description as HTML: what stands between backticks is code."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield (
        f'<section id="{operation["operationId"]}"><h3><code>{method.upper()} {escape(path)}</code></h3>'
        f"<p><b>{escape(operation['summary'])}.</b> {_text(operation['description'])}</p>"
    )
    if operation["parameters"]:
        parameters = [
            (
                f"<code>{escape(item['name'])}</code>",
                str(item["in"]),
                _kind(item["schema"]),
                "required" if item.get("required") else "",
                _text(item.get("description", "")),
            )
            for item in operation["parameters"]
        ]
        yield _table(("parameter", "in", "type and range", "", "what it does"), parameters)
    content = operation.get("requestBody", {}).get("content", {})
    for media in list(content.values())[:1]:
        schema = media["schema"]
        yield f"<details open><summary>Request: {escape(', '.join(content))}</summary>"
        yield _shape(schemas.get(_name_of(schema), schema)) + "</details>"
    rows = [
        (f"<code>{status}</code>", _text(answer["description"]), _contents(answer), ", ".join(answer["headers"]))
        for status, answer in operation["responses"].items()
    ]
    yield "<details><summary>Answers</summary>"
    yield _table(("status", "meaning", "body", "headers"), rows) + "</details>"
    yield _calls(path, method, content) + _form(path, method, operation, content) + "</section>"


def _calls(path: str, method: str, content: dict[str, Any]) -> str:
    example = next((media["example"] for media in content.values() if "example" in media), None)
    url, verb = _ADDRESS + path, method.upper()
    text = "" if example is None else json.dumps(example, ensure_ascii=False)
    data = "" if example is None else " -d '" + text.replace("'", "'\\''") + "'"
    flag = "" if verb == "GET" or (verb == "POST" and data) else f"-X {verb} "
    sent = "" if example is None else f", json={example!r}"
    python = f'import httpx\n\nanswer = httpx.request("{verb}", "{url}"{sent}, timeout=60)'
    curl = f"curl -s {flag}'{url}'{data}"
    return (
        f'<details><summary>curl and Python</summary><pre class="curl">{escape(curl)}</pre>'
        f'<pre class="python">{escape(python)}\nprint(answer.status_code, answer.text)</pre></details>'
    )


def _form(path: str, method: str, operation: dict[str, Any], content: dict[str, Any]) -> str:
    fields = []
    for item in operation["parameters"]:
        name, required = escape(item["name"]), " required" if item.get("required") else ""
        attributes = f'name="{name}" data-in="{item["in"]}" autocomplete="off"{required}'
        fields.append(f'<label class="path">{name} <input {attributes}></label>')
    if any(kind.startswith("application/json") for kind in content):
        example: Any = next((media["example"] for media in content.values() if "example" in media), {})
        text = escape(json.dumps(example, ensure_ascii=False, indent=1))
        fields.append(f'<label>Body, JSON <textarea name="body" spellcheck="false">{text}</textarea></label>')
    elif content:
        fields.append('<label>Body, a file <input name="file" type="file"></label>')
    return (
        f'<details><summary>Send</summary><form data-method="{method.upper()}" data-path="{escape(path)}">'
        f'{"".join(fields)}<button>Send</button><button type="button" name="stop" disabled>Stop</button>'
        '<output hidden><p role="status"></p><pre class="headers"></pre><pre class="answer"></pre></output>'
        "</form></details>"
    )


def _contents(answer: dict[str, Any]) -> str:
    """The bodies of an answer: what each media type is."""
    found = []
    for kind, media in answer.get("content", {}).items():
        schema = media.get("schema") or media["itemSchema"]["properties"]["data"]["anyOf"][1]["contentSchema"]
        each = "each event " if "itemSchema" in media else ""
        found.append(f"{escape(kind)}: {each}{_kind(schema)}")
    return "<br>".join(found)


def _shape(schema: dict[str, Any]) -> str:
    """A table of an object's fields; what is no object is described in words."""
    text = f"<p>{_text(schema.get('description', ''))}</p>"
    if "properties" not in schema:
        return f"{text}<p>{_kind(schema)}</p>"
    required = schema.get("required", [])
    rows = [
        (
            f"<code>{escape(name)}</code>",
            _kind(field),
            "required" if name in required else escape(_default(field.get("default"))),
            _text(field.get("description", "")),
        )
        for name, field in schema["properties"].items()
    ]
    return text + _table(("field", "type and range", "default", "what it does"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}" for row in rows)
    return f'<div class="table"><table><tr>{"".join(f"<th>{cell}" for cell in head)}{lines}</table></div>'


def _name_of(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _kind(field: dict[str, Any]) -> str:
    """HTML such as: integer >= 1 <= 4096, string or array of string; other shapes are links."""
    name = escape(_name_of(field))
    if name:
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(_kind, field["anyOf"])))
    if "const" in field or "enum" in field:
        return escape(", ".join(json.dumps(value) for value in field.get("enum", [field.get("const")])))
    parts = [str(field.get("type", "any"))]
    if "items" in field:
        parts.append(f"of {_kind(field['items'])}")
    if isinstance(field.get("additionalProperties"), dict):
        parts.append(f"of {_kind(field['additionalProperties'])} by name")
    parts += [escape(f"{sign} {_number(field[key])}") for key, sign in _BOUNDS if key in field]
    for least, most, unit in _COUNTS:
        if least in field or most in field:
            parts.append(f"({field.get(least, 0)} to {field.get(most, 'any number of')} {unit})")
    return " ".join(parts)


def _number(value: float) -> str:
    """A bound as people write it."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.3g}"


def _default(value: Any) -> str:
    return "" if value in (None, [], {}) else str(value).lower() if isinstance(value, bool) else str(value)
