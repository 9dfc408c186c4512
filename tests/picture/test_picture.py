"""The pictures of cells: what they show is what the equations say, and nothing lies over anything else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from fuzz.strategy import Drawn, cells
from helpers.matrix_cells import DELTA, OJA
from hypothesis import HealthCheck, Phase, given, settings

from derive.cell import Cell
from derive.cells import REGISTRY, get
from derive.language.tree import Name
from derive.language.walks import walk
from derive.picture import search, svg
from derive.picture.build import build
from derive.picture.bundle import bundled, grouped
from derive.picture.draw import mark_place
from derive.picture.graph import Graph
from derive.picture.label import text_of, typeset, width
from derive.picture.layout import Layout, laid_out
from derive.site.define import definition

SVG = "{http://www.w3.org/2000/svg}"


def _cell(name: str, text: str, **options) -> Cell:
    options.setdefault("output", text.strip().splitlines()[-1].split("=")[0].strip())
    return Cell(text, name=name, **options)


ODD = {
    cell.name: cell
    for cell in (
        _cell("no_state", "y = W @ x"),
        _cell("no_input", "h = tanh(U @ h_prev + b)", inputs=()),
        _cell("a_copy", "y = x\nh = y + h_prev"),
        _cell("an_alias", "q = x\nh = tanh(W @ q + U @ h_prev)"),
        _cell("exchanged", "a = b_prev + x\nb = a_prev", output="a"),
        _cell("held", "h = tanh(W @ x + U @ l_prev)\nl = x", output="h"),
        _cell("inputs", "h = tanh(W @ x + V @ y + R @ u + Q @ v + P @ w + S @ q + U @ h_prev)", inputs=("x", "y", "u", "v", "w", "q")),
        _cell("given_once", "h = tanh(W @ x + V @ c + U @ h_prev)", context=("c",)),
        _cell("nested", "h = tanh(U @ sin(V @ relu(W @ exp(Q @ sigmoid(P @ softplus(R @ x + h_prev))))))"),
        _cell("turned", "h = tanh(W @ (x * sigmoid(V @ x + U @ (h_prev * sigmoid(Q @ h_prev)))) - (x - (h_prev - x)))"),
        _cell(
            "long_names",
            "my_extremely_long_gate_name = sigmoid(W_of_the_gate @ x + U_of_the_gate @ hidden_state_of_it_prev)\n"
            "hidden_state_of_it = my_extremely_long_gate_name * hidden_state_of_it_prev",
        ),
        _cell(
            "read_often",
            "a = sigmoid(W @ x)\n"
            + "".join(f"b{k} = a * sigmoid(W{k} @ x)\n" for k in range(10))
            + f"h = {' + '.join(f'b{k}' for k in range(10))} + h_prev",
        ),
        _cell("choices", "h = where(x > h_prev, maximum(x, 0), minimum(h_prev, x)) + where(h_prev > 0, 1, x)"),
        _cell("arithmetic", "h = -(x ** 3) * 2 / (1 + h_prev ** 2) - sqrt(abs(x)) + mean(x) + 1 / (2 + exp(x)) - 3"),
        _cell("inner_product", "s = x @ h_prev\nh = s * h_prev + layer_norm(x - h_prev) + softmax(x)"),
        _cell("joined", "a, b, c = split(W @ [x, h_prev, c_prev], 3)\nh = a * b"),
        _cell("squares", "h = x * x + h_prev * h_prev"),
        _cell("unread", "z = sigmoid(W @ x)\nq = tanh(z)\nh = tanh(x + h_prev)"),
        _cell("many", "h = a * b * c * d * e - a - b - c - d - e + h_prev", inputs=tuple("abcde")),
        _cell("numbers", "h = tanh(W @ x + U @ h_prev)\ny = 3 * h - 2"),
    )
}
CELLS = {**REGISTRY, **ODD}
every_cell = pytest.mark.parametrize("name", CELLS)


# What a picture holds, read back from its text

Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Picture:
    """The parts of a picture: bodies with what they read and make, and the stretches of each value's wire."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)
        self.groups = [g for g in self.root.iter(f"{SVG}g") if g.get("data-reads") is not None]
        self.bodies = [_box(g) for g in self.groups]
        self.reads = [Counter(map(int, (g.get("data-reads") or "").split())) for g in self.groups]
        self.makes = [[*map(int, (g.get("data-makes") or "").split())] for g in self.groups]
        paths = [p for p in self.root.iter(f"{SVG}path") if p.get("data-value")]
        self.wires = {int(p.get("data-value") or ""): _stretches(p.get("d") or "") for p in paths}

    def texts(self) -> list[str]:
        return ["".join(t.itertext()) for t in self.root.iter(f"{SVG}text")]


def _box(group: ElementTree.Element) -> Box:
    body = next(e for e in group.iter() if e.get("class") == "body")
    n = {key: float(value) for key, value in body.attrib.items() if re.fullmatch(r"-?[\d.]+", value)}
    if body.tag == f"{SVG}circle":
        return n["cx"] - n["r"], n["cy"] - n["r"], n["cx"] + n["r"], n["cy"] + n["r"]
    return n["x"], n["y"], n["x"] + n["width"], n["y"] + n["height"]


def _stretches(path: str) -> list[tuple[Point, Point]]:
    found = []
    for line in path.split("M")[1:]:
        points = [(float(x), float(y)) for x, y in (p.split() for p in line.replace("L", ",").split(",") if p.strip())]
        found += [*pairwise(points)]
    return found


def _on(point: Point, stretch: tuple[Point, Point]) -> bool:
    (ax, ay), (bx, by) = stretch
    return min(ax, bx) <= point[0] <= max(ax, bx) and min(ay, by) <= point[1] <= max(ay, by)


def _on_edge(point: Point, box: Box) -> bool:
    x, y = point
    left, top, right, bottom = box
    return (x in (left, right) and top <= y <= bottom) or (y in (top, bottom) and left <= x <= right)


def _inside(stretch: tuple[Point, Point], box: Box) -> bool:
    """Say whether a stretch, horizontal or vertical, runs through the interior of a box."""
    (ax, ay), (bx, by) = stretch
    left, top, right, bottom = box
    if ay == by:
        return top < ay < bottom and max(min(ax, bx), left) < min(max(ax, bx), right)
    return left < ax < right and max(min(ay, by), top) < min(max(ay, by), bottom)


def _pieces(stretches: list[tuple[Point, Point]]) -> list[list[tuple[Point, Point]]]:
    """Return what hangs together: stretches touch where one ends on the other; mere crossings do not count."""
    left, found = list(stretches), []
    while left:
        piece, queue = [], [left.pop()]
        while queue:
            here = queue.pop()
            piece.append(here)
            near = [s for s in left if any(_on(p, here) for p in s) or any(_on(p, s) for p in here)]
            left = [s for s in left if s not in near]
            queue += near
        found.append(piece)
    return found


def faults(picture: Picture) -> list[str]:
    """Walk every wire from its maker; return what is not reached, and wires that hang together with nothing."""
    found = []
    for maker, values in enumerate(picture.makes):
        for value in values:
            pieces = _pieces(picture.wires.get(value, []))
            if any(a[0] != b[0] and a[1] != b[1] for a, b in picture.wires.get(value, [])):
                found.append(f"value {value} runs aslant")
            readers = {k: reads[value] for k, reads in enumerate(picture.reads) if reads[value]}
            if len(pieces) != 1:
                found.append(f"value {value} has {len(pieces)} pieces of wire")
                continue
            ends = Counter(p for stretch in pieces[0] for p in stretch)
            loose = [p for p, count in ends.items() if count == 1 and sum(_on(p, s) for s in pieces[0]) == 1]
            left = [p for p in loose if p[0] == picture.bodies[maker][2] and _on_edge(p, picture.bodies[maker])]
            if len(left) != 1:
                found.append(f"value {value} does not begin at its maker")
            for reader, count in readers.items():
                arrived = [p for p in loose if p not in left and _on_edge(p, picture.bodies[reader])]
                if len(arrived) != count:
                    found.append(f"value {value} reaches node {reader} {len(arrived)} times, not {count}")
                loose = [p for p in loose if p not in arrived]
            if readers and len(loose) != 1:
                found.append(f"value {value} ends in the open")
    return found


@cache
def _picture(name: str) -> Picture:
    return Picture(svg(CELLS[name]))


@cache
def _layout(name: str) -> Layout:
    return laid_out(_graph(name))


def _graph(name: str) -> Graph:
    return grouped(bundled(build(CELLS[name])))


# Meaning


def _sources_of(graph: Graph, value: int) -> set[str]:
    node = graph.nodes[graph.values[value].node]
    if not node.inputs:
        return {node.name} - {""}
    return set().union(*(_sources_of(graph, i.value) for i in node.inputs))


def _sources_in_text(cell: Cell) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    outside = {*cell.inputs, *cell.context, *(f"{s}_prev" for s in cell.states)}
    for line in cell.equations:
        names = {node.id for node in walk(line.value) if isinstance(node, Name)}
        found = set().union(names & outside, *(known[n] for n in names if n in known))
        known |= dict.fromkeys(line.targets, found)
    return known


@every_cell
def test_depends_on_what_the_equations_read(name: str) -> None:
    cell, graph = CELLS[name], _graph(name)
    expected = _sources_in_text(cell)
    sinks = {node.name: node.inputs[0].value for node in graph.nodes if node.kind in ("next", "output")}
    assert sinks.keys() == {*cell.states, cell.output}
    for target, value in sinks.items():
        assert _sources_of(graph, value) == expected[target]
    named = {n: k for k, value in enumerate(graph.values) for n in value.names}
    for target, value in named.items():
        assert _sources_of(graph, value) == expected[target]


@every_cell
def test_every_varying_name_is_written(name: str) -> None:
    cell, graph = CELLS[name], _graph(name)
    written = {n for value in graph.values for n in value.names} | {node.name for node in graph.nodes}
    varying = {*cell.inputs, *cell.context, *(f"{s}_prev" for s in cell.states)}
    varying |= {target for line in cell.equations for target in line.targets if target in cell.batched}
    assert varying <= written
    shown = Counter(_picture(name).texts())
    labels = [node.label for node in graph.nodes] + [value.label for value in graph.values]
    assert shown == Counter(text for label in labels if (text := text_of(label)))


@every_cell
def test_every_function_and_line_is_drawn(name: str) -> None:
    cell, graph = CELLS[name], _graph(name)
    drawn = {node.line for node in graph.nodes} - {""}
    numbered = zip(cell.unrolled.numbers, cell.equations, strict=True)
    aliases = {k for k, line in numbered if isinstance(line.value, Name) or not {*line.targets} & cell.batched}
    assert {*cell.unrolled.numbers} - drawn <= aliases
    links = {a.get("href") for a in _picture(name).root.iter(f"{SVG}a")}
    assert links == {f"#F{k}" for k in drawn}


def test_a_layer_is_one_box() -> None:
    kinds = Counter(node.kind for node in _graph("lstm").nodes)
    assert kinds == {"state": 2, "input": 1, "join": 1, "layer": 4, "product": 3, "sum": 1, "function": 1, "next": 2}
    layers = [node for node in _graph("lstm_peephole").nodes if node.kind == "layer"]
    assert [len(node.inputs) for node in layers] == [1, 2, 2, 2]  # the trunk, and the peepholes


def test_parts_of_a_bias_are_no_wires() -> None:
    """What does not vary stands in the boxes that read it; a bar that cuts it up would lead nowhere."""
    graph = build(get("gru_torch"))
    assert [node.line for node in graph.nodes if node.kind == "split"] == ["1", "2"]
    assert all(graph.readers)


def test_what_is_subtracted_and_what_divides_is_marked() -> None:
    marks = {name: sorted(i.mark for node in _graph(name).nodes for i in node.inputs if i.mark) for name in CELLS}
    assert marks["slstm"] == ["÷", "−", "−"]
    assert marks["cornn"] == ["−", "−"]
    assert marks["lru"] == ["−"]
    assert marks["minlstm"] == ["÷", "÷"]
    assert marks["lstm"] == []
    assert len([*_picture("slstm").root.iterfind(f".//{SVG}path[@class='mark']")]) == 3


def test_the_tip_is_the_line() -> None:
    tips = {node.tip for node in _graph("lstm").nodes if node.kind == "layer"}
    assert "f = σ(W_f x_t + U_f h_{t-1} + b_f)" in tips
    gain = next(node for node in _graph("lru").nodes if node.kind == "gain")
    assert [line.split(" = ")[0] for line in gain.tip.splitlines()] == ["sr", "lr"]  # and the line that makes the constant


# Geometry


@every_cell
def test_wires_reach_their_readers(name: str) -> None:
    picture, graph = _picture(name), _graph(name)
    assert [*map(sorted, picture.makes)] == [sorted(node.outputs) for node in graph.nodes]
    assert picture.reads == [Counter(i.value for i in node.inputs) for node in graph.nodes]
    assert faults(picture) == []


@every_cell
def test_nothing_overlaps(name: str) -> None:
    assert overlaps(_picture(name)) == []


def overlaps(picture: Picture) -> list[str]:
    """Return which bodies lie on one another, which wires run through bodies, and which run along one another."""
    found = []
    for a, b in combinations(picture.bodies, 2):
        if not (a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1]):
            found.append(f"bodies {a} and {b}")
    for value, stretches in picture.wires.items():
        found += [f"value {value} in body {box}" for s in stretches for box in picture.bodies if _inside(s, box)]
    for (one, those), (other, these) in combinations(picture.wires.items(), 2):
        found += [f"values {one} and {other} at {a}" for a in those for b in these if _along(a, b)]
    return found


def _along(a: tuple[Point, Point], b: tuple[Point, Point]) -> bool:
    """Say whether two stretches lie on one another, or one bends or ends on the other."""
    return any(_on(p, b) for p in a) or any(_on(p, a) for p in b)


@every_cell
def test_labels_are_free(name: str) -> None:
    found = _layout(name)
    boxes = _labels(found)
    bodies = _picture(name).bodies
    for a, b in combinations(boxes, 2):
        assert not _overlap(a, b)
    for box in boxes:
        assert not any(_overlap(box, body) for body in bodies)
        for stretches in _picture(name).wires.values():
            assert not any(_overlap(box, (*map(min, *s), *map(max, *s))) for s in stretches)
    for node, body in zip(found.placement.graph.nodes, bodies, strict=True):
        assert width(node.label) < body[2] - body[0]
    view = [*map(float, (_picture(name).root.get("viewBox") or "").split())]
    for left, top, right, bottom in (*boxes, *bodies):
        assert view[0] <= left and view[1] <= top and right <= view[0] + view[2] and bottom <= view[1] + view[3]


def _labels(found: Layout) -> list[Box]:
    boxes = []
    for (cx, cy), shape in zip(found.placement.centres, found.placement.shapes, strict=True):
        for outlet in shape.outlets:
            if outlet.label:
                left, top, right, bottom = outlet.label
                boxes.append((10 * cx + left, 10 * cy + top, 10 * cx + right, 10 * cy + bottom))
    for wire in found.wires:
        for branch in wire.branches:
            if found.placement.graph.nodes[branch.reader].inputs[branch.k].mark:
                boxes.append(mark_place(found, branch.reader, found.placement.shapes[branch.reader].ports[branch.port]))
    return boxes


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole", "qrnn", "slstm", "rhn", "cornn"])
def test_states_run_straight(name: str) -> None:
    """A state that goes through elementwise nodes only is a straight line."""
    found = _layout(name)
    for rail in found.placement.rails:
        assert len({found.placement.centres[k][1] for k in rail}) == 1
        assert found.placement.graph.nodes[rail[0]].kind == "state"
        assert found.placement.graph.nodes[rail[-1]].kind == "next"
    assert len(found.placement.rails) == {"slstm": 3, "cornn": 2}.get(name, 1)


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole", "qrnn", "slstm"])
def test_fits_a_column_of_text(name: str) -> None:
    root = _picture(name).root
    assert float(root.get("width") or "") <= 760
    assert min(float(t.get("font-size") or "99") for t in root.iter(f"{SVG}tspan")) >= 11


def test_a_mutilated_picture_is_found_out() -> None:
    whole = svg(REGISTRY["lstm"])
    paths = re.findall(r'<path class="wire"[^>]*? d="([^"]*)"', whole)
    for path in paths:
        for line in path.split(" M"):
            assert faults(Picture(whole.replace(line, "M-50 -50 L-50 -60", 1)))
        points = re.findall(r"[ML]\S+ \S+", path)
        if len(points) > 2:
            assert faults(Picture(whole.replace(path, path.replace(points[1] + " ", "", 1), 1)))
    assert faults(Picture(re.sub(r'data-reads="(\d+)"', 'data-reads="\\1 \\1"', whole, count=1)))


@settings(max_examples=8, deadline=None, database=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(cells())
def test_any_cell(drawn: Drawn) -> None:
    if drawn.cell is None:
        return
    graph = grouped(bundled(build(drawn.cell)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("derive.picture.layout.BUDGET", 1000)
        picture = Picture(svg(drawn.cell))
    assert picture.reads == [Counter(i.value for i in node.inputs) for node in graph.nodes]
    assert faults(picture) == []
    assert overlaps(picture) == []
    expected = _sources_in_text(drawn.cell)
    for node in graph.nodes:
        if node.kind in ("next", "output"):
            assert _sources_of(graph, node.inputs[0].value) == expected[node.name]


# The text


def test_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import hashlib; from derive.cells import REGISTRY; from derive.picture import svg\n"
        "print(hashlib.sha256(''.join(svg(REGISTRY[n]) for n in ('lstm', 'minlstm')).encode()).hexdigest())"
    )
    seen = set()
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        seen.add(run.stdout)
    assert len(seen) == 1


# Whoever runs this has the notation, which a picture stands on, and can import neither NumPy nor Numba from here on.
BARE = """
import json, sys
import derive.notation.formula
from derive import Cell
HEAVY = ("numpy", "numba", "llvmlite")
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"no {name} here", name=name)
for name in [name for name in sys.modules if name.partition(".")[0] in HEAVY]:
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
from derive.picture import search, svg
made = {}
for text in json.loads(sys.stdin.read()):
    exec(text, made)
print(json.dumps({name: svg(cell) for name, cell in made.items() if isinstance(cell, Cell)}))
assert not {*HEAVY} & {*sys.modules}
"""


def test_same_bytes_where_nothing_can_be_compiled() -> None:
    made: dict[str, object] = {}
    texts = [definition(REGISTRY[name]) for name in ("rnn", "gru", "lstm", "minlstm", "softmax_cross_entropy")]
    for text in texts:
        exec(text, made)
    run = subprocess.run([sys.executable, "-c", BARE], input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {name: svg(cell) for name, cell in made.items() if isinstance(cell, Cell)}


def test_the_search_is_compiled_where_it_can_be() -> None:
    rnn, lstm = REGISTRY["rnn"], REGISTRY["lstm"]
    assert svg(rnn) != svg(lstm)
    assert search._cheapest.signatures  # of the dispatcher that Numba makes of a function


@every_cell
def test_stands_in_a_page(name: str) -> None:
    root = _picture(name).root
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert all(i and i.startswith(f"{name}-") for i in ids) and len(ids) == len({*ids})
    assert (root.get("aria-labelledby") or "").split() == ids
    assert root.get("role") == "group" and root.get("class") == "cell"
    style = next(root.iter(f"{SVG}style")).text or ""
    assert all(line.strip().startswith("svg.cell") for line in re.findall(r"(?:^|\})([^{}]+)\{", style))


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\tilde h_{t}", "h̃t"),
        ("{i'}_{t}", "i′t"),
        (r"\ell", "ℓ"),
        (r"R_{H1}", "RH1"),
        (r"{s^{\mathrm{re}}}_{t-1}", "sret−1"),
        (r"\lvert\lambda\rvert", "|λ|"),
        (r"\mathcal{W}", "𝒲"),
        (r"\bar A", "Ā"),
        (r"\Delta t", "Δt"),
        (r"\epsilon", "ε"),
        (r"\sigma\left(\alpha\right)", "σ(α)"),
        (r"\frac{1}{2}", "1/2"),
        (r"W - W^{\top}", "W−W⊤"),
        (r"\unknown_", "unknown"),
        ("}{", ""),
    ],
)
def test_names_are_typeset(latex: str, text: str) -> None:
    assert text_of(typeset(latex)) == text


def test_scripts_are_small_and_shifted() -> None:
    runs = typeset(r"{s^{\mathrm{re}}}_{t-1}")
    assert [(r.text, r.italic, r.shift) for r in runs] == [("s", True, 0), ("re", False, -1), ("t", True, 1), ("−1", False, 1)]


def test_a_matrix_that_changes_is_written_and_read() -> None:
    nodes = build(DELTA).nodes
    labels = ["".join(run.text for run in node.label) for node in nodes]
    assert labels.count("⊗") == 1 and labels.count("Mv") == 2 and "Mᵀv" in ["".join(r.text for r in n.label) for n in build(OJA).nodes]
    read = next(node for node, label in zip(nodes, labels, strict=True) if label == "Mv")
    assert len(read.inputs) == 2 and read.ordered and not read.pointwise
