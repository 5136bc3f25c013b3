// What can be set, and the page's address, which holds all of it.
((lib) => {
  "use strict";

  const START = {
    scale: 1, rate: 0.1, batch: 50, depth: 4, width: 8, activation: "relu", norm: "before",
    momentum: 0.1, seed: 1, acts: [],
  };

  const CHOICES = {
    scale: [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10],
    rate: [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10],
    batch: [2, 4, 8, 16, 32, 50, 100, 200],
    depth: [1, 2, 3, 4, 6, 8, 12, 16, 24],
    width: [2, 4, 8, 16],
    activation: ["relu", "tanh", "sigmoid"],
    norm: ["before", "after"],
    momentum: [0.01, 0.03, 0.1, 0.3, 1],
  };
  const MODES = ["train", "eval"];
  const LONGEST = 5000, MOST_SEEDS = 9999, MOST_ACTS = 20;

  // --- Reading ------------------------------------------------------------------------------------

  function wholeNumber(text, least, most) {
    const value = Number(text);
    return /^\d+$/.test(text) && value >= least && value <= most ? value : undefined;
  }

  function acts(text) {
    if (text === "") return [];
    const found = text.split(",").map((part) => {
      const [, what, at] = /^(stretch|recalibrate)@(\d+)$/.exec(part) ?? [];
      return what && Number(at) <= LONGEST ? { what, at: Number(at) } : undefined;
    });
    return found.length <= MOST_ACTS && found.every(Boolean) ? found : undefined;
  }

  const READERS = {
    seed: (text) => wholeNumber(text, 1, MOST_SEEDS),
    step: (text) => wholeNumber(text, 0, LONGEST),
    acts,
    mode: (text) => MODES.find((mode) => mode === text),
    preset: (text) => lib.presets.ALL.find(({ id }) => id === text)?.id,
  };
  const EXPECTED = {
    seed: `a whole number from 1 to ${MOST_SEEDS}`,
    step: `a whole number up to ${LONGEST}`,
    acts: "a list like stretch@300,recalibrate@400",
    mode: MODES.join(" or "),
    preset: "the name of one of the six",
  };
  for (const [key, values] of Object.entries(CHOICES)) {
    READERS[key] = (text) => values.find((value) => String(value) === text);
    EXPECTED[key] = `one of ${values.join(", ")}`;
  }

  // A state from "#preset=small&rate=2"; what is wrong in it is left out and said in `complaints`.
  function parse(address) {
    const given = {}, complaints = [];
    for (const [key, text] of new URLSearchParams(address.replace(/^#/, ""))) {
      const value = READERS[key]?.(text);
      if (value !== undefined) given[key] = value;
      else if (READERS[key]) complaints.push(`The address says ${key} = ${text}, which must be ${EXPECTED[key]}; it is left as it was.`);
    }
    const { preset = lib.presets.ALL[0].id, step, mode = "train", ...changes } = given;
    const own = step !== undefined || Object.keys(changes).length > 0 || given.mode !== undefined;
    const settings = { ...lib.presets.settings(preset), ...changes };
    return { state: { preset, settings, step: step ?? 0, mode }, own, complaints };
  }

  // --- Writing ------------------------------------------------------------------------------------

  const text = (key, value) => (key === "acts" ? value.map(({ what, at }) => `${what}@${at}`).join(",") : String(value));

  // The address of a state: the preset, then what differs from it.
  function format({ preset, settings, step, mode }, asked = false) {
    const parts = [`preset=${preset}`];
    if (asked) return `#${parts}`;
    const usual = lib.presets.settings(preset);
    for (const key of Object.keys(START)) {
      if (text(key, settings[key]) !== text(key, usual[key])) parts.push(`${key}=${text(key, settings[key])}`);
    }
    parts.push(`step=${Math.min(step, LONGEST)}`);
    if (mode !== "train") parts.push(`mode=${mode}`);
    return `#${parts.join("&")}`;
  }

  lib.state = { START, CHOICES, MODES, LONGEST, MOST_SEEDS, MOST_ACTS, parse, format };
})((globalThis.bnPlay ??= {}));
