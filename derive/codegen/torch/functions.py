"""How the language's functions are called in PyTorch: as one operation, where its value and both derivatives are the language's."""

from __future__ import annotations

HELPERS = {
    "_kept": '''def _kept(chosen: Tensor, x: Tensor) -> Tensor:
    """Return what a branch reads: a constant where it is not chosen, so that no slope there is multiplied by zero."""
    return torch.where(chosen, x, x.detach())''',
    "_elu": """def _elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.expm1(x.clamp(max=0)))""",
    "_hard_sigmoid": """def _hard_sigmoid(x: Tensor) -> Tensor:
    return torch.nn.functional.relu6(x + 3) / 6""",
    "_positive": """def _positive(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)""",
    "_layer_norm": """def _layer_norm(x: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])""",
    "_picked": """def _picked(x: Tensor, index: Tensor) -> Tensor:
    return torch.take_along_dim(x.expand(*index.shape, -1), index.long().unsqueeze(-1), -1).squeeze(-1)""",
}
_FUNCTIONAL = {name: name for name in ("silu", "gelu", "softsign", "logsigmoid")} | {"hard_tanh": "hardtanh"}
CALLS = {
    **{known: f"torch.nn.functional.{theirs}({{}})" for known, theirs in _FUNCTIONAL.items()},
    "softplus": "-torch.nn.functional.logsigmoid(-{})",  # PyTorch's own is linear above 20
    "elu": "_elu({})",  # PyTorch's own has another second derivative at 0
    "hard_sigmoid": "_hard_sigmoid({})",  # PyTorch's own has no second derivative
    "step": "_positive({})",
    "logsumexp": "torch.logsumexp({}, -1)",
    "softmax": "torch.softmax({}, -1)",
    "layer_norm": "_layer_norm({})",
    "pick": "_picked({}, {})",
}
"""How functions are called that PyTorch has under another name, or otherwise than the language means them."""
