import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from tests.training.conftest import RecipeMaker
from training.data.corpus import Corpus, Origin
from training.devices import fabric_of, launched
from training.generation.module import mean_nats
from training.generation.recipe import GenerationRecipe
from training.generation.task import GenerationTask
from training.generation.windows import Windows
from training.optimizer import factor
from training.run_folder import RunFolder
from training.trainer import train

LANES, LENGTH, NUM_WINDOWS, EPOCHS = 4, 16, 6, 2


def test_truncated_backpropagation_equals_a_hand_written_loop(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(epochs=EPOCHS, optimizer={"learning_rate": 0.02, "clip": 0.1, "weight_decay": 0.1})
    assert isinstance(recipe, GenerationRecipe)
    torch.set_num_threads(1)
    ids = np.random.default_rng(0).integers(0, 13, LANES * LENGTH * NUM_WINDOWS + 1)
    config = recipe.model.config(13)
    total = EPOCHS * NUM_WINDOWS

    torch.manual_seed(5)
    model = LanguageModel(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    inputs = torch.from_numpy(ids[:-1]).view(LANES, -1)
    targets = torch.from_numpy(ids[1:]).view(LANES, -1)
    for update in range(total):
        start = update % NUM_WINDOWS * LENGTH
        if start == 0:
            state = torch.zeros(LANES, config.recurrent.state_size)
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * factor(recipe.schedule, update, total)
        logits, state = model(inputs[:, start : start + LENGTH], state.detach())
        loss = cross_entropy(logits.reshape(-1, 13), targets[:, start : start + LENGTH].reshape(-1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    torch.manual_seed(5)
    windows = Windows(ids, lanes=LANES, length=LENGTH)
    task = GenerationTask(
        recipe,
        Corpus("ids", Origin("ids", "here", "none"), (), (), False, ""),
        Tokenizer.character(["abcdefghijkl"]),  # 13 with <unk>
        batches=windows,
        validation=windows,
        sizes={"validation_tokens": len(ids), "validation_characters": len(ids) - 1},
    )
    fabric = fabric_of(recipe.trainer)
    with RunFolder.opened(recipe.run_path) as folder, launched(fabric) as shard:
        progress = train(task, folder, fabric, shard)
    assert progress.epoch == EPOCHS
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, task.module.model.get_parameter(name)), name


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_nats_over_windows_equal_one_pass_over_the_whole_text(kind: CellKind) -> None:
    torch.manual_seed(3)
    model = LanguageModel(
        LanguageModelConfig(vocab_size=11, embedding_size=6, kind=kind, hidden_size=9, num_layers=2, dropout=0.5)
    )
    ids = np.random.default_rng(0).integers(0, 11, 203)
    model.eval()
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(ids[None, :-1]), model.recurrent.zero_state(1))
    expected = -torch.log_softmax(logits[0].double(), -1)[torch.arange(202), torch.from_numpy(ids[1:])].mean()
    model.train()
    generators = torch.get_rng_state()
    for length in (1, 7, 64, 1000):
        assert mean_nats(model, Windows(ids, lanes=1, length=length)) == pytest.approx(float(expected), abs=1e-6)
    assert model.training
    assert torch.equal(generators, torch.get_rng_state())
