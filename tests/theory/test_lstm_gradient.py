"""The pages on the gradients of the LSTM, the GRU and matrix memories: formulas, figures, numbers in the text, exercises, the notebook."""

from __future__ import annotations

import contextlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from derive import Cell, theory
from derive.calculus.derivation import differentiate
from derive.cells import REGISTRY
from derive.notation.text import backward_lines, forward_lines, tagged_formulas
from derive.notation.written import latex_of
from derive.picture.stage import backward, drawn, forward, named
from derive.picture.switches import Circuit, switched
from derive.program.pipeline import compile_cell
from derive.theory.stages import STAGES
from generated import deltanet, lstm

PAGES = Path(__file__).parents[2] / "docs" / "theory"
SVG = "{http://www.w3.org/2000/svg}"
LSTM = REGISTRY["lstm"]
DELTANET = REGISTRY["deltanet"]
GATES = "ifgo"
GRU_TAGS = "F1 F2 F3 F4 B1 B2 B3 B5 B6 B4 B7 B8 B9 B11 B12 B13 B17 B18 B19 B20"


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def printed(name):
    """Return what a page shows as printed, all blocks in one."""
    return "\n".join(re.findall(r"^```text\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL))


def solution(number, name="lstm-gradient"):
    return re.search(rf"^{number}\. (.*)$", page(name).partition("## Solutions")[2], re.MULTILINE)[1]


def zeros(n, batch=1):
    return lstm.State(c=np.zeros((batch, n)), h=np.zeros((batch, n)))


def problem(steps=5, d=3, n=4, seed=0):
    random = np.random.default_rng(seed)
    x, dy = random.standard_normal((steps, 2, d)), random.standard_normal((steps, 2, n))
    return x, dy, lstm.init(d, n, seed=seed, dtype=np.float64)


# ------------------------------------------------------------------------------------------------------------------------------ formulas


def tagged(text):
    """Return the numbered formulas of a page in its order, as (number, formula)."""
    found = re.findall(r"^(.+?) &= (.+?) && \\quad \\text\{\(([FB]\d+)\)\}(?: \\\\)?$", text, re.MULTILINE)
    return [(tag, f"{left} = {right}") for left, right, tag in found]


def derived(cell):
    return forward_lines(cell, latex_of(cell)) | backward_lines(cell, latex_of(cell))


def test_every_formula_of_the_lstm_is_there_as_it_is_derived():
    found = tagged(page("lstm-gradient"))
    lines = derived(LSTM)
    assert all(lines[tag] == line for tag, line in found)
    assert sorted(tag for tag, _ in found) == sorted([*(f"F{k}" for k in range(1, 7)), *(f"B{k}" for k in range(1, 17))])
    assert len(lines) - 6 == 25  # "25 lines long"; the rest is as B14 to B16, for the other layers
    for k, gate in enumerate("ifgo"):
        for j in range(3):
            assert lines[f"B{14 + 3 * k + j}"] == re.sub(r"_\{i(?=[,}])", f"_{{{gate}", lines[f"B{14 + j}"])


def test_the_formulas_of_the_gru_and_of_deltanet_are_as_they_are_derived():
    after, _, before = page("gru-gradient").partition("## Why the reset")
    assert len(derived(REGISTRY["gru"])) - 4 == 20  # "20 lines"
    for text, cell, tags in ((after, "gru", GRU_TAGS), (before, "gru_v3", "B6 B7")):
        lines = derived(REGISTRY[cell])
        assert tagged(text) == [(tag, lines[tag]) for tag in tags.split()]
    lines = derived(REGISTRY["deltanet"])
    assert tagged(page("memories")) == [(tag, lines[tag]) for tag in ("F5", "F6", "B1", "B2", "B11", "B3", "B5", "B7", "B15")]


def test_the_block_through_h_is_that_of_the_jacobian():
    block = LSTM.jacobian().latex().splitlines()[1]
    shown = re.search(r"\\frac\{\\partial c_\{t\}\}.*?\\end\{aligned\}", page("lstm-gradient"), re.DOTALL)[0]
    assert shown.replace("&", "").replace(r" \\" + "\n", " ").replace("\n\\end{aligned}", "") == block


# ------------------------------------------------------------------------------------------------------------------------------- figures


def lit(picture):
    """Return the texts of a picture that are lit, and the values of its wires by how they are drawn."""
    root = ElementTree.fromstring(picture)
    faint = {element for group in root.iter(f"{SVG}g") if group.get("class") == "faint" for element in group.iter()}
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text") if text not in faint]
    ways = {}
    for kind in ("back", "known", "control", "faint"):
        groups = (group for group in root.iter(f"{SVG}g") if group.get("class") == kind)
        ways[kind] = {int(path.get("data-value")) for group in groups for path in group.iter(f"{SVG}path") if path.get("class") == "wire"}
    return texts, ways


def test_a_line_is_lit_with_what_it_reads():
    assert sorted(lit(forward(LSTM, ["F2"]))[0]) == ["f", "ht−1", "xt", "σ"]
    assert sorted(lit(forward(LSTM, ["F5"]))[0]) == ["ct", "ct−1", "f", "g", "i"]
    with pytest.raises(KeyError, match="of line F9"):
        forward(LSTM, ["F9"])


@pytest.mark.parametrize(
    ("names", "back", "known"),
    [
        (["h"], {"h"}, set()),
        (["c"], {"c"}, {"h"}),
        (["o"], {"o"}, {"h"}),
        (["i", "g"], {"i", "g"}, {"c"}),
        (["f"], {"f"}, {"c"}),
        (["c_prev"], {"c_prev"}, {"c"}),
        (["h_prev", "x"], {"h_prev", "x"}, set()),
    ],
)
def test_a_stage_shows_what_its_formula_makes_and_reads(names, back, known):
    """Wires that run back are the cotangents which the lines make, and those which they read; a layer's own stand in its box."""
    numbers = named(drawn(LSTM))
    inner = {numbers[name] for name in numbers}
    texts, ways = lit(backward(LSTM, names))
    assert ways["back"] & inner == {numbers[name] for name in back}
    assert ways["known"] == {numbers[name] for name in known}
    rec = differentiate(LSTM)["backward"].recurrence
    made = {rec.labels[eq.name].of: eq for eq in rec.body if eq.shown}
    read = {rec.labels[name].of for name in names for name in made[name].node.operands() if rec.labels[name].kind == "cotangent"}
    assert known == read & set(numbers)
    assert len(texts) == len(set(texts)) and all(any("\u0304" in text or text != name for text in texts) for name in names)


def reads(rec, name, drawn_names):
    """Return what a line reads as (whether it is a cotangent, its value), back to what a picture has a name for."""
    made = {eq.name: eq for eq in rec.body}
    found = set()
    for operand in made[name].node.operands():
        label = rec.labels.get(operand)
        of = label.of if label is not None and label.kind in ("cotangent", "seed") else ""
        if of in drawn_names or operand in drawn_names:
            found.add((bool(of), of or operand))
        elif operand in made:
            found |= reads(rec, operand, drawn_names)
    return found


@pytest.mark.parametrize(
    ("names", "known", "beside"),
    [
        (["S", "q"], {"y"}, set()),
        (["S"], {"y"}, {"q"}),
        (["q"], {"y"}, {"S"}),
        (["v", "beta"], {"S"}, {"k"}),
        (["k"], {"S"}, {"S_prev", "beta"}),
        (["S_prev"], {"S"}, {"k", "beta"}),
    ],
)
def test_a_stage_of_a_matrix_memory_shows_what_its_formula_makes_and_reads(names, known, beside):
    """As for the LSTM, and the vectors and matrices that a read and a write have beside what comes back."""
    numbers = named(drawn(DELTANET))
    picture = backward(DELTANET, names)
    texts, ways = lit(picture)
    wires = {int(path.get("data-value")) for path in ElementTree.fromstring(picture).iter(f"{SVG}path") if path.get("class") == "wire"}
    assert {name for name in numbers if numbers[name] in ways["back"]} == {*names}
    assert {name for name in numbers if numbers[name] in ways["known"]} == known
    assert {name for name in numbers if numbers[name] in wires - set().union(*ways.values())} == beside

    rec = differentiate(DELTANET)["backward"].recurrence
    lines = {rec.labels[eq.name].of: eq.name for eq in rec.body if eq.shown and rec.labels[eq.name].kind == "cotangent"}
    read = set().union(*(reads(rec, lines[name], numbers) for name in names))
    assert {name for cotangent, name in read if cotangent} - {*names} == known
    assert {name for cotangent, name in read if not cotangent} - {*names} == beside
    assert ("yt" in texts) == (known == {"y"})  # where the cotangent of the output comes in


def test_a_division_sign_is_lit_with_its_circle_not_with_the_name_beside():
    for names in (["k"], ["S_prev"]):
        root = ElementTree.fromstring(backward(DELTANET, names))
        faint = {element for group in root.iter(f"{SVG}g") if group.get("class") == "faint" for element in group.iter()}
        marks = [path for path in root.iter(f"{SVG}path") if path.get("class") == "mark"]
        assert sorted((mark[0].text, mark in faint) for mark in marks) == [("÷", True), ("÷", True), ("−", False)]


def test_a_stage_names_what_it_reads_by_its_own_name():
    texts, _ = lit(backward(LSTM, ["c"]))
    assert "o" in texts and "h̄t" in texts and "c̄t" in texts and "δo,t" not in texts
    with pytest.raises(KeyError, match="`W_i` is no value in the picture"):
        backward(LSTM, ["W_i"])


@pytest.mark.parametrize(
    ("settings", "live", "silent"),
    [
        ({"f": 1, "i": 0}, {"c_prev", "c", "h", "o", "x", "h_prev"}, {"g"}),
        ({"f": 0, "i": 1}, {"c", "h", "o", "g", "x", "h_prev"}, {"c_prev"}),
        ({"f": 1, "i": 1}, {"c_prev", "c", "h", "o", "g", "x", "h_prev"}, set()),
        ({"o": 0}, {"c_prev", "c", "f", "i", "g", "x", "h_prev"}, {"h"}),
    ],
)
def test_what_switches_leave_is_what_the_kernel_depends_on(settings, live, silent):
    graph = drawn(LSTM)
    numbers = named(graph)
    _, values = Circuit(graph, {numbers[gate]: number for gate, number in settings.items()}).live
    found = {name for name, value in numbers.items() if value in values}
    assert live <= found and not silent & found and set(settings).isdisjoint(found)

    x, _, params = problem(steps=1)
    fixed = {f"{kind}_{gate}": 0 * getattr(params, f"{kind}_{gate}") for gate in settings for kind in "WU"}
    fixed |= {f"b_{gate}": np.full(4, 400.0 if number else -800.0) for gate, number in settings.items()}  # σ is 1 and 0 to the last bit
    random = np.random.default_rng(1)
    state = lstm.State(c=random.standard_normal((2, 4)), h=random.standard_normal((2, 4)))
    _, final, tape = lstm.forward(x, params._replace(**fixed), state)
    grads = lstm.backward(np.ones((1, 2, 4)), tape, lstm.State(c=np.ones((2, 4)), h=np.zeros((2, 4))))
    reached = {"c_prev": grads.state.c, "h_prev": grads.state.h, "x": grads.x}
    reached |= {gate: getattr(grads.params, f"b_{gate}") for gate in GATES}
    for name, gradient in reached.items():
        assert bool(np.abs(gradient).max() > 1e-12) == (name in found), name
    if settings == {"f": 1, "i": 0}:
        np.testing.assert_array_equal(final.c, state.c)
    if settings == {"o": 0}:
        assert not final.h.any()


def test_switches_are_drawn_open_and_closed():
    for settings, count in (({"f": 1, "i": 0}, 2), ({"o": 0}, 1)):
        root = ElementTree.fromstring(switched(LSTM, settings))
        assert len([g for g in root.iter(f"{SVG}g") if g.get("class") == "switch"]) == count
        levers = [p.get("d") for p in root.iter(f"{SVG}path") if p.get("class") == "lever"]
        level = [len({point.split()[1] for point in re.findall(r"[ML](\S+ \S+)", lever)}) == 1 for lever in levers]
        assert level == ([True, False] if count == 2 else [False])
        assert lit(switched(LSTM, settings))[1]["control"] == {named(drawn(LSTM))[gate] for gate in settings}


def test_pictures_stand_in_a_text():
    for name, draw in STAGES.items():
        root = ElementTree.fromstring(draw())
        assert name == "lstm-reading" or root.get("style") == f"--natural: {root.get('width')}px"  # below part of which it scrolls
        assert root.find(f".//{SVG}a") is None and not root.findall(".//*[@id]"), name


def test_a_picture_in_a_page_keeps_its_class(tmp_path):
    markdown = pytest.importorskip("markdown", reason="the extra `docs` is not installed")
    from derive.site.figures import Figures

    (tmp_path / "lstm-forget.svg").write_text(STAGES["lstm-forget"](), encoding="utf-8")
    text = markdown.markdown("![the forget gate](../figures/lstm-forget.svg)", extensions=[Figures(folder=str(tmp_path))])
    (head,) = re.findall(r"<svg [^>]*>", text)
    assert head.count("class=") == 1 and 'class="figure cell"' in head and 'aria-labelledby="lstm-forget-caption"' in head
    assert '<figcaption id="lstm-forget-caption">the forget gate</figcaption>' in text


# ------------------------------------------------------------------------------------------------------------------- numbers in the text


def test_what_the_text_says_of_the_path_through_h():
    rows = re.findall(r"^ +([124]) +([\d.]+) +([\d.]+)$", printed("lstm-gradient"), re.MULTILINE)
    direct, through = np.array(rows, float).T[1:]
    assert 0.28 < through[0] / direct[0] < 0.33 and through[2] > direct[2] and all(np.diff(through) > 0)


def test_the_two_parts_together_are_the_derivative():
    """Of the second memory with respect to the first, with the output gate of the first step as it was."""
    x, _, params = problem(steps=2)
    _, _, tape = lstm.forward(x, params)
    saved, b = tape.saved, 0

    def second(c1):
        h1 = saved.o[0, b] * np.tanh(c1)
        return lstm.infer(x[1:, b : b + 1], params, lstm.State(c=c1[None], h=h1[None]))[1].c[0]

    steps = 1e-6 * np.eye(4)
    found = np.stack([(second(saved.c[1, b] + e) - second(saved.c[1, b] - e)) / 2e-6 for e in steps], axis=1)
    v = {gate: getattr(saved, gate)[1, b] for gate in GATES}
    c1, tanh = saved.c[1, b], np.tanh(saved.c[1, b])
    block = (v["g"] * v["i"] * (1 - v["i"]))[:, None] * params.U_i + (v["f"] * c1 * (1 - v["f"]))[:, None] * params.U_f
    block = block + (v["i"] * (1 - v["g"] ** 2))[:, None] * params.U_g
    np.testing.assert_allclose(found, np.diag(v["f"]) + block * (saved.o[0, b] * (1 - tanh**2)), atol=1e-8)


def test_what_the_text_says_of_the_example():
    text = printed("lstm-gradient")
    weights = {row[0]: [float(x) for x in row[1:]] for row in re.findall(r"^([WUb]_\w) +(\S+) +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE)}
    assert len(weights) == 12
    assert all(found[2] == pytest.approx(found[3], abs=1.1e-4) for found in weights.values())
    assert all(found[0] + found[1] == pytest.approx(found[2], abs=2e-4) for found in weights.values())
    assert {name for name, found in weights.items() if found[0] * found[2] < 0} == {"W_g", "b_i"}  # "the wrong sign"
    assert {name for name, found in weights.items() if found[1] == 0} == {"U_i", "U_f", "U_g", "U_o", "W_f", "b_f"}
    assert 1 / (1 + np.exp(-0.6)) == pytest.approx(0.6457, abs=5e-5) and re.search(r"^f +0\.6457", text, re.MULTILINE)
    rows = dict(re.findall(r"^(\S+) +-?[\d.]+ +(-?[\d.]+)$", text, re.MULTILINE))
    assert rows["h̄_t"] == re.search(r"^h̄⁺_\{t-1\} +(\S+)", text, re.MULTILINE)[1]  # "to the letter"


def test_what_the_text_says_of_the_example_of_the_gru():
    text = printed("gru-gradient")
    weights = {row[0]: [float(x) for x in row[1:]] for row in re.findall(r"^([WUb]_\w+) +(\S+) +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE)}
    assert len(weights) == 10
    assert all(found[2] == pytest.approx(found[3], abs=1.1e-4) for found in weights.values())
    assert all(found[0] + found[1] == pytest.approx(found[2], abs=2e-4) for found in weights.values())
    assert {name for name, found in weights.items() if found[0] * found[2] < 0} == {"W_r", "b_z"}  # "the wrong sign"
    assert {name for name, found in weights.items() if found[1] == 0} == {"U_r", "U_z", "U_n"}
    rows = {name: (float(a), float(b)) for name, a, b in re.findall(r"^(\S+(?: h_\{t-1\})?) +(-?[\d.]+) +(-?[\d.]+)$", text, re.MULTILINE)}
    assert (1 - rows["z_t"][0]) * rows["h̃_t"][0] == pytest.approx(rows["h_t"][0], abs=5e-5)
    assert f"(1 - {rows['z_t'][0]}) \\cdot {rows['h̃_t'][0]} = {rows['h_t'][0]}" in page("gru-gradient")
    assert rows["h̄_t"] == (1.0, rows["h̄⁺_{t-1}"][0])  # the second step comes first
    assert rows["h_t"][0] > rows["h̃_t"][1] and rows["δ_z,t"][0] > 0  # "with a larger z"
    assert rows["Ū_t"][0] == pytest.approx(rows["δ_h̃,t"][0] * rows["r_t"][1], abs=1e-4)
    paths = [float(number) for number in re.findall(r"^(?:direct, z|through .*|all four) +(\S+)$", text, re.MULTILINE)]
    assert sum(paths[:4]) == pytest.approx(paths[4], abs=2e-4) and paths[2] < 0 < paths[0] and paths[0] > 0.9 * paths[4]


def test_what_the_text_says_of_the_example_of_a_memory():
    text = printed("memories")
    number = r"(-?\d\.\d{4})"
    found = re.findall(r"^(\S+(?: - S k)?) {2,}((?:-?\d\.\d{4} *){2,4})$", text, re.MULTILINE)
    rows = {name: [float(number) for number in numbers.split()] for name, numbers in found}
    k, beta, v, S = rows["k_t"], rows["β_t"], rows["v_t"], rows["S_t"]
    assert beta[0] * v[0] * k[0] == pytest.approx(S[0], abs=1e-4)
    assert rows["q_t"][2:] == k[:2] and rows["q̄_t"][2:] == [0, 0]  # the query is the first key; no loss reads y₁
    back = rows["S̄_t"]
    assert back[0] == pytest.approx(0.7071 * rows["q_t"][2], abs=1e-4) and back[2:] == rows["S̄⁺_{t-1}"][:2] and back[3] < 0.2 * back[1]
    assert rows["β̄_t"][0] < 0 and rows["v - S k"][1] == -0.7514 and "$-0.7514$" in page("memories")
    assert beta[0] / 2**0.5 == pytest.approx(0.5170, abs=5e-5) and rows["v̄_t"][1] == 0.4237
    for name in ("v̄_t", "β̄_t", "k̄_t"):
        assert name in rows
    weights = re.findall(rf"^([Ww]_\w(?: \d)?) +{number} +{number} +{number} +{number}$", text, re.MULTILINE)
    assert len(weights) == 6 and all(row[1:3] == row[3:5] for row in weights)
    assert {row[0] for row in weights if float(row[1]) == 0} == {"W_q 1", "W_q 2"}


def test_what_is_left_out_is_what_was_measured():
    slips = theory.read("abridged")["slips"]
    errors = {name: slips[name]["error"] for name in ("lstm never", "lstm last", "lstm memory", "lstm future", "lstm output")}
    assert min(errors[name] for name in ("lstm never", "lstm last", "lstm memory")) > 3 * max(errors["lstm future"], errors["lstm output"])


def test_the_reset_gate_after_the_product_waits_once_and_counts_the_same():
    loops = {}
    for name in ("gru", "gru_v3"):
        for link in compile_cell(REGISTRY[name]):
            loops[name, link.name] = [product.matrix for stage in link.program.loop for product in stage.products]
    assert {key: len(found) for key, found in loops.items()} == {
        ("gru", "forward"): 1,
        ("gru", "backward"): 1,
        ("gru_v3", "forward"): 2,
        ("gru_v3", "backward"): 2,
    }
    numbers = re.findall(r"^(\w+) +(forward|backward) .* ([\d,]+)$", printed("gru-gradient"), re.MULTILINE)
    for _, way, number in numbers:
        assert int(number.replace(",", "")) == (1 if way == "forward" else 2) * 3 * 256 * 512
    assert len(numbers) == 4


def test_what_a_delta_rule_hands_back():
    """One step: times I - β k kᵀ, whose singular values are 1 and, along the key, 1 - β."""
    random = np.random.default_rng(0)
    params = deltanet.init(d=5, H=1, d_k=4, d_v=3, seed=0, dtype=np.float64)
    before = random.standard_normal((1, 1, 3, 4))
    y, _, tape = deltanet.forward(random.standard_normal((1, 1, 5)), params, deltanet.State(S=before))
    last = random.standard_normal((1, 1, 3, 4))
    back = deltanet.backward(np.zeros_like(y), tape, dfinal=deltanet.State(S=last)).state.S
    k, beta = tape.saved.k.reshape(4), tape.saved.beta.item()
    factor = np.eye(4) - beta * np.outer(k, k)
    np.testing.assert_allclose(back[0, 0], last[0, 0] @ factor, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.linalg.svd(factor)[1], [1, 1, 1, 1 - beta], atol=1e-5)  # the key is of unit length up to its ε


# ----------------------------------------------------------------------------------------------------------------------------- exercises


def test_exercise_1_parameters():
    count = sum(part.size for part in lstm.init(64, 128))
    assert count == 4 * (128 * 64 + 128**2 + 128) and f"{count:,}".replace(",", "{,}") in solution(1)


def test_exercise_2_one_step_from_zero():
    x, dy, params = problem(steps=1)
    grads = lstm.backward(dy, lstm.forward(x, params)[2]).params
    assert {name for name in params._fields if not getattr(grads, name).any()} == {"U_i", "U_f", "U_g", "U_o", "W_f", "b_f"}


def test_exercise_3_time():
    assert 0.9**44 < 0.01 < 0.9**43 and np.log(0.01) / np.log(0.9) == pytest.approx(43.7, abs=0.05)
    assert round(0.01 ** (1 / 1000), 4) == 0.9954
    assert all(number in solution(3) for number in ("44", "43.7", "0.9954"))


def test_exercise_4_slope():
    f = np.linspace(0.001, 0.999, 999)
    slope = f * (1 - f)
    np.testing.assert_allclose(slope, 0.25 - (f - 0.5) ** 2, atol=1e-15)
    assert f[np.argmax(slope)] == pytest.approx(0.5) and max(slope) == pytest.approx(0.25)


def test_exercise_5_a_silent_end():
    x, dy, params = problem()
    dy[:-1] = 0
    _, before, _ = lstm.forward(x[:-1], params)
    shut = params._replace(b_o=np.full(4, -800.0), W_o=0 * params.W_o, U_o=0 * params.U_o)
    _, _, tape = lstm.forward(x[-1:], shut, before)
    grads = lstm.backward(dy[-1:], tape)
    assert not any(part.any() for part in (*grads.params, *grads.state, grads.x))


def test_exercise_6_tied_gates():
    tied = Cell(
        """
        f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
        g = tanh(W_g @ x + U_g @ h_prev + b_g)
        o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
        c = f * c_prev + (1 - f) * g
        h = o * tanh(c)
        """,
        name="tied",
        output="h",
    )
    assert r"\bar{f}_{t} = \bar{c}_{t} \odot \left(c_{t-1} - g_{t}\right)" in backward_lines(tied, latex_of(tied)).values()
    assert r"\bar{c}_t \odot (c_{t-1} - g_t)" in re.sub(r"\\bar (\w)", r"\\bar{\1}", solution(6))


def test_exercise_7_peepholes():
    lines = tagged_formulas(differentiate(REGISTRY["lstm_peephole"]))
    place = {line.partition(" = ")[0]: (int(tag[1:]), line) for tag, line in lines.items() if tag.startswith("B")}
    assert "δ_o ⊙ p_o" in place["c̄"][1] and place["δ_o"][0] < place["c̄"][0]
    lines = tagged_formulas(differentiate(LSTM))
    assert lines["B2"].startswith("c̄ = ") and lines["B4"].startswith("δ_o = ")  # the other order


def test_exercise_8_from_memory_to_output():
    assert LSTM.jacobian().text().splitlines()[2] == "∂h_t/∂c_{t-1} = Diag(f ⊙ o ⊙ (1 - tanh(c)²))"
    x, _, params = problem()
    for bias, low, high in ((0.0, 0.0, 0.9), (12.0, 0.999, 1.0)):
        near = params._replace(**{f"b_{k}": np.full(4, -12.0 if k == "i" else bias) for k in "ifo"})
        _, _, tape = lstm.forward(x[:1], near)
        largest = lstm.backward(np.ones((1, 2, 4)), tape).state.c.max()
        assert low < largest < high


def test_exercise_9_multiply_adds():
    sizes = {"d": 24, "n": 40}
    counts = {}
    for link in compile_cell(LSTM):
        stages = [*link.program.before, *link.program.loop, *link.program.after]
        shapes = [link.program.shape(p.matrix) for stage in stages for p in stage.products]
        shapes += [link.program.shape(eq.name) for eq in link.program.rec.accumulators]
        counts[link.name] = sum(np.prod([size.evaluate(sizes) for size in shape]) for shape in shapes if len(shape) == 2)
    assert counts == {"forward": 4 * 40 * 64, "backward": 8 * 40 * 64}


def test_exercise_10_without_recurrent_weights():
    x, dy, params = problem()
    params = params._replace(**{f"U_{k}": 0 * getattr(params, f"U_{k}") for k in GATES})
    _, _, tape = lstm.forward(x, params)
    saved = tape.saved
    through = saved.o * (1 - np.tanh(saved.c[1:]) ** 2) * dy
    for t in range(len(x)):
        c_bar = sum(np.prod(saved.f[t + 1 : k + 1], axis=0) * through[k] for k in range(t, len(x)))
        before = lstm.State(c=saved.c[t], h=saved.h[t])
        back = lstm.backward(dy[t:], lstm.forward(x[t:], params, before)[2]).state.c
        np.testing.assert_allclose(back, c_bar * saved.f[t], rtol=1e-12)


@pytest.mark.parametrize("name", ["gru-gradient", "memories"])
def test_every_exercise_has_a_solution(name):
    exercises = page(name).partition("## Exercises")[2].partition("## Solutions")
    asked, answered = (re.findall(r"^(\d+)\. ", part, re.MULTILINE) for part in (exercises[0], exercises[2]))
    assert asked == answered == list("123456")


def test_solutions_of_the_gru_have_the_numbers_that_are_printed():
    text = printed("gru-gradient")
    assert "z = 1: dg = 0," in text and text.count("delta_z = 0") == 2 and "handed back: 1.0 - of the weights: 0.0" in text
    assert "b_hn = 0.3: zero are U_r, U_z, U_n\nb_hn = 0.0: zero are W_r, U_r, b_r, U_z, U_n\n" in text
    h, ratio = map(float, re.search(r"largest \|h\|: (\S+), largest \S+ / \S+: (\S+)$", text, re.MULTILINE).groups())
    assert 0.5 < h < 1 and 0.25 < ratio < 0.5
    assert "89.8 steps; True" in text and "89.8" in solution(5, "gru-gradient") and "k = 90" in solution(5, "gru-gradient")
    assert all(f"{count} T products" in text and f"${count} T$" in solution(6, "gru-gradient") for count in (2, 4))


def test_solutions_of_the_memories_have_the_numbers_that_are_printed():
    text = printed("memories")
    assert "the new value is there: True - no cotangent along the key: True\n" in text
    assert "other keys: True True\nthe first value's cotangent: True\n" in text
    assert re.search(r"^step 1: .* and +0\.0000 +0\.0000$", text, re.MULTILINE) and "there: the first term True - β̄ True - v̄ 0.2369" in text
    left = dict(re.findall(r"^after (\d+) steps: \[(\S+)\]$", text, re.MULTILINE))
    assert float(left["44"]) < 0.01 < float(left["43"]) and "N = 44" in solution(4, "memories")
    assert "\nforward 3, backward 6\n" in text
    assert "there are three" in solution(5, "memories") and "there are six" in solution(5, "memories")
    assert "as the kernel's: True\nforward, the same weights: True" in text


# ------------------------------------------------------------------------------------------------------------------------------ notebook


def test_the_notebook_runs_and_prints_what_the_page_shows(tmp_path):
    from derive.site.notebook import write_notebooks

    figures, pages = tmp_path / "figures", tmp_path / "theory"
    figures.mkdir()
    pages.mkdir()
    for name in STAGES:
        (figures / f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    for name in ("lstm-gradient", "gru-gradient"):
        (pages / f"{name}.md").write_text(page(name), encoding="utf-8")
    write_notebooks(pages, figures)
    assert [path.name for path in pages.glob("*.ipynb")] == ["lstm-gradient.ipynb"]
    book = json.loads((pages / "lstm-gradient.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 4)
    namespace = {"__name__": "__main__"}
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) == len(re.findall(r"^```python$", page("lstm-gradient"), re.MULTILINE))
    for cell in code:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(cell["source"], namespace)
        assert output.getvalue() == "".join(part["text"] for part in cell["outputs"])
    text = [cell for cell in book["cells"] if cell["cell_type"] == "markdown"]
    attached = [name for cell in text for name in cell.get("attachments", {})]
    assert attached == re.findall(r"figures/([\w-]+\.svg)\)", page("lstm-gradient"))
    assert not re.search(r"\]\((?!attachment:)", "".join(cell["source"] for cell in text))


def test_a_notebook_of_other_blocks_is_refused(tmp_path):
    from derive.site.notebook import notebook

    with pytest.raises(ValueError, match="not `sh`: ls"):
        notebook("```sh\nls\n```\n", tmp_path)
