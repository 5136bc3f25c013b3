// The tower: what enters the activation of each layer, input at the bottom, as one histogram per
// layer. Filled: the batch in training mode. Outlined: the same batch in evaluation mode, as the
// running statistics would have it. Beside each layer a bar: the size of its weights' gradient.
((lib) => {
  "use strict";

  const LIMIT = 4, BINS = 33;
  const LEAST = -6, MOST = 2;  // powers of ten at the ends of the gradient's axis

  // Shares of the values in bins from -LIMIT to LIMIT; what lies beyond is counted at the ends.
  function histogram(values) {
    const bins = new Float64Array(BINS);
    for (const value of values) {
      const at = Math.floor(((value / LIMIT + 1) / 2) * BINS);
      if (!Number.isNaN(at)) bins[Math.max(0, Math.min(BINS - 1, at))] += 1 / values.length;
    }
    return bins;
  }

  // From input to output: what the batch makes of each layer, and what evaluation mode makes of it.
  function look(race, name, rooms) {
    const net = race.nets[name], { batch } = race;
    const gradients = lib.race.gradients(race, name);  // fills the training room
    const entered = (made) => made.layers.slice(0, -1).map((layer) => layer.entered);
    const filled = entered(race.rooms[name]).map(histogram);
    let outlined = null;
    if (net.norm !== "none") {
      if (!rooms.has(net)) rooms.set(net, lib.network.room(net, batch.count));
      lib.network.forward(net, batch.x, rooms.get(net), "running");
      outlined = entered(rooms.get(net)).map(histogram);
    }
    return { input: histogram(batch.x), filled, outlined, gradients };
  }

  // Where things are, for a picture of this size.
  function frame(width, height, rows, size) {
    const top = size + 8, bottom = height - size - 6;
    const left = 2, right = Math.round(width * 0.66), bars = Math.round(width * 0.72);
    const row = (bottom - top) / rows;
    return {
      top, bottom, left, right, bars, end: width - 2, row,
      base: (k) => bottom - k * row,
      tall: Math.max(5, row * (rows > 10 ? 1.7 : 0.9)),
      x: (value) => left + ((value / LIMIT + 1) / 2) * (right - left),
    };
  }

  function outline(pen, bins, place, base) {
    const most = Math.max(...bins, 1e-9), wide = (place.right - place.left) / BINS;
    pen.beginPath();
    pen.moveTo(place.left, base);
    bins.forEach((share, i) => {
      const y = base - (share / most) * place.tall;
      pen.lineTo(place.left + i * wide, y);
      pen.lineTo(place.left + (i + 1) * wide, y);
    });
    pen.lineTo(place.right, base);
  }

  function scales(pen, place, look) {
    pen.strokeStyle = look.rule;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const x of [place.x(0), ...[0, 2, 4, 6, 8].map((k) => place.bars + (k / (MOST - LEAST)) * (place.end - place.bars))]) {
      pen.moveTo(Math.round(x) + 0.5, place.top);
      pen.lineTo(Math.round(x) + 0.5, place.bottom);
    }
    pen.stroke();
    const below = place.bottom + look.size + 2;
    lib.paint.write(pen, look, `−${LIMIT}`, place.left, below);
    lib.paint.write(pen, look, "0", place.x(0), below, { align: "center" });
    lib.paint.write(pen, look, `${LIMIT}`, place.right, below, { align: "right" });
    lib.paint.write(pen, look, "gradient", place.end, look.size, { align: "right" });
    lib.paint.write(pen, look, "10⁻⁶", place.bars - 4, below);
    lib.paint.write(pen, look, "10²", place.end, below, { align: "right" });
  }

  function bar(pen, size, place, base, colour) {
    const inside = Math.max(LEAST, Math.min(MOST, Math.log10(size)));
    const long = Number.isNaN(inside) ? 0 : ((inside - LEAST) / (MOST - LEAST)) * (place.end - place.bars);
    const thick = Math.max(2, Math.min(9, place.row * 0.5));
    pen.fillStyle = colour;
    pen.fillRect(place.bars, base - thick - 1, long, thick);
  }

  function draw(canvas, found, colour, look) {
    const { pen, width, height } = lib.paint.fresh(canvas);
    const rows = found.filled.length + 1;
    const place = frame(width, height, rows, look.size);
    scales(pen, place, look);
    lib.paint.write(pen, look, rows > 10 ? `${rows - 1} layers` : "output ↑", place.left, look.size);
    for (let k = rows - 1; k >= 0; k -= 1) {
      const base = place.base(k), bins = k ? found.filled[k - 1] : found.input;
      outline(pen, bins, place, base);
      pen.fillStyle = k ? colour : look.faint;
      pen.globalAlpha = k ? 0.8 : 0.35;
      pen.fill();
      pen.globalAlpha = 1;
      if (k && found.outlined) {
        outline(pen, found.outlined[k - 1], place, base);
        pen.strokeStyle = look.ink;
        pen.lineWidth = rows > 10 ? 0.7 : 1.3;
        pen.globalAlpha = rows > 10 ? 0.5 : 1;
        pen.stroke();
        pen.globalAlpha = 1;
      }
      if (k) bar(pen, found.gradients[k - 1], place, base, colour);
      else if (rows <= 10) lib.paint.write(pen, look, "input", place.bars, base - 3);
    }
  }

  lib.tower = { look, draw, histogram };
})((globalThis.bnPlay ??= {}));
