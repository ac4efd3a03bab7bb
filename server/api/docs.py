"""GET /docs: the contract as one page that needs nothing from the network, written from the OpenAPI description."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_BOUNDS = (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
_COUNTS = (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "items"))
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid #8886;padding:.3rem .6rem;text-align:left}"
    "code{font-size:90%}h2{margin-top:2rem}:root{color-scheme:light dark}"
)


def page(description: dict[str, Any]) -> str:
    """The page's HTML, of an OpenAPI description."""
    info = description["info"]
    sections = [
        section
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        for section in _operation(path, method, operation, description["components"]["schemas"])
    ]
    title = escape(f"{info['title']} {info['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p>{escape(info.get("summary", ""))}. Machines: <a href="/openapi.json">/openapi.json</a>.'
        f"</p>{''.join(sections)}</html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('summary', ''))}</p>"
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        schema = media["schema"]
        schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
        if "properties" not in schema:
            yield f"<p>The body is {escape(schema.get('format', 'any'))}.</p>"
            continue
        required = schema.get("required", [])
        yield "<table><tr><th>field</th><th>type and range</th><th>default</th><th>what it does</th></tr>"
        for name, field in schema["properties"].items():
            default = "required" if name in required else _shown(field.get("default"))
            texts = (_kind(field), default, field.get("description", ""))
            cells = (f"<code>{escape(name)}</code>", *map(escape, texts))
            yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        yield f"</table><p>Example: <code>{escape(json.dumps(media.get('example', {}), ensure_ascii=False))}</code></p>"
    for header in operation.get("parameters", []):
        if header["in"] == "header":
            line = escape(f"{header['name']} ({_kind(header['schema'])}): {header['description']}")
            yield f"<p>Header {line}</p>"
    headers = operation.get("responses", {}).get("200", {}).get("headers", {})
    if headers:
        lines = "; ".join(f"{name}: {header['description']}" for name, header in headers.items())
        yield f"<p>Headers of a whole answer: {escape(lines)}</p>"
    statuses = ", ".join(sorted(operation.get("responses", {})))
    yield f"<p>Statuses: {escape(statuses)}</p>"


def _kind(field: dict[str, Any]) -> str:
    """Such as: integer >= 1 <= 4096, string or array of string."""
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"] if option.get("type") != "null")
    parts = [str(field.get("type", "any"))]
    if "items" in field:
        parts.append(f"of {_kind(field['items'])}")
    parts += [f"{sign} {_number(field[key])}" for key, sign in _BOUNDS if key in field]
    for least, most, unit in _COUNTS:
        if least in field or most in field:
            parts.append(f"({field.get(least, 0)} to {field.get(most, 'any number of')} {unit})")
    return " ".join(parts)


def _number(value: float) -> str:
    """A bound as people write it: FastAPI makes floats of them all."""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.3g}"


def _shown(default: Any) -> str:
    return "" if default in (None, []) else str(default).lower() if isinstance(default, bool) else str(default)
