// What the page does beyond plain HTML: figures that move, boxes that scroll by keyboard, and a
// memory of the reader's first choice. Nothing here is needed to read the book.
(() => {
  "use strict";

  const here = document.currentScript ? document.currentScript.src : "";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // --- Interactive figures: one Plotly for the whole site, fetched when first needed -----------

  let plotly = null;
  function loadPlotly() {
    plotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL("plotly.min.js", here).href;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return plotly;
  }

  const axes = (layout) => Object.keys(layout).filter((key) => /^[xyz]axis\d*$/.test(key));

  function colours(layout) {
    const text = css("--pst-color-text-base");
    const grid = css("--bn-rule");
    const look = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": text,
      "font.family": css("--bn-sans"),
    };
    for (const axis of new Set(["xaxis", "yaxis", ...axes(layout)])) {
      look[`${axis}.gridcolor`] = grid;
      look[`${axis}.zerolinecolor`] = grid;
      look[`${axis}.linecolor`] = css("--pst-color-text-muted");
    }
    (layout.sliders || []).forEach((_, i) => {
      look[`sliders[${i}].font.color`] = text;
      look[`sliders[${i}].bordercolor`] = css("--pst-color-text-muted");
      look[`sliders[${i}].bgcolor`] = css("--bn-blue-soft");
      look[`sliders[${i}].activebgcolor`] = css("--bn-blue");
    });
    (layout.updatemenus || []).forEach((_, i) => {
      look[`updatemenus[${i}].bgcolor`] = css("--bn-box");
      look[`updatemenus[${i}].font.color`] = text;
      look[`updatemenus[${i}].bordercolor`] = grid;
    });
    return look;
  }

  async function draw(box) {
    const figure = JSON.parse(box.querySelector("script").textContent);
    const layout = { ...figure.layout, autosize: true };
    delete layout.width;
    const small = window.innerWidth < 640;
    layout.margin = { l: small ? 45 : 60, r: 12, t: 56, b: 48, ...figure.layout.margin };
    if (typeof layout.title === "string") layout.title = { text: layout.title };
    const heading = { x: 0, xref: "paper", xanchor: "left", font: { size: 16, weight: 600 } };
    if (layout.title) layout.title = { ...heading, ...layout.title };
    // Below the label of the axis.
    layout.sliders = layout.sliders?.map((slider) => ({ pad: { t: 46 }, ...slider }));
    const config = { responsive: true, displaylogo: false, displayModeBar: false };
    const Plotly = await loadPlotly();
    const target = document.createElement("div");
    box.append(target);
    await Plotly.newPlot(target, { data: figure.data, layout, frames: figure.frames, config });
    await Plotly.relayout(target, colours(layout));
    box.classList.add("bn-drawn");
    new MutationObserver(() => Plotly.relayout(target, colours(layout))).observe(
      document.documentElement,
      { attributeFilter: ["data-theme"] },
    );
  }

  function figures() {
    const watch = new IntersectionObserver(
      (seen) => {
        for (const entry of seen.filter((item) => item.isIntersecting)) {
          watch.unobserve(entry.target);
          draw(entry.target);
        }
      },
      { rootMargin: "600px" },
    );
    document.querySelectorAll(".bn-plotly").forEach((box) => watch.observe(box));
  }

  // --- Questions -------------------------------------------------------------------------------

  const memory = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* private mode */ } },
  };

  function remind(quiz, text) {
    const line = document.createElement("p");
    line.className = "bn-memory";
    line.textContent = `Your first choice: ${text}`;
    quiz.append(line);
  }

  function quizzes() {
    document.querySelectorAll(".bn-predict[data-claim]").forEach((quiz) => {
      const key = `bn-predict-${quiz.dataset.claim}`;
      const before = memory.get(key);
      if (before) remind(quiz, before);
      quiz.querySelectorAll(".bn-option").forEach((option) => {
        option.addEventListener("toggle", () => {
          if (!option.open || memory.get(key)) return;
          const text = option.querySelector("summary").textContent.trim();
          memory.set(key, text);
          option.classList.add("bn-chosen");
          remind(quiz, text);
        });
      });
    });
  }

  // --- Boxes that scroll must take the focus, or the keyboard cannot scroll them ---------------

  function scrollers() {
    const boxes = ".bn-scroll, .pst-scrollable-table-container, .bn-fold pre, pre, div.math, mjx-container";
    document.querySelectorAll(boxes).forEach((box) => {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls && !box.hasAttribute("tabindex")) box.tabIndex = 0;
    });
  }

  function start() {
    figures();
    quizzes();
    scrollers();
    window.addEventListener("resize", scrollers);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
