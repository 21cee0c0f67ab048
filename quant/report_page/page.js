"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const drawn = new Set();

/** An element with properties and children; text stays text. */
function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// ---- Charts: drawn when they come into view, so that the page is usable at once ----

let library;

/** What was packed by gzip and Base64, as a response to read. */
function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

/** The plot library, unpacked on first use. */
function plotly() {
  library ??= (async () => {
    const code = await unpacked(document.getElementById("library").textContent).text();
    document.head.append(element("script", { textContent: code }));
    return window.Plotly;
  })();
  return library;
}

const details = new Map();

/** What is known of one ticker, unpacked on first use. */
function detail(ticker) {
  if (!details.has(ticker)) details.set(ticker, unpacked(data.tickers[ticker]).json());
  return details.get(ticker);
}

/** The values that a logarithmic axis can show; the others break the line. */
function positive(values) {
  return values.map((value) => (value > 0 ? value : null));
}

/** About five round values between the least and the greatest, for the labels of a logarithmic axis. */
function ticks(values) {
  const shown = values.filter((value) => value > 0);
  const [low, high] = [Math.min(...shown), Math.max(...shown)];
  if (!(low < high)) return shown.slice(0, 1);
  if (high < 2.5 * low) {
    const power = 10 ** Math.floor(Math.log10((high - low) / 5));
    const step = [1, 2, 5, 10].find((factor) => high - low <= 5 * factor * power) * power;
    // 1.4 / 0.2 is below 7
    const [first, last] = [Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)];
    return Array.from({ length: last - first + 1 }, (_, index) =>
      Number(((first + index) * step).toPrecision(6)));
  }
  const decade = Math.floor(Math.log10(low));
  const decades = Array.from({ length: Math.floor(Math.log10(high)) - decade + 1 }, (_, index) => 10 ** (decade + index));
  const choices = [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1]].map((leading) =>
    decades.flatMap((power) => leading.map((digit) => Number((digit * power).toPrecision(2))))
      .filter((value) => value >= low && value <= high));
  return choices.find((choice) => choice.length <= 6) ?? choices.at(-1);
}

/** Plot labels know a few tags: a name from outside must not become one. */
function label(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const pick = (name) => style.getPropertyValue(`--${name}`).trim();
  return { ink: pick("ink"), muted: pick("muted"), line: pick("line"), surface: pick("surface"),
    accent: pick("accent"), hold: pick("hold"), long: pick("long"), short: pick("short"), gain: pick("gain"), loss: pick("loss"),
    models: { cnn: pick("accent"), majority: pick("hold"), logistic: pick("badge"), boosting: pick("short") } };
}

function line(name, x, y, color, width) {
  return { type: "scatter", mode: "lines", name, x, y, line: { color, width }, hovertemplate: "%{y:.3f}" };
}

/** A line of one model: the CNN's is the bold one. */
function modelled(model, x, y, colour) {
  return line(data.evaluation.names[model], x, y, colour.models[model], model === "cnn" ? 2.5 : 1.5);
}

const axes = {
  roc: ["false positives", "true positives"],
  precision_recall: ["recall", "precision"],
  calibration: ["probability given", "share that was"],
};

const charts = {
  curve(node, colour) {
    const { curve, side } = node.dataset;
    const shown = data.evaluation.curves.filter((one) => one.curve === curve && one.side === side);
    const [across, up] = axes[curve];
    const traces = shown.map(({ model, x, y }) => {
      const trace = modelled(model, x, y, colour);
      if (curve === "precision_recall") trace.line.shape = "vh";
      if (curve === "calibration") Object.assign(trace, { mode: "lines+markers", marker: { size: 6 } });
      return { ...trace, hovertemplate: `${across} %{x:.2f}, ${up} %{y:.3f}` };
    });
    node.setAttribute("aria-label", `${up} against ${across} of ${side}, for ${shown.length} models; ` +
      "the areas are in the table of the models");
    // a curve of precision begins at 1 and says little there
    const kept = shown.flatMap(({ x, y }) => y.filter((_, index) => curve !== "precision_recall" || x[index] > 0.01));
    const most = Math.max(0.01, ...shown.flatMap(({ x, y }) => [...x, ...y])) * 1.05;
    const ranges = {
      roc: [[0, 1], [0, 1]], precision_recall: [[0, 1], [0, Math.min(1, 1.1 * Math.max(0.01, ...kept))]],
      calibration: [[0, most], [0, most]],
    }[curve];
    const diagonal = { type: "line", x0: 0, y0: 0, x1: ranges[0][1], y1: ranges[1][1], layer: "below",
      line: { color: colour.muted, width: 1, dash: "dash" } };
    return {
      traces,
      layout: {
        hovermode: "closest", shapes: curve === "precision_recall" ? [] : [diagonal],
        margin: { l: 48, r: 12, t: 10, b: 44 },
        xaxis: { title: { text: across }, range: ranges[0] }, yaxis: { title: { text: up }, range: ranges[1] },
      },
    };
  },
  months(node, colour) {
    const { figure } = node.dataset;
    const shown = data.evaluation.months;
    node.setAttribute("aria-label", `${figure === "macro_f1" ? "Macro-F1" : "Direction AUC"} of ${shown.length} models ` +
      `in ${shown[0]?.month.length ?? 0} months`);
    const base = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 0.5, y1: 0.5, layer: "below",
      line: { color: colour.muted, width: 1, dash: "dash" } };
    return {
      traces: shown.filter(({ model }) => figure !== "direction_auc" || model !== "majority")
        .map((one) => modelled(one.model, one.month, one[figure], colour)),
      layout: {
        hovermode: "x unified", shapes: figure === "direction_auc" ? [base] : [],
        xaxis: { type: "date", nticks: Math.max(3, Math.floor(node.clientWidth / 90)), tickangle: 0, hoverformat: "%Y-%m" },
      },
    };
  },
  ablations(node, colour) {
    const shown = data.evaluation.ablations;
    node.setAttribute("aria-label", `Direction AUC of ${shown.length} models in ${shown[0]?.variant.length ?? 0} variants; ` +
      "the figures are in the table beside");
    const coin = { type: "line", yref: "paper", y0: 0, y1: 1, x0: 0.5, x1: 0.5, layer: "below",
      line: { color: colour.muted, width: 1, dash: "dash" } };
    return {
      traces: shown.map(({ model, variant, estimate, low, high }, place) => ({
        type: "scatter", mode: "markers", name: data.evaluation.names[model], x: estimate,
        y: variant.map((_, index) => index + (place - (shown.length - 1) / 2) * 0.2), text: variant,
        marker: { color: colour.models[model], size: 8 },
        error_x: { type: "data", symmetric: false, color: colour.models[model], width: 0,
          array: high.map((value, index) => value - estimate[index]),
          arrayminus: low.map((value, index) => estimate[index] - value) },
        hovertemplate: "%{text}: %{x:.3f}",
      })),
      layout: {
        hovermode: "closest", shapes: [coin], xaxis: { title: { text: "direction AUC" } },
        yaxis: { autorange: "reversed", tickvals: (shown[0]?.variant ?? []).map((_, index) => index),
          ticktext: (shown[0]?.variant ?? []).map((name) => name.replace(/ (of|in) /, "<br>$1 ")) },
        margin: { l: 110, r: 12, t: 10, b: 44 },
      },
    };
  },
  promise(node, colour) {
    const { ticker, choose, judge, shortlisted } = data.promises;
    // a candidate made a profit on choose, so the dots begin at 0
    const left = Math.min(0, ...choose);
    const right = Math.max(0, ...choose) * 1.06;
    const dots = (name, color, size, wanted) => {
      const rows = ticker.flatMap((_, index) => (shortlisted[index] === wanted ? [index] : []));
      return { type: "scatter", mode: "markers", name, x: rows.map((row) => choose[row]), y: rows.map((row) => judge[row]),
        text: rows.map((row) => label(ticker[row])), marker: { color, size, line: { color: colour.surface, width: 1 } },
        hovertemplate: "%{text}<br>choose %{x:.2f}, judge %{y:.2f}<extra></extra>" };
    };
    node.setAttribute("aria-label", `Sharpe ratio on choose against judge for ${ticker.length} candidates; ` +
      "the same figures are in the tables");
    return {
      traces: [dots("rejected", colour.hold, 8, false), dots("shortlisted", colour.accent, 11, true)],
      layout: {
        hovermode: "closest",
        shapes: [{ type: "line", x0: left, x1: right, y0: left, y1: right,
          line: { color: colour.muted, width: 1, dash: "dash" } }],
        margin: { l: 48, r: 12, t: 10, b: 44 },
        xaxis: { title: { text: "Sharpe ratio on choose (promised)" }, range: [left, right], zeroline: true, zerolinecolor: colour.line },
        yaxis: { title: { text: "Sharpe ratio on judge (outcome)" }, zeroline: true, zerolinecolor: colour.line },
      },
    };
  },
  together(node, colour) {
    const { times, equity } = data.portfolio;
    const marks = ticks(equity);
    node.setAttribute("aria-label", `Combined equity, ending at ${equity.at(-1)} times the start`);
    return {
      traces: [line("equity", times, positive(equity), colour.accent, 2)],
      layout: { hovermode: "x unified", yaxis: { type: "log", tickvals: marks, ticktext: marks.map((value) => `${value}×`) } },
    };
  },
  drawdown(node, colour) {
    const { times, drawdown } = data.portfolio;
    node.setAttribute("aria-label", `Combined drawdown, ${(100 * Math.min(...drawdown)).toFixed(1)}% at worst`);
    return {
      traces: [{ ...line("drawdown", times, drawdown, colour.accent, 1.5), fill: "tozeroy", hovertemplate: "%{y:.1%}" }],
      layout: { hovermode: "x unified", yaxis: { tickformat: ".1%" } },
    };
  },
  loss(node, colour) {
    const { epoch, loss, validation_loss: validation } = data.history;
    node.setAttribute("aria-label", `Loss over ${epoch.length} epochs, ending at ${validation.at(-1)} on validate`);
    return {
      traces: [line("fit", epoch, loss, colour.hold, 1.5), line("validate", epoch, validation, colour.accent, 2)],
      layout: { hovermode: "x unified", xaxis: { dtick: Math.ceil(epoch.length / 12) } },
    };
  },
  macro_f1(node, colour) {
    const { epoch, macro_f1: scores } = data.history;
    node.setAttribute("aria-label", `Macro-F1 over ${epoch.length} epochs, ending at ${scores.at(-1)}`);
    return {
      traces: [line("macro-F1", epoch, scores, colour.accent, 2)],
      layout: { hovermode: "x unified", xaxis: { dtick: Math.ceil(epoch.length / 12) } },
    };
  },
};

async function draw(node) {
  const library = await plotly();
  const colour = colours();
  const { traces, layout, missing } = await charts[node.dataset.chart](node, colour);
  if (missing) {
    node.replaceChildren(element("p", { className: "note", textContent: missing }));
    return;
  }
  const axis = { gridcolor: colour.line, linecolor: colour.line, zeroline: false, fixedrange: true, automargin: true };
  const scales = new Set(["xaxis", "yaxis", ...Object.keys(layout).filter((name) => /^[xy]axis/.test(name))]);
  node.setAttribute("role", "img");
  await library.react(node, traces, {
    margin: { l: 40, r: 8, t: 10, b: 28 }, showlegend: false, dragmode: false, ...layout,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colour.muted },
    hoverlabel: { bgcolor: colour.surface, bordercolor: colour.line, font: { color: colour.ink } },
    ...Object.fromEntries([...scales].map((name) => [name, { ...axis, ...layout[name] }])),
  }, { responsive: true, displayModeBar: false });
  drawn.add(node);
}

const watcher = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watcher.unobserve(target);
    draw(target).catch((error) => {
      target.replaceChildren(element("p", { className: "note", textContent: "This browser could not draw the chart." }));
      console.error(error);
    });
  }
}, { rootMargin: "250px" });

document.querySelectorAll(".chart").forEach((node) => watcher.observe(node));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));

// ---- Sort and filter ----

function sort(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const direction = header.getAttribute("aria-sort") === "none" ? header.dataset.first
    : header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", other === header ? direction : "none");
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = [...table.tBodies].map((body) => [body.rows[0].cells[column].dataset.sort, body]);
  const numeric = keyed.every(([key]) => key === "" || Number.isFinite(Number(key)) || key === "inf");
  const value = (key) => (numeric ? Number(key.replace("inf", "Infinity")) : key);
  keyed.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
  });
  table.append(...keyed.map(([, body]) => body));
}

for (const header of document.querySelectorAll(".sortable th[data-first]")) {
  header.firstElementChild.addEventListener("click", () => sort(header));
}

function filter(id) {
  const table = document.getElementById(id);
  const text = document.querySelector(`input[data-filters="${id}"]`).value.trim().toLowerCase();
  const chip = document.querySelector(`button[data-filters="${id}"][aria-pressed=true]`);
  const stage = chip ? chip.dataset.stage : "";
  let shown = 0;
  for (const body of table.tBodies) {
    const fits = body.rows[0].textContent.toLowerCase().includes(text);
    body.hidden = !fits || Boolean(stage && body.dataset.stage !== stage);
    shown += !body.hidden;
  }
  document.querySelector(`[data-counts="${id}"]`).textContent = `${shown} of ${table.tBodies.length} shown`;
}

for (const input of document.querySelectorAll("input[data-filters]")) {
  input.addEventListener("input", () => filter(input.dataset.filters));
}
for (const chip of document.querySelectorAll("button[data-filters]")) {
  chip.addEventListener("click", () => {
    for (const other of chip.parentElement.children) other.setAttribute("aria-pressed", String(other === chip));
    filter(chip.dataset.filters);
  });
}

// ---- Tickers that are listed only, a page at a time ----

const listedAtOnce = 50;

function list(others) {
  const input = document.getElementById("others-filter");
  const [back, on] = [document.getElementById("others-back"), document.getElementById("others-on")];
  const texts = data.others.map((row) => row.join(" ").toLowerCase());
  let first = 0;

  function show() {
    const wanted = input.value.trim().toLowerCase();
    const fitting = data.others.filter((_, index) => texts[index].includes(wanted));
    const shown = fitting.slice(first, first + listedAtOnce);
    others.tBodies[0].replaceChildren(...shown.map(([ticker, ...cells]) => element("tr", {},
      element("th", { scope: "row", className: "wide", textContent: ticker }),
      ...cells.map((textContent, index) => element("td", { textContent, className: ["text", "text wide"][index] ?? "" })))));
    back.disabled = first === 0;
    on.disabled = first + listedAtOnce >= fitting.length;
    document.getElementById("others-count").textContent = shown.length
      ? `${first + 1} to ${first + shown.length} of ${fitting.length}` : "none fits";
  }

  input.addEventListener("input", () => { first = 0; show(); });
  back.addEventListener("click", () => { first -= listedAtOnce; show(); });
  on.addEventListener("click", () => { first += listedAtOnce; show(); });
  show();
}

const others = document.getElementById("others-table");
if (others) list(others);
