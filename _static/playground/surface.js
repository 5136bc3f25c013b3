// The decision surface: what a network answers at every place, and the points it learns from.
((lib) => {
  "use strict";

  const SIDE = 44, LIMIT = 2.45;

  // The grid's places, row by row from the top.
  const PLACES = Float64Array.from({ length: 2 * SIDE * SIDE }, (_, at) => {
    const place = at >> 1;
    const [column, row] = [place % SIDE, Math.floor(place / SIDE)];
    return at % 2 ? LIMIT * (1 - (2 * (row + 0.5)) / SIDE) : LIMIT * ((2 * (column + 0.5)) / SIDE - 1);
  });

  // A surface remembers its small picture and the room for its passes.
  function create(canvas) {
    const small = document.createElement("canvas");
    small.width = small.height = SIDE;
    return { canvas, small, pen: small.getContext("2d"), pixels: null, rooms: new WeakMap() };
  }

  // Colours for the probabilities 0, 1/255, ..., 1: over the paper's where the answer is open.
  function ramp(look) {
    const [zero, paper, one] = [look.zero, look.paper, look.one].map(lib.paint.channels);
    return Array.from({ length: 256 }, (_, i) => {
      const p = i / 255, far = Math.abs(2 * p - 1) ** 0.8, end = p < 0.5 ? zero : one;
      return paper.map((value, c) => value + far * (end[c] - value));
    });
  }

  // Ask the network at every place. statistics: as for lib.network.forward.
  function ask(surface, net, statistics, look) {
    if (!surface.rooms.has(net)) surface.rooms.set(net, lib.network.room(net, SIDE * SIDE));
    const logits = lib.network.forward(net, PLACES, surface.rooms.get(net), statistics);
    if (surface.look !== look) Object.assign(surface, { look, ramp: ramp(look), none: lib.paint.channels(look.rule) });
    surface.pixels ??= surface.pen.createImageData(SIDE, SIDE);
    const { data } = surface.pixels;
    for (let at = 0; at < logits.length; at += 1) {
      const p = 1 / (1 + Math.exp(-logits[at]));
      const [r, g, b] = Number.isNaN(p) ? surface.none : surface.ramp[Math.round(255 * p)];
      data[4 * at] = r;
      data[4 * at + 1] = g;
      data[4 * at + 2] = b;
      data[4 * at + 3] = 255;
    }
    surface.pen.putImageData(surface.pixels, 0, 0);
  }

  // Circles for one colour, squares for the other; those of a small batch have a ring.
  function points(pen, width, { data, batch }, look) {
    const at = (value) => ((value / LIMIT + 1) / 2) * width;
    const size = Math.max(1.9, width / 90);
    for (const label of [0, 1]) {
      pen.beginPath();
      for (let i = 0; i < data.count; i += 1) {
        if (data.y[i] !== label) continue;
        const [x, y] = [at(data.x[2 * i]), at(-data.x[2 * i + 1])];
        if (label) pen.rect(x - size * 0.9, y - size * 0.9, 1.8 * size, 1.8 * size);
        else { pen.moveTo(x + size, y); pen.arc(x, y, size, 0, 2 * Math.PI); }
      }
      pen.fillStyle = label ? look["one-dot"] : look["zero-dot"];
      pen.strokeStyle = look.paper;
      pen.lineWidth = 1;
      pen.stroke();
      pen.fill();
    }
    if (batch.count > 8) return;
    pen.beginPath();
    for (let i = 0; i < batch.count; i += 1) {
      const [x, y] = [at(batch.x[2 * i]), at(-batch.x[2 * i + 1])];
      pen.moveTo(x + 3 * size, y);
      pen.arc(x, y, 3 * size, 0, 2 * Math.PI);
    }
    pen.strokeStyle = look.ink;
    pen.lineWidth = 2;
    pen.stroke();
  }

  function draw(surface, race, look) {
    const { pen, width, height } = lib.paint.fresh(surface.canvas);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(surface.small, 0, 0, width, height);
    points(pen, width, race, look);
  }

  lib.surface = { create, ask, draw };
})((globalThis.bnPlay ??= {}));
