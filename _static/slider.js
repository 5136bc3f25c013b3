// A native slider for a Plotly figure that has one of its own: Plotly's is drawn and takes neither
// keyboard nor screen reader. <div data-widget="slider" data-figure="ID"></div> after figure ID
// puts it below the figure; each step's "value" is the sentence that is shown and spoken.
(() => {
  "use strict";

  const make = (name, attributes = {}, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  function build(holder) {
    const box = document.getElementById(holder.dataset.figure)?.querySelector(".bn-plotly");
    if (!box) return;
    const slider = JSON.parse(box.querySelector("script").textContent).layout.sliders[0];
    const id = `${holder.dataset.figure}-slider`;
    const label = make("label", { for: id }, slider.currentvalue?.prefix?.replace(/:\s*$/, "") || "step");
    const input = make("input", { id, type: "range", min: 0, max: slider.steps.length - 1, value: slider.active || 0 });
    const output = make("output", { for: id });
    const said = make("p", { class: "bn-said", role: "status" });

    async function show() {
      const step = slider.steps[input.value];
      output.textContent = step.label;
      input.setAttribute("aria-valuetext", step.label);
      said.textContent = step.value || "";
      const target = box.querySelector(".js-plotly-plot");
      if (box.classList.contains("bn-drawn") && target) await window.Plotly[step.method](target, ...step.args);
    }

    async function replace() {
      const target = box.querySelector(".js-plotly-plot");
      if (!box.classList.contains("bn-drawn") || !target) return;
      watch.disconnect();
      await window.Plotly.relayout(target, { "sliders[0].visible": false });
      show();
    }
    const watch = new MutationObserver(replace);
    watch.observe(box, { attributeFilter: ["class"] });
    box.after(make("div", { class: "bn-slider" }, make("div", { class: "bn-knob" }, label, input, output), said));
    input.addEventListener("input", show);
    show();
    replace();
  }

  const start = () => document.querySelectorAll('[data-widget="slider"]').forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
