// Redraws the live parts of a page when the server reports news. The parts come from the page
// itself, which is loaded again. A part that holds the focus, an open question or selected text is
// not replaced while that lasts.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-live]");
  if (parts().length === 0 || !window.EventSource) return;
  let source = null;
  let asking = false;

  const isInUse = (part) => {
    const chosen = document.getSelection();
    return part.contains(document.activeElement)
      || part.querySelector("details[open]") !== null
      || (chosen !== null && !chosen.isCollapsed && part.contains(chosen.anchorNode));
  };

  // Existing rows are replaced in place. New rows are only counted above the list until the reader
  // loads them.
  const mergeRows = (part, fresh) => {
    const rows = new Map([...part.querySelectorAll("[data-row]")].map((row) => [row.dataset.row, row]));
    let added = 0;
    for (const row of fresh.querySelectorAll("[data-row]")) {
      const old = rows.get(row.dataset.row);
      if (old === undefined) added += 1;
      else if (old.innerHTML !== row.innerHTML && !old.contains(document.activeElement)) old.replaceWith(row.cloneNode(true));
    }
    const notice = document.getElementById("live-news");
    if (notice === null) return;
    notice.replaceChildren();
    if (added === 0) return;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = added === 1 ? "1 new. Show it" : `${added} new. Show them`;
    notice.append(link);
  };

  const drawAgain = (page) => {
    for (const part of parts()) {
      const fresh = page.getElementById(part.id);
      if (fresh === null || fresh.innerHTML === part.dataset.drawn) continue;
      if (part.dataset.live === "rows") mergeRows(part, fresh);
      else if (!isInUse(part)) {
        const drawn = fresh.innerHTML;
        part.replaceChildren(...document.importNode(fresh, true).childNodes);
        part.dataset.drawn = drawn;
      }
      tellZones(part);
    }
  };

  const ask = async () => {
    if (asking || document.hidden) return;
    asking = true;
    try {
      const headers = { "x-waybill-refresh": "1" };
      const answer = await fetch(location.href, { credentials: "same-origin", cache: "no-store", headers });
      if (answer.redirected || answer.status === 401) stop();
      else if (answer.ok) drawAgain(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch {
      // The server is away. The browser reopens the stream when the server is back.
    } finally {
      asking = false;
    }
  };

  const start = () => {
    if (source !== null) return;
    source = new EventSource("/admin/live");
    source.addEventListener("news", ask);
  };

  const stop = () => {
    if (source !== null) source.close();
    source = null;
  };

  // A browser has few connections to one server, so a hidden page closes its stream.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else { start(); ask(); }
  });
  window.addEventListener("pagehide", stop);
  if (!document.hidden) start();
})();
