// Plots as SVG: in the colour of the page's text, and in colours that colour-blind readers tell apart (Okabe and Ito's).
(function (lab) {
  "use strict";
  const HEIGHT = 300;
  const EDGE = { left: 64, right: 22, top: 12, bottom: 42 };
  lab.colours = ["#0072b2", "#d55e00", "#009e73"];
  lab.dashes = ["none", "6 4", "2 3"];

  lab.element = function (name, attributes, ...children) {
    const svg = ["svg", "path", "rect", "text", "g", "title", "line"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const power = (exponent) => "10" + String(exponent).replace(/./g, (sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] || "⁻");
  const text = (x, y, anchor, words) => lab.element("text", { x, y, "text-anchor": anchor }, words);

  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found;
  }

  // Lines of `y` over `x`, `width` pixels wide; with `log`, the y axis is logarithmic and what is 0 is left out. A `mark` is a
  // place on the x axis.
  lab.lines = function (label, { lines, xlabel, ylabel, log, y, mark }, width) {
    const scale = log ? Math.log10 : (value) => value;
    const pairs = lines.map((line) => line.y.map((value, k) => [line.x ? line.x[k] : k, scale(value)]));
    const points = pairs.map((line) => line.filter(([, value]) => Number.isFinite(value)));
    const all = points.flat();
    const xs = [Math.min(...all.map(([a]) => a)), Math.max(...all.map(([a]) => a))];
    const span = y || [Math.min(...all.map(([, b]) => b)), Math.max(...all.map(([, b]) => b))];
    const ys = log ? [Math.floor(span[0]), Math.max(Math.ceil(span[1]), Math.floor(span[0]) + 1)] : span;
    const at = {
      x: (value) => EDGE.left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (width - EDGE.left - EDGE.right),
      y: (value) => HEIGHT - EDGE.bottom - ((value - ys[0]) / (ys[1] - ys[0] || 1)) * (HEIGHT - EDGE.top - EDGE.bottom),
    };
    const grid = [];
    for (const value of ticks(...ys, 6).filter((tick) => !log || Number.isInteger(tick))) {
      grid.push(lab.element("line", { x1: EDGE.left, x2: width - EDGE.right, y1: at.y(value), y2: at.y(value), class: "lab-grid" }));
      grid.push(text(EDGE.left - 6, at.y(value) + 4, "end", log ? power(value) : String(+value.toPrecision(3))));
    }
    for (const value of ticks(...xs, width / 80)) {
      grid.push(text(at.x(value), HEIGHT - EDGE.bottom + 18, "middle", String(+value.toPrecision(3))));
    }
    grid.push(text((EDGE.left + width) / 2, HEIGHT - 6, "middle", xlabel));
    grid.push(lab.element("text", { transform: `translate(14 ${HEIGHT / 2 - 10}) rotate(-90)`, "text-anchor": "middle" }, ylabel));
    if (mark !== undefined) {
      grid.push(lab.element("line", { x1: at.x(mark), x2: at.x(mark), y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "lab-mark" }));
    }
    const drawn = points.map((line, k) => {
      const d = line.map(([a, b], n) => `${n ? "L" : "M"}${at.x(a).toFixed(1)} ${at.y(b).toFixed(1)}`).join("");
      const { colour, dash } = lines[k];
      return lab.element("path", { d, fill: "none", stroke: colour, "stroke-width": 2.2, "stroke-dasharray": dash || "none" });
    });
    const shape = { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label, class: "lab-plot" };
    return lab.element("svg", shape, ...grid, ...drawn);
  };

  // A matrix, an element a square: blue below zero, orange above, the stronger the further.
  lab.squares = function (label, matrix) {
    const largest = Math.max(...matrix.flat().map(Math.abs), 1e-12);
    const side = HEIGHT / matrix.length;
    const squares = matrix.flatMap((row, i) =>
      row.map((value, j) => {
        const fill = lab.colours[value < 0 ? 0 : 1];
        const place = { x: (j * side).toFixed(2), y: (i * side).toFixed(2), width: side.toFixed(2), height: side.toFixed(2) };
        return lab.element("rect", { ...place, fill, "fill-opacity": (Math.abs(value) / largest).toFixed(3) });
      })
    );
    const shape = { viewBox: `0 0 ${HEIGHT} ${HEIGHT}`, role: "img", "aria-label": label, class: "lab-plot lab-square" };
    return lab.element("svg", shape, ...squares);
  };
})(globalThis.lab);
