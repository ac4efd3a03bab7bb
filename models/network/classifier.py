"""The classifier: embedding, stack, pooling over each row's own time steps, head."""

import torch
from torch import Tensor, nn

from models.config import ClassifierConfig
from models.network.attention import attention_weights, context_vectors
from models.network.recurrent import RecurrentStack


class Classifier(nn.Module):
    """Scores a text's classes.

    Args:
        config: sizes, cell kind, directions, pooling, classes.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        nn.init.normal_(self.embedding.weight, std=config.embedding_size**-0.5)
        self.recurrent = RecurrentStack(config.recurrent)
        width = config.recurrent.output_size
        if config.pooling == "attention":
            self.score = nn.Linear(width, 1, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, config.num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            ids: int64 [batch, time]; what lies past lengths[i] is ignored.
            lengths: int [batch], each 1..time.

        Returns:
            float [batch, num_classes].
        """
        inputs = self.dropout(self.embedding(ids))
        outputs, final = self.recurrent(inputs, self.recurrent.zero_state(ids.shape[0]), lengths)
        logits: Tensor = self.head(self.dropout(self.pooled(outputs, final, lengths)))
        return logits

    def pooled(self, outputs: Tensor, final: Tensor, lengths: Tensor) -> Tensor:
        """One vector for each text.

        Args:
            outputs: float [batch, time, width], of the stack.
            final: float [batch, D], the stack's state after each row's last input.
            lengths: int [batch].

        Returns:
            float [batch, width].
        """
        config, width = self.config, outputs.shape[-1]
        if config.pooling == "last":
            end = config.num_layers * width
            return final[:, end - width : end]
        positions = torch.arange(outputs.shape[1], device=outputs.device, dtype=lengths.dtype)
        is_valid = positions.unsqueeze(0) < lengths.unsqueeze(1)
        if config.pooling == "max":
            return torch.where(is_valid.unsqueeze(2), outputs, float("-inf")).amax(dim=1)
        if config.pooling == "mean":
            weights = (is_valid.to(outputs.dtype) / lengths.to(outputs.dtype).unsqueeze(1)).unsqueeze(1)
        else:
            weights = attention_weights(self.score(outputs).transpose(1, 2), lengths)
        return context_vectors(weights, outputs).squeeze(1)
