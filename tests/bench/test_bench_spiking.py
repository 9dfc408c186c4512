"""The eager program of a cell that changes gradients is that of the cell's text."""

from __future__ import annotations

import torch

from derive import Cell
from derive.bench.transcript import transcribe
from derive.verify.evaluate import evaluate

SPIKES = Cell(
    "u = 0.9 * u_prev + clip_gradient(W @ x, -0.1, 0.1) - detach(spike(u_prev - 1))\ns = spike(scale_gradient(u, 0.5) - 1)",
    name="spikes",
    output="s",
    functions={"spike(u)": ("step(u)", "1 / (1 + abs(u)) ** 2")},
)


def test_the_program_has_the_derivatives_of_the_cells_own() -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = {"x": (5, 3), "u_prev": (5, 4), "W": (4, 3)}
    given = {name: torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_() for name, shape in shapes.items()}
    program = transcribe(SPIKES, {name: value.detach() for name, value in given.items()})
    found, _ = program.step(given["x"], given["u_prev"], *program.prepare(given["W"]))
    want = evaluate(SPIKES, given, torch)["s"]
    dy = torch.randn(5, 4, generator=draw, dtype=torch.float64)
    assert torch.equal(found, want)
    for got, expected in zip(*(torch.autograd.grad(y, [*given.values()], dy) for y in (found, want)), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
