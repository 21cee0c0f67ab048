
// ==== Rows that open: candles and trades, equity, parameters and folds of one ticker ====

{ // names of its own

const moment = (seconds) => new Date(1000 * seconds).toISOString();
const minute = (seconds) => moment(seconds).slice(0, 16).replace("T", " ");
const signed = (share) => `${share > 0 ? "+" : ""}${(100 * share).toFixed(2)}%`.replace("-", "−");

/** Numbers of which each was written as the change from the one before. */
function summed(changes) {
  let last = 0;
  return changes.map((change) => (last += change));
}

/** Candles and trades as they were, from whole numbers (see quant/report_candles.py). */
function pictured({ candles, trades }) {
  const price = (units) => units / 10 ** candles.digits;
  const close = summed(candles.close);
  const entry = summed(trades.entry);
  return {
    candles: close.map((last, row) => {
      const first = (row ? close[row - 1] : 0) + candles.open[row];
      return { open: price(first), close: price(last), high: price(Math.max(first, last) + candles.high[row]),
        low: price(Math.min(first, last) - candles.low[row]) };
    }),
    times: summed(candles.time),
    trades: entry.map((from, row) => ({ side: trades.side[row], from, to: from + trades.held[row],
      entry: trades.entry_price[row], exit: trades.exit_price[row], share: trades.return[row], how: trades.exit[row] })),
  };
}

/** A trade in words, shown when it is pointed at or walked to. */
function told({ side, from, to, entry, exit, share, how }) {
  return `${side}, in ${minute(from)} at ${entry}, out ${minute(to)} at ${exit} by ${how}, ${signed(share)}`;
}

const shapes = { long: { entry: "triangle-up", exit: "square-open" }, short: { entry: "triangle-down", exit: "diamond-open" } };

/** Traces of some trades: a line from entry to exit, and a mark at each end whose shape tells the side. */
function marked(trades, colour) {
  const stamp = ({ side }) => colour[side];
  const joined = (name, some, dash) => ({ type: "scatter", mode: "lines", name, hoverinfo: "skip",
    x: some.flatMap(({ from, to }) => [moment(from), moment(to), null]),
    y: some.flatMap(({ entry, exit }) => [entry, exit, null]),
    line: { color: name === "gain" ? colour.gain : colour.loss, width: 1.5, dash } });
  const marks = (end, time, price, size) => ({ type: "scatter", mode: "markers", name: end,
    x: trades.map((trade) => moment(trade[time])), y: trades.map((trade) => trade[price]),
    text: trades.map((trade) => told(trade).replaceAll(", ", "<br>")), hovertemplate: "%{text}<extra></extra>",
    marker: { symbol: trades.map(({ side }) => shapes[side][end]), color: trades.map(stamp), size,
      line: { color: end === "entry" ? colour.surface : trades.map(stamp), width: end === "entry" ? 1 : 2 } } });
  return [joined("gain", trades.filter(({ share }) => share > 0), "solid"),
    joined("loss", trades.filter(({ share }) => share <= 0), "dot"),
    marks("entry", "from", "entry", trades.length > 100 ? 8 : 11), marks("exit", "to", "exit", trades.length > 100 ? 6 : 8)];
}

/** What is seen of the candles: all of them, or those around one trade. */
function around({ candles, times, trades }, number) {
  const whole = [times[0], times.at(-1)];
  if (number === undefined) return { candles, times, trades, range: whole };
  const { from, to } = trades[number];
  const wide = Math.max(to - from, 30 * ((times[1] ?? times[0]) - times[0]));
  const inside = (time) => time >= from - wide && time <= to + wide;
  const kept = times.flatMap((time, row) => (inside(time) ? [row] : []));
  if (!kept.length) return { candles, times, trades, range: whole };  // in the middle of a gap
  return { candles: kept.map((row) => candles[row]), times: kept.map((row) => times[row]),
    range: [Math.max(from - wide, whole[0]), Math.min(to + wide, whole[1])],
    trades: trades.filter((trade) => inside(trade.from) || inside(trade.to)) };
}

charts.trades = async (node, colour) => {
  const all = pictured((await detail(node.dataset.ticker)).picture);
  const { candles, times, trades, range } = around(all, node.dataset.trade);
  const walked = all.trades[node.dataset.trade];
  const column = (name) => candles.map((candle) => candle[name]);
  const margin = 0.01 * (range[1] - range[0]);
  const marks = ticks([...column("low"), ...column("high")]);
  node.setAttribute("aria-label", `Candles of ${node.dataset.ticker} from ${minute(times[0])} to ${minute(times.at(-1))} ` +
    `with ${trades.length} trades`);
  return {
    traces: [
      { type: "candlestick", name: "price", x: times.map(moment), open: column("open"), high: column("high"),
        low: column("low"), close: column("close"), hoverinfo: times.length > 300 ? "skip" : "all", line: { width: 1 },
        increasing: { line: { color: colour.hold }, fillcolor: colour.surface },
        decreasing: { line: { color: colour.hold }, fillcolor: colour.hold } },
      ...marked(trades, colour),
    ],
    layout: {
      hovermode: "closest", margin: { l: 56, r: 10, t: 8, b: 26 },
      shapes: walked ? [{ type: "rect", x0: moment(walked.from), x1: moment(walked.to), yref: "paper", y0: 0, y1: 1,
        fillcolor: colour.accent, opacity: 0.12, line: { width: 0 }, layer: "below" }] : [],
      xaxis: { type: "date", range: range.map((time, end) => moment(time + (end - 0.5) * 2 * margin)), rangeslider: { visible: false }, showgrid: false, tickangle: 0,
        nticks: Math.max(3, Math.floor(node.clientWidth / 110)) },
      yaxis: { type: "log", tickvals: marks, ticktext: marks.map(String) },
    },
  };
};

/** Lines over the days of the judge part. */
function daily(node, traces, layout) {
  return {
    traces,
    layout: {
      hovermode: "x unified", ...layout,
      xaxis: { nticks: Math.max(3, Math.floor(node.clientWidth / 80)), tickangle: 0, hoverformat: "%Y-%m-%d" },
    },
  };
}

charts.equity = async (node, colour) => {
  const { equity } = await detail(node.dataset.ticker);
  if (!equity) return { missing: "This report holds no equity curve of this ticker." };
  const { axis, strategy, buy_and_hold: hold } = equity;
  const times = data.axes[axis];
  const marks = ticks([...strategy, ...hold]);
  node.setAttribute("aria-label", `Equity of ${node.dataset.ticker}: strategy ends at ${strategy.at(-1)}, ` +
    `buy and hold at ${hold.at(-1)} times the starting cash`);
  return daily(node, [line("buy and hold", times, positive(hold), colour.hold, 1.5),
    line("strategy", times, positive(strategy), colour.accent, 2)], {
    shapes: [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, layer: "below", line: { color: colour.line, width: 1 } }],
    yaxis: { type: "log", tickvals: marks, ticktext: marks.map((value) => `${value}×`) },
  });
};

charts.falls = async (node, colour) => {
  const { equity } = await detail(node.dataset.ticker);
  const times = data.axes[equity.axis];
  node.setAttribute("aria-label", `Drawdown of ${node.dataset.ticker}: ${equity.worst_strategy} at worst, ` +
    `${equity.worst_buy_and_hold} for buy and hold`);
  const fall = (name, values, color, width) => ({ ...line(name, times, values, color, width), hovertemplate: "%{y:.1%}" });
  return daily(node, [fall("buy and hold", equity.buy_and_hold_fall, colour.hold, 1.5),
    { ...fall("strategy", equity.strategy_fall, colour.accent, 2), fill: "tozeroy" }], { yaxis: { tickformat: ".0%" } });
};

charts.neighbours = async (node, colour) => {
  const { score, median, sets, trial } = (await detail(node.dataset.ticker)).neighbourhood;
  const far = Math.max(...sets.distance);
  const dots = (name, from, to, color, size) => ({ type: "scatter", mode: "markers", name,
    x: sets.distance.slice(from, to), y: sets.score.slice(from, to), marker: { color, size, opacity: 0.85 },
    text: sets.trial.slice(from, to).map((number, row) => `set ${number}, ${sets.trades[from + row]} trades`),
    hovertemplate: "%{text}<br>distance %{x:.2f}, score %{y:.3~f}<extra></extra>" });
  node.setAttribute("aria-label", `Scores of ${sets.trial.length} parameter sets against their distance from the chosen one, ` +
    `whose score is ${score}`);
  const level = { type: "line", xref: "paper", x0: 0, x1: 1, y0: median, y1: median, layer: "below",
    line: { color: colour.muted, width: 1, dash: "dash" } };
  return {
    traces: [
      dots("others", sets.near, undefined, colour.hold, 6), dots("neighbours", 0, sets.near, colour.accent, 9),
      { type: "scatter", mode: "markers", name: "chosen", x: [0], y: [score], text: [`set ${trial}, chosen`], cliponaxis: false,
        marker: { symbol: "star", color: colour.ink, size: 13 }, hovertemplate: "%{text}<br>score %{y:.3~f}<extra></extra>" },
    ],
    layout: {
      hovermode: "closest", shapes: median === null ? [] : [level], margin: { l: 48, r: 12, t: 10, b: 44 },
      xaxis: { title: { text: "distance from the chosen set" }, range: [-0.04 * far, 1.04 * far] },
      yaxis: { title: { text: "score on choose" } },
    },
  };
};

// ---- What a row opens into ----

function word(key) {
  const [name, meaning] = data.glossary[key];
  return element("abbr", { title: meaning, textContent: name });
}

const outcomes = { passed: "gain", failed: "loss" };

/** A table of lines whose cells are text, or text and a small second line. */
function rows(lines, head) {
  const cell = (tag, content, properties) => {
    const [text, small] = [content].flat();
    return element(tag, properties, text, ...(small ? [element("small", { textContent: small })] : []));
  };
  const body = lines.map(([first, ...cells]) => element("tr", {}, cell("th", first, { scope: "row" }),
    ...cells.map((content) => cell("td", content, { colSpan: head.length - cells.length, className: outcomes[content] ?? "" }))));
  const top = head.map((text, place) => element("th", { scope: "col", className: place ? "" : "name", textContent: text }));
  return element("table", {}, element("thead", {}, element("tr", {}, ...top)), element("tbody", {}, ...body));
}

const heading = (textContent) => element("h4", { textContent });
const note = (textContent) => element("p", { className: "note", textContent });

function chart(kind, ticker, size = "") {
  const node = element("div", { className: `chart ${size}` });
  Object.assign(node.dataset, { chart: kind, ticker });
  return node;
}

/** Buttons that walk from trade to trade, and what the one walked to was; of all that there were it has the latest. */
function walk(node, trades, traded) {
  const said = element("output");
  const name = (number) => `Trade ${number + 1 + traded - trades.length} of ${traded}`;
  const go = (number) => {
    if (number === null) delete node.dataset.trade; else node.dataset.trade = (number + trades.length) % trades.length;
    said.textContent = number === null ? "" : `${name(Number(node.dataset.trade))}: ${told(trades[node.dataset.trade])}`;
    draw(node);
  };
  const at = () => Number(node.dataset.trade ?? -1);
  const button = (textContent, label, act) => {
    const made = element("button", { type: "button", textContent, ariaLabel: label, disabled: !trades.length });
    made.addEventListener("click", act);
    return made;
  };
  return element("div", { className: "tools walk" }, element("div", { className: "chips", role: "group", ariaLabel: "Trades" },
    button("‹", "Trade before", () => go(Math.max(at(), 0) - 1)), button("›", "Next trade", () => go(at() + 1)),
    button("all", "All trades", () => go(null))), said);
}

const keys = [["▲", "long", "long in"], ["□", "long", "long out"], ["▼", "short", "short in"], ["◇", "short", "short out"],
  ["—", "gain", "with a profit"], ["···", "loss", "with a loss"]];

function candlesOf(ticker, picture) {
  if (!picture?.candles) {
    return [note(picture ? "There are no candles: the ticker has no bars in the judge part."
      : "Candles are in this page for the shortlisted and for the best of the rejected tickers only.")];
  }
  const node = chart("trades", ticker, "candles");
  const { trades } = pictured(picture);
  const few = trades.length < picture.traded;
  const each = picture.bars === 1 ? `Candles of ${data.bar}` : `Each candle stands for ${picture.bars} bars of ${data.bar}`;
  return [
    note(`${each}; the ${few ? "latest " : ""}${trades.length} trades are at their own times and prices. ` +
      "Equal heights are equal shares of the price. The arrows walk from trade to trade."),
    walk(node, trades, picture.traded), node,
    element("p", { className: "legend" }, ...keys.map(([sign, style, meaning]) =>
      element("span", {}, element("b", { className: `sign ${style}`, textContent: sign }), ` ${meaning}`))),
    ...(few ? [note(`Of ${picture.traded} trades the latest ${trades.length} are drawn, which ended from ${minute(trades[0].to)} on. ` +
      "All are in the table trades, and all count in the equity and in every figure.")] : []),
  ];
}

function equityOf(ticker, equity) {
  if (!equity) return [heading("Equity"), note("This report holds no equity curve of this ticker.")];
  return [heading("Equity on the judge part, strategy (bold) and buy and hold"), chart("equity", ticker, "low"),
    heading("Drawdown: how far each is below its highest value so far"), chart("falls", ticker, "low"),
    note(`At worst ${equity.worst_strategy}, for buy and hold ${equity.worst_buy_and_hold}, by the values at the ends of days; ` +
      "the statistics count every bar.")];
}

function neighboursOf(ticker, found) {
  if (!found) return [note("There is none: no set was chosen, or it is the only one that was tried or kept.")];
  return [note(found.said), ...(found.sets.trial.length ? [chart("neighbours", ticker, "low")] : []),
    ...(found.steps ? [note("One parameter changed and all others kept: the value, and the score with it. – was not tried."),
      Object.assign(rows(found.axes, ["Parameter", "Before it", "Chosen", "After it"]), { className: "steps" })]
      : [note("No set that was tried differs from the chosen one in one parameter alone, so only distances tell.")])];
}

function panel(ticker, { reason, statistics, rules, evidence, parameters, equity, folds, neighbourhood, picture }) {
  const worded = (lines) => lines.map(([key, ...cells]) => [word(key), ...cells]);
  const tested = rules?.map(([figure, outcome], index) => {
    const { label: name, tip, needed } = data.rules[index];
    return [element("abbr", { title: tip, textContent: name }), figure, needed, outcome];
  });
  return [
    element("p", { className: "reason", textContent: reason }),
    heading("Candles and trades on the judge part"), ...candlesOf(ticker, picture),
    element("div", { className: "panel-grid" },
      element("div", {}, ...equityOf(ticker, equity),
        heading("Rules"),
        tested ? rows(tested, ["", "Figure", "Needed", "Outcome"])
          : note("None was applied: only candidates are tested on judge.")),
      element("div", {}, heading("Statistics"), rows(worded(statistics), ["", "Choose", "Judge", "Held"]))),
    element("div", { className: "panel-grid" },
      element("div", {}, heading("The parameters' neighbourhood on choose"), ...neighboursOf(ticker, neighbourhood)),
      element("div", {}, heading("Chosen parameters"),
        parameters ? rows(parameters, ["", "Long", "Short"]) : note("None: no parameter set was chosen."),
        heading("How much of the search's result is luck"), rows(worded(evidence), ["", "Choose"]),
        heading("Walk-forward folds within choose"),
        ...(folds.length ? [note("In each fold a set was chosen on the days before (below it: its score there) and tested on " +
          "days that it had not seen. A real edge shows in most folds."),
        rows(folds, ["Tested from", "Tuned from", "Set", "Return", "Sharpe"])] : [note("There are none.")]))),
  ];
}

function toggle(body) {
  const opener = body.querySelector(".opener");
  const open = opener.getAttribute("aria-expanded") !== "true";
  opener.setAttribute("aria-expanded", String(open));
  if (body.rows.length === 1) {
    const node = element("div", { className: "panel" }, note("Opening …"));
    body.append(element("tr", { className: "detail" }, element("td", { colSpan: body.rows[0].cells.length }, node)));
    const { ticker } = body.dataset;
    detail(ticker).then((known) => {
      node.replaceChildren(...panel(ticker, known));
      node.querySelectorAll(".chart").forEach((one) => watcher.observe(one));
    }, (error) => {
      node.replaceChildren(note("This browser could not open the row."));
      console.error(error);
    });
  }
  body.rows[1].hidden = !open;
}

for (const table of document.querySelectorAll(".openable")) {
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tbody > tr:first-child");
    if (row && row.parentElement.parentElement === table && !getSelection().toString()) toggle(row.parentElement);
  });
}

}
