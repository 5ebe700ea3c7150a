"""The key-value cache of generation, with room for the whole answer from the first token on.

transformers' own grows by concatenation: every token copies everything before it, in every layer,
and holds both copies for a moment.
"""

from typing import Any

import torch
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """A layer that writes into a buffer; `keys` and `values` are its filled part."""

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._capacity = capacity
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the newest states; all keys and values so far, (rows, heads, length, size)."""
        filled = self.get_seq_length()
        end = filled + key_states.shape[-2]
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._buffers = self._make_room(key_states, end), self._make_room(value_states, end)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., filled:end, :] = states
        return self._show(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Only keep these rows of the batch."""
        if self._buffers is not None:
            filled = self.get_seq_length()
            keys, values = self._buffers
            self._buffers = keys[indices], values[indices]
            self._show(filled)

    def _make_room(self, states: torch.Tensor, least: int) -> torch.Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, max(self._capacity, least), size)

    def _show(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        assert self._buffers is not None, "there is something to show"
        keys, values = self._buffers
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values


def make_cache(config: PretrainedConfig, capacity: int) -> DynamicCache:
    """An empty cache for `capacity` tokens. Layers that keep a window or a state only stay as the
    architecture has them."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
