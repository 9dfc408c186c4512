// How fast a gradient changes: the Hessian of the loss L = v · h_T with respect to the state some steps before, by its products with vectors.
(function (lab) {
  "use strict";

  // The Hessian with respect to the state `distance` steps before the last, times a direction, all states in one vector; and the gradient.
  // The states run on from there as moving ones, and the backward pass goes back on what they are.
  lab.hessian = function ({ cell, params, v, states, inputs }, distance, direction) {
    const start = states.length - 1 - distance;
    const width = direction.length / cell.states.length;
    const along = Object.fromEntries(cell.states.map((key, k) => [key, direction.slice(k * width, (k + 1) * width)]));
    const run = [lab.moved(cell, states[start], along)];
    for (let t = start + 1; t < states.length; t++) {
      run.push(cell.step(lab.moving, params, lab.constants(inputs[t]), run[run.length - 1]));
    }
    let bar = lab.constants(lab.of(cell, { h: v }));
    for (let t = distance; t > 0; t--) bar = cell.back(lab.moving, params, run[t - 1], run[t], bar);
    const parts = lab.parts(cell, bar);
    return { product: parts.flatMap((part) => part.tangent), gradient: parts.flatMap((part) => part.value) };
  };

  // The largest eigenvalue of a tridiagonal matrix, by halving: all pivots of T - x are negative where x is above it.
  function top(diagonal, beside) {
    const edge = (k) => Math.abs(beside[k] || 0);
    const reach = Math.max(...diagonal.map((value, k) => Math.abs(value) + edge(k - 1) + edge(k))); // Gershgorin
    let [low, high] = [-reach, reach];
    for (let n = 0; n < 52; n++) {
      const middle = (low + high) / 2;
      let pivot = 1;
      const above = diagonal.every((value, k) => (pivot = value - middle - (k ? beside[k - 1] ** 2 / pivot : 0)) < 0);
      if (above) high = middle;
      else low = middle;
    }
    return high;
  }

  // The largest absolute value of an eigenvalue of a symmetric matrix, of which products with vectors are known (Lanczos 1950, Journal of
  // Research of the National Bureau of Standards 45(4):255-282). Every new direction is made orthogonal to all before, twice, as rounding
  // would bring them back. It ends when two directions more have changed nothing.
  lab.largest = function (times, start) {
    const basis = [];
    const diagonal = [];
    const beside = [];
    const found = [];
    let next = start;
    for (let size = lab.norm(next); basis.length < start.length && size > 1e-14 * (found[0] || 0); size = lab.norm(next)) {
      if (basis.length) beside.push(size);
      basis.push(next.map((value) => value / size));
      next = times(basis[basis.length - 1]);
      diagonal.push(lab.dot(basis[basis.length - 1], next));
      for (let twice = 0; twice < 2; twice++) {
        for (const q of basis) {
          const part = lab.dot(q, next);
          next = next.map((value, k) => value - part * q[k]);
        }
      }
      found.unshift(Math.max(top(diagonal, beside), top(diagonal.map((value) => -value), beside)));
      if (found.length > 2 && found[0] - found[2] <= 1e-10 * found[0]) break;
    }
    return found[0];
  };

  // Some distances up to `most`, not more than a dozen.
  lab.distances = function (most) {
    const step = Math.ceil(most / 12);
    return lab.vector(Math.ceil(most / step), (k) => most - k * step).reverse();
  };

  // The norm of the gradient with respect to the state some steps before the last, and the largest eigenvalue of the Hessian, for each of
  // some distances.
  lab.curvature = function (name, settings, distances, seed) {
    const run = lab.run(name, settings, Math.max(...distances), seed);
    const start = run.cell.states.flatMap(() => run.u);
    return distances.map((distance) => ({
      gradient: lab.norm(lab.hessian(run, distance, start).gradient),
      eigenvalue: lab.largest((direction) => lab.hessian(run, distance, direction).product, start),
    }));
  };
})(globalThis.lab);
