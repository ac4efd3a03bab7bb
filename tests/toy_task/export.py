"""How a tagger becomes graphs, and a small one."""

from functools import partial

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from export.tasks.registry import register_export
from export.tasks.task import TaskExport
from export.user_module.wrap.batch import batch_figures, user_batch_model
from tests.toy_task.record import TAGGING

register_export(TaskExport(TAGGING.name, partial(user_batch_model, TAGGING.name), batch_figures))


class Tagger(nn.Module):
    def __init__(self, vocab_size: int = 31, num_classes: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 8)
        self.recurrent = nn.GRU(8, 12, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, num_classes)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True, total_length=ids.shape[1])
        logits: Tensor = self.head(outputs)
        return logits
