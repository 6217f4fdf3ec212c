// The page of a run: steps and their parts are looked at without leaving it. Without this, each is a page of its own.
"use strict";

{ // its names are its own: scripts of a page share theirs
  const here = () => location.pathname + location.search;
  let visited = here();

  // Links to the same run only change what of it is shown: the page stays where it is.
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("[data-soft] a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const to = new URL(link.getAttribute("href"), location.href);
    if (to.origin !== location.origin || to.pathname !== location.pathname || link.hasAttribute("download")) return;
    event.preventDefault();
    goTo(to);
  });

  addEventListener("popstate", () => { if (here() !== visited) turn(); });

  let soon = 0;

  async function goTo(to) {
    clearTimeout(soon);
    const step = to.searchParams.get("step"), row = step && rows().find((link) => new URL(link.href).searchParams.get("step") === step);
    if (row) attend(row); // at once: the next key is meant from there
    history.pushState(null, "", to);
    await turn();
  }

  function rows() { return $$(".tl-rows .tl-row:not(.tl-group) .tl-link[href]"); }

  function attend(link) {
    if (!document.activeElement || !document.activeElement.closest("#step-panel")) link.focus({ preventScroll: true });
    link.closest("li").scrollIntoView({ block: "nearest" });
  }

  // From row to row, however fast: the panel shows the one where somebody rests.
  const REST = 120; // milliseconds
  document.addEventListener("keydown", (event) => {
    const links = { ArrowUp: -1, ArrowDown: 1 }[event.key] && new URLSearchParams(location.search).has("step") ? rows() : [];
    const next = links[links.indexOf(document.activeElement) + (event.key === "ArrowUp" ? -1 : 1)];
    if (!next || !links.includes(document.activeElement) || event.ctrlKey || event.metaKey || event.altKey || root.dataset.keys === "off") return;
    event.preventDefault();
    attend(next);
    clearTimeout(soon);
    soon = setTimeout(() => goTo(new URL(next.href)), REST);
  }, { capture: true });

  // The page that the address is of now, in place of what is seen.
  async function turn() {
    const wanted = here();
    visited = wanted;
    const answer = await fetch(location.href, { cache: "no-store" }).catch(() => null);
    if (here() !== wanted) return; // somebody has gone on meanwhile
    if (!answer || answer.status !== 200) { location.reload(); return; }
    const fresh = $("#main", new DOMParser().parseFromString(await answer.text(), "text/html"));
    if (here() !== wanted) return;
    page.tag = answer.headers.get("ETag");
    morph($("#main"), fresh);
    settle();
  }

  // The chosen step is seen, heard and gone on from.
  function settle() {
    const part = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const chosen = $(".tl-chosen");
    if (part && !part.contains(chosen)) { if (!isSeen(part)) part.scrollIntoView({ block: "start" }); return; }
    if (!chosen) return;
    const link = $(".tl-link", chosen);
    if (!document.activeElement || !document.activeElement.closest(".tl-rows")) attend(link); // somebody may be further by now
    announce(link.getAttribute("aria-label"));
  }

  // Out of the step first, and only then out of the page.
  document.addEventListener("keydown", (event) => {
    const close = $("#step-panel .run-close");
    if (event.key !== "Escape" || !close || root.dataset.keys === "off" || event.target.closest("input, textarea, select, dialog") || $("dialog[open], .menu[open]")) return;
    event.preventDefault();
    close.click();
  }, { capture: true });

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("[data-copies]");
    if (button) navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent).then(() => announce("copied"));
  });

  function unveil() { for (const each of $$("[data-copies]")) each.hidden = false; }
  document.addEventListener("stepwell:morphed", unveil);
  unveil();
}
