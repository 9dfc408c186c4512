// The experiments on the page: controls above, what is computed below, anew whenever a control moves.
(function (lab) {
  "use strict";
  const { element, colours, dashes } = lab;
  const number = (value) => (Math.abs(value) >= 0.01 && Math.abs(value) < 1000 ? value.toPrecision(3) : value.toExponential(1));

  const FARTHER = "Factor a step, over the farther half:";
  const LOST = "Nothing is left of the gradient at the far end.";

  // What sets how long a cell remembers, and what else there is to set of it.
  const RADIUS = ["radius", "Spectral radius of U", 0.3, 3, 0.05, 1, (s) => s.cell === "rnn"];
  const BIAS = ["bias", "Bias of the forget or update gate", -2, 6, 0.25, 3, (s) => s.cell !== "rnn"];
  const SCALE = ["scale", "Recurrent matrices times", 0.5, 10, 0.5, 1, (s) => s.cell !== "rnn"];

  // A control is [key, label, kind, …]: a range has least, most, step and start; a choice its options.
  const controls = {
    gradient: [
      ["cell", "Cell", { lstm: "LSTM", gru: "GRU", rnn: "tanh RNN" }],
      RADIUS,
      BIAS,
      SCALE,
      ["steps", "Steps, T", 10, 200, 10, 100],
    ],
    curvature: [
      ["cell", "Cell", { rnn: "tanh RNN", lstm: "LSTM", gru: "GRU" }],
      RADIUS,
      BIAS,
      SCALE,
      ["steps", "Steps back, k", 5, 40, 5, 30],
    ],
    surrogate: [
      ["bump", "Slope", Object.fromEntries(Object.keys(lab.bumps).map((name) => [name, name]))],
      ["reset", "Reset in the gradient", { detached: "no", whole: "yes" }],
      ["height", "Height", 0.1, 1.5, 0.05, 0.5],
      ["width", "Width", 0.1, 3, 0.1, 1],
      ["steps", "Steps, T", 10, 100, 10, 50],
    ],
    memory: [
      ["pairs", "Pairs written", 1, 96, 1, 16],
      ["keys", "Different keys", 1, 96, 1, 96],
      ["width", "Numbers in a key, d", 4, 32, 4, 16],
      ["rate", "Rate, β", 0.1, 1, 0.05, 1],
      ["keep", "Kept at a step, α", 0.8, 1, 0.01, 1],
    ],
  };

  // The curvature over what a slider sets. It is kept, as the slider itself changes none of it.
  let kept = {};
  function along({ cell, scale, steps }, key, places, seed) {
    const asked = [cell, key === "bias" ? scale : "", steps, seed].join();
    if (kept.asked !== asked) kept = { asked, found: places.map((value) => lab.curvature(cell, { scale, [key]: value }, [steps], seed)[0]) };
    return kept.found;
  }

  // What is drawn for some settings: plots of a `width`, what their lines are, and a sentence with numbers.
  const drawings = {
    gradient(settings, seed, width) {
      const found = lab.gradient(settings.cell, settings, settings.steps, seed);
      const tangent = lab.tangent(settings.cell, settings, settings.steps, seed);
      const name = { rnn: "U alone, without the slopes", lstm: "f alone", gru: "z alone" }[settings.cell];
      const lines = [found.whole, found.alone, tangent.norms].map((y, k) => ({ y, colour: colours[k], dash: dashes[k] }));
      const plot = { lines, log: true, xlabel: "steps back, or on, k", ylabel: "norm" };
      const [whole, alone, on] = [found.whole, found.alone, tangent.norms].map((norms) => number(lab.rate(norms)));
      const gate = found.gate === null ? "" : ` On average, the gate is ${number(found.gate)}.`;
      return {
        plots: [lab.lines("Norm of the gradient over the steps back, and of the tangent over the steps on", plot, width)],
        legend: ["the whole gradient", name, "the tangent, forward"],
        says:
          `${FARTHER} ${whole}; by ${name}: ${alone}; of the tangent: ${on}.${gate} v · (∂h_T/∂h_0) u is ` +
          `${number(tangent.product)} by the tangent, ${number(found.product)} by the gradient.`,
      };
    },
    curvature(settings, seed, width) {
      const back = lab.distances(settings.steps);
      const slider = settings.cell === "rnn" ? RADIUS : BIAS;
      const places = lab.vector(10, (k) => slider[2] + (k * (slider[3] - slider[2])) / 9);
      const here = lab.curvature(settings.cell, settings, back, seed);
      const there = along(settings, slider[0], places, seed);
      const lines = (x, all) => ["gradient", "eigenvalue"].map((key, k) => ({ x, y: all.map((each) => each[key]), colour: colours[k], dash: dashes[k] }));
      const plot = { log: true, ylabel: "norm; eigenvalue" };
      const steps = { ...plot, lines: lines(back, here), xlabel: "steps back, k" };
      const slid = { ...plot, lines: lines(places, there), xlabel: `${slider[1]}, k = ${settings.steps}`, mark: settings[slider[0]] };
      const { gradient, eigenvalue } = here[here.length - 1];
      const rates = ["gradient", "eigenvalue"].map((key) => number(lab.growth(back, here.map((each) => each[key]))));
      return {
        plots: [
          lab.lines("Norm of the gradient and largest eigenvalue of the Hessian, over the steps back", steps, width),
          lab.lines(`Norm of the gradient and largest eigenvalue of the Hessian, over the ${slider[1].toLowerCase()}`, slid, width),
        ],
        legend: ["norm of the gradient", "largest eigenvalue of the Hessian, in size"],
        says:
          `${settings.steps} steps back, the gradient's norm is ${number(gradient)}, the eigenvalue ${number(eigenvalue)}: a move of length ` +
          `${number(gradient / eigenvalue)} can change the gradient by as much as it is long. ${FARTHER} ${rates.join(" and ")}.`,
      };
    },
    surrogate(settings, seed, width) {
      const found = lab.surrogate(settings.bump, settings, settings.steps, seed);
      const x = lab.vector(161, (k) => -3 + (6 * k) / 160);
      const bump = { lines: [{ x, y: x.map(lab.slope(settings.bump, settings)), colour: colours[0] }], y: [0, 1.5] };
      const norms = { lines: [{ y: found.norms, colour: colours[0] }], log: true };
      const share = (value) => `${Math.round(100 * value)} %`;
      const rate = lab.rate(found.norms);
      const left = Number.isFinite(rate) ? `Factor a step, over the farther half: ${number(rate)}.` : LOST;
      return {
        plots: [
          lab.lines("The surrogate's slope", { ...bump, xlabel: "distance to the threshold, u − 1", ylabel: "slope" }, width),
          lab.lines("Norm of the gradient over the steps back", { ...norms, xlabel: "steps back, k", ylabel: "norm" }, width),
        ],
        legend: [],
        says:
          `${share(found.rate)} of the neurons spike at a step; ${share(found.heard)} are near enough to the threshold to have ` +
          `a tenth of the slope's height or more. ${left}`,
      };
    },
    memory(settings, seed, width) {
      const found = Object.fromEntries(Object.keys(lab.rules).map((rule) => [rule, lab.memory(rule, settings, seed)]));
      const lines = Object.values(found).map(({ errors }, k) => {
        return { x: errors.map((_, n) => n + 1), y: errors, colour: colours[k], dash: dashes[k] };
      });
      const most = Math.max(1, ...lines.flatMap((line) => line.y));
      const errors = { lines, y: [0, most], xlabel: "key, the oldest first", ylabel: "squared error" };
      const { pairs, keys, keep, rate } = settings;
      const plain = pairs <= keys && keep === 1 && rate === 1;
      const theory = plain ? ` In theory, sums have (N − 1)/d = ${number((pairs - 1) / settings.width)}.` : "";
      const [sums, delta] = [found.sum.mean, found.delta.mean].map(number);
      return {
        plots: [
          lab.lines("Error of what is read, by key", errors, width),
          lab.squares("The memory of the sums", found.sum.S),
          lab.squares("The memory of the delta rule", found.delta.S),
        ],
        legend: Object.values(lab.rules).map((rule) => rule.title),
        says: `Mean error of ${Math.min(keys, pairs)} keys: ${sums} by sums, ${delta} by the delta rule.${theory}`,
      };
    },
  };

  function control([key, label, ...rest], changed) {
    const id = `lab-${key}-${Math.random().toString(36).slice(2, 8)}`;
    const name = element("label", { for: id }, label);
    if (typeof rest[0] === "object") {
      const select = element("select", { id }, ...Object.entries(rest[0]).map(([value, words]) => element("option", { value }, words)));
      select.addEventListener("input", changed);
      return { key, row: element("div", { class: "lab-control" }, name, select), value: () => select.value, shown: () => true };
    }
    const [min, max, step, value, shown] = rest;
    const range = element("input", { id, type: "range", min, max, step, value });
    const says = element("output", { for: id }, String(value));
    range.addEventListener("input", () => {
      says.textContent = range.value;
      changed();
    });
    const row = element("div", { class: "lab-control" }, name, range, says);
    return { key, row, value: () => Number(range.value), shown: shown || (() => true) };
  }

  const line = (words, k) => element("span", { style: `--line: ${colours[k]}`, class: ["", "dashed", "dotted"][k] }, words);

  function experiment(place) {
    const kind = place.dataset.lab;
    let seed = 1;
    const says = element("p", { class: "lab-says", "aria-live": "polite" });
    const legend = element("p", { class: "lab-legend" });
    const plots = element("div", { class: "lab-plots" });
    const all = controls[kind].map((words) => control(words, draw));
    const another = element("button", { type: "button", class: "md-button" }, "Other random numbers");
    another.addEventListener("click", () => {
      seed += 1;
      draw();
    });

    function draw() {
      const settings = Object.fromEntries(all.map((each) => [each.key, each.value()]));
      for (const each of all) each.row.hidden = !each.shown(settings);
      const drawn = drawings[kind](settings, seed, Math.min(plots.clientWidth, 620));
      says.textContent = drawn.says;
      plots.replaceChildren(...drawn.plots);
      legend.replaceChildren(...drawn.legend.map(line));
    }

    place.replaceChildren(...all.map((each) => each.row), another, legend, plots, says);
    draw();
  }

  document.querySelectorAll("[data-lab]").forEach(experiment);
})(globalThis.lab);
