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
    // Cells sort by the number they begin with, or by how far apart their two are; the best comes
    // first at the first click, and what has no number last.
    const numbers = (cell) => (String(cell).replaceAll(",", "").match(/\d+(\.\d+)?/g) ?? []).map(Number);
    Object.assign($.fn.dataTable.ext.type.order, {
      "place-pre": (cell) => numbers(cell)[0] ?? Infinity,
      "amount-pre": (cell) => numbers(cell)[0] ?? -Infinity,
      "spread-pre": (cell) => numbers(cell)[1] - numbers(cell)[0] || -Infinity,
    });
    return [...document.querySelectorAll("table.board, table.sortable")].map((table) =>
      $(table).DataTable({
        paging: false, info: false, autoWidth: false, order: [], orderMulti: false,
        layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
        columnDefs: [
          { targets: "rank", type: "place", orderSequence: ["asc", "desc"] },
          { targets: "t", type: "html", orderSequence: ["asc", "desc"] },
          { targets: "spread", type: "spread", orderSequence: ["desc", "asc"] },
          { targets: "_all", type: "amount", orderSequence: ["desc", "asc"] }],
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

  // The score over parts of the requests, with its plot beside the numbers: half the size of the
  // site, were they written out.
  const parts = () => {
    const names = document.getElementById("names");
    if (!names) return;
    const called = JSON.parse(names.textContent);
    const four = (units) => (units / 10000).toFixed(4);
    for (const place of document.querySelectorAll("div.parts")) {
      const rows = JSON.parse(place.querySelector("script").textContent);
      if (!rows.length) continue;
      const whole = Number(place.dataset.whole);
      const low = Math.min(whole, ...rows.map((row) => row[3]));
      const high = Math.max(whole, ...rows.map((row) => row[4]));
      const at = (value) => (2 + ((value - low) / (high - low || 1)) * 96).toFixed(1);
      const table = document.createElement("table");
      table.className = "numbers";
      table.createCaption().textContent =
        `${place.dataset.metric} over parts of the requests; the dashed line is the whole`;
      const head = table.createTHead().insertRow();
      for (const text of ["part", "requests", "value", "95 % interval", ""]) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = text;
        head.append(cell);
      }
      const ends = document.createElement("span");
      ends.className = "ends";
      for (const value of [low, high]) {
        ends.append(Object.assign(document.createElement("span"), { textContent: four(value) }));
      }
      head.lastChild.append(ends);
      const body = table.createTBody();
      for (const [name, requests, value, first, last] of rows) {
        const row = body.insertRow();
        const cell = document.createElement("th");
        cell.scope = "row";
        cell.textContent = called[name];
        row.append(cell);
        for (const text of [requests.toLocaleString("en"), four(value), `${four(first)}–${four(last)}`]) {
          row.insertCell().textContent = text;
        }
      }
      const svg = (name, attributes) => {
        const made = document.createElementNS("http://www.w3.org/2000/svg", name);
        for (const [key, text] of Object.entries(attributes)) made.setAttribute(key, text);
        return made;
      };
      const plot = svg("svg", { viewBox: `0 0 100 ${rows.length}`, preserveAspectRatio: "none",
        "aria-hidden": "true" });
      plot.append(
        svg("path", { class: "whole", d: `M${at(whole)} 0V${rows.length}` }),
        svg("path", { d: rows.map((row, n) => `M${at(row[3])} ${n}.5H${at(row[4])}`).join("") }),
        svg("path", { class: "dots", d: rows.map((row, n) => `M${at(row[2])} ${n}.5h0`).join("") }));
      const drawn = body.rows[0].insertCell();
      drawn.rowSpan = rows.length;
      drawn.className = "whiskers";
      drawn.append(plot);
      const scroll = Object.assign(document.createElement("div"), { className: "scroll", tabIndex: 0 });
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", table.caption.textContent);
      scroll.append(table);
      place.append(scroll);
    }
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
    parts();
    open();
    addEventListener("hashchange", open);
  });
  // On paper nothing can be opened.
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
