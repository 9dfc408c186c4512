// Small matrices, as arrays of rows, and random numbers that are the same each time.
globalThis.lab = globalThis.lab || {};
(function (lab) {
  "use strict";

  // Marsaglia 2003, Xorshift RNGs, Journal of Statistical Software 8(14): shifts by 13, 17 and 5.
  function source(seed) {
    let state = (Math.imul(seed + 1, 0x9e3779b1) | 0) || 1;
    return () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return ((state >>> 0) + 0.5) / 4294967296;
    };
  }

  // Standard normal numbers, by Box and Muller's transform.
  lab.normal = function (seed) {
    const uniform = source(seed);
    for (let k = 0; k < 16; k++) uniform(); // the first numbers of seeds side by side are alike
    return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  };

  lab.vector = (length, of) => Array.from({ length }, (_, k) => of(k));
  lab.matrix = (rows, columns, of) => lab.vector(rows, (i) => lab.vector(columns, (j) => of(i, j)));
  lab.dot = function (a, b) {
    let sum = 0; // a loop: most of the time is spent here
    for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
    return sum;
  };
  lab.norm = (...parts) => Math.sqrt(parts.reduce((sum, part) => sum + lab.dot(part, part), 0));
  lab.times = (matrix, vector) => matrix.map((row) => lab.dot(row, vector));
  lab.scaled = (matrix, factor) => matrix.map((row) => row.map((value) => factor * value));

  // The product with the transpose.
  lab.back = function (matrix, vector) {
    const sum = new Array(matrix[0].length).fill(0);
    matrix.forEach((row, i) => {
      for (let j = 0; j < row.length; j++) sum[j] += row[j] * vector[i];
    });
    return sum;
  };

  // The largest absolute value of an eigenvalue: the limit of the norm of A^k to the power 1/k, here for k = 2^40 by squaring.
  lab.radius = function (matrix) {
    let power = matrix;
    let logarithm = 0;
    for (let k = 0; k < 40; k++) {
      const size = lab.norm(...power);
      logarithm += Math.log(size) / 2 ** k;
      power = lab.scaled(power, 1 / size);
      power = power.map((row) => lab.back(power, row));
    }
    return Math.exp(logarithm);
  };

  // The factor a step over the farther half of some values, at some distances: the slope of their logarithm, by least squares.
  lab.growth = function (distances, values) {
    const start = values.length >> 1;
    const [steps, logs] = [distances.slice(start), values.slice(start).map(Math.log)];
    const [middle, mean] = [steps, logs].map((all) => all.reduce((a, b) => a + b, 0) / all.length);
    let above = 0;
    let below = 0;
    logs.forEach((value, k) => {
      above += (steps[k] - middle) * (value - mean);
      below += (steps[k] - middle) ** 2;
    });
    return Math.exp(above / below);
  };
  lab.rate = (norms) => lab.growth(norms.map((_, k) => k), norms);
})(globalThis.lab);
