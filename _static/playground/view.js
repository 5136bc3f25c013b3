// The elements of the playground; what they do is in ../playground.js.
((lib) => {
  "use strict";

  const NAMES = { none: "Without BN", bn: "With BN" };

  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function button(label, click, attributes = {}) {
    const node = make("button", { type: "button", ...attributes }, label);
    node.addEventListener("click", click);
    return node;
  }

  // --- Panes --------------------------------------------------------------------------------------

  function pane(name) {
    const right = make("span", { class: "bn-right-now" }, "–");
    const note = make("span", { class: "bn-pane-note" });
    const surface = make("canvas", { class: "bn-surface", role: "img", "aria-label": "" });
    const tower = make("canvas", { class: "bn-tower", role: "img", "aria-label": "" });
    const node = make("section", { class: `bn-pane bn-pane-${name}`, "aria-label": NAMES[name] },
      make("p", { class: "bn-pane-title" }, make("strong", {}, NAMES[name]), right, note),
      make("div", { class: "bn-look" }, surface, tower));
    return { node, right, note, surface, tower };
  }

  // --- Knobs --------------------------------------------------------------------------------------

  const KNOBS = {
    scale: ["scale of the weights", (v) => (v === 1 ? "usual" : `× ${v}`)],
    rate: ["learning rate", String],
    batch: ["batch", (v) => `${v} points`],
    depth: ["layers", String],
    width: ["units in a layer", String],
    momentum: ["momentum", String],
  };
  const SELECTS = {
    activation: ["activation", { relu: "ReLU", tanh: "tanh", sigmoid: "sigmoid" }],
    norm: ["BN comes", { before: "before the activation", after: "after the activation" }],
  };

  // A slider over the values of one setting; `change(key, value)` when it is moved.
  function knob(key, change) {
    const [label, words] = KNOBS[key], values = lib.state.CHOICES[key];
    const id = `bn-play-${key}`;
    const input = make("input", { id, type: "range", min: 0, max: values.length - 1, step: 1 });
    const output = make("output", { for: id });
    const show = (value) => {
      input.value = values.indexOf(value);
      output.textContent = words(value);
      input.setAttribute("aria-valuetext", words(value));
    };
    input.addEventListener("input", () => change(key, values[Number(input.value)]));
    return { node: make("div", { class: "bn-knob" }, make("label", { for: id }, label), input, output), show };
  }

  function select(key, change) {
    const [label, names] = SELECTS[key], id = `bn-play-${key}`;
    const input = make("select", { id }, ...Object.entries(names).map(([value, name]) => make("option", { value }, name)));
    input.addEventListener("change", () => change(key, input.value));
    return { node: make("div", { class: "bn-knob" }, make("label", { for: id }, label), input), show: (value) => { input.value = value; } };
  }

  function seedField(change) {
    const { MOST_SEEDS } = lib.state;
    const input = make("input", { id: "bn-play-seed", type: "number", min: 1, max: MOST_SEEDS, step: 1, inputmode: "numeric" });
    input.addEventListener("change", () => {
      const value = Number(input.value);
      if (Number.isInteger(value) && value >= 1 && value <= MOST_SEEDS) change("seed", value);
      else input.reportValidity();
    });
    return { node: make("div", { class: "bn-knob" }, make("label", { for: "bn-play-seed" }, "seed of the start"), input), show: (value) => { input.value = value; } };
  }

  // --- The card -----------------------------------------------------------------------------------

  const card = () => make("div", { class: "bn-card", tabindex: "-1" });

  function ask(node, preset, place, choose) {
    const id = "bn-play-question";
    node.replaceChildren(
      make("p", { class: "bn-card-title" }, `${place} · Guess first`),
      make("p", { class: "bn-question", id }, preset.ask),
      make("div", { class: "bn-options", role: "group", "aria-labelledby": id },
        ...preset.options.map(([text, right]) => button(text, () => choose(text, right))),
        button("Just show me", () => choose(null, null), { class: "bn-quiet" })));
  }

  // While the answer is being computed: the guess, the question, and how far it is.
  function running(node, title, question) {
    const progress = make("progress", { max: 1, value: 0, "aria-label": "How far the run is" });
    node.replaceChildren(make("p", { class: "bn-card-title" }, title), make("p", { class: "bn-question" }, question), progress);
    return progress;
  }

  const VERDICTS = new Map([[true, "Right."], [false, "Not this time."], [null, "What came out:"]]);

  function told(node, { verdict, moral, buttons, page, dare }) {
    const mark = verdict === null ? "" : verdict ? " bn-yes" : " bn-no";
    node.replaceChildren(
      make("p", { class: `bn-card-title${mark}` }, VERDICTS.get(verdict)),
      make("p", { class: "bn-moral" }, moral),
      make("div", { class: "bn-options" }, ...buttons),
      make("p", { class: "bn-more" }, make("a", { href: page.href }, `${page.title} →`), make("span", { class: "bn-dare" }, make("strong", {}, "Dare: "), dare)));
  }

  function plain(node, title, text, buttons, mark = "") {
    node.replaceChildren(
      make("p", { class: `bn-card-title${mark}` }, title),
      make("p", {}, text),
      make("div", { class: "bn-options" }, ...buttons));
  }

  // --- More seeds ---------------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";
  function shape(name, attributes, text) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text) node.textContent = text;
    return node;
  }

  const percent = (share) => `${Math.round(100 * share)}%`;

  // One point per start, without BN above, with BN below, from 30% to 100% right.
  function seeds(node, found, mode) {
    const at = (share) => 86 + 224 * Math.max(0, (share - 0.3) / 0.7);
    const svg = shape("svg", { viewBox: "0 0 320 74", role: "img" });
    for (const share of [0.5, 0.75, 1]) {
      svg.append(shape("line", { x1: at(share), x2: at(share), y1: 4, y2: 54, class: "grid" }), shape("text", { x: at(share), y: 70, "text-anchor": share === 1 ? "end" : "middle" }, percent(share)));
    }
    ["none", "bn"].forEach((name, row) => {
      svg.append(shape("text", { x: 0, y: 22 + 24 * row, class: name }, NAMES[name]));
      for (const one of found) svg.append(shape("circle", { cx: at(one[name][mode]), cy: 17 + 24 * row, r: 4.5, class: name }));
    });
    const range = (name) => {
      const values = found.map((one) => one[name][mode]);
      const [least, most] = [Math.min(...values), Math.max(...values)].map(percent);
      return least === most ? least : `${least} to ${most}`;
    };
    const words = `${found.length} more starts, with the settings as they are: right ${range("none")} without BN, ${range("bn")} with BN in ${mode}().`;
    svg.setAttribute("aria-label", words);
    node.replaceChildren(make("p", {}, words), svg);
  }

  lib.view = { NAMES, make, button, pane, knob, select, seedField, card, ask, running, told, plain, seeds, percent };
})((globalThis.bnPlay ??= {}));
