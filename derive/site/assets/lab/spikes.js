// Leaky integrate-and-fire neurons that see one another, and what a surrogate's slope makes of a gradient on its way back:
// u = 0.9 u' + W x + V z' - z', z = step(u - 1), where a prime is the step before.
(function (lab) {
  "use strict";
  const INPUTS = 10;
  const NEURONS = 20;
  const DECAY = 0.9;

  // Slopes over the distance to the threshold, each 1 at the threshold; `width` makes them wider, `height` higher.
  lab.bumps = {
    "fast sigmoid": (v) => 1 / (1 + Math.abs(v)) ** 2,
    triangle: (v) => Math.max(0, 1 - Math.abs(v)),
    Gaussian: (v) => Math.exp(-v * v),
    arctangent: (v) => 1 / (1 + v * v),
    box: (v) => (Math.abs(v) < 0.5 ? 1 : 0),
  };
  lab.slope = (name, { height, width }) => (v) => height * lab.bumps[name](v / width);

  lab.neurons = function (steps, seed) {
    const normal = lab.normal(seed);
    const W = lab.matrix(NEURONS, INPUTS, () => 0.2 + 0.35 * normal());
    const V = lab.matrix(NEURONS, NEURONS, () => normal() / Math.sqrt(4 * NEURONS));
    const x = lab.matrix(steps, INPUTS, () => (normal() > 0.5 ? 1 : 0));
    const v = lab.vector(NEURONS, normal);
    return { params: { W, V }, x, v: v.map((value) => value / lab.norm(v)) };
  };

  // The norm of the gradient with respect to (u, z) k steps before the last spikes, the spikes, and the share of neurons near enough to be
  // heard.
  lab.surrogate = function (name, settings, steps, seed) {
    const { params, x, v } = lab.neurons(steps, seed);
    const slope = lab.slope(name, settings);
    let u = lab.vector(NEURONS, () => 0);
    let z = u;
    const potentials = [];
    const spikes = [];
    for (const row of x) {
      const input = lab.times(params.W, row);
      const others = lab.times(params.V, z);
      u = u.map((value, k) => DECAY * value + input[k] + others[k] - z[k]);
      z = u.map((value) => (value > 1 ? 1 : 0));
      potentials.push(u);
      spikes.push(z);
    }
    let bar = { u: lab.vector(NEURONS, () => 0), z: v };
    const norms = [1];
    for (const now of potentials.slice().reverse()) {
      const into = now.map((value, k) => bar.u[k] + slope(value - 1) * bar.z[k]);
      const reset = settings.reset === "whole" ? 1 : 0;
      bar = { u: into.map((value) => DECAY * value), z: lab.back(params.V, into).map((value, k) => value - reset * into[k]) };
      norms.push(lab.norm(bar.u, bar.z));
    }
    const slopes = potentials.flat().map((value) => slope(value - 1));
    const heard = slopes.filter((value) => value > 0.1 * settings.height).length / slopes.length;
    return { norms, spikes, heard, rate: spikes.flat().reduce((a, b) => a + b, 0) / slopes.length };
  };
})(globalThis.lab);
