// The six things to try: what is changed, what is asked first, what came out, and how that is
// measured. A sentence stands here only if `holds` is true of it; the book's tests ask that of
// several seeds, and "five more seeds" lets the reader ask it of any.
((lib) => {
  "use strict";

  const SMALL = {
    id: "small",
    chip: "Start the weights too small",
    from: {}, lead: 600,
    to: { scale: 0.1 }, until: 600,
    ask: "Both networks are learning to tell the colours apart. Next, every hidden weight starts ten times smaller. Who still learns?",
    options: [
      ["Both, only more slowly", false],
      ["Only the one with BN", true],
      ["Neither", false],
    ],
    moral: "Without BN each layer makes the signal ten times fainter, until nothing is left to learn from; BN brings it back to size in every layer.",
    then: [{
      label: "Now ordinary weights", to: {}, until: 600,
      moral: "With weights of the usual size it is nearly a tie in the end. Good first weights do much of what BN does here.",
      holds: ({ none, bn }) => none.eval >= 0.75 && bn.eval >= 0.9 && Math.abs(bn.eval - none.eval) <= 0.2,
    }],
    page: ["initialization", "How much it forgives"],
    dare: "Keep these small weights, and make the network without BN win.",
    won: (settings, { none, bn }) => settings.scale <= 0.1 && none.eval - bn.eval >= 0.03,
    holds: ({ none, bn }) => none.eval <= 0.6 && bn.eval >= 0.85 && bn.train >= 0.85,
  };

  const RATE = {
    id: "rate",
    chip: "Turn up the learning rate",
    from: {}, lead: 600,
    to: { rate: 2 }, until: 600,
    ask: "At a learning rate of 0.1 both learn. Next, it is 2: every step is twenty times as long. Who still learns?",
    options: [
      ["Both, and faster", false],
      ["Only the one with BN", true],
      ["Neither", false],
    ],
    moral: "Steps this long throw the network without BN off course, mostly for good; with BN the same steps arrive.",
    then: [{
      label: "Try a rate of 10", to: { rate: 10 }, until: 600,
      moral: "At 10 both are lost. BN moves the limit; it does not remove it.",
      holds: ({ none, bn }) => none.eval <= 0.8 && bn.eval <= 0.8 && bn.train <= 0.8,
    }],
    page: ["learning-rate", "How large a rate may be"],
    dare: "Stay at a rate of 2, and get the network without BN to 95%.",
    won: (settings, { none }) => settings.rate >= 2 && none.eval >= 0.95,
    holds: ({ none, bn }) => bn.eval - none.eval >= 0.05 && bn.train - none.eval >= 0.05 && bn.eval >= 0.8,
  };

  const STRETCH = {
    id: "stretch",
    chip: "Stretch every weight tenfold",
    from: {}, lead: 300,
    to: { acts: [{ what: "stretch", at: 300 }] }, until: 600,
    ask: "Let them train for 300 steps. Then every hidden weight of both is multiplied by ten. Who loses what it has learned?",
    options: [
      ["Both", false],
      ["Only the one without BN", true],
      ["Neither", false],
    ],
    moral: "Without BN the loss shoots up, and what was learned is gone; BN divides the factor out again in every layer, and the picture stays.",
    then: [{
      label: "The same moment in eval()", to: { acts: [{ what: "stretch", at: 300 }] }, until: 301, mode: "eval",
      moral: "One step after the stretch, evaluation mode fails: its running statistics still describe the old weights. Press Play and they catch up.",
      holds: ({ bn }) => bn.eval <= 0.8 && bn.train - bn.eval >= 0.1,
    }],
    page: ["invariance", "Why a weight’s length stops mattering"],
    dare: "Stretch at step 300, and still get the network without BN to 90% by step 600.",
    won: (settings, { none }) => settings.acts.some(({ what, at }) => what === "stretch" && at >= 300) && none.eval >= 0.9,
    holds: ({ none, bn, jump, shift }) => none.eval <= 0.75 && jump.none >= 100 && bn.eval >= 0.85 && bn.train >= 0.85 && shift < 0.01,
  };

  const MODES = {
    id: "modes",
    chip: "Switch to eval()",
    from: { momentum: 0.01 }, lead: 100,
    to: { momentum: 0.01 }, until: 100, mode: "eval",
    ask: "After 100 steps the network with BN is doing well, in training mode. Then it is switched to evaluation mode, with the same weights. What becomes of its score?",
    options: [
      ["It stays: the weights are the same", false],
      ["It gets better", false],
      ["It gets worse", true],
    ],
    moral: "Same weights, other answers: in eval() BN uses running statistics, and at momentum 0.01 these still hold much of where they began.",
    then: [{
      label: "Recalibrate", to: { momentum: 0.01, acts: [{ what: "recalibrate", at: 100 }] }, until: 100, mode: "eval",
      moral: "One pass over the points sets the statistics right, and no weight has changed.",
      holds: ({ bn }) => bn.eval >= bn.train - 0.02,
    }],
    page: ["modes", "Why train() and eval() differ"],
    dare: "Close the gap between the two modes at step 100 without recalibrating.",
    won: (settings, { bn }) => settings.acts.length === 0 && bn.train - bn.eval <= 0.02 && bn.train >= 0.8,
    holds: ({ bn, recalibrated }) => bn.train - bn.eval >= 0.02 && recalibrated - bn.eval >= 0.02,
  };

  const TWO = {
    id: "two",
    chip: "Take batches of two",
    from: {}, lead: 600,
    to: { batch: 2 }, until: 1000,
    ask: "So far each step looked at 50 points. Next, it looks at two. Who learns more?",
    options: [
      ["The one with BN", false],
      ["The one without BN", true],
      ["Both about the same", false],
    ],
    moral: "BN loses: in every layer it turns each pair into a plus one and a minus one, however far apart the two points were.",
    then: [{
      label: "Now batches of 16", to: { batch: 16 }, until: 1000,
      moral: "Sixteen points tell enough about the rest, and BN learns again.",
      holds: ({ bn }) => bn.eval >= 0.85,
    }],
    page: ["modes", "Small batches", "small-batches"],
    dare: "Find a batch of 8 or fewer with which BN gets 90% right.",
    won: (settings, { bn }) => settings.batch <= 8 && bn.eval >= 0.9,
    holds: ({ none, bn }) => none.eval - bn.eval >= 0.05 && none.eval - bn.train >= 0.05 && bn.eval <= 0.8,
  };

  const DEEP = {
    id: "deep",
    chip: "Go 24 layers deep",
    from: {}, lead: 600,
    to: { depth: 24 }, until: 600,
    ask: "Four layers were easy. Next, there are 24. Who learns in 600 steps?",
    options: [
      ["Both", false],
      ["Only the one with BN", false],
      ["Neither gets far", true],
    ],
    moral: "Neither gets far: BN keeps the signal in shape, but its gradient (the bars) grows on the way down, and at the bottom it is many times what it is at the top. Networks this deep are built with shortcuts.",
    then: [{
      label: "Now 12 layers", to: { depth: 12 }, until: 600,
      moral: "At 12 layers the one with BN learns, mostly better than the one without.",
      holds: ({ none, bn }) => bn.eval >= 0.8 && bn.eval >= none.eval - 0.05,
    }],
    page: ["gradients", "Does it stop exploding gradients?"],
    dare: "Get the network with BN through 24 layers: 90% right.",
    won: (settings, { bn }) => settings.depth >= 24 && bn.eval >= 0.9,
    holds: ({ none, bn, growth }) => none.eval <= 0.92 && bn.eval <= 0.92 && growth.bn >= 15,
  };

  const ALL = [SMALL, RATE, STRETCH, MODES, TWO, DEEP];
  const named = (id) => ALL.find((preset) => preset.id === id);

  // The settings of a preset, after its question is answered.
  const settings = (id, part = "to") => ({ ...lib.state.START, ...named(id)[part] });

  // --- Measuring ----------------------------------------------------------------------------------

  const growth = (race, name) => {
    const sizes = lib.race.gradients(race, name);
    return sizes[0] / sizes.at(-1);
  };
  const scores = (race, name) => ({
    train: lib.race.score(race, name, "train").right,
    eval: lib.race.score(race, name, "eval").right,
  });
  const both = (f) => ({ none: f("none"), bn: f("bn") });

  // Start a race of these settings, and what is to be known of it; `step()` goes on by one and
  // says whether more is to come. So the work can be spread over frames.
  function measuring(chosen, until) {
    const race = lib.race.create(chosen);
    const found = { growth: both((name) => growth(race, name)) };
    const stretched = chosen.acts.find(({ what }) => what === "stretch")?.at;
    let before;
    function step() {
      if (race.step >= until) return false;
      if (race.step + 1 === stretched) before = lastMoments(chosen, stretched);
      lib.race.advance(race);
      return race.step < until;
    }
    function finish() {
      if (before) {
        Object.assign(found, before, { jump: both((name) => worst(race.losses[name].slice(stretched, stretched + 10)) / race.losses[name][stretched - 1]) });
      }
      Object.assign(found, both((name) => scores(race, name)));
      lib.network.recalibrate(race.nets.bn, lib.race.batches(race));
      found.recalibrated = lib.race.score(race, "bn", "eval").right;
      return found;
    }
    return { race, step, finish };
  }

  const worst = (losses) => Math.max(...losses.map((loss) => (Number.isNaN(loss) ? Infinity : loss)));

  // How far the answers with BN move when the weights are stretched, as probabilities.
  function lastMoments(chosen, at) {
    const answers = (acts) => {
      const race = lib.race.create({ ...chosen, acts });
      while (race.step < at) lib.race.advance(race);
      const made = lib.network.room(race.nets.bn, race.data.count);
      return lib.network.forward(race.nets.bn, race.data.x, made, "batch").map((z) => 1 / (1 + Math.exp(-z)));
    };
    const without = answers([]), stretched = answers(chosen.acts);
    return { shift: Math.max(...without.map((p, i) => Math.abs(p - stretched[i]))) };
  }

  // All at once.
  function measure(chosen, until) {
    const work = measuring(chosen, until);
    while (work.step());
    return work.finish();
  }

  lib.presets = { ALL, named, settings, measuring, measure };
})((globalThis.bnPlay ??= {}));
