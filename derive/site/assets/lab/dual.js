// Vectors as the cells compute with them, of two kinds. Those that stand still are arrays of numbers. Those that move have a value and a
// tangent, and each rule below is one of differentiation. So one text of a step gives the step and its tangent (forward mode), and one text
// of its backward pass the gradient and a Hessian times a vector (forward mode over reverse mode).
(function (lab) {
  "use strict";
  const still = {
    constant: (a) => a,
    sum(first, ...others) {
      const total = first.slice();
      for (const a of others) for (let k = 0; k < a.length; k++) total[k] += a[k];
      return total;
    },
    minus: (a, b) => a.map((value, k) => value - b[k]),
    mul: (a, b) => a.map((value, k) => value * b[k]),
    rest: (a) => a.map((value) => 1 - value),
    tanh: (a) => a.map(Math.tanh),
    sigmoid: (a) => a.map((value) => 1 / (1 + Math.exp(-value))),
    times: lab.times,
    back: lab.back,
  };

  const both = (of) => (...all) => ({ value: of(...all.map((a) => a.value)), tangent: of(...all.map((a) => a.tangent)) });
  const curve = (of, slope) => (a) => {
    const value = of(a.value);
    return { value, tangent: value.map((y, k) => slope(y) * a.tangent[k]) };
  };
  const moving = {
    constant: (a) => ({ value: a, tangent: a.map(() => 0) }),
    sum: both(still.sum),
    minus: both(still.minus),
    mul: (a, b) => ({
      value: still.mul(a.value, b.value),
      tangent: a.tangent.map((dot, k) => dot * b.value[k] + a.value[k] * b.tangent[k]),
    }),
    rest: (a) => ({ value: still.rest(a.value), tangent: a.tangent.map((dot) => -dot) }),
    tanh: curve(still.tanh, (y) => 1 - y * y),
    sigmoid: curve(still.sigmoid, (y) => y * (1 - y)),
    times: (matrix, a) => both((vector) => lab.times(matrix, vector))(a),
    back: (matrix, a) => both((vector) => lab.back(matrix, vector))(a),
  };

  // From the cotangent of y to that of a, where y = tanh(a) or y = sigmoid(a).
  for (const on of [still, moving]) {
    on.throughTanh = (bar, y) => on.mul(bar, on.rest(on.mul(y, y)));
    on.throughSigmoid = (bar, y) => on.mul(bar, on.mul(y, on.rest(y)));
  }
  Object.assign(lab, { still, moving });
})(globalThis.lab);
