import itertools
from collections.abc import Iterator

import torch

from tests.training.conftest import RecipeMaker
from training.devices import fabric_of, launched
from training.run_folder import RunFolder
from training.trainer import train
from training.translation.batches import EncodedPair, PairBatch, batch_of, encoded
from training.translation.recipe import TranslationRecipe
from training.translation.task import TranslationTask


class Listed:
    """The same batches in every epoch, so many pairs each, in their order: targets differ in number."""

    def __init__(self, pairs: list[EncodedPair], size: int) -> None:
        self._batches = [batch_of(pairs[i : i + size], 0, i // size) for i in range(0, len(pairs), size)]

    def num_batches(self, epoch: int) -> int:
        return len(self._batches)

    def starting_at(self, epoch: int, position: int) -> Iterator[PairBatch]:
        return itertools.islice(self._batches, position, None)


def weights_of(recipe: TranslationRecipe, size: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    corpus = TranslationTask.read(recipe)
    task = TranslationTask.prepared(recipe, corpus)
    task.batches = Listed([encoded(pair, task.tokenizer) for pair in corpus.train[:20]], size)
    fabric = fabric_of(recipe.trainer)
    with RunFolder.opened(recipe.run_path) as folder, launched(fabric) as shard:
        folder.clear()
        train(task, folder, fabric, shard)
    return task.module.model.state_dict()


def test_accumulated_batches_make_the_update_of_one_larger_batch(make_recipe: RecipeMaker) -> None:
    plain = make_recipe(task="translation").model_dump()
    plain["model"]["dropout"] = 0.0
    changes = {"task": "translation", "model": plain["model"]}
    larger = make_recipe(**changes)
    accumulated = make_recipe(**changes, trainer={"accelerator": "cpu", "accumulate_grad_batches": 4})
    assert isinstance(larger, TranslationRecipe)
    assert isinstance(accumulated, TranslationRecipe)
    expected, found = weights_of(larger, 8), weights_of(accumulated, 2)  # the last update is over half as many
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, atol=2e-5, rtol=0)
