"""The READMEs' table of tasks is what the records give, and an end-to-end test stands behind each row."""

import ast
from pathlib import Path

import pytest

import models.tasks
from benchmarks.tasks import DOCUMENTS, READMES, ROOT, paths_of, recipes_of, table, task_names, with_table
from export.tasks.registry import export_of
from models.tasks import Task, task_of

END = "tests/end_to_end"
# What a row says -> task -> the test that shows it over HTTP, from the recipe or the module on.
RECIPE = {
    "generation": f"{END}/test_from_text_to_endpoint.py::test_from_text_to_endpoint",
    "translation": f"{END}/test_from_text_to_endpoint.py::test_from_text_to_endpoint",
    "sentiment": f"{END}/test_from_text_to_endpoint.py::test_from_text_to_endpoint",
    "tagging": f"{END}/test_tagging.py::test_the_documented_request_gives_the_documented_answer",
    "forecast": f"{END}/test_forecasting.py::test_the_answers_are_those_of_the_graphs",
}
MODULE = {
    "generation": f"{END}/test_wrapped_answers.py::test_greedy_texts_are_the_modules_own",
    "translation": f"{END}/test_wrapped_answers.py::test_translations_and_their_scores_are_the_modules_own",
    "sentiment": f"{END}/test_wrapped_answers.py::test_labels_and_scores_are_the_modules_own",
    "tagging": f"{END}/test_wrapped_answers.py::test_words_have_the_modules_own_labels",
    "sequence": f"{END}/test_sequence.py::test_states_are_the_same_alone_and_among_32_and_those_of_a_pytorch_loop",
}
SESSION = {
    "generation": f"{END}/test_sessions.py::test_a_conversation_is_one_call_and_goes_on_elsewhere_as_if_it_had_stayed",
    "sequence": f"{END}/test_sequence.py::test_a_session_of_frames_goes_on_is_forked_and_rewound",
    "forecast": f"{END}/test_forecasting.py::test_appended_observations_give_what_one_pass_gives",
}


@pytest.mark.parametrize("language", READMES)
def test_a_readme_holds_what_the_records_give(language: str) -> None:
    text = READMES[language].read_text(encoding="utf-8")
    assert with_table(text, language) == text, "run python -m benchmarks.tasks"
    assert table(language) in text
    assert len(text.splitlines()) <= 250


def test_a_table_that_is_out_of_date_is_replaced_and_a_readme_without_one_is_refused() -> None:
    text = READMES["en"].read_text(encoding="utf-8")
    assert with_table(text.replace("| `forecast` |", "| `weather` |"), "en") == text
    with pytest.raises(ValueError, match="has 0 tables of tasks"):
        with_table("# rnnserve\n", "en")


def test_every_task_of_the_records_has_a_row_and_documents() -> None:
    shipped = {value.name for value in vars(models.tasks).values() if isinstance(value, Task)}
    assert set(task_names()) == shipped
    for task in task_names():
        assert all((ROOT / "docs" / f"{name}.md").is_file() for name in DOCUMENTS[task])
        assert paths_of(task), task


def test_every_row_has_an_end_to_end_test_for_all_that_it_says() -> None:
    for task in task_names():
        export = export_of(task)
        says = {
            "a recipe": (bool(export.architecture), RECIPE),
            "a module of yours": (bool(export.user_sets), MODULE),
            "sessions": (task_of(task).session != "none", SESSION),
        }
        for what, (is_said, tests) in says.items():
            assert is_said == (task in tests), f"{task}: {what}"
        assert bool(recipes_of(task)) == (task in RECIPE), task
    for test in {*RECIPE.values(), *MODULE.values(), *SESSION.values()}:
        file, name = test.split("::")
        tree = ast.parse((ROOT / Path(file)).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test
