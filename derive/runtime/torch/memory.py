"""Tensors and arrays: the same memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from .passes import Array

KINDS = {torch.float32: np.dtype(np.float32).str, torch.float64: np.dtype(np.float64).str}


class _Memory:
    """What NumPy is told of a tensor, which stays alive as long as an array of it does."""

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: Tensor, kind: str) -> None:
        size = tensor.element_size()
        self.tensor = tensor
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": kind,
            "shape": tuple(tensor.shape),
            "strides": tuple([step * size for step in tensor.stride()]),
            "data": (tensor.data_ptr(), False),
        }


def array(tensor: Tensor) -> Array:
    """Return an array in a tensor's memory; of one that does not lie row by row, a copy, which kernels would make more slowly.

    That of a parameter is not had by `Tensor.numpy`, since PyTorch never frees memory of which it has once given an array; and
    `fully_shard` frees it after each pass: there, a parameter is whole only while its layer runs.
    """
    if type(tensor) is Parameter and tensor.device.type == "cpu" and (kind := KINDS.get(tensor.dtype)):
        return np.asarray(_Memory(tensor, kind))
    found: Array = (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()
    return found
