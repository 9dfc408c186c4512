"""Tensors and arrays: the same memory."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

Array = np.ndarray
KINDS: dict[torch.dtype, np.dtype[Any]] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


def array(tensor: Tensor) -> Array:
    """Return an array in a tensor's memory; of one that does not lie row by row, a copy, which kernels would make more slowly.

    That of a parameter is not had by `Tensor.numpy`, since PyTorch never frees memory of which it has once given an array; and
    `fully_shard` frees it after each pass: there, a parameter is whole only while its layer runs.
    """
    if type(tensor) is Parameter and tensor.is_cpu and tensor.is_contiguous() and tensor.dtype in KINDS:
        memory = (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())
        memory.tensor = tensor  # which stays alive as long as the array
        return np.ndarray(tuple(tensor.shape), KINDS[tensor.dtype], memory)
    found: Array = (tensor.detach() if tensor.requires_grad else tensor).contiguous().numpy()
    return found
