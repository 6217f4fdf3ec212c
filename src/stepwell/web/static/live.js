// What pages show follows what happens: they are asked for again when something has changed, and morphed. Without it, one reloads.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const root = document.documentElement;

// -- the page, as it is now

const page = { tag: null, busy: false, again: false, missed: false, timer: 0, last: Date.now(), pause: 500 };
const PAUSES = [500, 5000]; // milliseconds between two looks: a page that takes the server long is not asked for all the time

async function refresh(force = false) {
  if ($("#main [data-still]")) return; // what is being written there stays as it is
  if (page.busy) { page.again = true; return; }
  if ($("#confirm[open]")) { page.missed = true; return; } // it is about what is there
  page.busy = true;
  page.last = Date.now();
  try {
    const fresh = await asked(force);
    if (fresh) {
      const isHeld = !force && holdsStill(), waiting = isHeld ? hold(fresh) : { rows: 0, runs: 0 };
      morph($("#main"), fresh);
      page.missed = waiting.rows > 0;
      showPill(waiting.runs);
    }
  } finally {
    page.busy = false;
    page.pause = Math.min(Math.max(PAUSES[0], 4 * (Date.now() - page.last)), PAUSES[1]);
    page.last = Date.now();
    if (page.again) { page.again = false; refreshSoon(); }
  }
}

function refreshSoon() {
  page.timer ||= setTimeout(() => { page.timer = 0; if (!document.hidden) refresh(); }, Math.max(0, page.pause - (Date.now() - page.last)));
}

// What the page should show now; null: nothing else than it does, or nobody answers, which the stream says.
async function asked(force) {
  const address = location.href;
  let text;
  try {
    const answer = await fetch(address, { headers: page.tag && !force ? { "If-None-Match": page.tag } : {}, cache: "no-store" });
    if (answer.status !== 200 && answer.status !== 404) return null; // what is not there any more is told
    text = await answer.text();
    if (location.href !== address) return null; // another page is looked at by now
    page.tag = answer.headers.get("ETag");
  } catch {
    return null;
  }
  return $("#main", new DOMParser().parseFromString(text, "text/html"));
}

function morph(old, fresh) {
  const follows = isSeen($("[data-follow] .running"));
  const selected = getSelection().isCollapsed ? null : getSelection(), refocus = focusIn(old);
  Idiomorph.morph(old, [...fresh.childNodes], {
    morphStyle: "innerHTML",
    ignoreActiveValue: true,
    callbacks: {
      // What somebody has opened, ticked, typed, selected or gone to stays, and what scripts have drawn.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS") && name !== "checked" && name !== "data-here",
      beforeNodeMorphed: (node, next) => !(node.isEqualNode(next) || isTouched(node) || (node.dataset && "keep" in node.dataset) || (selected && isLeaf(node) && selected.containsNode(node, true))),
      beforeNodeRemoved: (node) => node.id !== "said", // until the next page
    },
  });
  refocus();
  afterChange();
  const running = $("[data-follow] .running");
  if (follows && running && !isSeen(running)) running.scrollIntoView({ block: "nearest" }); // whoever looks at what runs goes on doing so
  document.dispatchEvent(new Event("stepwell:morphed"));
}

// How to give the focus back: a node that is moved or made anew loses it.
function focusIn(part) {
  const active = document.activeElement, near = active && part.contains(active) && active.closest("[id]");
  if (!near) return () => {};
  const place = $$(active.tagName, near).indexOf(active);
  return () => {
    if (document.activeElement === active) return;
    const now = document.getElementById(near.id), target = active.isConnected ? active : now && (near === active ? now : $$(active.tagName, now)[place]);
    if (target) target.focus({ preventScroll: true });
  };
}

function isLeaf(node) {
  return node.nodeType === Node.TEXT_NODE || !node.firstElementChild;
}

// Whether somebody has changed a field since it came.
function isTouched(node) {
  if (node.tagName === "INPUT") return /^(checkbox|radio)$/.test(node.type) ? node.checked !== node.defaultChecked : node.type !== "hidden" && node.value !== node.defaultValue;
  if (node.tagName === "TEXTAREA") return node.value !== node.defaultValue;
  if (node.tagName !== "SELECT") return false;
  const chosen = [...node.options].findIndex((each) => each.defaultSelected);
  return node.selectedIndex !== Math.max(0, chosen);
}

function isSeen(node) {
  if (!node) return false;
  const box = node.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

// -- rows that stay where they are

function holdsStill() {
  const active = document.activeElement;
  return Boolean($("[data-list]:hover") || (active && active.closest("[data-list]")) || $("[data-row] input:checked"));
}

// Rows do not move away from under a pointer: those that are there are brought up to date, those that come wait.
function hold(fresh) {
  let rows = 0, runs = 0;
  for (const list of $$("[data-list]")) {
    const body = $("tbody", list), other = $(`#${CSS.escape(body.id)}`, fresh);
    if (!other) { keep(list, fresh); rows += 1; continue; }
    const here = [...body.rows], coming = new Map([...other.rows].map((row) => [row.id, row]));
    const others = [...coming.keys()].filter((id) => !here.some((row) => row.id === id)).length;
    rows += others + here.filter((row) => !coming.has(row.id)).length;
    if (list.dataset.list) runs += others;
    other.replaceChildren(...here.map((row) => coming.get(row.id) || row.cloneNode(true)));
  }
  for (const list of $$("[data-list]", fresh)) if (!$(`#${list.id}`)) { list.closest("section").remove(); rows += 1; } // nor are they pushed down
  return { rows, runs };
}

// A list that would go as a whole keeps its section.
function keep(list, fresh) {
  const section = list.closest("section");
  const other = $(`[aria-labelledby="${section.getAttribute("aria-labelledby")}"]`, fresh);
  if (other) other.replaceWith(section.cloneNode(true));
  else fresh.insertBefore(section.cloneNode(true), $("section", fresh));
}

function showPill(count) {
  const pill = $("[data-pill]");
  if (!pill) return;
  pill.hidden = !count;
  if (!count) return;
  const isFull = count >= Number($("[data-list=counted]").dataset.size);
  const words = `${count}${isFull ? "+" : ""} new ${count === 1 ? "run" : "runs"}`;
  if (pill.textContent !== words) announce(words);
  pill.textContent = words;
}

// -- what is said aloud: one thing at a time

const SPOKEN = 5000; // milliseconds that each has
const speech = { next: [], timer: 0 };

function announce(text) {
  speech.next = [text]; // only the newest is of interest
  speech.timer ||= setTimeout(speak, 50);
}

function speak() {
  const [text] = speech.next;
  speech.next = [];
  $("[data-announce]").textContent = text || "";
  speech.timer = text ? setTimeout(speak, SPOKEN) : 0;
}

const told = new Set();

// What a page comes with is read aloud only if it changes: so its words are put there once more, each text once.
function tell() {
  for (const each of $$("#main [role=status], #main [role=alert]")) {
    const text = each.textContent.trim(), nodes = [...each.childNodes];
    if (!text || told.has(text)) continue;
    told.add(text);
    each.replaceChildren();
    requestAnimationFrame(() => { if (!each.hasChildNodes()) each.append(...nodes); });
  }
}

// -- live: one stream for all tabs of a browser; the tab that has the lock holds it. Other apps of the same site have their own.

// Browsers may keep their storage from pages: then nothing is remembered.
function remembered(name, storage = () => localStorage) {
  try { return storage().getItem(name); } catch { return null; }
}

function remember(name, value, storage = () => localStorage) {
  try { storage().setItem(name, value); } catch { /* it holds for this page */ }
}

const live = { on: remembered("stepwell-live") !== "off", state: "", source: null, leads: false, timer: null, release: null };
const channel = "BroadcastChannel" in window ? new BroadcastChannel(`stepwell ${document.body.dataset.events}`) : null;

function follow() {
  if (!live.on || document.hidden || live.release) return;
  if (!navigator.locks || !channel) { live.release = hush; listen(); return; }
  const waiting = new AbortController();
  live.release = () => waiting.abort();
  navigator.locks.request(`stepwell ${document.body.dataset.events}`, { signal: waiting.signal }, () => new Promise((resolve) => {
    live.release = () => { live.leads = false; hush(); resolve(); };
    live.leads = true;
    listen();
  })).catch(() => {});
  show("live"); // unless the tab that leads says otherwise
  channel.postMessage("state?");
  refreshSoon();
}

function listen() {
  live.source = new EventSource(document.body.dataset.events);
  live.source.addEventListener("open", () => say("live"));
  live.source.addEventListener("changed", () => say("changed"));
  live.source.addEventListener("away", () => say("retrying")); // the database, from which pages and changes come
  live.source.addEventListener("again", () => { hush(); listen(); });
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

const STATES = {
  live: ["●", "Live updates are on (r)"],
  paused: ["○", "Live updates are off (r)"],
  retrying: ["△", "Nobody tells of changes just now: asked for every 5 s (r)"],
};

function show(state) {
  if (state === live.state) return;
  live.state = state;
  const button = $("[data-live]");
  if (button) {
    button.hidden = false;
    button.dataset.state = state;
    [button.firstElementChild.textContent, button.title] = STATES[state];
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

if (channel) channel.addEventListener("message", ({ data }) => {
  if (data !== "state?") heard(data);
  else if (live.leads) channel.postMessage(live.state);
});
document.addEventListener("visibilitychange", () => { if (document.hidden) leave(); else follow(); });
addEventListener("pagehide", leave);
addEventListener("pageshow", (event) => { if (event.persisted) follow(); });

// -- times that go on

const ahead = Date.parse(document.body.dataset.now) - Date.now(); // of this clock, the server's is

function tick() {
  const now = Date.now() + ahead;
  for (const each of $$("[data-since]")) put(each, lasting(now - Date.parse(each.dataset.since)));
  for (const each of $$("[data-ago]")) put(each, ago(now - Date.parse(each.dataset.ago)));
  const age = Math.floor((Date.now() - page.last) / 1000), shown = $("[data-live-age]");
  if (shown) put(shown, live.state === "live" && age ? ago(1000 * age).replace(" ago", "") : "");
}

function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];

function lasting(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000)), at = UNITS.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = UNITS[at], next = UNITS[at + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${unit}` + (rest ? ` ${rest} ${next[1]}` : "");
}

function ago(ms) {
  const seconds = Math.floor(Math.abs(ms) / 1000), [size, unit] = UNITS.find(([each]) => seconds >= each) || [];
  if (!size) return "now";
  return ms < 0 ? `in ${lasting(-ms)}` : `${Math.floor(seconds / size)} ${unit} ago`;
}

setInterval(() => {
  if (document.hidden) return;
  tick();
  if (page.missed && !holdsStill()) refresh(true);
}, 1000);
