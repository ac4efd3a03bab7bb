"""The READMEs' table of tasks, made of the records: how each is trained, exported and served.

`python -m benchmarks.tasks` writes it into README.md and README.zh-CN.md, in place of the one that is there. Tasks come
from server.tasks, graphs and sessions from models.tasks, precisions from export.tasks, recipes from training/recipes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from export.tasks.registry import export_of
from models.cells import CELL_KINDS, TRACED_KINDS
from models.tasks import task_of
from server.service import Service
from server.settings import Settings
from server.tasks import TASKS
from training.recipe_file import RECIPE_OF_TASK, RECIPES

ROOT = Path(__file__).parents[1]
READMES = {"en": ROOT / "README.md", "zh": ROOT / "README.zh-CN.md"}
CPU_SETS = ("fp32", "int8")
NONE = "—"
# Where a reader goes on: the files of docs/ by their names.
DOCUMENTS = {
    "generation": ("training", "sessions"),
    "translation": ("training",),
    "sentiment": ("training",),
    "tagging": ("tagging",),
    "sequence": ("sequence",),
    "forecast": ("forecasting",),
}
HEADS = {
    "en": ("task", "recipe to begin with", "graphs", "sets", "sets of a module of yours", "path", "sessions", ""),
    "zh": ("任务", "入门配方", "导出的图", "精度", "自己模块的精度", "接口", "会话", ""),
}
SESSIONS = {
    "en": {"tokens": "tokens", "frames": "frames", "none": NONE},
    "zh": {"tokens": "token", "frames": "帧", "none": NONE},
}
OTHERS = {"en": "{} + {} more", "zh": "{} 及其他 {} 个"}
CELLS = {
    "en": "A recipe's `kind` is {}, or with fp32 alone {} or a cell of your own. A module of yours has int8 where it "
    "is an embedding, one recurrent stack and a linear head; a model of frames where it has LSTM or GRU layers.",
    "zh": "配方的 `kind` 可取 {}；{} 及自定义单元只有 fp32。"
    "自己的模块由嵌入层、一个循环层栈和线性输出层组成时有 int8；逐帧模型含 LSTM 或 GRU 层时有 int8。",
}


def task_names() -> list[str]:
    """The tasks that a server serves, in the table's order."""
    return [task.name for task in TASKS]


def recipes_of(task: str) -> list[str]:
    """Names of the shipped recipes of a task, those for a reader's own data first."""
    found = [
        path.name for path in RECIPES.glob("*.yaml") if yaml.safe_load(path.read_text(encoding="utf-8"))["task"] == task
    ]
    return sorted(found, key=lambda name: (not name.startswith("your-"), name))


def paths_of(task: str) -> list[str]:
    """What its models are asked at."""
    service = Service(Settings(), lambda *_: [], TASKS)
    found = service.tasks[task]
    routes = [] if found.router is None else found.router(service).routes
    paths = [re.sub(r"\{.*?\}", "MODEL", str(getattr(route, "path", ""))) for route in routes]
    paths += ["/models/MODEL"] if found.hugging_face is not None else []
    return paths + (["/v2/models/MODEL/infer"] if found.tensors is not None else [])


def row(task: str, language: str) -> list[str]:
    """The cells of a task's row."""
    record, export = task_of(task), export_of(task)
    recipes = recipes_of(task) if task in RECIPE_OF_TASK else []
    own = [name for name in export.sets if name in CPU_SETS] if export.architecture is not None else []
    return [
        f"`{task}`",
        OTHERS[language].format(_code(recipes[:1]), len(recipes) - 1) if recipes else NONE,
        _code([graph.name for graph in record.graphs if graph.is_served]),
        ", ".join(own) or NONE,
        ", ".join(export.user_sets) or NONE,
        _code(paths_of(task)),
        SESSIONS[language][record.session],
        ", ".join(f"[{name}](docs/{name}.md)" for name in DOCUMENTS[task]),
    ]


def table(language: str) -> str:
    """The table, and a sentence on cells below it.

    Args:
        language: "en" or "zh".
    """
    head = HEADS[language]
    lines = [head, ["---"] * len(head), *(row(task, language) for task in task_names())]
    text = "\n".join(f"| {' | '.join(cells).rstrip()} |" for cells in lines)
    return f"{text}\n\n{CELLS[language].format(_code(CELL_KINDS), _code(TRACED_KINDS))}\n"


def with_table(text: str, language: str) -> str:
    """A README with the table in place of the one that is in it.

    Raises:
        ValueError: it has none, or several.
    """
    begin = re.escape(f"| {HEADS[language][0]} | {HEADS[language][1]} |")
    found, count = re.subn(rf"^{begin}.*?\n\n.*?\n(?=\n)", lambda _: table(language), text, flags=re.M | re.S)
    if count != 1:
        raise ValueError(f"the README in {language!r} has {count} tables of tasks; it must have one")
    return found


def main() -> None:
    """Write both."""
    for language, path in READMES.items():
        path.write_text(with_table(path.read_text(encoding="utf-8"), language), encoding="utf-8")


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    main()
