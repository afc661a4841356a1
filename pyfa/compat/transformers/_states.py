"""Keys and values that are tensors only if they have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree

if TYPE_CHECKING:
    from ._layer import PyfaLayer


class CachedStates(torch.Tensor):
    """The keys or the values of a layer's last update, made into a tensor when anything but pyfa reads them."""

    layer: PyfaLayer
    values: bool
    version: int
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(  # noqa: PYI034  # typing.Self is newer than Python 3.10
        cls: type[CachedStates], layer: PyfaLayer, values: bool, like: torch.Tensor, length: int
    ) -> CachedStates:
        """Stand for what `layer` has; of the type and shape of `like`, with so many tokens."""
        shape = (*like.shape[:2], length, like.shape[3])
        made: CachedStates = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=like.dtype, device=like.device)
        made.layer, made.values, made.version = layer, values, layer.version
        return made

    def read(self) -> PyfaLayer:
        """Return the layer, if it has not changed since."""
        if self.version != self.layer.version:
            raise RuntimeError("keys and values of a PyfaCache: expected to be read before its next update, got later")
        return self.layer

    def materialize(self) -> torch.Tensor:
        """Return keys or values ``[B, Hkv, kL, D]`` as the codec has them."""
        return self.read().states()[self.values]

    def __repr__(self) -> str:
        return f"CachedStates({'values' if self.values else 'keys'}, shape={tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with the tensors."""
        del types
        args, kwargs = _pytree.tree_map_only(cls, cls.materialize, (args, kwargs or {}))
        return function(*args, **kwargs)
