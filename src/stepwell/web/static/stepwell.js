// What pages do beyond links and forms: selections, questions, and keys. Without it, everything still works.
"use strict";

function afterChange() {
  tick();
  tell();
  countSelected();
  rememberList();
}

// -- selections, questions, and what is copied

function countSelected() {
  const boxes = $$("[data-row] input[type=checkbox]");
  const count = boxes.filter((box) => box.checked).length;
  for (const box of boxes) box.closest("[data-row]").setAttribute("aria-selected", box.checked);
  const all = $("[data-all]");
  if (all) { all.checked = count > 0 && count === boxes.length; all.indeterminate = count > 0 && count < boxes.length; }
  for (const each of $$("[data-selected]")) put(each, `${count} selected`);
  for (const each of $$("[data-needs-selection]")) each.disabled = !count;
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-all]")) for (const box of $$("[data-row] input[type=checkbox]")) box.checked = event.target.checked;
  if (event.target.matches("[data-all], [data-row] input")) countSelected();
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  const form = event.target, by = event.submitter;
  const question = (by && by.dataset.confirm) || form.dataset.confirm;
  if (!question || form.dataset.sure) { once(event); return; }
  event.preventDefault();
  const dialog = $("#confirm");
  $("[data-question]", dialog).textContent = counted(question, $$("[data-row] input:checked").length);
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    form.dataset.sure = "yes";
    form.requestSubmit(by);
    delete form.dataset.sure;
  };
  dialog.returnValue = "";
  dialog.showModal();
});

function counted(question, count) {
  return question.replace("{count} runs", count === 1 ? "1 run" : `${count} runs`);
}

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
  else if (button.matches("[data-pill]")) { $("[data-list=counted]").scrollIntoView({ block: "nearest" }); refresh(true); }
  else navigator.clipboard.writeText(button.dataset.copy).then(() => announce("copied"));
});

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

// Off the rows, or up to where one came from.
function back() {
  const here = $("[data-here]"), up = $("[data-up]"), list = listOfThis();
  if (here) { delete here.dataset.here; document.activeElement.blur(); } else if (list) location.assign(list.from); else if (up) up.click();
  return Boolean(here || list || up);
}

function press(key) {
  const target = $(`[data-key="${CSS.escape(key)}"]`);
  if (!target || target.disabled) return false;
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) { target.focus(); if (target.select) target.select(); } else target.click();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable], dialog[open]"); // a closed one may still have the focus
  const menu = $("details.menu[open]");
  if (event.key === "Escape" && menu && !typing?.closest("dialog")) { menu.open = false; $("summary", menu).focus(); return; }
  if (event.key === "Escape" && typing && !typing.closest("dialog")) { typing.blur(); return; }
  if (typing || root.dataset.keys === "off") return;
  const now = Date.now(), key = event.key, here = $("[data-here]");
  if (now - prefix < 1500 && key in PLACES) { prefix = 0; $$(".frame nav a")[PLACES[key]].click(); }
  else if (key === "g") prefix = now;
  else if (key === "?") $("#keys").showModal();
  else if (key === "j" || key === "k") row(key === "j" ? 1 : -1);
  else if (key === "x" && here) { const box = $("input[type=checkbox]", here); if (box) { box.checked = !box.checked; countSelected(); } }
  else if (key === "r") toggleLive();
  else if (key === "Escape") { if (!back()) return; }
  else if (!press(key) && !(key in STEPS && goToStep(...STEPS[key]))) return;
  event.preventDefault();
});

// -- the list that one came from, and the runs beside this one in it

const OPENED = "stepwell-list", session = () => sessionStorage;

function rememberList() {
  const rows = $$("[data-row]").map((each) => $("a[href]", each)).filter((link) => link && !link.search).map((link) => link.pathname) // one with a query is a list;
  if (rows.length) remember(OPENED, JSON.stringify({ from: location.href, rows }), session);
}

// Null: nobody came here from a list.
function listOfThis() {
  const list = JSON.parse(remembered(OPENED, session) || "null");
  return list && list.rows.includes(location.pathname) && list.from !== location.href ? list : null;
}

function showNeighbours() {
  const list = listOfThis(), nav = $("[data-neighbours]");
  nav.hidden = !list;
  if (!list) return;
  const at = list.rows.indexOf(location.pathname);
  $$("a", nav).forEach((link, place) => {
    const to = list.rows[at + [-1, 1][place]];
    if (to) link.href = to;
    else link.removeAttribute("href");
  });
}

// -- begin

showNeighbours();

for (const each of $$("[data-dialog]")) each.hidden = false;
addEventListener("pageshow", (event) => { if (event.persisted) for (const form of $$("form.filters")) form.reset(); }); // to what it shows
afterChange();
if (live.on) follow(); else show("paused");
