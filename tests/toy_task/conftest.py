import string

import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_model

from models.bundle import Bundle
from models.tokenizer import Tokenizer
from tests.forked import Program
from tests.toy_task.export import Tagger
from tests.toy_task.record import TAGGING

REFERENCE = "tests.toy_task.export:Tagger"


@pytest.fixture(scope="session")
def bundle(program: Program, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Bundle:
    """Wrapped by the command line, which imports the registration first; once a run. Read only."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "toy"  # of all workers of this run
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not (folder / "store").exists():
            tokenizer = Tokenizer.character([string.ascii_lowercase + " .,"], end_token=True)
            (folder / "tokenizer.json").write_text(tokenizer.to_json())
            torch.manual_seed(0)
            save_model(Tagger(), str(folder / "weights.safetensors"))
            options = {
                "task": TAGGING.name,
                "tokenizer": folder / "tokenizer.json",
                "weights": folder / "weights.safetensors",
                "labels": "O,B,I",
                "to": folder / "store" / "tagger",
            }
            flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
            done = program("export", "--import", "tests.toy_task.export", "wrap", REFERENCE, *flags)
            assert done.returncode == 0, done.stderr
    return Bundle(folder / "store" / "tagger" / "1")
