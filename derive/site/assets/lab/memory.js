// A memory that is a matrix: pairs of a key and a value are written, S = keep S' + rate (v - erase keep S' k) kᵀ, and read as S k.
(function (lab) {
  "use strict";

  lab.rules = {
    sum: { erase: 0, title: "sums: linear attention" },
    delta: { erase: 1, title: "delta rule" },
  };

  // `pairs` of random values under `keys` different keys of unit length, in turn; all of `width` numbers.
  lab.pairs = function ({ pairs, keys, width }, seed) {
    const normal = lab.normal(seed);
    const drawn = lab.matrix(keys, width, normal).map((key) => key.map((value) => value / lab.norm(key)));
    const values = lab.matrix(pairs, width, normal);
    return { keys: lab.vector(pairs, (k) => drawn[k % keys]), values };
  };

  // The memory, and how far what is read under each key is from the key's last value: |error|² over d,
  // which is a value's |v|² on average; the oldest key first.
  lab.memory = function (rule, settings, seed) {
    const { keys, values } = lab.pairs(settings, seed);
    const { keep, rate } = settings;
    let S = lab.matrix(settings.width, settings.width, () => 0);
    keys.forEach((key, t) => {
      const old = lab.scaled(S, keep);
      const there = lab.times(old, key);
      const write = values[t].map((value, i) => rate * (value - lab.rules[rule].erase * there[i]));
      S = old.map((row, i) => row.map((value, j) => value + write[i] * key[j]));
    });
    const read = keys.map((key) => lab.times(S, key));
    const errors = read.map((value, t) => {
      const last = values[t + settings.keys * Math.floor((keys.length - 1 - t) / settings.keys)];
      return lab.norm(value.map((part, i) => part - last[i])) ** 2 / settings.width;
    });
    const asked = errors.slice(-settings.keys); // each key once, in the order of its last writing
    return { S, errors: asked, mean: asked.reduce((a, b) => a + b, 0) / asked.length };
  };
})(globalThis.lab);
