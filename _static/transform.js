// The interactive figure of the chapter "Normalise, scale, shift": a batch of one channel, what BN
// makes of it, and knobs. The arithmetic comes first and touches no page; then the drawing.
(() => {
  "use strict";

  // --- Arithmetic: equation (transform-layer) ---------------------------------------------------

  const mean = (x) => x.reduce((sum, value) => sum + value, 0) / x.length;

  function moments(x) {
    const mu = mean(x);
    const power = (k) => mean(x.map((value) => (value - mu) ** k));
    const v = power(2);
    const known = v > 0 && Math.sqrt(v) > 1e-12 * Math.abs(mu);
    return {
      mean: mu,
      variance: v,
      skewness: known ? power(3) / v ** 1.5 : NaN,
      kurtosis: known ? power(4) / v ** 2 : NaN,
    };
  }

  function normalise(x, eps) {
    const { mean: mu, variance: v } = moments(x);
    const s = Math.sqrt(v + eps);
    return x.map((value) => (s > 0 ? (value - mu) / s : 0));
  }

  // Quantiles at (i + 1/2)/m of a distribution of mean 0 and variance 1, in increasing order.
  const QUANTILES = {
    skewed: (p) => -Math.log1p(-p) - 1,
    groups: (p) => (p < 0.5 ? -1 : 1) * 0.96 + (((p * 2) % 1) - 0.5) * 0.97,
    even: (p) => (p - 0.5) * Math.sqrt(12),
  };

  function batch({ shape, m, offset, scale, outlier }) {
    const x = Array.from({ length: m }, (_, i) => QUANTILES[shape]((i + 0.5) / m));
    x[m - 1] += outlier;
    return x.map((value) => offset + scale * value);
  }

  function compute(knobs) {
    const raw = batch(knobs);
    const hat = normalise(raw, knobs.eps);
    return { raw, hat, out: hat.map((value) => knobs.gamma * value + knobs.beta) };
  }

  // --- Knobs ------------------------------------------------------------------------------------

  const SHAPES = { skewed: "skewed", groups: "two groups", even: "even" };
  const SIZES = [2, 3, 8, 24, 64];
  const KNOBS = [
    { key: "offset", label: "offset", min: -6, max: 6, step: 0.1 },
    { key: "scale", label: "scale", min: -4, max: 0.6, step: 0.1, log: true },
    { key: "outlier", label: "outlier", min: 0, max: 30, step: 0.5 },
    { key: "eps", label: "epsilon ε", min: -8, max: 1, step: 0.5, log: true },
    { key: "gamma", label: "scale γ", min: -4, max: 4, step: 0.05 },
    { key: "beta", label: "shift β", min: -4, max: 4, step: 0.05 },
  ];
  const START = { shape: "skewed", m: 24, offset: 1, scale: 10 ** 0.2, outlier: 0, eps: 1e-5, gamma: 2, beta: -1 };
  const TRIES = {
    "Small values": () => ({ ...START, scale: 1e-3 }),
    "One outlier": () => ({ ...START, outlier: 30, scale: 10 ** -0.5, offset: -1 }),
    "Batch of two": () => ({ ...START, m: 2, gamma: 1, beta: 0 }),
    "Undo it": (now) => {
      const { mean: mu, variance: v } = moments(batch(now));
      return { ...now, gamma: Math.sqrt(v + now.eps), beta: mu };
    },
    Reset: () => START,
  };

  function text(value, digits = 2) {
    if (!Number.isFinite(value)) return "–";
    if (value !== 0 && Math.abs(value) < 0.01) {
      const exponent = Math.floor(Math.log10(Math.abs(value)) + 1e-9);
      if (exponent < -12) return "0";
      const mantissa = (value / 10 ** exponent).toFixed(1).replace(/\.0$/, "").replace("-", "−");
      const power = String(exponent).replace(/[-\d]/g, (c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
      return mantissa === "1" ? `10${power}` : `${mantissa}·10${power}`;
    }
    return value.toFixed(digits).replace("-", "−");
  }

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // --- Drawing ----------------------------------------------------------------------------------

  const LIMIT = 8;
  const ROWS = [["raw", "raw x"], ["hat", "normalised x̂"], ["out", "output y"]];
  const ROW = 104;

  const SVG = "http://www.w3.org/2000/svg";
  function shape(name, attributes, content) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (content !== undefined) node.textContent = content;
    return node;
  }

  function draw(svg, found, width) {
    const left = 10, right = 10;
    const height = ROW * ROWS.length + 34;
    const at = (value) => {
      const inside = Math.max(-LIMIT, Math.min(LIMIT, value));
      return left + ((inside + LIMIT) / (2 * LIMIT)) * (width - left - right);
    };
    const base = (row) => (row + 1) * ROW - 6;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const parts = [];
    for (let tick = -8; tick <= 8; tick += 4) {
      parts.push(shape("line", { class: "grid", x1: at(tick), x2: at(tick), y1: 12, y2: base(2) }));
      const anchor = tick === -8 ? "start" : tick === 8 ? "end" : "middle";
      parts.push(shape("text", { class: "tick", x: at(tick), y: base(2) + 22, "text-anchor": anchor }, text(tick, 0)));
    }
    const m = found.raw.length;
    ROWS.forEach(([key, name], row) => {
      const bins = new Array(33).fill(0);  // half a unit wide, around 0, ±0.5, ...
      const inside = found[key].filter((value) => Math.abs(value) <= LIMIT);
      inside.forEach((value) => { bins[Math.round((value + LIMIT) * 2)] += 1; });
      const most = Math.max(...bins, 1);
      const unit = at(0.5) - at(0);
      bins.forEach((count, i) => {
        const tall = (count / most) * 0.42 * ROW;
        if (count) parts.push(shape("rect", { class: "bar", x: at(-LIMIT) + (i - 0.5) * unit, width: unit - 1, y: base(row) - tall, height: tall }));
      });
      parts.push(shape("line", { class: "axis", x1: left, x2: width - right, y1: base(row), y2: base(row) }));
      parts.push(shape("text", { class: "name", x: left, y: base(row) - ROW + 30 }, name));
      const lost = m - inside.length;
      if (lost) parts.push(shape("text", { class: "outside", x: width - right, y: base(row) - ROW + 30, "text-anchor": "end" }, `${lost} of ${m} outside`));
    });
    for (let i = 0; i < m; i += 1) {
      const points = ROWS.map(([key], row) => [at(found[key][i]), base(row)]);
      const mark = i === m - 1 ? " marked" : "";
      parts.push(shape("polyline", { class: `path${mark}`, points: points.join(" ") }));
      for (const [x, y] of points) parts.push(shape("circle", { class: `dot${mark}`, cx: x, cy: y, r: mark ? 4.5 : 3 }));
    }
    svg.replaceChildren(...parts);
  }

  // --- The figure in the page -------------------------------------------------------------------

  function build(holder) {
    const figure = document.getElementById(holder.dataset.figure);
    const picture = figure?.querySelector(".bn-scroll");
    if (!picture) return;
    const knobs = { ...START };
    const box = make("div", { class: "bn-transform", role: "group", "aria-label": "Batch normalization of one channel, with controls" });
    const svg = shape("svg", { role: "img", "aria-label": "" });
    const said = make("p", { class: "bn-said", role: "status" });
    const table = make("tbody");
    const inputs = {}, outputs = {};

    function field(key, label, input) {
      input.id = `bn-transform-${key}`;
      inputs[key] = input;
      const parts = [make("label", { for: input.id }, label), input];
      if (input.type === "range") parts.push((outputs[key] = make("output", { for: input.id })));
      input.addEventListener("input", () => { read(key); show(); });
      return make("div", { class: "bn-knob" }, ...parts);
    }
    const choice = (values) => make("select", {}, ...values.map(([value, name]) => make("option", { value }, name)));
    const range = ({ min, max, step }) => make("input", { type: "range", min, max, step });

    // Only the knob that moved: "undo" sets values between the steps of a slider.
    function read(key) {
      const { value } = inputs[key];
      if (key === "shape") knobs.shape = value;
      else knobs[key] = KNOBS.find((knob) => knob.key === key)?.log ? 10 ** Number(value) : Number(value);
    }

    function write() {
      inputs.shape.value = knobs.shape;
      inputs.m.value = String(knobs.m);
      for (const { key, log } of KNOBS) inputs[key].value = log ? Math.log10(knobs[key]) : knobs[key];
    }

    function sentence(found, raw, hat) {
      const limit = Math.sqrt(knobs.m - 1);
      const most = Math.max(...found.hat.map(Math.abs));
      const undone = Math.max(...found.raw.map((value, i) => Math.abs(value - found.out[i]))) < 0.02 * Math.sqrt(raw.variance);
      if (undone) return "γ and β undo the normalisation of this batch. Now move the offset: y stays where it is.";
      if (hat.variance < 0.9) return `ε is not small beside the variance ${text(raw.variance)} of the batch: v/(v + ε) = ${text(hat.variance)}.`;
      if (knobs.m === 2) return "A batch of two comes out as −1 and +1, whatever it was.";
      if (knobs.m > 3 && most > 0.9 * limit) return `The outlier is at ${text(most)} of at most √(m − 1) = ${text(limit)}; the others are crowded together.`;
      return `Variance after normalising: v/(v + ε) = 1 − ${text(knobs.eps / (raw.variance + knobs.eps))}. Skewness and kurtosis do not move.`;
    }

    function show() {
      const found = compute(knobs);
      const width = Math.max(280, box.clientWidth || 640);
      draw(svg, found, width);
      for (const { key, log } of KNOBS) {
        outputs[key].textContent = text(knobs[key]);
        if (log) inputs[key].setAttribute("aria-valuetext", outputs[key].textContent);
      }
      const all = ROWS.map(([key]) => moments(found[key]));
      table.replaceChildren(...ROWS.map(([key, name], i) => make("tr", { "data-row": key }, make("th", { scope: "row" }, name),
        ...["mean", "variance", "skewness", "kurtosis"].map((which) => make("td", {}, text(all[i][which]))))));
      const words = sentence(found, all[0], all[1]);
      if (said.textContent !== words) said.textContent = words;
      svg.setAttribute("aria-label", `${knobs.m} samples, joined from raw x to normalised x̂ to output y. ${words}`);
      box.dataset.values = JSON.stringify({ knobs, ...found });
    }

    const heads = ["", "mean", "variance", "skewness", "kurtosis"].map((name) =>
      name ? make("th", { scope: "col" }, name) : make("td"));
    box.append(svg, said,
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), table),
      make("div", { class: "bn-knobs" },
        field("shape", "batch", choice(Object.entries(SHAPES))),
        field("m", "size m", choice(SIZES.map((size) => [size, `${size} values`]))),
        ...KNOBS.map((knob) => field(knob.key, knob.label, range(knob)))),
      make("div", { class: "bn-tries" }, ...Object.entries(TRIES).map(([name, change]) => {
        const button = make("button", { type: "button" }, name);
        button.addEventListener("click", () => {
          Object.assign(knobs, change(knobs));
          write();
          show();
        });
        return button;
      })));
    picture.hidden = true;
    picture.before(box);
    write();
    show();
    let width = box.clientWidth;
    new ResizeObserver(() => {
      if (box.clientWidth === width) return;
      width = box.clientWidth;
      show();
    }).observe(box);
  }

  function start() {
    document.querySelectorAll('[data-widget="transform"]').forEach(build);
  }
  window.bnTransform = { compute, moments, START };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
