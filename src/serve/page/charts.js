// The charts of the page, by plotly.js. They are drawn when an event came and the browser has time.
"use strict";

(() => {
  const CONFIG = { displayModeBar: false, displaylogo: false, responsive: true };
  const { skewd, Plotly } = window;

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    return {
      text: colour("text"),
      faint: colour("faint"),
      line: colour("line"),
      weight: colour("weight"),
      share: colour("share"),
      good: colour("good"),
    };
  }

  function layout(colour, more) {
    return {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour.text, size: 11, family: "system-ui, sans-serif" },
      margin: { l: 52, r: 8, t: 6, b: 32 },
      uirevision: "kept",
      ...more,
    };
  }

  const axis = (colour, more) => ({
    gridcolor: colour.line,
    linecolor: colour.line,
    zeroline: false,
    ...more,
  });

  function history() {
    const colour = colours();
    const points = skewd.history;
    const examples = points.map((point) => point.examples);
    const line = (name, member, yaxis, stroke) => ({
      type: "scatter",
      mode: "lines",
      name,
      x: examples,
      y: points.map((point) => point[member]),
      yaxis,
      line: { color: stroke, width: 1.5 },
      // PR-AUC is known at some of the points only.
      connectgaps: true,
      hovertemplate: `%{y:.4g}<extra>${name}</extra>`,
    });
    const traces = [
      line("loss", "loss", "y", colour.share),
      line("PR-AUC", "pr_auc", "y2", colour.good),
      line("effective sample size", "effective_sample_size", "y3", colour.weight),
    ];
    return [
      traces,
      layout(colour, {
        showlegend: false,
        hovermode: "x unified",
        hoverlabel: { font: { color: "#1b2733" }, bgcolor: "#ffffff" },
        xaxis: axis(colour, { title: { text: "examples learned" }, anchor: "y3", rangemode: "tozero" }),
        yaxis: axis(colour, { title: { text: "loss" }, domain: [0.7, 1], rangemode: "tozero" }),
        yaxis2: axis(colour, { title: { text: "PR-AUC" }, domain: [0.35, 0.65], range: [0, 1.02] }),
        yaxis3: axis(colour, { title: { text: "eff. sample" }, domain: [0, 0.3], range: [0, 1.02] }),
      }),
    ];
  }

  function shares() {
    const colour = colours();
    const classes = skewd.classes(skewd.board);
    const bars = (name, member, fill) => ({
      type: "bar",
      name,
      x: classes.map(([label]) => label),
      y: classes.map(([, figures]) => figures[member]),
      marker: { color: fill },
      hovertemplate: `%{x}: %{y:.2%}<extra>${name}</extra>`,
    });
    return [
      [
        bars("share of examples", "example_share", colour.share),
        bars("share of weight", "weight_share", colour.weight),
      ],
      layout(colour, {
        barmode: "group",
        legend: { orientation: "h", x: 1, xanchor: "right", y: 1.02, yanchor: "bottom" },
        margin: { l: 52, r: 8, t: 24, b: 32 },
        xaxis: axis(colour, { type: "category" }),
        yaxis: axis(colour, { tickformat: ".0%", rangemode: "tozero" }),
      }),
    ];
  }

  let waiting = false;

  function draw() {
    waiting = false;
    if (skewd.history.length > 0) {
      Plotly.react("history-chart", ...history(), CONFIG);
    }
    if (skewd.board && skewd.board.weights) {
      Plotly.react("classes-chart", ...shares(), CONFIG);
    }
  }

  // A page that nobody looks at gets no frame, and draws nothing.
  function ask() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(draw);
    }
  }

  // A section may grow or shrink without the window: when learners appear, for one.
  const fit = new ResizeObserver((entries) => {
    entries.filter(({ target }) => target.data).forEach(({ target }) => Plotly.Plots.resize(target));
  });
  document.querySelectorAll(".chart").forEach((chart) => fit.observe(chart));
  document.addEventListener("skewd", ask);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ask);
  ask();
})();
