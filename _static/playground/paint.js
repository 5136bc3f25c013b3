// What the drawings share: sharp canvases, and the colours of the page, light or dark.
((lib) => {
  "use strict";

  // The drawing context of a canvas that is as sharp as the screen, in CSS pixels; wiped.
  function fresh(canvas) {
    const ratio = globalThis.devicePixelRatio || 1;
    const width = canvas.clientWidth || 160, height = canvas.clientHeight || 160;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
  }

  const NAMES = ["ink", "faint", "rule", "paper", "none", "bn", "zero", "one", "zero-dot", "one-dot"];

  // Colours by name, as the style sheet of the playground has them now; `size` is that of its text.
  function colours(element) {
    const style = getComputedStyle(element);
    const found = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--play-${name}`).trim()]));
    return { ...found, size: Math.max(12, 0.72 * parseFloat(style.fontSize)), family: style.fontFamily };
  }

  // Red, green and blue of "#rrggbb".
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  function write(pen, look, text, x, y, { align = "left", colour = look.faint, bold = false } = {}) {
    pen.font = `${bold ? 650 : 400} ${look.size}px ${look.family}`;
    pen.fillStyle = colour;
    pen.textAlign = align;
    pen.textBaseline = "alphabetic";
    pen.fillText(text, x, y);
  }

  lib.paint = { fresh, colours, channels, write };
})((globalThis.bnPlay ??= {}));
