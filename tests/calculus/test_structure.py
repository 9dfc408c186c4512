"""Structure read off the symbolic Jacobian, against what is known of the published cells."""

from __future__ import annotations

import pytest

from derive import Cell
from derive.cells import REGISTRY, get

DIAGONAL = {"indrnn", "brc", "sru_v1", "qrnn", "mingru", "minlstm", "trnn", "tgru"}
DIAGONAL |= {"lif", "lif_no_reset", "lif_refractory", "plif"}
AFFINE = {"sru_v1", "qrnn", "mingru", "minlstm", "trnn", "tgru", "lru", "lif_no_reset"}
BLOCKS = {"lru", "eprop_lif"}
LINEAR = {"linear_attention", "retnet", "gla", "hgrn2", "gsa", "deltanet", "gated_deltanet", "gdn2", "comba", "gated_oja", "mesanet"}
LINEAR |= {"rwkv7", "mamba"}  # given their buffers
MATRICES = LINEAR | {"mlstm", "fast_weights", "plasticity", "ttt_linear", "ltc"}
STATELESS = {name for name, cell in REGISTRY.items() if not cell.states}


@pytest.mark.parametrize("name", REGISTRY)
def test_published_cells(name: str) -> None:
    found = get(name).structure
    kinds = {"matrix": MATRICES, "none": STATELESS, "diagonal": DIAGONAL, "blocks": BLOCKS}
    assert found.coupling == next((kind for kind, names in kinds.items() if name in names), "dense")
    assert found.affine == (name in AFFINE | STATELESS | LINEAR)


def test_lru() -> None:
    found = get("lru").structure
    assert found.per_unit == 2 and found.affine
    assert set(found.additive) == {"gamma", "B_re", "B_im", "C_re", "C_im", "Dv"}


BUFFERS = {"qrnn": ("xl",), "tgru": ("xl",), "rwkv7": ("last",), "mamba": ("e", "e1", "e2")}


@pytest.mark.parametrize("name", REGISTRY)
def test_buffers_do_not_count(name: str) -> None:
    found = get(name).structure
    assert found.buffers == BUFFERS.get(name, ())
    assert not found.buffers or (found.affine and "yes, given the buffers" in found.text())


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("a = x\nb = a_prev\nh = tanh(h_prev) + b_prev", ("a", "b")),  # an input on its way
        ("a = x + b_prev\nb = a_prev\nh = 0.5 * h_prev + b", ()),  # in a circle: it never leaves
        ("a = step(h_prev) + x\nb = a_prev\nh = 0.5 * h_prev + b", ()),  # without a derivative, but not without the state
    ],
)
def test_buffers_are_made_of_inputs_alone(text: str, held: tuple[str, ...]) -> None:
    found = Cell(text, name="c", output="h").structure
    assert found.buffers == held and found.affine == ("tanh" not in text and "step" not in text)


def test_only_added() -> None:
    assert get("mingru").structure.additive == ("W_h", "b_h")
    assert get("lstm").structure.additive == ()


def test_blocks_are_what_is_coupled() -> None:
    cell = Cell("a = 0.5 * a_prev + 0.1 * b_prev + x\nb = a_prev - b_prev\nc = 0.9 * c_prev + x\ny = a + b + c", name="pairs", output="y")
    assert (cell.structure.coupling, cell.structure.per_unit, cell.structure.affine) == ("blocks", 2, True)


def test_in_words() -> None:
    assert get("lru").structure.text().splitlines() == [
        "state to state       2×2 blocks: the 2 states of a unit depend on one another, on no others",
        "affine in the state  yes: a parallel scan could compute it",
        "not in the Jacobian  gamma, B_re, B_im, C_re, C_im, Dv",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "h = 0.9 * h_prev - step(h_prev - 1) + x",
        "h = 0.9 * h_prev - detach(h_prev * h_prev) + x",
        "h = where(h_prev > 0, 2 * x, x) + 0.5 * h_prev",
    ],
)
def test_what_has_no_derivative_is_not_affine(line: str) -> None:
    """The Jacobian alone would say that a scan does: what depends on the state without a derivative is not in it."""
    found = Cell(line, name="c", output="h").structure
    assert found.coupling == "diagonal" and not found.affine


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("linear_attention", [("S", "kept", "", (), True)]),
        ("retnet", [("S", "a number", "fixed", (), True)]),
        ("gla", [("S", "columns", "input", (), True)]),
        ("gsa", [("K", "rows", "input", (), True), ("V", "rows", "input", (), True)]),
        ("gated_deltanet", [("S", "a number", "input", ("S k",), True)]),
        ("gated_oja", [("S", "rows", "input", ("Sᵀ v",), True)]),
        ("rwkv7", [("S", "columns", "input", ("S k",), True)]),  # its other state is the input before
        ("mlstm", [("C", "a number", "state", (), True)]),
        ("mamba", [("h", "elements", "input", (), True)]),
        ("plasticity", [("Q", "a number", "learned", ("S k",), False)]),
        ("ttt_linear", [("M", "kept", "", ("S k",), False)]),
        ("lstm", []),
    ],
)
def test_memories(name: str, wanted: list[tuple[object, ...]]) -> None:
    found = get(name).structure
    assert [(m.state, m.decay, m.by, m.corrects, m.affine) for m in found.memories] == wanted
    assert all(f"{m.state:<20} " in found.text() for m in found.memories)


def test_a_memory_of_its_own_square_is_not_affine() -> None:
    cell = Cell("S = S_prev * S_prev + outer(x, x)\ny = S @ x", name="square", output="y", shapes={"x": "n"})
    assert [(m.decay, m.by, m.affine) for m in cell.structure.memories] == [("elements", "state", False)]
    cell = Cell("S = tanh(S_prev) + outer(x, x)\ny = S @ x", name="bent", output="y", shapes={"x": "n"})
    assert [(m.by, m.affine) for m in cell.structure.memories] == [("state", False)]
