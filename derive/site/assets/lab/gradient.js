// How far a gradient reaches, in three cells at their initial parameters: one sequence of standard normal inputs, and a loss that is a
// weighting of the last output. The equations are those of the cells' pages.
(function (lab) {
  "use strict";
  const INPUTS = 8;
  const HIDDEN = 24;
  const BEFORE = 300; // steps that are run before the distances begin: the first state is not a typical one

  const sigmoid = (a) => 1 / (1 + Math.exp(-a));
  const each = (length, of) => lab.vector(length, of);

  function weights(gates, settings, normal) {
    const limit = 1 / Math.sqrt(HIDDEN);
    const params = {};
    for (const gate of gates) {
      params["W_" + gate] = lab.matrix(HIDDEN, INPUTS, () => limit * normal() / Math.sqrt(3)); // the variance of ±1/√n
      params["U_" + gate] = lab.matrix(HIDDEN, HIDDEN, () => settings.scale * limit * normal() / Math.sqrt(3));
      params["b_" + gate] = each(HIDDEN, () => (gate === settings.open ? settings.bias : 0));
    }
    return params;
  }

  const affine = (p, gate, x, h) => {
    const input = lab.times(p["W_" + gate], x);
    const state = lab.times(p["U_" + gate], h);
    return input.map((value, k) => value + state[k] + p["b_" + gate][k]);
  };
  const sum = (...vectors) => vectors[0].map((_, k) => vectors.reduce((total, vector) => total + vector[k], 0));

  // Of each cell: its parameters, a step, the step's cotangents backward, and the part of these that is looked at alone.
  lab.cells = {
    rnn: {
      params(settings, normal) {
        const u = lab.matrix(HIDDEN, HIDDEN, normal);
        const factor = settings.radius / lab.radius(u);
        return { W_: weights([""], settings, normal).W_, U_: lab.scaled(u, factor), b_: each(HIDDEN, () => 0) };
      },
      start: () => ({ h: each(HIDDEN, () => 0) }),
      step(p, x, state) {
        const h = affine(p, "", x, state.h).map(Math.tanh);
        return { h };
      },
      back: (p, before, kept, bar) => ({ h: lab.back(p.U_, bar.h.map((value, k) => value * (1 - kept.h[k] ** 2))) }),
      alone: (p, kept, part) => lab.back(p.U_, part),
      first: (kept, bar) => bar.h,
    },
    lstm: {
      params: (settings, normal) => weights(["i", "f", "g", "o"], { ...settings, open: "f" }, normal),
      start: () => ({ c: each(HIDDEN, () => 0), h: each(HIDDEN, () => 0) }),
      step(p, x, state) {
        const [i, f, o] = ["i", "f", "o"].map((gate) => affine(p, gate, x, state.h).map(sigmoid));
        const g = affine(p, "g", x, state.h).map(Math.tanh);
        const c = f.map((value, k) => value * state.c[k] + i[k] * g[k]);
        return { i, f, g, o, c, h: o.map((value, k) => value * Math.tanh(c[k])), gate: f };
      },
      back(p, before, { i, f, g, o, c }, bar) {
        const into = lab.cells.lstm.first({ o, c }, bar);
        const delta = {
          o: o.map((value, k) => bar.h[k] * Math.tanh(c[k]) * value * (1 - value)),
          g: g.map((value, k) => into[k] * i[k] * (1 - value ** 2)),
          f: f.map((value, k) => into[k] * before.c[k] * value * (1 - value)),
          i: i.map((value, k) => into[k] * g[k] * value * (1 - value)),
        };
        const h = sum(...["i", "f", "g", "o"].map((gate) => lab.back(p["U_" + gate], delta[gate])));
        return { c: into.map((value, k) => value * f[k]), h };
      },
      alone: (p, kept, part) => part.map((value, k) => value * kept.f[k]),
      first: ({ o, c }, bar) => bar.h.map((value, k) => bar.c[k] + value * o[k] * (1 - Math.tanh(c[k]) ** 2)),
    },
    gru: {
      params(settings, normal) {
        const { b_n, ...params } = weights(["r", "z", "n"], { ...settings, open: "z" }, normal);
        return { ...params, b_in: b_n, b_hn: b_n };
      },
      start: () => ({ h: each(HIDDEN, () => 0) }),
      step(p, x, state) {
        const [r, z] = ["r", "z"].map((gate) => affine(p, gate, x, state.h).map(sigmoid));
        const inner = sum(lab.times(p.U_n, state.h), p.b_hn);
        const n = sum(lab.times(p.W_n, x), p.b_in).map((value, k) => Math.tanh(value + r[k] * inner[k]));
        return { r, z, n, inner, h: n.map((value, k) => (1 - z[k]) * value + z[k] * state.h[k]), gate: z };
      },
      back(p, before, { r, z, n, inner }, bar) {
        const candidate = bar.h.map((value, k) => value * (1 - z[k]) * (1 - n[k] ** 2));
        const update = bar.h.map((value, k) => value * (before.h[k] - n[k]) * z[k] * (1 - z[k]));
        const reset = candidate.map((value, k) => value * inner[k] * r[k] * (1 - r[k]));
        const product = candidate.map((value, k) => value * r[k]);
        const kept = bar.h.map((value, k) => value * z[k]);
        return { h: sum(kept, lab.back(p.U_r, reset), lab.back(p.U_z, update), lab.back(p.U_n, product)) };
      },
      alone: (p, kept, part) => part.map((value, k) => value * kept.z[k]),
      first: (kept, bar) => bar.h,
    },
  };

  // What a network and its inputs are, for a cell, its settings (`radius`, or `bias` and `scale`), a number of steps, and a seed.
  lab.network = function (name, settings, steps, seed) {
    const normal = lab.normal(seed);
    const params = lab.cells[name].params({ bias: 0, scale: 1, radius: 1, ...settings }, normal);
    const x = lab.matrix(BEFORE + steps, INPUTS, normal);
    const v = each(HIDDEN, normal);
    return { params, x, v: v.map((value) => value / lab.norm(v)) };
  };

  // The norm of the gradient with respect to the state k steps before the last, k = 0 … steps: `whole`, and by one path `alone`; and the
  // mean of the `gate` that this path goes through.
  lab.gradient = function (name, settings, steps, seed) {
    const cell = lab.cells[name];
    const { params, x, v } = lab.network(name, settings, steps, seed);
    const states = [cell.start()];
    for (const row of x) states.push(cell.step(params, row, states[states.length - 1]));
    let bar = Object.fromEntries(Object.keys(cell.start()).map((key) => [key, each(HIDDEN, () => 0)]));
    bar.h = v;
    let part = cell.first(states[states.length - 1], bar);
    const whole = [1];
    const alone = [lab.norm(part)];
    for (let t = states.length - 1; t > BEFORE; t--) {
      bar = cell.back(params, states[t - 1], states[t], bar);
      part = cell.alone(params, states[t], part);
      whole.push(lab.norm(...Object.values(bar)));
      alone.push(lab.norm(part));
    }
    const gates = states.slice(BEFORE + 1).flatMap((state) => state.gate || []);
    return { whole, alone, gate: gates.length ? gates.reduce((a, b) => a + b, 0) / gates.length : null };
  };
})(globalThis.lab);
