"""docs/settings.md, made from the settings themselves: python -m server.reference > docs/settings.md"""

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from server.settings import OTHER_VARIABLES, Settings

_HEAD = """# Settings of the server

Each setting is a flag (`--max-rows 64`), a variable (`RNNSERVE_MAX_ROWS=64`) and a key of a TOML file
(`max_rows = 64`; `--config FILE` or `RNNSERVE_CONFIG`). A flag wins over the variable, the variable over the file, the
file over the default. Lists have commas between their items, in the file they are arrays. Paths are relative to the
folder that the server is started in. Secrets belong into variables or the file: other users of the machine see flags.

```toml
# rnnserve serve --config rnnserve.toml
port = 8080
models = ["shakespeare-char", "translate-en-zh/1"]
max_rows = 32
cors_origins = ["https://example.org"]
```
"""
_FOOT = "This page is written by `python -m server.reference`; a test keeps it so."


def reference() -> str:
    """The page, as Markdown."""
    schema = Settings.model_json_schema()["properties"]
    lines = [_HEAD, "| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        meaning = " ".join((field.description or "").split()).replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{name}` | {_default(field)} | {_allowed(schema[name])} | {meaning} |")
    lines += ["", "Variables beside them:", "", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in OTHER_VARIABLES.items()]
    return "\n".join([*lines, "", _FOOT, ""])


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return ""
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


def _allowed(schema: dict[str, Any]) -> str:
    """The values that a setting may have, in words."""
    choices = [item for item in schema.get("anyOf", [schema]) if item.get("type") != "null"]
    schema = schema | choices[0]
    if "enum" in schema:
        return ", ".join(f"`{item}`" for item in schema["enum"])
    kind = {"integer": "whole number", "number": "number", "array": "list", "string": "text"}[schema["type"]]
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    bounds = [f"{least} to {most}"] if None not in (least, most) else []
    bounds += [f"from {least}"] if least is not None and most is None else []
    bounds += [f"{word} {value}" for word, value in (("above", above), ("below", below)) if value is not None]
    if "minLength" in schema:
        bounds.append(f"at least {schema['minLength']} characters")
    return ", ".join([kind, *bounds])


if __name__ == "__main__":
    print(reference(), end="")
