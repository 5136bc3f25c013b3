// The losses of both networks over the steps, on a logarithmic axis.
((lib) => {
  "use strict";

  const LEAST = -2.5, MOST = 4;  // powers of ten: the lowest, and the highest where lines go so far
  const GUESSING = Math.log(2);

  // The moving average of what is new in `losses`, added to `line`. It looks back over about a
  // hundred points of the data: many small batches, or few large ones.
  function smooth(line, losses, batch) {
    const kept = 1 - Math.min(0.5, batch / 100);
    for (let at = line.length; at < losses.length; at += 1) {
      const last = at ? line[at - 1] : losses[0];
      // Beyond all measure the average would never come down again.
      const next = kept * Math.min(last, 1e4) + (1 - kept) * Math.min(losses[at], 1e4);
      line.push(Number.isNaN(losses[at]) ? NaN : next);
    }
    return line;
  }

  // The power of ten at the top: a little above the highest value.
  function highest(lines) {
    const most = Math.max(1, ...lines.none.filter(Number.isFinite), ...lines.bn.filter(Number.isFinite));
    return Math.min(MOST, Math.log10(most) + 0.5);
  }

  function frame(width, height, steps, size, highest) {
    const left = 3.2 * size, right = width - 5.4 * size, top = size + 10, bottom = height - size - 9;
    return {
      left, right, top, bottom, steps,
      x: (step) => left + (step / steps) * (right - left),
      y: (loss) => bottom - ((Math.max(LEAST, Math.min(highest, Math.log10(loss))) - LEAST) / (highest - LEAST)) * (bottom - top),
      highest,
    };
  }

  function axes(pen, place, look) {
    pen.lineWidth = 1;
    for (const power of [-2, -1, 0, 1, 2, 3, 4]) {
      if (power > place.highest || (place.highest > 2 && power % 2)) continue;
      const y = Math.round(place.y(10 ** power)) + 0.5;
      pen.strokeStyle = look.rule;
      pen.beginPath();
      pen.moveTo(place.left, y);
      pen.lineTo(place.right, y);
      pen.stroke();
      lib.paint.write(pen, look, String(10 ** power), place.left - 6, y + look.size / 3, { align: "right" });
    }
    const guess = Math.round(place.y(GUESSING)) + 0.5;
    pen.strokeStyle = look.faint;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(place.left, guess);
    pen.lineTo(place.right, guess);
    pen.stroke();
    pen.setLineDash([]);
    const below = place.bottom + look.size + 5;
    lib.paint.write(pen, look, "step 0", place.left, below);
    lib.paint.write(pen, look, String(place.steps), place.right, below, { align: "right" });
    lib.paint.write(pen, look, "loss", 0, look.size);
  }

  function curve(pen, values, place, each) {
    pen.beginPath();
    let open = false;
    values.forEach((value, at) => {
      if (!Number.isFinite(value)) { open = false; return; }
      const [x, y] = [place.x(each(at)), place.y(value)];
      if (open) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      open = true;
    });
    pen.stroke();
  }

  // Names at the ends of the lines, moved apart where they would meet.
  function names(pen, place, look, ends) {
    const sorted = ends.filter(({ value }) => value !== undefined)
      .map((end) => ({ ...end, y: Number.isFinite(end.value) ? place.y(end.value) : place.top }))
      .sort((a, b) => a.y - b.y);
    sorted.forEach((end, i) => {
      if (i) end.y = Math.max(end.y, sorted[i - 1].y + look.size + 2);
      lib.paint.write(pen, look, end.text, place.right + 6, Math.min(end.y + look.size / 3, place.bottom + look.size), { colour: end.colour, bold: true });
    });
  }

  // lines: {none, bn} smoothed; evaluated: [{step, loss}] of the network with BN in evaluation mode.
  function draw(canvas, { lines, evaluated, steps, acts }, look) {
    const { pen, width, height } = lib.paint.fresh(canvas);
    const place = frame(width, height, steps, look.size, highest(lines));
    axes(pen, place, look);
    for (const { what, at } of acts) {
      const x = Math.round(place.x(at)) + 0.5;
      pen.strokeStyle = look.ink;
      pen.beginPath();
      pen.moveTo(x, place.top);
      pen.lineTo(x, place.bottom);
      pen.stroke();
      lib.paint.write(pen, look, what === "stretch" ? `×${lib.race.FACTOR}` : "recalibrated", x, place.top - 3, { align: "center", colour: look.ink });
    }
    pen.lineJoin = "round";
    pen.strokeStyle = look.none;
    pen.lineWidth = 2.4;
    pen.setLineDash([7, 3]);
    curve(pen, lines.none, place, (at) => at + 1);
    pen.strokeStyle = look.bn;
    pen.setLineDash([1, 3]);
    pen.lineWidth = 1.6;
    curve(pen, evaluated.map(({ loss }) => loss), place, (at) => evaluated[at].step);
    pen.setLineDash([]);
    pen.lineWidth = 2.4;
    curve(pen, lines.bn, place, (at) => at + 1);
    names(pen, place, look, [
      { text: "no BN", value: lines.none.at(-1), colour: look.none },
      { text: "BN", value: lines.bn.at(-1), colour: look.bn },
      { text: "guessing", value: GUESSING, colour: look.faint },
    ]);
  }

  lib.losses = { smooth, draw };
})((globalThis.bnPlay ??= {}));
