// Two networks from the same weights on the same batches, one of them with batch normalization.
// A race is a function of its settings: who has these has every number on the page.
((lib) => {
  "use strict";

  const NETS = ["none", "bn"];
  const FACTOR = 10;

  function create(settings) {
    const uniform = lib.random.generator(settings.seed);
    const data = lib.data.spiral(uniform);
    const weights = lib.network.draw(settings, uniform);
    const race = { settings, data, uniform, step: 0, order: [], nets: {}, rooms: {}, losses: { none: [], bn: [] } };
    for (const name of NETS) {
      race.nets[name] = lib.network.create(weights, settings, name === "bn" ? settings.norm : "none");
      race.rooms[name] = lib.network.room(race.nets[name], settings.batch);
    }
    race.batch = next(race);
    perform(race);
    return race;
  }

  // The next batch: each round takes all points in a new order, and drops what does not fill a batch.
  function next(race) {
    const { batch } = race.settings;
    if (race.order.length < batch) race.order = lib.random.order(race.data.count, race.uniform);
    return lib.data.rowsOf(race.data, race.order.splice(0, batch));
  }

  const ACTS = {
    stretch: (race) => NETS.forEach((name) => lib.network.stretch(race.nets[name], FACTOR)),
    recalibrate: (race) => lib.network.recalibrate(race.nets.bn, batches(race)),
  };

  // What the settings want done at this step, in their order.
  function perform(race) {
    race.settings.acts.filter(({ at }) => at === race.step).forEach(({ what }) => ACTS[what](race));
  }

  // Do something now, and note it in the settings.
  function act(race, what) {
    race.settings = { ...race.settings, acts: [...race.settings.acts, { what, at: race.step }] };
    ACTS[what](race);
  }

  // One step of both.
  function advance(race) {
    for (const name of NETS) {
      const net = race.nets[name], made = race.rooms[name];
      race.losses[name].push(passes(race, name));
      lib.network.descend(net, made, race.settings.rate);
      lib.network.track(net, made);
    }
    race.batch = next(race);
    race.step += 1;
    perform(race);
  }

  // Forward and backward in training mode on the batch at hand; its loss.
  function passes({ nets, rooms, batch }, name) {
    const logits = lib.network.forward(nets[name], batch.x, rooms[name], "batch");
    lib.network.backward(nets[name], rooms[name], batch.y);
    return lib.network.loss(logits, batch.y);
  }

  // All points cut into batches, in an order that is always the same.
  function batches({ data, settings: { batch } }) {
    const rows = lib.random.order(data.count, lib.random.generator(0));
    const found = [];
    for (let from = 0; from + batch <= data.count; from += batch) {
      found.push(lib.data.rowsOf(data, rows.slice(from, from + batch)));
    }
    return found;
  }

  // Share of right answers, and loss, over the points. mode "train": each batch by its own
  // statistics; "eval": all by the running ones.
  function score(race, name, mode) {
    const net = race.nets[name];
    const parts = mode === "train" ? batches(race) : [race.data];
    const made = lib.network.room(net, parts[0].count);
    let right = 0, sum = 0, count = 0;
    for (const part of parts) {
      const logits = lib.network.forward(net, part.x, made, mode === "train" ? "batch" : "running");
      part.y.forEach((y, i) => { right += Number.isFinite(logits[i]) && (logits[i] > 0) === (y === 1); });
      sum += lib.network.loss(logits, part.y) * part.count;
      count += part.count;
    }
    return { right: right / count, loss: sum / count };
  }

  const rms = (values) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

  // Size of the gradient of each hidden layer's weights, from input to output, on the batch at hand.
  function gradients(race, name) {
    passes(race, name);
    return race.rooms[name].layers.slice(0, -1).map(({ grads }) => rms(grads.weight));
  }

  lib.race = { create, advance, act, batches, score, gradients, NETS, FACTOR };
})((globalThis.bnPlay ??= {}));
