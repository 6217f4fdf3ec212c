// Draws charts that can be pointed at in place of those that the server has drawn. Without it, these stay.
"use strict";

(() => {
  const ENDS = ["completed", "canceled", "failed"]; // from below upwards, as the server stacks them
  const EVERY = 15000; // milliseconds for which the server keeps the figures
  const charts = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  // What a chart shows: its series from the one that is drawn first, and how their values are said.
  const KINDS = {
    ends: {
      // Each kind with those below it: what is drawn first is the tallest, and the others lie on it.
      values(figures) {
        const sums = [];
        for (const kind of ENDS) sums.push(figures[kind].map((count, place) => count + (sums.length ? sums[sums.length - 1][place] : 0)));
        return sums.reverse();
      },
      series: [...ENDS].reverse().map((kind) => ({ kind, label: kind, colour: kind })),
      said: (count) => count.toLocaleString("en"),
      steps: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
      least: 1,
    },
    waits: {
      values: (figures) => [figures.most, figures.half],
      series: [{ kind: "most", label: "95 % at most", colour: "sleeping", faint: true }, { kind: "half", label: "half at most", colour: "sleeping" }],
      said: lasting,
      steps: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 18000, 43200, 86400, 604800],
      least: 0.01,
    },
  };

  // Seconds, as pages of the server say them.
  function lasting(seconds) {
    if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
    if (seconds < 9.95) return `${Number(seconds.toFixed(1))} s`;
    let left = Math.round(seconds);
    const parts = [];
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]]) {
      const count = Math.floor(left / size);
      left %= size;
      if (count || parts.length) parts.push(count ? `${count} ${unit}` : "");
      if (parts.length === 2) break;
    }
    return parts.filter(Boolean).join(" ");
  }

  function clock(chart) {
    const written = (parts) => { const format = new Intl.DateTimeFormat("en-GB", { timeZone: chart.box.dataset.zone, ...parts }); return (seconds) => format.format(seconds * 1000); };
    const time = written({ hour: "2-digit", minute: "2-digit" }), day = written({ day: "numeric", month: "short" });
    const isLong = chart.figures.width * chart.figures.times.length > 86400;
    return { full: (seconds) => `${day(seconds)} ${time(seconds)}`, mark: (seconds) => (isLong || time(seconds) === "00:00" ? day(seconds) : time(seconds)) };
  }

  function options(chart) {
    const { kind } = chart, { full, mark } = clock(chart);
    const axis = { stroke: colour("muted"), grid: { stroke: colour("border"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: chart.box.clientWidth, height: 240,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), chart.box.dataset.zone),
      cursor: { y: false, drag: { x: true, y: false, setScale: false } },
      hooks: { setSelect: [(plot) => zoom(chart, plot)] },
      scales: { x: { range: (_, least, most) => [least, most + chart.figures.width] }, y: { range: (_, __, most) => [0, Math.max(kind.least, most * 1.05)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 80, values: (_, marks) => marks.map(mark).map((text, place, all) => (text === all[place - 1] ? "" : text)) },
        { ...axis, size: 64, incrs: kind.steps, values: (_, marks) => marks.map(kind.said) },
      ],
      series: [
        { label: "from", value: (_, seconds) => (seconds === null ? "–" : full(seconds)) },
        ...kind.series.map((each) => ({
          label: each.label, fill: colour(each.colour) + (each.faint ? "59" : ""), stroke: colour(each.colour), width: 0, points: { show: false },
          paths: uPlot.paths.bars({ size: [0.9, 60], align: 1 }),
          value: (_, __, ___, place) => said(chart, each, place),
        })),
      ],
    };
  }

  function said(chart, series, place) {
    const value = place === null ? null : chart.figures[series.kind][place];
    return value === null || value === undefined ? "–" : chart.kind.said(value);
  }

  // -- to the runs of a time: by drawing over it, or with Enter on a column

  function zoom(chart, plot) {
    if (plot.select.width < 4) return;
    const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToIdx(x));
    open(chart, from, to);
  }

  function open(chart, from, to) {
    const { times, width } = chart.figures, address = new URL(chart.box.dataset.window, location.href);
    address.searchParams.set("from", new Date(times[from] * 1000).toISOString());
    address.searchParams.set("to", new Date((times[to] + width) * 1000).toISOString());
    location.assign(address);
  }

  function press(chart, event) {
    const last = chart.figures.times.length - 1, at = chart.at ?? last + 1;
    const next = { ArrowLeft: Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last }[event.key];
    if (event.key === "Enter" && chart.at !== null) open(chart, chart.at, chart.at);
    else if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    else point(chart, next);
    event.preventDefault();
  }

  function point(chart, place) {
    chart.at = place;
    const { plot, figures } = chart;
    plot.setCursor({ left: plot.valToPos(figures.times[place] + figures.width / 2, "x"), top: 10 });
    plot.setLegend({ idx: place });
    const values = chart.kind.series.map((each) => `${each.label} ${said(chart, each, place)}`);
    document.querySelector("[data-announce]").textContent = [clock(chart).full(figures.times[place]), ...values].join(", ");
  }

  // -- their life

  async function load(chart) {
    const answer = await fetch(chart.source, { cache: "no-store" });
    const figures = answer.ok ? await answer.json() : null;
    return figures && figures.times ? figures : null;
  }

  async function begin(box) {
    const chart = { box, kind: KINDS[box.dataset.of], source: box.dataset.chart, asked: Date.now(), figures: null, plot: null, at: null };
    charts.set(box, chart);
    try { chart.figures = await load(chart); } catch { /* what the server has drawn stays */ }
    if (!chart.figures || !box.isConnected) { charts.delete(box); return; }
    box.dataset.keep = "";
    box.tabIndex = 0;
    box.setAttribute("aria-description", "Left and right go from column to column, Enter shows the runs that were created in it.");
    draw(chart);
    box.addEventListener("keydown", (event) => press(chart, event));
    new ResizeObserver(() => { if (chart.plot && box.clientWidth) chart.plot.setSize({ width: box.clientWidth, height: 240 }); }).observe(box);
  }

  function draw(chart) {
    if (chart.plot) chart.plot.destroy();
    chart.box.replaceChildren();
    chart.plot = new uPlot(options(chart), [chart.figures.times, ...chart.kind.values(chart.figures)], chart.box);
  }

  async function refresh() {
    for (const box of document.querySelectorAll("[data-chart]")) if (!charts.has(box)) begin(box);
    for (const [box, chart] of charts) {
      if (!box.isConnected) { if (chart.plot) chart.plot.destroy(); charts.delete(box); continue; }
      if (!chart.plot || Date.now() - chart.asked < EVERY) continue;
      chart.asked = Date.now();
      try {
        const figures = await load(chart);
        if (figures) { chart.figures = figures; chart.plot.setData([figures.times, ...chart.kind.values(figures)]); }
      } catch { /* the next time it may be there again */ }
    }
  }

  document.addEventListener("stepwell:morphed", refresh);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const chart of charts.values()) if (chart.plot) draw(chart); });
  refresh();
})();
