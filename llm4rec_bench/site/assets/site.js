// Theme, tables and plots. Nothing here makes markup of text: what strangers wrote is only moved
// as it stands or set as textContent.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try { return localStorage.getItem("theme"); } catch { return null; } // a browser may keep nothing
  };
  const keep = (theme) => {
    try { localStorage.setItem("theme", theme); } catch { /* then it lasts for this page */ }
  };
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  if (["dark", "light"].includes(kept())) root.dataset.theme = kept(); // before the first paint

  const themeButton = () => {
    const button = document.getElementById("theme");
    const show = () => {
      button.textContent = isDark() ? "Light" : "Dark";
      button.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours");
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      keep(root.dataset.theme);
      show();
    });
    dark.addEventListener("change", show);
    show();
  };

  const tables = () => {
    const $ = window.jQuery;
    if (!$) return [];
    return [...document.querySelectorAll("table.board, table.sortable")].map((table) =>
      $(table).DataTable({
        paging: false, info: false, autoWidth: false, order: [], orderMulti: false,
        layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
        columnDefs: [{ targets: "rank", type: "num", orderSequence: ["asc", "desc"] },
          { targets: "n", type: "num", orderSequence: ["desc", "asc"] }],
      }));
  };

  const filters = (made) => {
    const form = document.getElementById("filter");
    if (!form || !made.length) return;
    const search = document.getElementById("search");
    const selects = [...form.querySelectorAll("select")];
    const matches = document.getElementById("matches");
    const fits = (row) => {
      if (row.classList.contains("ref")) return true; // what is reached without a system stays
      const has = row.dataset.f.split(" ");
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const text = row.textContent.toLowerCase();
      return selects.every((by) => by.value === "" || has[Number(by.dataset.facet)] === by.value)
        && words.every((word) => text.includes(word));
    };
    const apply = () => {
      made.forEach((table) => table.draw());
      const all = document.querySelectorAll("table.board tbody tr:not(.ref)").length;
      const whole = made.reduce((sum, table) => sum + table.rows().nodes().toArray()
        .filter((row) => !row.classList.contains("ref")).length, 0);
      matches.textContent = all === whole ? "" : `${all} of ${whole} rows on this page`;
    };
    made.forEach((table) => table.search.fixed("chosen", (_text, _data, index) =>
      fits(table.row(index).node())));
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply)); // once the fields are empty
    apply();
  };

  // A point's title becomes its name and is shown beside it, at once and for the keyboard too.
  const plots = () => {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    tip.setAttribute("aria-hidden", "true");
    document.body.append(tip);
    const hide = () => { tip.hidden = true; };
    for (const point of document.querySelectorAll("svg.plot a")) {
      const title = point.querySelector("title");
      point.setAttribute("aria-label", title.textContent);
      title.remove();
      const show = () => {
        tip.textContent = point.getAttribute("aria-label");
        tip.hidden = false;
        const at = point.querySelector("use").getBoundingClientRect();
        const wide = document.documentElement.clientWidth;
        const left = Math.min(Math.max(8, at.x + at.width / 2 - tip.offsetWidth / 2),
          wide - tip.offsetWidth - 8);
        const above = at.y - tip.offsetHeight - 10;
        tip.style.left = `${left + scrollX}px`;
        tip.style.top = `${(above > 0 ? above : at.y + at.height + 10) + scrollY}px`;
      };
      point.addEventListener("pointerenter", show);
      point.addEventListener("focus", show);
      point.addEventListener("pointerleave", hide);
      point.addEventListener("blur", hide);
    }
    addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  };

  // A link to a closed part opens it.
  const open = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const part = id && document.getElementById(id);
    if (part instanceof HTMLDetailsElement) { part.open = true; part.scrollIntoView(); }
  };

  document.addEventListener("DOMContentLoaded", () => {
    themeButton();
    filters(tables().filter((table) => table.table().node().classList.contains("board")));
    plots();
    open();
    addEventListener("hashchange", open);
  });
  // On paper nothing can be opened.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
