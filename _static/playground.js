// The playground: two networks from the same start on the same data, one with batch normalization.
// The pieces are in playground/; here is what happens when.
((lib) => {
  "use strict";

  const STEPS_PER_FRAME = 2;
  const BUSY = 9;  // milliseconds of a frame for steps; the rest is for drawing
  const FRAME = 14;  // a faster screen skips frames
  const SEEDS = 5;

  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const memory = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };

  class Playground {
    constructor(box, links) {
      Object.assign(this, { box, links, playing: false, phase: "ask", mode: "train", rooms: new WeakMap(), work: null });
      this.build();
      this.colours();
      this.load();
    }

    // --- Elements -------------------------------------------------------------------------------

    build() {
      const { make, button, pane, knob, select, seedField, card } = lib.view;
      const change = (key, value) => this.change({ [key]: value });
      this.chips = lib.presets.ALL.map((preset, i) => button(make("span", { "aria-hidden": "true" }), () => this.choose(preset.id), { "aria-pressed": "false" }));
      this.chips.forEach((chip, i) => chip.append(lib.presets.ALL[i].chip));
      this.card = card();
      this.panes = { none: pane("none"), bn: pane("bn") };
      this.surfaces = { none: lib.surface.create(this.panes.none.surface), bn: lib.surface.create(this.panes.bn.surface) };
      this.lossCanvas = make("canvas", { class: "bn-losses", role: "img", "aria-label": "" });
      this.said = make("p", { class: "bn-said", role: "status" });
      this.complaint = make("p", { class: "bn-complaint", role: "alert" });
      this.seedBox = make("div", { class: "bn-seeds", role: "status" });
      this.play = button("Play", () => this.toggle(), { class: "bn-main" });
      this.modes = lib.state.MODES.map((mode) => button(`${mode}()`, () => this.setMode(mode), { "aria-pressed": "false" }));
      this.more = button("Five more seeds", () => this.moreSeeds());
      this.knobs = {};
      for (const key of ["scale", "rate", "batch", "depth", "width", "momentum"]) this.knobs[key] = knob(key, change);
      for (const key of ["activation", "norm"]) this.knobs[key] = select(key, change);
      this.knobs.seed = seedField(change);
      const nodes = (...keys) => keys.map((key) => this.knobs[key].node);
      this.box.append(
        this.chipRow = make("div", { class: "bn-chips", role: "group", "aria-label": "Six things to try" }, ...this.chips),
        this.complaint,
        this.card,
        make("div", { class: "bn-panes" }, this.panes.none.node, this.panes.bn.node),
        make("p", { class: "bn-key" }, "Towers, from input up: ", make("b", {}, "filled"), ", this batch; ", make("b", {}, "outlined"), ", the same batch in eval(); ", make("b", {}, "bars"), ", the gradient of each layer. Losses: ", make("b", {}, "dotted"), ", BN in eval()."),
        make("div", { class: "bn-buttons" },
          this.play,
          button("One step", () => this.single()),
          button("Restart", () => this.restart()),
          make("div", { class: "bn-modes", role: "group", "aria-label": "Mode in which the answers are shown" }, ...this.modes)),
        this.lossCanvas,
        this.said,
        make("div", { class: "bn-knobs" }, ...nodes("scale", "rate", "batch")),
        make("div", { class: "bn-buttons" },
          button("Stretch every hidden weight ×10", () => this.act("stretch")),
          button("Recalibrate", () => this.act("recalibrate")),
          this.more),
        this.seedBox,
        make("details", { class: "bn-drawer" }, make("summary", {}, "More to turn: depth, activation, where BN comes, momentum, width, seed"),
          make("div", { class: "bn-knobs" }, ...nodes("depth", "width", "momentum", "activation", "norm", "seed"))),
        make("div", { class: "bn-buttons bn-teacher" },
          button("Copy as PyTorch", () => this.copy(lib.pytorch.program(this.race.settings, this.race.step || this.target), "The program is copied: it trains these two networks in PyTorch.")),
          button("Copy link to this state", () => this.copy(this.address(), "The link is copied: it opens exactly this state.")),
          this.projector = button("Projector", () => this.project(), { "aria-pressed": "false" })));
    }

    colours() {
      this.look = lib.paint.colours(this.box);
      this.dirty = true;
    }

    // --- States ---------------------------------------------------------------------------------

    // From the address: a preset's question, or a state of its own, which is computed and shown.
    load() {
      const { state, own, complaints } = lib.state.parse(location.hash);
      this.mode = "train";
      if (own) {
        this.preset = lib.presets.named(state.preset);
        this.begin(state.settings, Math.max(this.preset.until, state.step));
        this.phase = "free";
        this.mode = state.mode;
        this.hurry(state.step);
      } else this.choose(state.preset, true);
      this.complaint.textContent = complaints.join(" ");
    }

    // Put a preset's question; its networks train meanwhile as they did before the change.
    choose(id, first = false) {
      this.preset = lib.presets.named(id);
      this.phase = "ask";
      this.guess = undefined;
      this.mode = "train";
      this.begin(lib.presets.settings(id, "from"), this.preset.lead);
      if (!still()) this.run();
      else if (!first) this.hurry(this.target);
      this.show();
      if (!first) this.reveal();
    }

    // A new race; everything that belonged to the last one is gone.
    begin(settings, target) {
      this.race = lib.race.create(settings);
      Object.assign(this, { target, playing: false, hurrying: null, work: null, found: [], after: null, lines: { none: [], bn: [] }, evaluated: [] });
      this.seedBox.replaceChildren();
      this.measure();
      this.dirty = true;
    }

    // The reader has guessed: do what was asked about, and play on.
    answer(text, right) {
      const { preset } = this;
      this.guess = { text, right };
      memory.set(`bn-play-${preset.id}`, text ?? "just show me");
      this.phase = "run";
      this.card.style.minHeight = `${this.card.offsetHeight}px`;
      const { acts: before, ...knobs } = this.race.settings;
      const { acts, ...wanted } = lib.presets.settings(preset.id);
      const same = Object.keys(wanted).every((key) => wanted[key] === knobs[key]);
      if (!same || before.length || this.race.step > preset.lead) this.begin({ ...wanted, acts }, preset.until);
      else this.planned(acts, preset.until);
      this.after = { verdict: right, moral: preset.moral, mode: preset.mode, question: preset.ask };
      this.go();
      this.card.focus({ preventScroll: true });
      this.reveal();
    }

    // On a small screen the card goes to its top, so that the two networks are seen below it.
    reveal() {
      if (this.panes.bn.node.getBoundingClientRect().bottom <= innerHeight) return;
      this.card.scrollIntoView({ block: "start", behavior: still() ? "auto" : "smooth" });
    }

    // The race goes on, and these acts come at their steps; one that is due comes now.
    planned(acts, until) {
      this.race.settings = { ...this.race.settings, acts: [] };
      for (const act of acts) {
        if (act.at === this.race.step) lib.race.act(this.race, act.what);
        else this.race.settings.acts.push(act);
      }
      this.target = until;
    }

    // A further thing to try after the answer.
    further({ label, to, until, moral, mode }) {
      this.begin({ ...lib.state.START, ...to }, until);
      this.phase = "run";
      this.mode = "train";
      this.guess = undefined;
      this.after = { verdict: null, moral, mode, question: `${label}: what changes?` };
      this.go();
    }

    // Play, or, where motion is not wanted, go to the result at once.
    go() {
      if (this.race.step >= this.target) this.arrive();
      else if (still()) this.hurry(this.target);
      else this.run();
      this.show();
    }

    // The reader turns a knob: both start again from the same new start.
    change(changes) {
      const keep = this.race.settings;
      this.phase = "free";
      this.begin({ ...keep, ...changes }, this.preset.until);
      if (!still()) this.run();
      this.show();
    }

    restart() {
      const { phase, after, target } = this;
      this.begin(this.race.settings, target);
      if (after?.mode) this.mode = "train";
      if (phase === "run" || phase === "told") Object.assign(this, { phase: "run", after });
      this.go();
    }

    act(what) {
      if (this.race.settings.acts.length >= lib.state.MOST_ACTS) {
        this.say(`A run can be interrupted ${lib.state.MOST_ACTS} times at most.`);
        return;
      }
      lib.race.act(this.race, what);
      if (this.phase !== "run") this.phase = "free";
      this.measure();
      this.say(what === "stretch" ? `At step ${this.race.step} every hidden weight of both networks was multiplied by ${lib.race.FACTOR}.` : `At step ${this.race.step} the running statistics were computed anew; no weight has changed.`);
      this.show();
    }

    setMode(mode) {
      this.mode = mode;
      this.show();
    }

    // --- Time -----------------------------------------------------------------------------------

    toggle() {
      if (this.playing) this.pause();
      else {
        if (this.race.step >= this.target) this.target = Math.min(this.race.step + this.preset.until, lib.state.LONGEST);
        if (this.race.step < this.target) this.run();
        else this.say(`A run has at most ${lib.state.LONGEST} steps. Restart, or turn a knob.`);
      }
      this.show();
    }

    run() {
      this.playing = true;
      this.wake();
    }

    pause() {
      this.playing = false;
      this.hurrying = null;
      this.measure();
      this.say(this.sentence());
    }

    single() {
      this.playing = false;
      if (this.race.step >= lib.state.LONGEST) { this.toggle(); return; }
      this.advance(1);
      if (this.race.step >= this.target) this.arrive();
      else this.pause();
      this.show();
    }

    // Go to a step as fast as frames allow, without a picture of each.
    hurry(step) {
      this.hurrying = step;
      this.wake();
    }

    wake() {
      if (!this.frame) this.frame = requestAnimationFrame((now) => this.tick(now));
    }

    tick(now) {
      this.frame = null;
      if (now - (this.last ?? 0) < FRAME) { this.wake(); return; }
      this.last = now;
      const start = performance.now();
      if (this.hurrying !== null) this.catchUp(start);
      else if (this.playing) this.forward(start);
      if (this.work) this.workOn(start);
      if (this.progress) this.progress.value = this.race.step / this.target;
      if (this.hurrying === null) this.paint();
      this.spent = performance.now() - start;
      if (this.playing || this.hurrying !== null || this.work) this.wake();
    }

    // The steps of one frame while playing.
    forward(start) {
      for (let i = 0; i < STEPS_PER_FRAME && this.race.step < this.target && performance.now() - start < BUSY; i += 1) this.advance(1);
      if (this.race.step >= this.target) this.arrive();
    }

    catchUp(start) {
      while (this.race.step < this.hurrying && performance.now() - start < BUSY) this.advance(1);
      if (this.race.step < this.hurrying) return;
      this.hurrying = null;
      if (this.race.step >= this.target && this.after) this.arrive();
      else { this.pause(); this.show(); }
    }

    advance(steps) {
      for (let i = 0; i < steps; i += 1) lib.race.advance(this.race);
      if (this.race.step % (this.hurrying === null ? 10 : 50) === 0) this.measure();
      this.dirty = true;
    }

    // The end of a run: stop, and say what came out.
    arrive() {
      if (this.after?.mode) this.mode = this.after.mode;
      if (this.phase === "run") this.phase = "told";
      this.pause();
      this.show();
    }

    measure() {
      const score = (name, mode) => lib.race.score(this.race, name, mode);
      this.scores = { none: { train: score("none", "eval"), eval: score("none", "eval") }, bn: { train: score("bn", "train"), eval: score("bn", "eval") } };
      if (this.evaluated.at(-1)?.step !== this.race.step) this.evaluated.push({ step: this.race.step, loss: this.scores.bn.eval.loss });
      this.dirty = true;
    }

    // --- More seeds -----------------------------------------------------------------------------

    moreSeeds() {
      this.playing = false;
      const until = this.race.step || this.target;
      const next = this.race.settings.seed + this.found.length + 1;
      this.work = { until, left: SEEDS, seed: next, job: null };
      this.more.disabled = true;
      this.seedBox.replaceChildren(lib.view.make("p", {}, "Five more starts are being tried …"));
      this.wake();
      this.show();
    }

    workOn(start) {
      const { work } = this;
      while (performance.now() - start < BUSY) {
        work.job ??= lib.presets.measuring({ ...this.race.settings, seed: work.seed }, work.until);
        if (work.job.step()) continue;
        this.found.push(work.job.finish());
        Object.assign(work, { job: null, left: work.left - 1, seed: work.seed + 1 });
        if (work.left === 0) {
          this.work = null;
          this.more.disabled = false;
          lib.view.seeds(this.seedBox, this.found, this.mode);
          this.show();
          return;
        }
      }
    }

    // --- What is seen ---------------------------------------------------------------------------

    // Everything but the pictures; they come with the next frame.
    show() {
      const { settings } = this.race;
      for (const [key, { show }] of Object.entries(this.knobs)) show(settings[key]);
      this.chips.forEach((chip, i) => {
        const { id } = lib.presets.ALL[i];
        chip.setAttribute("aria-pressed", String(id === this.preset.id));
        if (id === this.preset.id) this.chipRow.scrollLeft = chip.offsetLeft - this.chipRow.offsetLeft - 40;
        const done = memory.get(`bn-play-${id}`) !== null;
        chip.classList.toggle("bn-done", done);
        chip.firstChild.textContent = done ? "✓" : i + 1;
      });
      this.modes.forEach((node, i) => node.setAttribute("aria-pressed", String(lib.state.MODES[i] === this.mode)));
      this.play.textContent = this.playing ? "Pause" : "Play";
      if (this.phase !== "run") this.card.style.minHeight = "";
      this.box.dataset.phase = this.phase;
      this.showCard();
      this.describe();
      this.remember();
      if (this.found.length && !this.work) lib.view.seeds(this.seedBox, this.found, this.mode);
      this.dirty = true;
      this.wake();
    }

    showCard() {
      const { view, presets } = lib;
      const place = presets.ALL.indexOf(this.preset) + 1;
      const key = `${this.phase} ${this.preset.id} ${this.after?.moral} ${this.playing || this.hurrying !== null}`;
      if (this.shown === key && this.phase !== "told" && this.phase !== "free") return;
      this.shown = key;
      if (this.phase === "ask") view.ask(this.card, this.preset, `${place} of ${presets.ALL.length}`, (text, right) => this.answer(text, right));
      else if (this.phase === "run") this.progress = view.running(this.card, this.guess?.text ? `You say: ${this.guess.text}` : "Watch", this.after.question);
      else if (this.phase === "told") {
        view.told(this.card, {
          verdict: this.after.verdict, moral: this.after.moral,
          buttons: [...this.preset.then.map((one) => view.button(one.label, () => this.further(one))), ...this.nextButton(place)],
          page: this.links(this.preset.page), dare: this.preset.dare,
        });
      } else {
        const won = this.race.step >= this.preset.until && !this.playing && this.preset.won(this.race.settings, this.results());
        view.plain(this.card, won ? "Dare won!" : "Your own experiment", won ? this.sentence() : `Both start anew from the same weights. Dare: ${this.preset.dare}`, this.freeButtons(), won ? " bn-yes" : "");
      }
    }

    // What was done by hand belongs to the settings, and is done again at its step until left out.
    freeButtons() {
      const { button } = lib.view;
      const back = button("Back to the question", () => this.choose(this.preset.id));
      const without = button("Leave out ×10 and recalibration", () => this.change({ acts: [] }));
      return this.race.settings.acts.length ? [back, without] : [back];
    }

    nextButton(place) {
      const next = lib.presets.ALL[place];
      return next ? [lib.view.button(`Next: ${next.chip} →`, () => this.choose(next.id), { class: "bn-next" })] : [];
    }

    results() {
      const right = (name) => ({ train: this.scores[name].train.right, eval: this.scores[name].eval.right });
      return { none: right("none"), bn: right("bn") };
    }

    sentence() {
      const { percent } = lib.view, { none, bn } = this.results();
      return `This run, at step ${this.race.step}: ${percent(none.eval)} right without BN; with BN ${percent(bn.train)} in train() and ${percent(bn.eval)} in eval().`;
    }

    say(text) {
      if (this.said.textContent !== text) this.said.textContent = text;
    }

    // What the pictures show, for whoever does not see them.
    describe() {
      const { race } = this;
      for (const name of lib.race.NETS) {
        const pane = this.panes[name], who = lib.view.NAMES[name].toLowerCase();
        const sizes = lib.race.gradients(race, name), ratio = sizes[0] / sizes.at(-1);
        const grown = Number.isFinite(ratio) ? `; at the bottom the gradient is ${Number(ratio.toPrecision(2))} times that at the top` : "";
        pane.surface.setAttribute("aria-label", `Answers of the network ${who} over the plane, and the ${race.data.count} points.`);
        pane.tower.setAttribute("aria-label", `Tower of ${sizes.length} layers ${who}${grown}.`);
      }
      this.lossCanvas.setAttribute("aria-label", `Losses of both networks up to step ${race.step}. ${this.sentence()}`);
    }

    paint() {
      if (!this.dirty) return;
      this.dirty = false;
      const { race, look } = this;
      this.turn = (this.turn ?? 0) + 1;
      // While playing the two surfaces take turns, and larger networks longer ones.
      const turns = 1 + Math.floor((race.settings.depth * race.settings.width) / 64);
      const due = { none: this.turn % (2 * turns) === 0, bn: this.turn % (2 * turns) === turns };
      const whole = !this.playing && this.hurrying === null;
      for (const name of lib.race.NETS) {
        const pane = this.panes[name];
        const found = lib.tower.look(race, name, this.rooms);
        lib.tower.draw(pane.tower, found, look[name], look);
        if (whole || due[name]) {
          lib.surface.ask(this.surfaces[name], race.nets[name], this.mode === "eval" ? "running" : race.rooms[name], look);
          lib.surface.draw(this.surfaces[name], race, look);
        }
        this.numbers(name);
        lib.losses.smooth(this.lines[name], race.losses[name], race.settings.batch);
      }
      const steps = Math.max(this.target, race.step);
      lib.losses.draw(this.lossCanvas, { lines: this.lines, evaluated: this.evaluated, steps, acts: race.settings.acts.filter(({ at }) => at <= race.step) }, look);
    }

    numbers(name) {
      const { percent } = lib.view, pane = this.panes[name], found = this.scores[name];
      const other = this.mode === "train" ? "eval" : "train";
      pane.right.textContent = `${percent(found[this.mode].right)} right`;
      pane.note.textContent = name === "bn" ? `${percent(found[other].right)} in ${other}()` : "";
    }

    // --- Address and clipboard ------------------------------------------------------------------

    hash(asked = false) {
      const { preset, race, mode } = this;
      return lib.state.format({ preset: preset.id, settings: race.settings, step: race.step, mode }, asked);
    }

    address() {
      return location.href.split("#")[0] + this.hash();
    }

    // Keep the state in the address; a first visit's stays as it is.
    remember() {
      if (this.phase === "ask" && !location.hash) return;
      this.own = this.hash(this.phase === "ask");
      try { history.replaceState(null, "", this.own); } catch { /* an address that may not be changed */ }
    }

    async copy(text, words) {
      try {
        await navigator.clipboard.writeText(text);
        this.say(words);
      } catch {
        // A page opened from disk may not write to the clipboard: show what is to be copied.
        const field = lib.view.make("textarea", { class: "bn-copy", readonly: "", "aria-label": "To be copied", rows: 8 });
        field.value = text;
        this.box.querySelector(".bn-copy")?.remove();
        this.box.append(field);
        field.select();
        this.say("It is selected below: copy it from there.");
      }
    }

    // --- For a room full of people --------------------------------------------------------------

    project(on = !this.box.classList.contains("bn-projected")) {
      this.box.classList.toggle("bn-projected", on);
      this.projector.setAttribute("aria-pressed", String(on));
      document.documentElement.classList.toggle("bn-no-scroll", on);
      this.colours();
      this.wake();
    }
  }

  // --- The page -----------------------------------------------------------------------------------

  // The page about a preset: a neighbour of this one.
  const links = ([name, title, anchor]) => ({ href: `${name}.html${anchor ? `#${anchor}` : ""}`, title });

  function listen(game) {
    new MutationObserver(() => { game.colours(); game.wake(); }).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    let width = game.box.clientWidth;
    new ResizeObserver(() => {
      if (game.box.clientWidth === width) return;
      width = game.box.clientWidth;
      game.colours();
      game.wake();
    }).observe(game.box);
    addEventListener("hashchange", () => { if (location.hash !== game.own) game.load(); });
    document.addEventListener("keydown", (event) => { if (event.key === "Escape" && game.box.classList.contains("bn-projected")) game.project(false); });
    document.addEventListener("visibilitychange", () => { if (document.hidden && game.playing) { game.pause(); game.show(); } });
  }

  function build(holder) {
    const figure = document.getElementById(holder.dataset.figure);
    const picture = figure?.querySelector(".bn-scroll");
    if (!picture) return;
    const box = lib.view.make("div", { class: "bn-playground", role: "group", "aria-label": "Two networks side by side, without and with batch normalization, and controls" });
    picture.classList.add("bn-still");
    picture.hidden = true;
    picture.before(box);
    const query = new URLSearchParams(location.search);
    if (query.get("embed") === "1") {
      for (const other of document.body.children) other.style.display = "none";
      document.body.append(box);
      document.body.classList.add("bn-embedded");
    }
    const game = new Playground(box, links);
    lib.game = game;
    listen(game);
    if (query.get("projector") === "1") game.project(true);
  }

  const start = () => document.querySelectorAll('[data-widget="playground"]').forEach(build);
  lib.Playground = Playground;
  lib.STEPS_PER_FRAME = STEPS_PER_FRAME;
  if (typeof document !== "undefined") {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
    else start();
  }
})((globalThis.bnPlay ??= {}));
