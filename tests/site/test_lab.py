"""The lab's experiments compute what the kernels do, and what the page says of them is so."""

from __future__ import annotations

import json
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
    for name in ("numbers", "gradient", "spikes", "memory"):
        context.eval((HERE / "assets" / "lab" / f"{name}.js").read_text(encoding="utf-8"))
    return lambda text: json.loads(context.eval(f"JSON.stringify({text})"))


def arrays(values: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: np.array(value, dtype=np.float64) for key, value in values.items()}


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
