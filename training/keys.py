"""The reference of every recipe key, docs/recipes.md, from the recipes' own classes.

What a key does is the comment beside it in its class, so the reference and the source cannot differ.
"""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from models.cells import CELL_KINDS, TRACED_KINDS
from models.config import FrozenModel
from training.recipe import Recipe
from training.recipe_file import RECIPE_OF_TASK


class Key(NamedTuple):
    """One key of a recipe.

    Attributes:
        name: dotted; of a list's items with an N for their number.
        allowed: which values.
        default: as YAML writes it, or "required".
        meaning: what it does.
    """

    name: str
    allowed: str
    default: str
    meaning: str


def reference() -> str:
    """The Markdown of all keys: those of every task once, then those of each."""
    own = {task: _own_fields(kind) for task, kind in RECIPE_OF_TASK.items()}
    of_all = [name for name in Recipe.model_fields if not any(name in names for names in own.values())]
    parts = [
        "# Recipe keys\n\nThis page is the output of `python -m training keys`. A key of a section is written with a"
        " dot on the command line, an item of a list by its number: `optimizer.learning_rate=0.001`,"
        " `data.datasets.0.repeat=2`. An optional section may be left out as a whole.\n",
        f"## Every task\n\n{_table(keys_of(Recipe, of_all))}",
        *(
            f"## {task}\n\n{_first_sentence(kind)}\n\n{_table(keys_of(kind, own[task]))}"
            for task, kind in RECIPE_OF_TASK.items()
        ),
    ]
    return "\n".join(parts)


def keys_of(kind: type[FrozenModel], names: list[str] | None = None, prefix: str = "") -> Iterator[Key]:
    """The keys of a record and of the sections in it.

    Args:
        kind: the record's class.
        names: of its fields; None: all.
        prefix: of the keys.
    """
    properties = kind.model_json_schema(mode="validation", ref_template="{model}")
    for name, field in kind.model_fields.items():
        if (names is not None and name not in names) or field.annotation is type(None):
            continue
        section, is_list = _section(field.annotation)
        meaning = _comments(kind).get(name, "")
        if section is None:
            schema = properties["properties"][name]
            yield Key(prefix + name, _allowed(schema), _default(field), meaning or _first_sentence(kind))
            continue
        if is_list or field.default is None:
            what = "a list of sections" if is_list else "a section, or null"
            yield Key(prefix + name, what, _default(field), meaning or _first_sentence(section))
        yield from keys_of(section, None, f"{prefix}{name}.{'N.' if is_list else ''}")


def _own_fields(kind: type[Recipe]) -> list[str]:
    """Fields that a task's recipe adds or changes, and the tokenizer, which most of them change."""
    return [name for name in kind.model_fields if name in kind.__annotations__ or name in ("task", "tokenizer")]


def _section(annotation: Any) -> tuple[type[FrozenModel] | None, bool]:
    """The record inside an annotation, if there is one, and whether it is the item of a list."""
    if isinstance(annotation, type) and issubclass(annotation, FrozenModel):
        return annotation, False
    is_list = getattr(annotation, "__origin__", None) is list
    for argument in get_args(annotation):
        section, is_inner_list = _section(argument)
        if section is not None:
            return section, is_list or is_inner_list
    return None, False


def _allowed(schema: dict[str, Any]) -> str:
    """Which values a JSON schema allows, in words."""
    if "anyOf" in schema:
        return ", or ".join(_allowed(item) for item in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"a list of {_allowed(schema['items'])}"
    if kind == "string" and schema.get("title") == "Kind":
        return ", ".join(f"`{cell}`" for cell in (*CELL_KINDS, *TRACED_KINDS))
    name = {"boolean": "`true`, `false`", "null": "null", "string": "text", "integer": "whole number"}
    limits = [
        f"{sign} {schema[key]:g}" if abs(schema[key]) < 1e6 else f"{sign} {schema[key]}"
        for key, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<"))
        if key in schema
    ]
    return " ".join([name.get(str(kind), "number"), *([", ".join(limits)] if limits else [])])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value}"


def _table(keys: Iterator[Key]) -> str:
    lines = ["| key | allowed | default | what it does |", "|---|---|---|---|"]
    for key in keys:
        meaning = key.meaning.replace("|", "\\|").replace("<", "&lt;")
        lines.append(f"| `{key.name}` | {key.allowed} | {key.default} | {meaning} |")
    return "\n".join([*lines, ""])


def _first_sentence(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")


@cache
def _comments(kind: type[FrozenModel]) -> dict[str, str]:
    """Field -> the comment beside it, of a class and those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, FrozenModel) and base is not FrozenModel:
            found |= _own_comments(textwrap.dedent(inspect.getsource(base)))
    return found


def _own_comments(source: str) -> dict[str, str]:
    lines = source.splitlines()
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:"))
    }
    found = {}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        end = node.end_lineno or node.lineno
        while end < len(lines) and end in comments and lines[end].strip().startswith("#"):
            end += 1  # the comment goes on in lines of its own
        parts = [comments[line] for line in range(node.lineno, end + 1) if line in comments]
        text = " ".join(parts)
        found[node.target.id] = text.split("  # ")[-1]  # after a remark for a tool
    return {name: text for name, text in found.items() if text}
