// Random numbers from a seed: short enough to stand in the copied PyTorch code, where the same
// seed gives the same numbers.
((lib) => {
  "use strict";

  // Mulberry32: a uniform number in [0, 1) at each call.
  function generator(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  // A standard normal number (Box and Muller's first).
  function normal(uniform) {
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    return radius * Math.cos(2 * Math.PI * uniform());
  }

  // The numbers 0 to count - 1 in random order.
  function order(count, uniform) {
    const keys = Array.from({ length: count }, uniform);
    return keys.map((_, i) => i).sort((a, b) => keys[a] - keys[b]);
  }

  lib.random = { generator, normal, order };
})((globalThis.bnPlay ??= {}));
