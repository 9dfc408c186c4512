// How far a gradient reaches, in three cells at their initial parameters: one sequence of standard normal inputs, and a loss that is a
// weighting of the last output, L = v · h_T. The equations are those of the cells' pages.
(function (lab) {
  "use strict";
  const INPUTS = 8;
  const HIDDEN = 24;
  const BEFORE = 300; // steps that are run before the distances begin: the first state is not a typical one

  const each = (length, of) => lab.vector(length, of);
  const zeros = () => each(HIDDEN, () => 0);
  const unit = (vector) => vector.map((value) => value / lab.norm(vector));

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

  // Of each cell: its states, its parameters, the biases that stand beside W x, a step, the step's cotangents backward, and the part of
  // these that is looked at alone. Steps and their backward passes are computed `on` vectors that stand still, or on moving ones.
  lab.cells = {
    rnn: {
      states: ["h"],
      params(settings, normal) {
        const u = lab.matrix(HIDDEN, HIDDEN, normal);
        const factor = settings.radius / lab.radius(u);
        return { W_: weights([""], settings, normal).W_, U_: lab.scaled(u, factor), b_: zeros() };
      },
      biases: { "": "b_" },
      step: (on, p, input, { h }) => ({ h: on.tanh(on.sum(input[""], on.times(p.U_, h))) }),
      back: (on, p, before, { h }, bar) => ({ h: on.back(p.U_, on.throughTanh(bar.h, h)) }),
      alone: (p, kept, part) => lab.back(p.U_, part),
      first: (on, kept, bar) => bar.h,
    },
    lstm: {
      states: ["c", "h"],
      params: (settings, normal) => weights(["i", "f", "g", "o"], { ...settings, open: "f" }, normal),
      biases: { i: "b_i", f: "b_f", g: "b_g", o: "b_o" },
      step(on, p, input, before) {
        const [i, f, g, o] = ["i", "f", "g", "o"].map((gate) => {
          const a = on.sum(input[gate], on.times(p["U_" + gate], before.h));
          return gate === "g" ? on.tanh(a) : on.sigmoid(a);
        });
        const c = on.sum(on.mul(f, before.c), on.mul(i, g));
        const shown = on.tanh(c);
        return { i, f, g, o, c, shown, h: on.mul(o, shown), gate: f };
      },
      back(on, p, before, kept, bar) {
        const { i, f, g, o, shown } = kept;
        const into = lab.cells.lstm.first(on, kept, bar);
        const delta = {
          i: on.throughSigmoid(on.mul(into, g), i),
          f: on.throughSigmoid(on.mul(into, before.c), f),
          g: on.throughTanh(on.mul(into, i), g),
          o: on.throughSigmoid(on.mul(bar.h, shown), o),
        };
        return { c: on.mul(into, f), h: on.sum(...Object.keys(delta).map((gate) => on.back(p["U_" + gate], delta[gate]))) };
      },
      alone: (p, kept, part) => part.map((value, k) => value * kept.f[k]),
      first: (on, { o, shown }, bar) => on.sum(bar.c, on.throughTanh(on.mul(bar.h, o), shown)),
    },
    gru: {
      states: ["h"],
      params(settings, normal) {
        const { b_n, ...params } = weights(["r", "z", "n"], { ...settings, open: "z" }, normal);
        return { ...params, b_in: b_n, b_hn: b_n };
      },
      biases: { r: "b_r", z: "b_z", n: "b_in" },
      step(on, p, input, { h }) {
        const [r, z] = ["r", "z"].map((gate) => on.sigmoid(on.sum(input[gate], on.times(p["U_" + gate], h))));
        const inner = on.sum(on.times(p.U_n, h), on.constant(p.b_hn));
        const n = on.tanh(on.sum(input.n, on.mul(r, inner)));
        return { r, z, n, inner, h: on.sum(on.mul(on.rest(z), n), on.mul(z, h)), gate: z };
      },
      back(on, p, before, { r, z, n, inner }, bar) {
        const candidate = on.throughTanh(on.mul(bar.h, on.rest(z)), n);
        const update = on.throughSigmoid(on.mul(bar.h, on.minus(before.h, n)), z);
        const reset = on.throughSigmoid(on.mul(candidate, inner), r);
        const back = [on.back(p.U_r, reset), on.back(p.U_z, update), on.back(p.U_n, on.mul(candidate, r))];
        return { h: on.sum(on.mul(bar.h, z), ...back) };
      },
      alone: (p, kept, part) => part.map((value, k) => value * kept.z[k]),
      first: (on, kept, bar) => bar.h,
    },
  };

  // What a network and its inputs are, for a cell, its settings (`radius`, or `bias` and `scale`), a number of steps, and a seed: with
  // what the loss weighs the last output by, v, and a direction of the output, u.
  lab.network = function (name, settings, steps, seed) {
    const normal = lab.normal(seed);
    const params = lab.cells[name].params({ bias: 0, scale: 1, radius: 1, ...settings }, normal);
    const x = lab.matrix(BEFORE + steps, INPUTS, normal);
    const [v, u] = [each(HIDDEN, normal), each(HIDDEN, normal)].map(unit);
    return { params, x, v, u };
  };

  // A network that has run: its states, the last one last, and of each what came in from the input, W x + b by gate.
  lab.run = function (name, settings, steps, seed) {
    const { params, x, v, u } = lab.network(name, settings, steps, seed);
    const cell = lab.cells[name];
    const into = (gate, bias, row) => lab.still.sum(lab.times(params["W_" + gate], row), params[bias]);
    const inputs = x.map((row) => Object.fromEntries(Object.entries(cell.biases).map(([gate, bias]) => [gate, into(gate, bias, row)])));
    const states = [lab.of(cell, {})];
    for (const input of inputs) states.push(cell.step(lab.still, params, input, states[states.length - 1]));
    return { cell, params, v, u, states, inputs: [null, ...inputs] }; // inputs[t] led to states[t]
  };

  // The states of a cell, zero where nothing is given.
  lab.of = (cell, given) => Object.fromEntries(cell.states.map((key) => [key, given[key] || zeros()]));
  lab.parts = (cell, values) => cell.states.map((key) => values[key]);

  // The norm of the gradient with respect to the state k steps before the last, k = 0 … steps: `whole`, and by one path `alone`; the mean
  // of the `gate` that this path goes through; and the whole gradient's product with the direction u, k = steps.
  lab.gradient = function (name, settings, steps, seed) {
    const { cell, params, v, u, states } = lab.run(name, settings, steps, seed);
    let bar = lab.of(cell, { h: v });
    let part = cell.first(lab.still, states[states.length - 1], bar);
    const whole = [1];
    const alone = [lab.norm(part)];
    for (let t = states.length - 1; t > BEFORE; t--) {
      bar = cell.back(lab.still, params, states[t - 1], states[t], bar);
      part = cell.alone(params, states[t], part);
      whole.push(lab.norm(...lab.parts(cell, bar)));
      alone.push(lab.norm(part));
    }
    const gates = states.slice(BEFORE + 1).flatMap((state) => state.gate || []);
    const gate = gates.length ? gates.reduce((a, b) => a + b, 0) / gates.length : null;
    return { whole, alone, gate, product: lab.dot(bar.h, u) };
  };

  // The norm of the tangent k steps after the state that is moved along u, k = 0 … steps; and the last tangent's product with v.
  lab.tangent = function (name, settings, steps, seed) {
    const { cell, params, v, u, states, inputs } = lab.run(name, settings, steps, seed);
    const still = lab.of(cell, {});
    let now = lab.moved(cell, states[BEFORE], { ...still, h: u });
    const norms = [1];
    for (let t = BEFORE + 1; t < states.length; t++) {
      now = cell.step(lab.moving, params, lab.constants(inputs[t]), now);
      norms.push(lab.norm(...lab.parts(cell, now).map((state) => state.tangent)));
    }
    return { norms, product: lab.dot(now.h.tangent, v) };
  };

  lab.moved = (cell, state, along) => Object.fromEntries(cell.states.map((key) => [key, { value: state[key], tangent: along[key] }]));
  lab.constants = (values) => Object.fromEntries(Object.entries(values).map(([key, value]) => [key, lab.moving.constant(value)]));
})(globalThis.lab);
