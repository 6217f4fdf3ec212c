// What pages do beyond links and forms: they follow what happens, and can be worked with keys. Without it, everything still works.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;

// -- the page, as it is now

const page = { tag: null, busy: false, again: false, missed: false, timer: 0, last: Date.now() };
const PAUSE = 500; // milliseconds between two looks at the most

async function refresh(force = false) {
  if ($("#main [data-still]")) return; // what is being written there stays as it is
  if (page.busy) { page.again = true; return; }
  page.missed = !force && isDisturbing();
  if (page.missed) { showPill(true); return; }
  page.busy = true;
  try {
    const fresh = await asked();
    page.missed = Boolean(fresh) && !force && isDisturbing(); // since it was asked for
    if (page.missed) page.tag = null;
    else if (fresh) morph($("#main"), fresh);
    showPill(page.missed);
  } finally {
    page.busy = false;
    page.last = Date.now();
    if (page.again) { page.again = false; refreshSoon(); }
  }
}

function refreshSoon() {
  page.timer ||= setTimeout(() => { page.timer = 0; refresh(); }, Math.max(0, PAUSE - (Date.now() - page.last)));
}

// What the page should show now; null: nothing else than it does, or nobody answers, which the stream says.
async function asked() {
  let text;
  try {
    const answer = await fetch(location.href, { headers: page.tag ? { "If-None-Match": page.tag } : {}, cache: "no-store" });
    if (answer.status !== 200) return null;
    text = await answer.text();
    page.tag = answer.headers.get("ETag");
  } catch {
    return null;
  }
  return $("#main", new DOMParser().parseFromString(text, "text/html"));
}

function morph(old, fresh) {
  const follows = isSeen($("[data-follow] .running"));
  Idiomorph.morph(old, [...fresh.childNodes], {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      // What somebody has opened, ticked, typed or gone to stays, and what scripts have drawn.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") && name !== "checked" && name !== "data-here",
      beforeNodeMorphed: (node, next) => !(node.dataset && (node.dataset.touched || "keep" in node.dataset || node.isEqualNode(next))),
      beforeNodeRemoved: (node) => node.id !== "said", // until the next page
    },
  });
  afterChange();
  const running = $("[data-follow] .running");
  if (follows && running && !isSeen(running)) running.scrollIntoView({ block: "nearest" }); // whoever looks at what runs goes on doing so
  document.dispatchEvent(new Event("stepwell:morphed"));
}

function isSeen(node) {
  if (!node) return false;
  const box = node.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

// Rows do not move away from under a pointer, and no form loses what was typed.
function isDisturbing() {
  const active = document.activeElement;
  const types = active && active.closest("#main") && /^(INPUT|TEXTAREA|SELECT)$/.test(active.tagName) && active.type !== "checkbox";
  return Boolean(types || $("dialog[open]") || $("[data-list]:hover") || $("[data-row] input:checked"));
}

function showPill(shown) {
  const pill = $("[data-pill]");
  if (pill) pill.hidden = !shown;
}

function afterChange() {
  tick();
  countSelected();
}

// -- live: one stream for all tabs of a browser; the tab that has the lock holds it. Other apps of the same site have their own.

// Browsers may keep their storage from pages: then nothing is remembered.
function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* it holds for this page */ }
}

const live = { on: remembered("stepwell-live") !== "off", state: "", source: null, timer: null, release: null };
const channel = "BroadcastChannel" in window ? new BroadcastChannel(`stepwell ${document.body.dataset.events}`) : null;

function follow() {
  if (!live.on || document.hidden || live.release) return;
  if (!navigator.locks || !channel) { live.release = hush; listen(); return; }
  const waiting = new AbortController();
  live.release = () => waiting.abort();
  navigator.locks.request(`stepwell ${document.body.dataset.events}`, { signal: waiting.signal }, () => new Promise((resolve) => {
    live.release = () => { hush(); resolve(); };
    listen();
  })).catch(() => {});
  show("live");
  refreshSoon();
}

function listen() {
  live.source = new EventSource(document.body.dataset.events);
  live.source.addEventListener("open", () => say("live"));
  live.source.addEventListener("changed", () => say("changed"));
  live.source.addEventListener("full", () => { hush(); say("retrying"); listenAgain(60000); });
  live.source.addEventListener("error", () => {
    say("retrying");
    if (live.source && live.source.readyState === EventSource.CLOSED) { hush(); listenAgain(10000); }
  });
}

function listenAgain(after) {
  setTimeout(() => { if (live.release && !live.source) listen(); }, after);
}

function hush() {
  if (live.source) live.source.close();
  live.source = null;
}

function leave() {
  if (live.release) live.release();
  live.release = null;
  hush();
}

function say(word) {
  if (channel) channel.postMessage(word);
  heard(word);
}

function heard(word) {
  if (!live.on) return;
  show(word === "changed" ? "live" : word);
  // Also when the stream begins: what has happened since the page was made, nobody has told.
  if (word !== "retrying" && !document.hidden) refreshSoon();
}

function show(state) {
  if (state === live.state) return;
  live.state = state;
  const button = $("[data-live]");
  if (button) {
    button.hidden = false;
    button.dataset.state = state;
    button.firstElementChild.textContent = { live: "●", paused: "○", retrying: "△" }[state];
    $("[data-live-word]", button).textContent = state;
    button.setAttribute("aria-label", `Live updates: ${state}`);
  }
  clearInterval(live.timer);
  live.timer = state === "retrying" ? setInterval(() => { if (!document.hidden) refresh(); }, 5000) : null;
}

function toggleLive() {
  live.on = !live.on;
  remember("stepwell-live", live.on ? "on" : "off");
  if (live.on) { follow(); refresh(true); } else { leave(); show("paused"); }
}

if (channel) channel.addEventListener("message", (event) => heard(event.data));
document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); else follow(); });
addEventListener("pagehide", leave);
// -- times that go on

function tick() {
  const now = Date.now();
  for (const each of $$("[data-since]")) each.textContent = lasting(now - Date.parse(each.dataset.since));
}

function lasting(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (const [size, unit, small, word] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ${Math.floor((seconds % size) / small)} ${word}`;
  }
  return `${seconds} s`;
}

setInterval(() => {
  if (document.hidden) return;
  tick();
  if (page.missed && !isDisturbing()) refresh();
}, 1000);

// -- selections, questions, and what is copied

function countSelected() {
  const boxes = $$("[data-row] input[type=checkbox]");
  const count = boxes.filter((box) => box.checked).length;
  for (const box of boxes) box.closest("[data-row]").setAttribute("aria-selected", box.checked);
  const all = $("[data-all]");
  if (all) { all.checked = count > 0 && count === boxes.length; all.indeterminate = count > 0 && count < boxes.length; }
  for (const each of $$("[data-selected]")) each.textContent = `${count} selected`;
  for (const each of $$("[data-needs-selection]")) each.disabled = !count;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) for (const box of $$("[data-row] input[type=checkbox]")) box.checked = event.target.checked;
  if (event.target.matches("[data-all], [data-row] input")) countSelected();
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

document.addEventListener("input", (event) => { if (event.target.type !== "checkbox") event.target.dataset.touched = "yes"; });

document.addEventListener("submit", (event) => {
  const form = event.target, by = event.submitter;
  const question = (by && by.dataset.confirm) || form.dataset.confirm;
  if (!question || form.dataset.sure) { once(event); return; }
  event.preventDefault();
  const dialog = $("#confirm");
  $("[data-question]", dialog).textContent = question.replace("{count}", $$("[data-row] input:checked").length);
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.sure = "yes";
    form.requestSubmit(by);
    delete form.dataset.sure;
  };
  dialog.returnValue = "";
  dialog.showModal();
});

// A second click while the answer is awaited would start a second run.
const sent = new WeakMap();
const AGAIN = 5000; // milliseconds after which nobody is thought to have clicked twice

function once(event) {
  const form = event.target;
  if (form.method !== "post") return;
  if (Date.now() - (sent.get(form) ?? -AGAIN) < AGAIN) event.preventDefault();
  else sent.set(form, Date.now());
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-dialog], [data-live], [data-pill]");
  if (!button) { for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false; return; }
  if (button.matches("[data-dialog]")) $(`#${button.dataset.dialog}`).showModal();
  else if (button.matches("[data-live]")) toggleLive();
  else if (button.matches("[data-pill]")) refresh(true);
  else navigator.clipboard.writeText(button.dataset.copy).then(() => announce("copied"));
});

function announce(text) {
  const region = $("[data-announce]");
  if (region) region.textContent = text;
}

// -- a part of the time of a run, chosen by drawing over it

let drawn = null;

document.addEventListener("pointerdown", (event) => {
  const rows = event.target.closest("[data-knots]"), row = event.target.closest(".tl-row");
  const track = row && $(".tl-track", row);
  if (!rows || !track || event.button || event.pointerType === "touch") return;
  const box = track.getBoundingClientRect();
  if (event.clientX < box.left || event.clientX > box.right) return;
  drawn = { rows, box, from: event.clientX, to: event.clientX, mark: null };
});

document.addEventListener("pointermove", (event) => {
  if (!drawn) return;
  drawn.to = Math.min(drawn.box.right, Math.max(drawn.box.left, event.clientX));
  if (!drawn.mark && Math.abs(drawn.to - drawn.from) < 8) return; // a click that was not quite steady
  if (!drawn.mark) { drawn.mark = document.createElement("div"); drawn.mark.className = "tl-drawn"; document.body.append(drawn.mark); }
  const area = drawn.rows.getBoundingClientRect();
  Object.assign(drawn.mark.style, {
    left: `${Math.min(drawn.from, drawn.to)}px`, width: `${Math.abs(drawn.to - drawn.from)}px`, top: `${area.top}px`, height: `${area.height}px`,
  });
});

document.addEventListener("pointerup", () => {
  const { mark, rows, box, from, to } = drawn || {};
  drawn = null;
  if (!mark) return;
  mark.remove();
  addEventListener("click", (event) => { event.preventDefault(); event.stopPropagation(); }, { capture: true, once: true });
  const knots = rows.dataset.knots.split(" ").map((knot) => knot.split(":").map(Number));
  const [begin, end] = [from, to].sort((a, b) => a - b).map((x) => secondsAt(knots, (100 * (x - box.left)) / box.width));
  const address = new URL(location.href);
  address.searchParams.set("from", begin.toFixed(3));
  address.searchParams.set("to", end.toFixed(3));
  address.searchParams.delete("page");
  location.assign(address);
});

addEventListener("pointercancel", () => { if (drawn && drawn.mark) drawn.mark.remove(); drawn = null; });
document.addEventListener("dragstart", (event) => { if (event.target.closest && event.target.closest("[data-knots]")) event.preventDefault(); });

// Percents of the axis are seconds, straight in between two knots.
function secondsAt(knots, x) {
  for (let place = 1; place < knots.length; place += 1) {
    const [[one, left], [other, right]] = [knots[place - 1], knots[place]];
    if (x <= right || place === knots.length - 1) return one + ((other - one) * (x - left)) / (right - left || 1);
  }
  return 0;
}

// -- keys

let prefix = 0;
const PLACES = { t: 0, w: 1, s: 2, k: 3, c: 4 };

function row(step) {
  const rows = $$("[data-row]");
  if (!rows.length) return;
  const at = rows.findIndex((each) => "here" in each.dataset);
  for (const each of rows) delete each.dataset.here;
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next.dataset.here = "";
  next.scrollIntoView({ block: "nearest" });
  const link = $("a", next);
  if (link) link.focus({ preventScroll: true });
}

// To the next step of a timeline, or the one before; only to those that have failed, if so asked.
function goToStep(by, failed) {
  const links = $$(".tl-rows .tl-link[href]");
  const at = links.findIndex((link) => link === document.activeElement);
  const from = at < 0 ? links.findIndex((link) => link.hasAttribute("aria-current")) : at;
  for (let next = from < 0 && by < 0 ? links.length - 1 : from + by; next in links; next += by) {
    if (!failed || links[next].closest("li").classList.contains("failed")) { links[next].focus(); return true; }
  }
  return false;
}

const STEPS = { ArrowDown: [1, false], ArrowUp: [-1, false], n: [1, true], N: [-1, true] };

function press(key) {
  const target = $(`[data-key="${CSS.escape(key)}"]`);
  if (!target || target.disabled) return false;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) { target.focus(); if (target.select) target.select(); } else target.click();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable], dialog[open]"); // a closed one may still have the focus
  if (event.key === "Escape" && typing && !typing.closest("dialog")) { typing.blur(); return; }
  if (typing || root.dataset.keys === "off") return;
  const now = Date.now(), key = event.key, here = $("[data-here]");
  if (now - prefix < 1500 && key in PLACES) { prefix = 0; $$(".frame nav a")[PLACES[key]].click(); }
  else if (key === "g") prefix = now;
  else if (key === "?") $("#keys").showModal();
  else if (key === "j" || key === "k") row(key === "j" ? 1 : -1);
  else if (key === "x" && here) { const box = $("input[type=checkbox]", here); if (box) { box.checked = !box.checked; countSelected(); } }
  else if (key === "r") toggleLive();
  else if (key === "t") { const form = $(".menu form"); form.elements.theme.value = { auto: "light", light: "dark", dark: "auto" }[root.dataset.theme]; form.requestSubmit(); }
  else if (key === "Escape") { const up = $("[data-up]"); if (!up) return; up.click(); }
  else if (!press(key) && !(key in STEPS && goToStep(...STEPS[key]))) return;
  event.preventDefault();
});

// -- begin

for (const each of $$("[data-dialog]")) each.hidden = false;
afterChange();
if (live.on) follow(); else show("paused");
