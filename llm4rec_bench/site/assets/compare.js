// The comparison of two systems on one track. All text is set as textContent.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const { systems, tables } = JSON.parse(document.getElementById("data").textContent);
  const others = JSON.parse(document.getElementById("others").textContent);
  const [task, track, a, b] = ["task", "track", "a", "b"].map((id) => document.getElementById(id));
  const result = document.getElementById("result");
  const verdict = document.getElementById("verdict");
  if (!tables.length) return;

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const fill = (select, options, wanted) => {
    select.replaceChildren(...options.map(([value, text]) => element("option", text, { value })));
    const values = options.map(([value]) => value);
    select.value = values.includes(wanted) ? wanted : values[0];
  };
  const four = (units) => (units / 10000).toFixed(4);
  const signed = (units) => (units < 0 ? "−" : units > 0 ? "+" : "±") + four(Math.abs(units));
  const title = (name) => systems[name][0];
  const table = () => tables.find((by) => by.task === task.value && by.track === track.value);
  const placed = (by) => by.rows.map(([name, rank]) => [name, `${title(name)} (rank ${rank})`]);

  // Where the pair of rows i < j stands among combinations of n.
  const pairOf = (by, i, j) => {
    const n = by.rows.length;
    return by.pairs[i * n - (i * (i + 1)) / 2 + (j - i - 1)];
  };
  // The same numbers, of the first as against the second.
  const turned = ([value, low, high, p, wins, losses]) => [-value, -high, -low, p, losses, wins];

  const say = (by, i, j) => {
    const first = by.metrics[0];
    const [value, low, high, p, wins, losses] =
      i < j ? pairOf(by, i, j) : turned(pairOf(by, j, i));
    const beyond = p < 500;
    const names = [title(by.rows[i][0]), title(by.rows[j][0])];
    const [better, worse] = value >= 0 ? names : [names[1], names[0]];
    const told = element("p", undefined, { class: beyond ? "beyond" : "chance" });
    told.append(element("strong", beyond ? "A difference is shown. " : "No difference is shown. "));
    told.append(beyond
      ? `By ${first}, ${better} is better than ${worse} beyond chance.`
      : `By ${first}, what lies between ${names[0]} and ${names[1]} may be chance.`);
    const ties = by.requests - wins - losses;
    const pShown = p < 1 ? "< .0001" : `= ${four(p).replace("0.", ".")}`;
    const detail = element("p", `Difference ${signed(value)}, 95 % interval ${signed(low)} to `
      + `${signed(high)}; p ${pShown} by a paired randomisation test, after Holm’s adjustment for `
      + `all ${by.pairs.length} pairs of the table. Of ${by.requests} requests the first is better `
      + `on ${wins}, the second on ${losses}, and ${ties} are equal.`);
    verdict.replaceChildren(told, detail);
  };

  const show = () => {
    const by = table();
    const index = (select) => by.rows.findIndex(([name]) => name === select.value);
    const [i, j] = [index(a), index(b)];
    const [one, two] = [by.rows[i], by.rows[j]];
    if (i === j) {
      verdict.replaceChildren(element("p", "Choose two different systems."));
    } else {
      say(by, i, j);
    }
    const made = element("table", undefined, { class: "plain compare" });
    made.append(element("caption", `${by.track} of ${by.task}`));
    const head = element("tr");
    head.append(element("td"));
    for (const row of [one, two]) {
      const cell = element("th", undefined, { scope: "col" });
      cell.append(element("a", title(row[0]), { href: `entries/${row[0]}.html` }));
      head.append(cell);
    }
    head.append(element("th", "difference", { scope: "col", class: "n" }));
    made.append(element("thead"));
    made.tHead.append(head);
    const body = element("tbody");
    const line = (name, cells, difference = "") => {
      const row = element("tr");
      row.append(element("th", name, { scope: "row" }));
      for (const [text, small] of cells) {
        const cell = element("td", text);
        if (small) cell.append(element("small", small));
        row.append(cell);
      }
      row.append(element("td", difference, { class: "n" }));
      body.append(row);
    };
    line("rank", [[one[1]], [two[1]]]);
    line("kind", [[systems[one[0]][1]], [systems[two[0]][1]]]);
    by.metrics.forEach((metric, m) => {
      const [first, second] = [one[2][m], two[2][m]];
      line(metric, [first, second].map(([value, low, high]) =>
        [four(value), `${four(low)}–${four(high)}`]), signed(first[0] - second[0]));
    });
    others.forEach((name, n) => line(name, [[one[3][n]], [two[3][n]]]));
    made.append(body);
    const scroll = element("div", undefined,
      { class: "scroll", role: "region", tabindex: "0", "aria-label": "The two systems" });
    scroll.append(made);
    const board = element("p");
    board.append(element("a", `Board of ${by.track}`,
      { href: `boards/${by.task}.html#${by.track}` }));
    result.replaceChildren(scroll, board);
    const chosen = new URLSearchParams(
      { task: task.value, track: track.value, a: a.value, b: b.value });
    history.replaceState(null, "", `#${chosen}`);
  };

  const chooseSystems = (first, second) => {
    const by = table();
    const options = placed(by);
    fill(a, options, first);
    const next = options.find(([name]) => name !== a.value) ?? options[0];
    fill(b, options, options.some(([name]) => name === second) && second !== a.value
      ? second : next[0]);
    show();
  };
  const chooseTrack = (wanted, first, second) => {
    const tracks = tables.filter((by) => by.task === task.value).map((by) => [by.track, by.track]);
    fill(track, tracks, wanted);
    chooseSystems(first, second);
  };
  const start = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const first = asked.get("a");
    const of = tables.find((by) => by.rows.some(([name]) => name === first));
    fill(task, [...new Set(tables.map((by) => by.task))].map((name) => [name, name]),
      asked.get("task") ?? of?.task);
    chooseTrack(asked.get("track") ?? of?.track, first, asked.get("b"));
  };
  task.addEventListener("change", () => chooseTrack(track.value, a.value, b.value));
  track.addEventListener("change", () => chooseSystems(a.value, b.value));
  a.addEventListener("change", show);
  b.addEventListener("change", show);
  document.getElementById("swap").addEventListener("click", () => {
    [a.value, b.value] = [b.value, a.value];
    show();
  });
  addEventListener("hashchange", start);
  document.getElementById("needs").hidden = true;
  document.getElementById("choose").hidden = false;
  start();
});
