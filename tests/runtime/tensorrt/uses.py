"""What the backend uses of TensorRT and CUDA, found in its source: so that no list of names can go stale.

Types are followed as far as they go: from `trt.Builder(...)` and annotations, through assignments and what the real
bindings' signatures say of each method's result. Run with the bindings at hand:

    python -m tests.runtime.tensorrt.uses       prints what is used and what does not exist, as JSON
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[3] / "runtime" / "tensorrt"
_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: -> (.+))?$")


@dataclass(frozen=True)
class Use:
    """One access.

    Attributes:
        owner: trt, cudart, or the TensorRT class of the object.
        name: attribute, method or class.
        arguments: how many are given, None where it is not called.
        keywords: names of those given by keyword.
    """

    where: str
    owner: str
    name: str
    arguments: int | None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signature:
    parameters: tuple[str, ...]
    num_required: int
    result: str | None

    def takes(self, use: Use) -> bool:
        assert use.arguments is not None
        given = use.arguments + len(use.keywords)
        return self.num_required <= given <= len(self.parameters) and set(use.keywords) <= set(self.parameters)


def signatures(function: Any) -> list[Signature]:
    """Of a method of the bindings: one for each overload, without self, from its docstring."""
    found = []
    for line in (function.__doc__ or "").splitlines():
        match = _SIGNATURE.match(line.strip())
        if match and match[1] == getattr(function, "__name__", match[1]) and "*args" not in match[2]:
            parts = [part for part in _split(match[2]) if part and not part.startswith("self")]
            names = tuple(part.partition(":")[0].partition("=")[0].split()[-1] for part in parts)
            result = (match[3] or "").rpartition(".")[2].rstrip(":") or None
            found.append(Signature(names, sum("=" not in part for part in parts), result))
    return found


def _split(parameters: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth = [""], 0
    for character in parameters:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


class Finder:
    """Finds the uses in one file.

    Args:
        path: the file.
        trt: the module tensorrt.
    """

    def __init__(self, path: Path, trt: ModuleType) -> None:
        self._path = path
        self._trt = trt
        self._tree = ast.parse(path.read_text(encoding="utf-8"))
        self._types: dict[str, str] = {}  # "builder" or "self._engine" -> class

    def uses(self) -> Iterator[Use]:
        for _ in range(3):  # what is assigned from what is known is known in the next round
            self._learn()
        called = {id(node.func): node for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Attribute) and (owner := self._owner(node.value)):
                call = called.get(id(node))
                yield Use(
                    f"{self._path.name}:{node.lineno}",
                    owner,
                    node.attr,
                    None if call is None else len(call.args),
                    () if call is None else tuple(keyword.arg or "" for keyword in call.keywords),
                )

    def _learn(self) -> None:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.arg) and node.annotation is not None and (kind := self._class(node.annotation)):
                self._types[node.arg] = kind
            elif isinstance(node, ast.Assign) and (kind := self._result(node.value)):
                for target in node.targets:
                    self._types[ast.unparse(target)] = kind
            elif isinstance(node, ast.ClassDef):
                for base in node.bases:
                    if kind := self._class(base):
                        self._types[node.name] = kind

    def _owner(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name) and node.id in ("trt", "cudart"):
            return node.id
        path = ast.unparse(node)
        if re.fullmatch(r"(trt|cudart)(\.\w+)+", path):
            return path
        return self._types.get(path) or self._result(node)

    def _class(self, node: ast.expr) -> str | None:
        path = ast.unparse(node)
        return path.removeprefix("trt.") if re.fullmatch(r"trt\.\w+", path) else None

    def _result(self, node: ast.expr) -> str | None:
        """The class of what a call gives."""
        if isinstance(node, ast.Name):
            return self._types.get(node.id)
        if not isinstance(node, ast.Call):
            return None
        if kind := self._class(node.func):
            return kind
        if isinstance(node.func, ast.Attribute) and (owner := self._owner(node.func.value)):
            function = getattr(getattr(self._trt, owner, None), node.func.attr, None)
            results = {signature.result for signature in signatures(function)} if function is not None else set()
            known = [result for result in results if result and isinstance(getattr(self._trt, result, None), type)]
            return known[0] if known else None
        return None


def problem(use: Use, trt: ModuleType, cudart: ModuleType | None) -> str | None:
    """What is wrong with a use, or None."""
    root, *path = use.owner.split(".")
    module = cudart if root == "cudart" else trt
    if module is None:
        return None
    owner: Any = module
    for part in path if root in ("trt", "cudart") else [root]:
        owner = getattr(owner, part, None)
    if not hasattr(owner, use.name):
        return f"{use.where}: {use.owner} has no {use.name}"
    function = getattr(owner, use.name)
    if use.arguments is None:
        return None
    if isinstance(function, type):
        function = vars(function)["__init__"]
    if use.name == "__init__":  # called on the class, so self is among the arguments
        use = replace(use, arguments=use.arguments - 1)
    found = _cuda_signatures(function) if root == "cudart" else signatures(function)
    if found and not any(signature.takes(use) for signature in found):
        return f"{use.where}: {use.owner}.{use.name} is called with {use.arguments} arguments; it is {found}"
    return None if found else f"{use.where}: no signature of {use.owner}.{use.name} was found"


def _cuda_signatures(function: Any) -> list[Signature]:
    first = (function.__doc__ or "").split("\n", 1)[0]
    match = re.fullmatch(r"\w+\((.*)\)", first)
    names = tuple(part for part in _split(match[1]) if part) if match else ()
    return [Signature(names, len(names), None)] if match else []


def overrides(path: Path) -> Iterator[tuple[str, str]]:
    """(base, method) of the methods that TensorRT calls: they say so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.bases and ast.unparse(node.bases[0]).startswith("trt."):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and "Called by TensorRT" in (ast.get_docstring(method) or ""):
                    yield ast.unparse(node.bases[0]).removeprefix("trt."), method.name


def main() -> None:
    import tensorrt as trt

    try:
        from cuda.bindings import runtime as cudart
    except ImportError:
        cudart = None
    uses = [use for path in sorted(FOLDER.glob("*.py")) for use in Finder(path, trt).uses()]
    overridden = [
        f"{path.name}: {base} has no {method} to override"
        for path in sorted(FOLDER.glob("*.py"))
        for base, method in overrides(path)
        if not hasattr(getattr(trt, base), method)
    ]
    problems = [text for use in uses if (text := problem(use, trt, cudart))]
    json.dump(
        {
            "version": trt.__version__,
            "has_cuda": cudart is not None,
            "uses": [asdict(use) for use in uses],
            "problems": [*problems, *overridden],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
