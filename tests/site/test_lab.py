"""The lab's experiments compute what the kernels do, and what the page says of them is so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import derive
from derive.cell import Cell
from derive.package import memory
from derive.site.builder import HERE
from derive.theory.surrogate import RESETS, SURROGATES, lif
from generated import gru, lstm, rnn

MODULES = {"rnn": rnn, "lstm": lstm, "gru": gru}
SEEDS = range(1, 6)
MANY = range(1, 21)  # networks that explode differ much
RECALL = Cell(
    """
    old = keep * S_prev
    S = old + outer(rate * (v - erase * (old @ k)), k)
    y = S @ k
    """,
    name="recall",
    output="y",
    inputs=("k", "v", "keep", "rate", "erase"),
    shapes={"S": "n, n", "k": "n", "v": "n", "keep": "", "rate": "", "erase": ""},
)


@pytest.fixture(scope="module")
def lab() -> Any:
    """Return a function that evaluates an expression of the page's scripts."""
    context = pytest.importorskip("quickjs", reason="the extra `docs` is not installed").Context()
    for name in ("numbers", "dual", "gradient", "curvature", "spikes", "memory"):
        context.eval((HERE / "assets" / "lab" / f"{name}.js").read_text(encoding="utf-8"))
    return lambda text: json.loads(context.eval(f"JSON.stringify({text})"))


def arrays(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.array(value, dtype=np.float64) for key, value in values.items()}


@dataclass
class Network:
    """A network of the page, for the kernels: what was `made`, its module, its parameters and its inputs."""

    made: dict[str, Any]
    module: Any
    params: Any
    x: np.ndarray

    def state(self, distance: int) -> Any:
        """Return the state some steps before the last."""
        start = self.module.zero_state(1, n=len(self.made["v"]), dtype=np.float64)
        return self.module.infer(self.x[:-distance], self.params, start)[1]


def kernels(lab: Any, cell: str, given: str) -> Network:
    made, module = lab(f"lab.network({given})"), MODULES[cell]
    params = module.Params(**{name.rstrip("_"): value for name, value in arrays(made["params"]).items()})
    return Network(made, module, params, np.array(made["x"])[:, None])


# What is computed


@pytest.mark.parametrize(
    ("cell", "settings"),
    [("rnn", {"radius": 1.3}), ("lstm", {"bias": 2, "scale": 1}), ("lstm", {"bias": 1, "scale": 6}), ("gru", {"bias": 1, "scale": 2})],
)
def test_gradients_are_those_of_the_kernels(lab: Any, cell: str, settings: dict[str, float]) -> None:
    steps, given = 40, json.dumps(settings)
    found, made = lab(f"lab.gradient('{cell}', {given}, {steps}, 3)"), lab(f"lab.network('{cell}', {given}, {steps}, 3)")
    module, params = MODULES[cell], {name.rstrip("_"): value for name, value in arrays(made["params"]).items()}
    x, v = np.array(made["x"])[:, None], np.array(made["v"])[None]
    state, tapes = module.zero_state(1, n=v.size, dtype=np.float64), []
    for t in range(len(x)):
        _, state, tape = module.forward(x[t : t + 1], module.Params(**params), state)
        tapes.append(tape)
    back = module.State(*(np.zeros_like(v) for _ in state))._replace(h=v)
    norms = [1.0]
    for tape in tapes[: -steps - 1 : -1]:
        back = module.backward(None, tape, back).state
        norms.append(float(np.sqrt(sum((part**2).sum() for part in back))))
    np.testing.assert_allclose(found["whole"], norms, rtol=1e-10)
    if cell == "rnn":
        assert np.abs(np.linalg.eigvals(params["U"])).max() == pytest.approx(1.3, abs=1e-9)


def test_one_path_is_the_product_of_its_gates(lab: Any) -> None:
    made, found = (lab(f"lab.{what}('lstm', {{bias: 3}}, 30, 5)") for what in ("network", "gradient"))
    p, x, v = arrays(made["params"]), np.array(made["x"]), np.array(made["v"])
    y, _, tape = lstm.forward(x[:, None], lstm.Params(**p), lstm.zero_state(1, n=v.size, dtype=np.float64))
    h, c = (np.concatenate([np.zeros((1, v.size)), part[-len(x) :, 0]]) for part in (y, tape.saved.c))
    f = 1 / (1 + np.exp(-(x @ p["W_f"].T + h[:-1] @ p["U_f"].T + p["b_f"])))
    o = 1 / (1 + np.exp(-(x[-1] @ p["W_o"].T + p["U_o"] @ h[-2] + p["b_o"])))
    part = v * o * (1 - np.tanh(c[-1]) ** 2)
    kept = [np.linalg.norm(part * np.prod(f[len(f) - k :], axis=0)) for k in range(31)]
    np.testing.assert_allclose(found["alone"], kept, rtol=1e-10)
    assert found["gate"] == pytest.approx(f[-30:].mean(), rel=1e-10)


NETWORKS = pytest.mark.parametrize(
    ("cell", "settings"),
    [
        ("rnn", {"radius": 0.8}),
        ("rnn", {"radius": 2.5}),
        ("lstm", {"bias": 2, "scale": 1}),
        ("lstm", {"bias": 1, "scale": 5}),
        ("gru", {"bias": 1, "scale": 2}),
    ],
)


@NETWORKS
def test_tangents_are_those_of_the_kernels(lab: Any, cell: str, settings: dict[str, float]) -> None:
    given = f"'{cell}', {json.dumps(settings)}, 20, 4"
    found, back = lab(f"lab.tangent({given})"), lab(f"lab.gradient({given})")
    network = kernels(lab, cell, given)
    module, start, u = network.module, network.state(20), network.made["u"]
    along = module.State(*(np.zeros((1, len(u))) for _ in start))._replace(h=np.array(u)[None])
    norms = [1.0]
    for row in network.x[-20:]:
        _, start, tape = module.forward(row[None], network.params, start)
        _, along = module.tangent(module.Grads(x=None, params=None, state=along), tape)
        norms.append(float(np.sqrt(sum((part**2).sum() for part in along))))
    np.testing.assert_allclose(found["norms"], norms, rtol=1e-9)
    assert found["product"] == pytest.approx(float(along.h[0] @ network.made["v"]), rel=1e-9)
    assert found["product"] == pytest.approx(back["product"], rel=1e-9)  # the same number, from the other end


@NETWORKS
def test_hessians_and_their_eigenvalues_are_those_of_the_kernels(lab: Any, cell: str, settings: dict[str, float]) -> None:
    """Of the whole matrix, column by column; its eigenvalue is then NumPy's, not by Lanczos's method."""
    steps, distances = 20, [1, 7, 20]
    given = f"'{cell}', {json.dumps(settings)}, {steps}, 4"
    network, shown = kernels(lab, cell, given), lab(f"lab.curvature('{cell}', {json.dumps(settings)}, {distances}, 4)")
    module, n = network.module, len(network.made["v"])
    for distance, got in zip(distances, shown, strict=True):
        y, _, tape = module.forward(network.x[-distance:], network.params, network.state(distance))
        dy = np.zeros_like(y)
        dy[-1] = network.made["v"]
        columns = []
        for direction in np.eye(n * len(module.State._fields)):
            v = module.Grads(x=None, params=None, state=module.State(*direction.reshape(-1, 1, n)))
            gradient, product = module.hvp(v, tape, dy)
            columns.append(np.concatenate([part[0] for part in product.state]))
        hessian = np.array(columns)
        direction = np.linspace(-1, 1, len(hessian)).tolist()
        times = lab(f"lab.hessian(lab.run({given}), {distance}, {direction})")
        np.testing.assert_allclose(times["product"], hessian @ direction, rtol=1e-8, atol=1e-8 * np.abs(hessian).max())
        flat = np.concatenate([part[0] for part in gradient.state])
        np.testing.assert_allclose(times["gradient"], flat, rtol=1e-8, atol=1e-10 * np.linalg.norm(flat))
        assert got["gradient"] == pytest.approx(np.linalg.norm(flat), rel=1e-8)
        assert got["eigenvalue"] == pytest.approx(np.abs(np.linalg.eigvalsh(hessian)).max(), rel=1e-8)


def test_lanczos_finds_the_largest_of_either_sign(lab: Any) -> None:
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.standard_normal((12, 12)))
    start = random.standard_normal(12).tolist()
    for values in (np.linspace(-5, 4, 12), np.linspace(-4, 5, 12), np.repeat([1.0, -2.0], 6), 1e-60 * np.arange(1, 13), np.zeros(12)):
        matrix = (q @ np.diag(values) @ q.T).tolist()
        found = lab(f"lab.largest((vector) => lab.times({matrix}, vector), {start})")
        assert found == pytest.approx(np.abs(values).max(), rel=1e-9, abs=1e-300)


def test_distances_end_at_the_farthest(lab: Any) -> None:
    for most in range(5, 45, 5):
        found = lab(f"lab.distances({most})")
        assert found[-1] == most and found[0] > 0 and len(found) <= 12 and found == sorted(set(found))


def test_the_factor_a_step_of_a_power_is_its_base(lab: Any) -> None:
    assert lab("lab.growth([1, 2, 5, 8, 11], [9, 9, 0.9 ** 5, 0.9 ** 8, 0.9 ** 11])") == pytest.approx(0.9, rel=1e-12)


@pytest.mark.parametrize("reset", RESETS)
def test_surrogate_gradients_are_those_of_the_kernels(lab: Any, reset: str) -> None:
    settings = json.dumps({"height": 1, "width": 1, "reset": reset})
    found, made = lab(f"lab.surrogate('triangle', {settings}, 25, 2)"), lab("lab.neurons(25, 2)")
    module = memory.compile(lif(SURROGATES["triangle"], RESETS[reset]))
    p, x, v = arrays(made["params"]), np.array(made["x"], dtype=np.float64)[:, None], np.array(made["v"])[None]
    params = module.Params(**p, R=np.zeros((1, v.size)))
    state = module.State(u=np.zeros_like(v), z=np.zeros_like(v), y=np.zeros((1, 1)))
    tapes, spikes = [], []
    for t in range(len(x)):
        _, state, tape = module.forward(x[t : t + 1], params, state)
        tapes.append(tape)
        spikes.append(state.z[0])
    back = module.State(u=np.zeros_like(v), z=v, y=np.zeros((1, 1)))
    norms = [1.0]
    for tape in reversed(tapes):
        back = module.backward(None, tape, back).state
        norms.append(float(np.sqrt((back.u**2).sum() + (back.z**2).sum())))
    np.testing.assert_array_equal(found["spikes"], spikes)
    np.testing.assert_allclose(found["norms"], norms, rtol=1e-10)


def test_slopes_are_those_of_the_cells(lab: Any) -> None:
    places = np.linspace(-2.9, 2.9, 30)
    assert set(lab("Object.keys(lab.bumps)")) == set(SURROGATES)
    for name, text in SURROGATES.items():
        want = Cell(f"y = 0.7 * ({text.replace('v', '(v / 1.5)')})", name="slope", output="y", inputs=("v",)).evaluate({"v": places}, np)[
            "y"
        ]
        got = lab(f"{places.tolist()}.map(lab.slope('{name}', {{height: 0.7, width: 1.5}}))")
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("rule", ["sum", "delta"])
def test_memories_are_those_of_the_kernels(lab: Any, rule: str) -> None:
    settings = {"pairs": 11, "keys": 4, "width": 6, "rate": 0.8, "keep": 0.95}
    found, made = (lab(f"lab.{call}{json.dumps(settings)}, 7)") for call in (f"memory('{rule}', ", "pairs("))
    k, v = (np.array(made[name])[:, None] for name in ("keys", "values"))
    given = {"keep": 0.95, "rate": 0.8, "erase": float(rule == "delta")}
    module = derive.compile(RECALL)
    _, final = module.infer(k, module.Params(), v=v, **{name: np.full((11, 1), value) for name, value in given.items()})
    np.testing.assert_allclose(found["S"], final.S[0], rtol=1e-11, atol=1e-13)
    for n, pair in enumerate(range(7, 11)):
        error = final.S[0] @ k[pair, 0] - v[pair, 0]
        assert found["errors"][n] == pytest.approx((error**2).mean(), rel=1e-10)


# What the page says


def test_what_the_page_says_of_gradients(lab: Any) -> None:
    explode = 0
    for seed in SEEDS:
        kept = lab(f"lab.gradient('lstm', {{bias: 3, scale: 1}}, 100, {seed})")
        assert kept["gate"] == pytest.approx(0.95, abs=0.005)
        assert kept["alone"][100] == pytest.approx(0.01 * kept["alone"][0], rel=0.6)
        assert lab(f"lab.rate({kept['whole']})") >= 0.98
        wild = lab(f"lab.gradient('lstm', {{bias: 1, scale: 10}}, 100, {seed})")
        explode += lab(f"lab.rate({wild['whole']})") > 1
        assert lab(f"lab.rate({wild['alone']})") < 1
        tanh = lab(f"lab.gradient('rnn', {{radius: 1}}, 100, {seed})")
        assert lab(f"lab.rate({tanh['whole']})") == pytest.approx(0.8, abs=0.06)
        assert lab(f"lab.rate({tanh['alone']})") == pytest.approx(1, abs=0.01)
    assert explode > len(SEEDS) / 2


def test_what_the_page_says_of_tangents(lab: Any) -> None:
    for cell, settings in (("rnn", {"radius": 1}), ("lstm", {"bias": 3}), ("gru", {"bias": 3})):
        for seed in SEEDS:
            given = f"'{cell}', {json.dumps(settings)}, 100, {seed}"
            back, on = lab(f"lab.rate(lab.gradient({given}).whole)"), lab(f"lab.rate(lab.tangent({given}).norms)")
            assert on == pytest.approx(back, abs=0.04)


def test_what_the_page_says_of_walls(lab: Any) -> None:
    every = lab("lab.distances(30)")

    def measured(cell: str, settings: dict[str, float], seed: int, distances: list[int] = every) -> tuple[np.ndarray, ...]:
        """Return distances, gradients and eigenvalues, as the page has them for 30 steps."""
        found = lab(f"lab.curvature('{cell}', {json.dumps(settings)}, {distances}, {seed})")
        return np.array(distances), *(np.array([one[key] for one in found]) for key in ("gradient", "eigenvalue"))

    def rates(distances: np.ndarray, *of: np.ndarray) -> list[float]:
        return [lab(f"lab.growth({distances.tolist()}, {values.tolist()})") for values in of]

    for seed in SEEDS:
        distances, gradient, eigenvalue = measured("rnn", {"radius": 0.9}, seed)
        back, bend = rates(distances, gradient, eigenvalue)
        assert back < 0.85 and bend == pytest.approx(back, abs=0.05)
        assert gradient[-1] < 1e-3 and gradient[-1] / eigenvalue[-1] > 0.9
        _, gradient, eigenvalue = measured("lstm", {"bias": 3, "scale": 1}, seed, every[-1:])
        assert eigenvalue[-1] < 1.05 * gradient[-1] and gradient[-1] > 0.05
    growing, thin = [], {"rnn": [], "lstm": []}
    for seed in MANY:
        distances, gradient, eigenvalue = measured("rnn", {"radius": 3}, seed)
        back, bend = rates(distances, gradient, eigenvalue)
        growing += [bend > back] if back > 1 else []
        thin["rnn"].append(gradient[-1] / eigenvalue[-1] < 0.01)
        _, gradient, eigenvalue = measured("lstm", {"bias": 1, "scale": 10}, seed, every[-1:])
        thin["lstm"].append(gradient[-1] / eigenvalue[-1] < 0.1)
    assert len(growing) > len(MANY) / 2 and np.mean(growing) > 0.8
    assert all(np.mean(walls) > 0.5 for walls in thin.values())


def test_the_lines_of_the_second_plot_part(lab: Any) -> None:
    def apart(radius: float, seed: int) -> float:
        found = lab(f"lab.curvature('rnn', {{radius: {radius}}}, [30], {seed})")[0]
        return abs(np.log10(found["eigenvalue"] / found["gradient"]))

    near, far = ([np.mean([apart(radius, seed) for seed in SEEDS]) for radius in radii] for radii in ((0.5, 0.75, 1.0), (2.0, 2.5, 3.0)))
    assert max(near) < 1 < 1.3 < min(far)


def test_what_the_page_says_of_slopes(lab: Any) -> None:
    def rate(name: str, height: float, reset: str, seed: int) -> float:
        return lab(f"lab.rate(lab.surrogate('{name}', {{height: {height}, width: 1, reset: '{reset}'}}, 50, {seed}).norms)")

    for seed in SEEDS:
        for name in ("fast sigmoid", "triangle", "Gaussian", "arctangent"):
            assert rate(name, 0.1, "detached", seed) == pytest.approx(0.9, abs=0.04)
            assert rate(name, 1.5, "detached", seed) > 1
            assert all(rate(name, height, "whole", seed) < 0.95 for height in (0.1, 0.5, 1.0, 1.5))
        assert lab(f"lab.surrogate('box', {{height: 0.5, width: 0.1, reset: 'detached'}}, 50, {seed})")["heard"] < 0.05


def test_what_the_page_says_of_memories(lab: Any) -> None:
    def recalled(rule: str, keys: int, keep: float, seed: int) -> Any:
        return lab(f"lab.memory('{rule}', {{pairs: 96, keys: {keys}, width: 16, rate: 1, keep: {keep}}}, {seed})")

    for seed in SEEDS:
        sums, delta = (recalled(rule, 96, 1, seed) for rule in ("sum", "delta"))
        assert sums["mean"] == pytest.approx(95 / 16, rel=0.25)
        assert np.mean(delta["errors"][-8:]) < 0.5 < 1 < np.mean(delta["errors"][:8])
        assert recalled("sum", 96, 0.9, seed)["mean"] < sums["mean"] / 4
        assert recalled("delta", 4, 1, seed)["mean"] < 0.5 < 10 < recalled("sum", 4, 1, seed)["mean"]
