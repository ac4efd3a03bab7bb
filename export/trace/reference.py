"""PyTorch's answers, which every exported graph is held against."""

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.network.language_model import LanguageModel

Floats = NDArray[np.float32]


def language_model(bundle: Bundle) -> LanguageModel:
    """The bundle's model in torch, in evaluation mode."""
    model = LanguageModel(bundle.config)
    tensors = {name: torch.from_numpy(array) for name, array in bundle.weights().items()}
    if bundle.config.tied_embeddings:
        tensors["head.weight"] = tensors["embedding.weight"]
    model.load_state_dict(tensors)
    return model.eval()


class LanguageModelReference:
    """Teacher-forced answers in numpy arrays.

    Args:
        model: the torch model.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def score(self, ids: NDArray[np.int64], lengths: NDArray[np.int32], state: Floats) -> tuple[Floats, Floats]:
        """Logits at every position, [batch, time, V], and the state after each row, [batch, D]."""
        with torch.inference_mode():
            logits, new_state = self._model(torch.from_numpy(ids), torch.from_numpy(state), torch.from_numpy(lengths))
        return logits.numpy(), new_state.numpy()

    def sample(self, num_rows: int, num_tokens: int, seed: int) -> NDArray[np.int64]:
        """Text that the model writes itself, int64 [num_rows, num_tokens]: what it is likely to meet when it serves."""
        generator = torch.Generator().manual_seed(seed)
        vocab_size = self._model.config.vocab_size
        token = torch.randint(vocab_size, (num_rows,), generator=generator)
        tokens = [token]
        with torch.inference_mode():
            state = self._model.recurrent.zero_state(num_rows)
            while len(tokens) < num_tokens:
                logits, state = self._model(token.unsqueeze(1), state)
                token = torch.multinomial(logits[:, 0].softmax(-1), 1, generator=generator)[:, 0]
                tokens.append(token)
        return torch.stack(tokens, dim=1).numpy()
