// The points: two arms of a spiral, one of each colour.
((lib) => {
  "use strict";

  const COUNT = 200, TURNS = 1.25, NOISE = 0.06, REACH = 2;

  // {x: pairs of coordinates one after the other, y: 0 or 1, count}
  function spiral(uniform) {
    const x = new Float64Array(2 * COUNT), y = new Float64Array(COUNT);
    for (let i = 0; i < COUNT; i += 1) {
      y[i] = i % 2;
      const along = Math.sqrt(uniform());
      const angle = 2 * Math.PI * TURNS * along + Math.PI * y[i];
      x[2 * i] = REACH * along * Math.cos(angle) + NOISE * lib.random.normal(uniform);
      x[2 * i + 1] = REACH * along * Math.sin(angle) + NOISE * lib.random.normal(uniform);
    }
    return { x, y, count: COUNT };
  }

  // The rows of a batch, in the order of `rows`.
  function rowsOf(data, rows) {
    const x = new Float64Array(2 * rows.length), y = new Float64Array(rows.length);
    rows.forEach((row, i) => {
      x[2 * i] = data.x[2 * row];
      x[2 * i + 1] = data.x[2 * row + 1];
      y[i] = data.y[row];
    });
    return { x, y, count: rows.length };
  }

  lib.data = { spiral, rowsOf, COUNT, TURNS, NOISE, REACH };
})((globalThis.bnPlay ??= {}));
