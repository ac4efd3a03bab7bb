import pytest
import torch

from tests.training.conftest import RecipeMaker
from training.translation.batches import IGNORED, PairBatch
from training.translation.recipe import TranslationRecipe
from training.translation.task import TranslationTask


def test_smoothed_labels_share_a_part_with_all_tokens(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(task="translation", label_smoothing=0.2)
    assert isinstance(recipe, TranslationRecipe)
    task = TranslationTask.prepared(recipe, TranslationTask.read(recipe))
    batch = next(task.batches.starting_at(0, 0))
    assert isinstance(batch, PairBatch)
    module = task.module.eval()
    with torch.no_grad():
        log_p = module.model(batch.ids, batch.lengths, batch.inputs).log_softmax(-1)
        loss, _ = module(batch, None)
    keep = batch.targets != IGNORED
    right = log_p.gather(2, batch.targets.clamp(min=0).unsqueeze(2)).squeeze(2)[keep]
    expected = -(0.8 * right + 0.2 * log_p.mean(-1)[keep]).mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-5)
    assert torch.isfinite(expected)
