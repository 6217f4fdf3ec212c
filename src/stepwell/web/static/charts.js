// Draws a chart that can be pointed at in place of the one that the server has drawn. Without it, that one stays.
"use strict";

(() => {
  const KINDS = ["completed", "canceled", "failed"]; // from below upwards, as the server stacks them
  const EVERY = 15000; // milliseconds for which the server keeps the figures
  const charts = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // Each kind with those below it: what is drawn first is the tallest, and the others lie on it.
  function stacked(figures) {
    const sums = [];
    for (const kind of KINDS) sums.push(figures[kind].map((count, place) => count + (sums.length ? sums[sums.length - 1][place] : 0)));
    return [figures.times, ...sums.reverse()];
  }

  function options(chart) {
    const shown = [...KINDS].reverse();
    const zone = chart.box.dataset.zone;
    const written = (parts) => { const format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...parts }); return (seconds) => format.format(seconds * 1000); };
    const time = written({ hour: "2-digit", minute: "2-digit" }), day = written({ day: "numeric", month: "short" });
    const mark = (seconds) => (time(seconds) === "00:00" || chart.figures.width * chart.figures.times.length > 86400 ? day(seconds) : time(seconds));
    const axis = { stroke: colour("muted"), grid: { stroke: colour("border"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: chart.box.clientWidth, height: 240,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
      cursor: { y: false, drag: { setScale: false } },
      scales: { x: { range: (_, least, most) => [least, most + chart.figures.width] }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
      axes: [{ ...axis, grid: { show: false }, space: 80, values: (_, marks) => marks.map(mark).map((text, place, all) => (text === all[place - 1] ? "" : text)) }, { ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7] }],
      series: [
        { label: "from", value: (_, seconds) => (seconds === null ? "–" : `${day(seconds)} ${time(seconds)}`) },
        ...shown.map((kind) => ({
          label: kind, fill: colour(kind), stroke: colour(kind), width: 0, points: { show: false },
          paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }),
          value: (_, __, ___, place) => (place === null ? "–" : chart.figures[kind][place].toLocaleString("en")),
        })),
      ],
    };
  }

  async function load(chart) {
    const answer = await fetch(chart.source, { cache: "no-store" });
    const figures = answer.ok ? await answer.json() : null;
    return figures && figures.times ? figures : null;
  }

  async function begin(box) {
    const chart = { box, source: box.dataset.chart, asked: Date.now(), figures: null, plot: null };
    charts.set(box, chart);
    try { chart.figures = await load(chart); } catch { /* what the server has drawn stays */ }
    if (!chart.figures || !box.isConnected) { charts.delete(box); return; }
    box.dataset.keep = "";
    draw(chart);
    new ResizeObserver(() => { if (chart.plot && box.clientWidth) chart.plot.setSize({ width: box.clientWidth, height: 240 }); }).observe(box);
  }

  function draw(chart) {
    if (chart.plot) chart.plot.destroy();
    chart.box.replaceChildren();
    chart.plot = new uPlot(options(chart), stacked(chart.figures), chart.box);
  }

  async function refresh() {
    for (const box of document.querySelectorAll("[data-chart]")) if (!charts.has(box)) begin(box);
    for (const [box, chart] of charts) {
      if (!box.isConnected) { if (chart.plot) chart.plot.destroy(); charts.delete(box); continue; }
      if (!chart.plot || Date.now() - chart.asked < EVERY) continue;
      chart.asked = Date.now();
      try {
        const figures = await load(chart);
        if (figures) { chart.figures = figures; chart.plot.setData(stacked(figures)); }
      } catch { /* the next time it may be there again */ }
    }
  }

  document.addEventListener("stepwell:morphed", refresh);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of charts.values()) if (chart.plot) draw(chart); });
  refresh();
})();
