"""The tagger: embedding of a token's fields, stack in both directions, a head at every token."""

import torch
from torch import Tensor, nn

from models.config import TaggerConfig
from models.network.recurrent import RecurrentStack


class FieldEmbedding(nn.Module):
    """A vector for each token: those of its fields, one after the other.

    A token's id is its fields' numbers in mixed radix, the first field lowest (models.words): with fields of 3 and 5
    values, id 7 has the numbers 1 and 2.

    Args:
        sizes: of each field, how many numbers it has.
        widths: of each field's vectors.
    """

    def __init__(self, sizes: list[int], widths: list[int]) -> None:
        super().__init__()
        self.sizes = sizes
        tables = [nn.Embedding(size, width) for size, width in zip(sizes, widths, strict=True)]
        for table in tables:
            nn.init.normal_(table.weight, std=widths[0] ** -0.5)
        self.tables = nn.ModuleList(tables)

    @property
    def weight(self) -> Tensor:
        """The first field's vectors, float [sizes[0], widths[0]]."""
        first = self.tables[0]
        assert isinstance(first, nn.Embedding)
        return first.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors, float [..., sum of widths], of ids int64 [...], each at least 0 and below the product of sizes."""
        vectors = []
        for number, (size, table) in enumerate(zip(self.sizes, self.tables, strict=True)):
            is_last = number == len(self.sizes) - 1
            vectors.append(table(ids if is_last else ids % size))
            ids = ids // size  # integers in ONNX too; torch.div with a rounding mode becomes floats there
        return torch.cat(vectors, dim=-1) if len(vectors) > 1 else vectors[0]


class Tagger(nn.Module):
    """Scores the classes of each token of a text.

    Args:
        config: fields, cell kind, directions, classes.

    Attributes:
        transitions: float [C + 1, C + 1], of a tagger with a CRF (models.crf); `forward` gives its emissions.
    """

    def __init__(self, config: TaggerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = FieldEmbedding(config.field_sizes, config.field_widths)
        self.recurrent = RecurrentStack(config.recurrent)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.recurrent.output_size, config.num_classes)
        side = config.num_classes + 1
        self.transitions = nn.Parameter(torch.zeros(side, side)) if config.crf else None

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the classes.

        Args:
            ids: int64 [batch, time]; what lies past lengths[i] is ignored.
            lengths: int [batch], each 1..time.

        Returns:
            float [batch, time, num_classes]; what lies past lengths[i] means nothing.
        """
        inputs = self.dropout(self.embedding(ids))
        outputs, _ = self.recurrent(inputs, self.recurrent.zero_state(ids.shape[0]), lengths)
        logits: Tensor = self.head(self.dropout(outputs))
        return logits
