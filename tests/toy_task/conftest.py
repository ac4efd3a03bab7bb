import string
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_model

from models.bundle import Bundle
from models.tokenizer import Tokenizer
from tests.toy_task.export import Tagger
from tests.toy_task.record import TAGGING

REFERENCE = "tests.toy_task.export:Tagger"


@pytest.fixture(scope="package")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Wrapped by the command line, which imports the registration first."""
    folder = tmp_path_factory.mktemp("toy")
    tokenizer = Tokenizer.character([string.ascii_lowercase + " .,"], end_token=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_json())
    torch.manual_seed(0)
    save_model(Tagger(), str(folder / "weights.safetensors"))
    arguments = [sys.executable, "-m", "export", "--import", "tests.toy_task.export", "wrap", REFERENCE]
    options = {"task": TAGGING.name, "tokenizer": folder / "tokenizer.json", "weights": folder / "weights.safetensors"}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    wrapped = [*arguments, *flags, "--labels", "O,B,I", "--to", str(folder / "store" / "tagger")]
    done = subprocess.run(wrapped, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Bundle(folder / "store" / "tagger" / "1")
