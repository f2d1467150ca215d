"""Rows of a weight that stays in its mapped file, as an embedding: rows that were read are not left in memory.

Reading one row brings up to 2 MB of its neighbours (the kernel maps what it holds of the file), so that some seconds of
speech would make an embedding of 311 MB resident. A weight that is not in a mapped file is read as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .host_memory import FilePages

KEPT_ROWS = 16  # read before their pages are let go


class FileRows(nn.Embedding):
    """ids `[...]` -> rows `[..., width]` of `weight` `[rows, width]`, which is never written to."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.shape[0], weight.shape[1], _weight=weight.detach(), _freeze=True)
        self._pages = FilePages.of(weight)

    def forward(self, ids: Tensor) -> Tensor:
        if self._pages is None:
            return super().forward(ids)
        rows = self.weight.new_empty(ids.numel(), self.embedding_dim)
        for some, into in zip(ids.flatten().split(KEPT_ROWS), rows.split(KEPT_ROWS), strict=True):
            torch.index_select(self.weight, 0, some, out=into)
            self._pages.release()
        return rows.view(*ids.shape, self.embedding_dim)
