"""Weights of each kind of file, and what is reported of files that do not fit."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from export.user_module import weights
from export.user_module.source import load_module
from export.user_module.weights import load_weights
from export.user_module.wrap.wrap import wrap_model
from models.errors import ExportError
from tests.export.user_module.modules.tagging import Tagger
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.test_wrap import options


class Whole(nn.Module):
    """Saved whole, as a pickle of its class."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2)


class Settings:
    """Of a training script, beside the weights."""


class Training(lightning.LightningModule):
    """Trains a tagger as a user does."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Tagger()
        self.criterion = nn.CrossEntropyLoss(weight=torch.ones(7))

    def training_step(self, batch: Any) -> Tensor:
        return sum((parameter**2).sum() for parameter in self.model.parameters())  # type: ignore[return-value]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trained() -> Tagger:
    torch.manual_seed(9)
    return Tagger()


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in trained().state_dict().items()}


def loaded(path: Path) -> list[str]:
    """Load into another module, compare, and give what was said."""
    torch.manual_seed(1)
    module, said = Tagger(), list[str]()
    load_weights(module, path, said.append)
    for name, tensor in trained().state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name
    return said


def refusal(path: Path, module: nn.Module | None = None) -> str:
    before = path.read_bytes()
    with pytest.raises(ExportError) as caught:
        load_weights(module or Tagger(), path)
    assert path.read_bytes() == before
    return str(caught.value)


NUM = len(Tagger().state_dict())


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.bin", "w.safetensors"])
def test_a_state_dict_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    torch.save(trained().state_dict(), tmp_path / name)
    assert loaded(tmp_path / name) == []


@pytest.mark.parametrize("start", [b"\x80", b"PK"])
def test_a_safetensors_file_whose_header_has_the_length_of_another_kinds_mark(tmp_path: Path, start: bytes) -> None:
    save_file(trained().state_dict(), tmp_path / "w.safetensors")
    raw = (tmp_path / "w.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, longer = raw[8 : 8 + length], int.from_bytes(start, "little")
    while longer < length:
        longer += 256 ** len(start)
    padded = longer.to_bytes(8, "little") + header.ljust(longer) + raw[8 + length :]
    assert padded.startswith(start)
    (tmp_path / "w.safetensors").write_bytes(padded)
    assert loaded(tmp_path / "w.safetensors") == []


def test_the_older_format_of_torch_save(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert loaded(tmp_path / "w.pt") == []


@pytest.mark.parametrize("key", weights.NESTED)
def test_nested_weights_are_found(tmp_path: Path, key: str) -> None:
    torch.save({key: trained().state_dict(), "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt") == [f"weights: taken from {key} in {tmp_path / 'w.pt'}"]


@pytest.mark.parametrize("prefix", weights.PREFIXES)
def test_a_prefix_is_taken_off(tmp_path: Path, prefix: str) -> None:
    torch.save(prefixed(prefix), tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt") == [f"weights: took {prefix} off {NUM} names"]


def test_several_prefixes_and_compiled_parts(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed("model._orig_mod.module.")}, tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt")[1:] == [
        "weights: took _orig_mod. out of the names",
        f"weights: took model. off {NUM} names",
        f"weights: took module. off {NUM} names",
    ]
    part = {name.replace("head.", "head._orig_mod."): value for name, value in trained().state_dict().items()}
    torch.save(part, tmp_path / "part.pt")
    assert loaded(tmp_path / "part.pt") == ["weights: took _orig_mod. out of the names"]


def test_a_prefix_that_is_the_modules_own_stays(tmp_path: Path) -> None:
    outer = nn.ModuleDict({"model": nn.Linear(2, 2)})
    torch.save(outer.state_dict(), tmp_path / "w.pt")
    said: list[str] = []
    load_weights(nn.ModuleDict({"model": nn.Linear(2, 2)}), tmp_path / "w.pt", said.append)
    assert said == []
    load_weights(nn.Linear(2, 2), tmp_path / "w.pt", said.append)
    assert said == ["weights: took model. off 2 names"]


@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_a_checkpoint_that_lightning_wrote(tmp_path: Path) -> None:
    torch.manual_seed(9)
    training = Training()
    trainer = lightning.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[ModelCheckpoint(dirpath=tmp_path, filename="last", every_n_train_steps=1)],
    )
    batches = torch.utils.data.DataLoader(torch.zeros(1, 1))  # type: ignore[arg-type, var-annotated]
    trainer.fit(training, batches)
    path = tmp_path / "last.ckpt"
    module, said = Tagger(), list[str]()
    load_weights(module, path, said.append)
    for name, tensor in training.model.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor), name
    assert said == [
        f"weights: taken from state_dict in {path}",
        f"weights: took model. off {NUM} names",
        "weights: not the module's, left out: criterion.weight",
    ]


def test_tied_weights_are_enough_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.other.weight = self.one.weight

    torch.save({"other.weight": torch.eye(3)}, tmp_path / "w.pt")
    module = Tied()
    load_weights(module, tmp_path / "w.pt")
    assert torch.equal(module.one.weight, torch.eye(3))


def test_a_whole_module_is_refused_with_its_class_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save(Whole(), path)
    (tmp_path / "whole-weights.pt").write_bytes(b"a user's")
    message = refusal(path)
    assert f"{path} holds objects of " in message
    assert "tests.export.user_module.test_weights.Whole" in message
    advice = message.split("can be imported: ")[1].split("; then ")[0]
    assert f"'{tmp_path / 'whole-weights-2.pt'}'" in advice
    exec(advice, {"torch": torch})  # what is advised works, and writes over nothing
    assert (tmp_path / "whole-weights.pt").read_bytes() == b"a user's"
    load_weights(Whole(), tmp_path / "whole-weights-2.pt")


@pytest.mark.parametrize("is_new", [True, False])
def test_settings_beside_the_weights_are_named(tmp_path: Path, is_new: bool) -> None:
    path = tmp_path / "w.ckpt"
    found = {"state_dict": trained().state_dict(), "hyper_parameters": Settings()}
    torch.save(found, path, _use_new_zipfile_serialization=is_new)
    message = refusal(path)
    assert "test_weights.Settings" in message
    exec(message.split("can be imported: ")[1].split("; then ")[0], {"torch": torch})
    assert loaded(tmp_path / "w-weights.pt") == []


def test_a_torchscript_archive_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    torch.save(trained().state_dict(), tmp_path / "w.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:2000])
    assert "is not a whole file of torch.save" in refusal(tmp_path / "cut.pt")
    (tmp_path / "b.pt").write_bytes(b"\x80\x02nothing")
    assert f"{tmp_path / 'b.pt'} " in refusal(tmp_path / "b.pt")
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))  # type: ignore[no-untyped-call]
    message = refusal(tmp_path / "script.pt")
    assert "TorchScript" in message
    assert "script-weights.pt" in message


@pytest.mark.parametrize("found", [[1, 2], {"epoch": 3}, {}, {"state_dict": {}}, torch.zeros(2)])
def test_what_holds_no_weights_is_refused(tmp_path: Path, found: Any) -> None:
    torch.save(found, tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert "torch.save(model.state_dict(), " in message
    assert "w-weights.pt" in message


def test_names_and_shapes_that_differ_are_listed(tmp_path: Path) -> None:
    state = dict(trained().state_dict())
    path = tmp_path / "w.pt"
    torch.save({**state, "head.weight": torch.zeros(7, 21)}, path)
    assert "head.weight is [7, 21] in the file, [7, 20] in the module" in refusal(path)
    del state["head.bias"]
    torch.save({**state, **{f"extra.{number:02}": torch.zeros(1) for number in range(13)}}, path)
    message = refusal(path)
    assert "the file lacks head.bias; the module has no extra.00, " in message
    assert "extra.09 and 3 more" in message
    assert "extra.10" not in message


def test_wrap_takes_a_checkpoint_and_says_what_was_taken_off(tmp_path: Path) -> None:
    torch.manual_seed(5)
    model = user_modules.PlainLM()
    path = tmp_path / "lm.ckpt"
    torch.save({"state_dict": {f"model.{name}": value for name, value in model.state_dict().items()}}, path)
    said: list[str] = []
    found = wrap_model(options(tmp_path, "PlainLM", "generation", weights=path), said.append)
    assert said[:2] == [
        f"weights: taken from state_dict in {path}",
        f"weights: took model. off {len(model.state_dict())} names",
    ]
    stored = load_file(found.bundle.path / "weights.safetensors")
    assert any(torch.equal(value, model.state_dict()["emb.weight"]) for value in stored.values())


def test_export_module_takes_what_torch_save_wrote(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(prefixed("module."), path)
    said: list[str] = []
    module = load_module("tests.export.user_module.modules.tagging:Tagger", path, said.append)
    assert torch.equal(module.state_dict()["head.bias"], trained().state_dict()["head.bias"])
    assert said == [f"weights: took module. off {NUM} names"]
