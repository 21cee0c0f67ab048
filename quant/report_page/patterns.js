
// ==== Patterns: the plane of windows, the candles of any of them, and the pattern of each cluster ====

const patterns = data.patterns;
const byId = (id) => document.getElementById(id);

// ---- Colours ----

const mixer = Object.assign(document.createElement("canvas"), { width: 1, height: 1 })
  .getContext("2d", { willReadFrequently: true });

/** A colour as the browser understands it, as red, green and blue. */
function shade(css) {
  mixer.fillStyle = css;
  mixer.fillRect(0, 0, 1, 1);
  return mixer.getImageData(0, 0, 1, 1).data.slice(0, 3);
}

const written = ([red, green, blue]) => `rgb(${red},${green},${blue})`;
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function named(name) {
  return shade(getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
}

/** The hues of so many clusters stand far apart, and neighbours in number differ in lightness too. */
function clusterShade(number) {
  if (number < 0) return named("hold");
  const lightness = (dark() ? 0.72 : 0.58) + (number % 2 ? 0.06 : -0.04);
  return shade(`oklch(${lightness} 0.13 ${(205 + number * 137.508) % 360})`);
}

function tickerShade(number) {
  return shade(`oklch(${(dark() ? 0.7 : 0.56) + 0.05 * (number % 3)} 0.13 ${(number * 137.508) % 360})`);
}

const mixed = (from, to, share) => from.map((value, place) => Math.round(value + (to[place] - value) * share));

/** Outcome → colour: about 0 where there are gains and losses, else from the least to the most. */
function outcomeScale(outcomes) {
  const known = Float32Array.from(outcomes).filter((value) => !Number.isNaN(value)).sort();
  const at = (share) => known[Math.floor(share * (known.length - 1))] ?? 0;
  const [low, high] = [at(0.05), at(0.95)];
  const [middle, up, down] = [named("plain"), named("long"), named("short")];
  const most = Math.max(-low, high) || 1;
  const both = low < 0 && high > 0;
  return {
    ends: both ? [-most, 0, most] : [low, high],
    shades: both ? [down, middle, up] : [middle, up],
    of: (value) => (both
      ? mixed(middle, value < 0 ? down : up, Math.min(1, Math.abs(value) / most))
      : mixed(middle, up, Math.min(1, Math.max(0, (value - low) / (high - low || 1))))),
  };
}

for (const dot of document.querySelectorAll("[data-cluster-swatch]")) {
  const paint = () => dot.style.setProperty("--swatch", written(clusterShade(Number(dot.dataset.clusterSwatch))));
  paint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

// ---- What was packed ----

const kinds = { float32: Float32Array, uint32: Uint32Array, int32: Int32Array, int16: Int16Array, uint8: Uint8Array };

/** The columns of the points by name. */
async function columnsOf({ rows, columns, packed }) {
  const buffer = await unpacked(packed).arrayBuffer();
  let at = 0;
  return Object.fromEntries(columns.map(([name, type]) => {
    const size = rows * kinds[type].BYTES_PER_ELEMENT;
    at += size;
    return [name, new kinds[type](buffer.slice(at - size, at))];
  }));
}

const barColumns = ["close", "open", "high", "low", "bb_middle", "rsi", "bb_width", "volume"];
const recentBars = new Map();
let barsByTicker;

/** The bars of a ticker, read once and kept while they are among the last few. */
async function barsOf(ticker) {
  if (!recentBars.has(ticker)) {
    barsByTicker ??= JSON.parse(byId("pattern-bars").textContent);
    recentBars.set(ticker, await decodedBars(barsByTicker[ticker]));
    if (recentBars.size > 8) recentBars.delete(recentBars.keys().next().value);
  }
  return recentBars.get(ticker);
}

async function decodedBars({ rows, base, step, bands, packed }) {
  const buffer = await unpacked(packed).arrayBuffer();
  const bytes = new Uint8Array(buffer, 4 * rows);
  const stored = Object.fromEntries(barColumns.map((name, place) => {
    const low = 2 * place * rows;
    return [name, Uint16Array.from({ length: rows }, (_, row) => bytes[low + row] | (bytes[low + rows + row] << 8))];
  }));
  for (const name of ["close", "bb_middle", "rsi", "bb_width"]) {
    for (let row = 1; row < rows; row += 1) stored[name][row] += stored[name][row - 1];
  }
  for (let row = 0; row < rows; row += 1) {
    stored.open[row] += row ? stored.close[row - 1] : 0;
    stored.high[row] += stored.close[row];
    stored.low[row] = stored.close[row] - stored.low[row];
  }
  const each = (name, decode) => Array.from(stored[name], decode);
  const price = (code) => (code ? Math.exp(base + (code - 1) * step) : null);
  const single = new DataView(new ArrayBuffer(4));
  const shortened = (code) => {
    single.setUint16(0, code);
    const value = single.getFloat32(0);
    return Number.isNaN(value) ? null : value;
  };
  const found = Object.fromEntries(["open", "high", "low", "close", "bb_middle"].map((name) => [name, each(name, price)]));
  found.rsi = each("rsi", (code) => (code ? (code - 32768) / 5 : null));
  found.bb_width = each("bb_width", shortened);
  found.volume = each("volume", shortened);
  let seconds = 0;
  found.time = Array.from(new Int32Array(buffer, 0, rows), (change) => 1000 * (seconds += change));
  const after = 4 * rows + 16 * rows;
  for (const [place, name, sign] of [[0, "bb_lower", -1], [1, "bb_upper", 1]]) {
    found[name] = bands
      ? Array.from(new Float32Array(buffer.slice(after + 4 * rows * place, after + 4 * rows * (place + 1))),
        (value) => (Number.isNaN(value) ? null : value))
      : found.bb_middle.map((middle, row) => (middle === null || found.bb_width[row] === null ? null
        : middle * (1 + sign * found.bb_width[row] / 200)));
  }
  return found;
}

// ---- The plane ----
// The plot library's WebGL traces compile code while they run, which the policy of this page forbids.

const plane = { colour: "cluster", cluster: null, ticker: null, chosen: -1, near: -1, view: { x: 0, y: 0, scale: 1 } };
const canvas = byId("plane-dots");

const vertexCode = `
  attribute vec2 place; attribute vec4 colour; uniform vec2 centre; uniform vec2 scale; uniform float size;
  varying vec4 shade;
  void main() { gl_Position = vec4((place - centre) * scale, 0.0, 1.0); gl_PointSize = size; shade = colour; }`;
const fragmentCode = `
  precision mediump float; varying vec4 shade;
  void main() {
    float alpha = shade.a * (1.0 - smoothstep(0.75, 1.0, 2.0 * length(gl_PointCoord - 0.5)));
    gl_FragColor = vec4(shade.rgb * alpha, alpha);
  }`;

/** Draws dots by WebGL: colours as bytes (red, green, blue, opacity), then any view of them. */
function painterByCard(gl, { x, y }) {
  const program = gl.createProgram();
  for (const [type, code] of [[gl.VERTEX_SHADER, vertexCode], [gl.FRAGMENT_SHADER, fragmentCode]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, code);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const places = new Float32Array(2 * x.length);
  x.forEach((value, row) => places.set([value, y[row]], 2 * row));
  const attribute = (name, size, type, normalised) => {
    const buffer = gl.createBuffer();
    const place = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
    return buffer;
  };
  attribute("place", 2, gl.FLOAT, false);
  gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
  attribute("colour", 4, gl.UNSIGNED_BYTE, true);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const [centre, scale, size] = ["centre", "scale", "size"].map(uniform);
  return {
    colour: (bytes) => gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.DYNAMIC_DRAW),
    paint(view, diameter, ratio) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(centre, view.x, view.y);
      gl.uniform2f(scale, 2 * ratio * view.scale / canvas.width, 2 * ratio * view.scale / canvas.height);
      gl.uniform1f(size, diameter * ratio);
      gl.drawArrays(gl.POINTS, 0, x.length);
    },
  };
}

/** The same without WebGL. */
function painterByHand(context, { x, y }) {
  let shades = [];
  return {
    colour(bytes) {
      shades = Array.from(x, (_, row) => `rgba(${bytes.subarray(4 * row, 4 * row + 3).join()},${bytes[4 * row + 3] / 255})`);
    },
    paint(view, diameter, ratio) {
      const size = diameter * ratio;
      context.clearRect(0, 0, canvas.width, canvas.height);
      x.forEach((value, row) => {
        context.fillStyle = shades[row];
        context.fillRect(canvas.width / 2 + (value - view.x) * view.scale * ratio - size / 2,
          canvas.height / 2 - (y[row] - view.y) * view.scale * ratio - size / 2, size, size);
      });
    },
  };
}

function painterFor(dots) {
  const gl = canvas.getContext("webgl", { antialias: false });
  return gl ? painterByCard(gl, dots) : painterByHand(canvas.getContext("2d"), dots);
}

/** Dots by square, so that the nearest to a place is found without looking at all of them. */
function squaresOf({ x, y }) {
  const ends = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)],
    [Infinity, -Infinity]);
  const [[left, right], [bottom, top]] = [ends(x), ends(y)];
  const side = Math.max(right - left, top - bottom, 1e-9) / 128;
  const squares = new Map();
  const key = (across, up) => across * 4096 + up;
  x.forEach((value, row) => {
    const name = key(Math.floor((value - left) / side), Math.floor((y[row] - bottom) / side));
    if (squares.has(name)) squares.get(name).push(row); else squares.set(name, [row]);
  });
  return { left, right, bottom, top, side, within: (across, up) => squares.get(key(across, up)) ?? [] };
}

const lit = (row) => (plane.cluster === null || plane.dots.cluster[row] === plane.cluster)
  && (plane.colour !== "ticker" || plane.ticker === null || plane.dots.ticker[row] === plane.ticker);

/** The row of the dot next to a place on the screen, or -1 where none is within some pixels. */
function nearest(left, top, reach) {
  const { dots, squares, view } = plane;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [x, y] = [view.x + (left - width / 2) / view.scale, view.y - (top - height / 2) / view.scale];
  const far = reach / view.scale;
  const number = (value, start) => Math.floor((value - start) / squares.side);
  let [best, least] = [-1, far * far];
  for (let across = Math.max(0, number(x - far, squares.left)); across <= Math.min(128, number(x + far, squares.left)); across += 1) {
    for (let up = Math.max(0, number(y - far, squares.bottom)); up <= Math.min(128, number(y + far, squares.bottom)); up += 1) {
      for (const row of squares.within(across, up)) {
        const distance = (dots.x[row] - x) ** 2 + (dots.y[row] - y) ** 2;
        if (distance <= least && lit(row)) [best, least] = [row, distance];
      }
    }
  }
  return best;
}

function onScreen(row) {
  const { dots, view } = plane;
  return [canvas.clientWidth / 2 + (dots.x[row] - view.x) * view.scale,
    canvas.clientHeight / 2 - (dots.y[row] - view.y) * view.scale];
}

/** Put an element over a dot, or hide it. */
function putOver(node, row) {
  const [left, top] = row < 0 ? [-1, -1] : onScreen(row);
  node.hidden = left < 0 || top < 0 || left > canvas.clientWidth || top > canvas.clientHeight;
  node.style.transform = `translate(${left}px, ${top}px) translate(-50%, -50%)`;
}

let planned = false;

/** Paint before the next frame, once however often it is asked for. */
function repaint() {
  if (planned || !plane.painter) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((size) => Math.round(size * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const room = Math.sqrt(canvas.clientWidth * canvas.clientHeight / plane.dots.x.length);
    const closer = Math.sqrt(plane.view.scale / plane.whole);
    plane.painter.paint(plane.view, Math.min(12, Math.max(3.2, Math.min(7, 0.4 * room)) * Math.max(0.8, closer)), ratio);
    putOver(byId("plane-chosen"), plane.chosen);
    putOver(byId("plane-near"), plane.near);
    plane.painted = performance.now();
  });
}

/** Show all dots. */
function showAll() {
  const { left, right, bottom, top } = plane.squares;
  const size = (low, high, pixels) => Math.max(pixels - 32, 16) / Math.max(high - low, 1e-9);
  const scale = Math.min(size(left, right, canvas.clientWidth), size(bottom, top, canvas.clientHeight));
  plane.view = { x: (left + right) / 2, y: (bottom + top) / 2, scale };
  Object.assign(plane, { whole: scale, all: true });
  repaint();
}

/** Zoom so that what is under a place of the screen stays there. */
function zoom(factor, left = canvas.clientWidth / 2, top = canvas.clientHeight / 2) {
  const { view } = plane;
  const scale = Math.min(400 * plane.whole, Math.max(0.5 * plane.whole, view.scale * factor));
  const [across, up] = [left - canvas.clientWidth / 2, canvas.clientHeight / 2 - top];
  view.x += across / view.scale - across / scale;
  view.y += up / view.scale - up / scale;
  view.scale = scale;
  plane.all = false;
  repaint();
}

/** Colour the dots by cluster, outcome or ticker; those out of the light fade. */
function recolour() {
  const { dots, colour } = plane;
  const bytes = new Uint8Array(4 * dots.x.length);
  const scale = colour === "outcome" ? outcomeScale(dots.outcome) : null;
  const unknown = named("hold");
  const known = new Map();
  const remembered = (number, shadeOf) => {
    if (!known.has(number)) known.set(number, shadeOf(number));
    return known.get(number);
  };
  const shadeOf = {
    cluster: (row) => remembered(dots.cluster[row], clusterShade),
    ticker: (row) => (plane.ticker === null ? remembered(dots.ticker[row], tickerShade) : remembered(-1, () => named("accent"))),
    outcome: (row) => (Number.isNaN(dots.outcome[row]) ? unknown : scale.of(dots.outcome[row])),
  }[colour];
  for (let row = 0; row < dots.x.length; row += 1) {
    const bright = lit(row);
    const [red, green, blue] = bright ? shadeOf(row) : unknown;
    bytes.set([red, green, blue, bright ? (dots.cluster[row] < 0 && colour === "cluster" ? 110 : 215) : 26], 4 * row);
  }
  plane.painter.colour(bytes);
  repaint();
}

const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)}%`.replace("-", "−");
const moment = (seconds) => `${new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " ")} UTC`;
const clusterName = (number) => patterns.clusters.find((cluster) => cluster.number === number)?.name ?? "All windows";

function outcomeOf(row) {
  const [outcome, hit] = [plane.dots.outcome[row], plane.dots.hit[row]];
  const reached = ["not reached", "reached", ""][hit];
  return Number.isNaN(outcome) ? "outcome unknown"
    : `outcome ${outcome > 0 ? "+" : ""}${percent(outcome, 2)}${reached ? `, ${reached}` : ""}`;
}

function tip(row) {
  const node = byId("plane-tip");
  plane.near = row;
  node.hidden = row < 0;
  canvas.style.cursor = row < 0 ? "" : "pointer";
  if (row >= 0) {
    const { dots } = plane;
    node.replaceChildren(element("b", { textContent: patterns.tickers[dots.ticker[row]] }),
      ...[moment(dots.time[row]), clusterName(dots.cluster[row]), outcomeOf(row)].map((textContent) => element("span", { textContent })));
    const [left, top] = onScreen(row);
    const { offsetWidth: width, offsetHeight: height } = node;
    const across = left + 14 + width > canvas.clientWidth ? Math.max(0, left - 14 - width) : left + 14;
    node.style.transform = `translate(${across}px, ${Math.min(Math.max(0, top - height / 2), canvas.clientHeight - height)}px)`;
  }
  repaint();
}

function legend() {
  const node = byId("plane-legend");
  const { dots, colour } = plane;
  if (colour === "cluster") {
    const counts = new Map();
    dots.cluster.forEach((number) => counts.set(number, (counts.get(number) ?? 0) + 1));
    node.replaceChildren(element("div", { className: "chips", role: "group", ariaLabel: "Show one cluster alone" },
      ...patterns.clusters.map(({ number, name, side }) => {
        const dot = element("span", { className: "swatch" });
        dot.style.setProperty("--swatch", written(clusterShade(number)));
        const chip = element("button", { type: "button", ariaPressed: String(plane.cluster === number) }, dot, name,
          element("small", { textContent: `${(counts.get(number) ?? 0).toLocaleString("en")}${side ? ` · ${side}` : ""}` }));
        chip.addEventListener("click", () => alone(plane.cluster === number ? null : number));
        return chip;
      })));
  } else if (colour === "outcome") {
    const { ends, shades } = outcomeScale(dots.outcome);
    const bar = element("div", { className: "ramp" });
    bar.style.background = `linear-gradient(to right, ${shades.map(written).join()})`;
    const said = ends.map((value, place) => `${value > 0 ? "+" : ""}${percent(value)}${place === ends.length - 1 ? " or more" : place ? "" : " or less"}`);
    node.replaceChildren(bar, element("div", { className: "ramp-ends" }, ...said.map((textContent) => element("span", { textContent }))));
  } else {
    const options = element("datalist", { id: "plane-tickers" }, ...patterns.tickers.map((value) => element("option", { value })));
    const input = element("input", { type: "search", placeholder: "one ticker alone", autocomplete: "off",
      ariaLabel: "One ticker alone", value: patterns.tickers[plane.ticker] ?? "" });
    input.setAttribute("list", "plane-tickers");
    input.addEventListener("input", () => {
      const number = patterns.tickers.indexOf(input.value);
      plane.ticker = number < 0 ? null : number;
      recolour();
    });
    node.replaceChildren(input, options, element("span", { className: "note",
      textContent: "Patches of one colour are clusters that follow a ticker." }));
  }
}

/** Light one cluster, or all of them; the viewer goes through its windows. */
function alone(number) {
  plane.cluster = number;
  byId("viewer-cluster").value = number ?? "";
  legend();
  recolour();
  count();
}

function colourBy(colour) {
  plane.colour = colour;
  for (const chip of document.querySelectorAll("[data-colour]")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.colour === colour));
  }
  legend();
  recolour();
}

// ---- The viewer ----

const candles = byId("candles");

/** Rows of the windows that the viewer goes through, by time. */
function walk() {
  const { dots, cluster } = plane;
  return Array.from(dots.x, (_, row) => row)
    .filter((row) => dots.viewable[row] && (cluster === null || dots.cluster[row] === cluster));
}

function count() {
  const rows = walk();
  const place = rows.indexOf(plane.chosen);
  byId("viewer-count").textContent = rows.length
    ? `${place < 0 ? "" : `${(place + 1).toLocaleString("en")} of `}${rows.length.toLocaleString("en")}` : "no window to view";
  for (const id of ["viewer-back", "viewer-on", "viewer-any"]) byId(id).disabled = !rows.length;
}

/** Go to the window before (-1) or after (1), or to any (0). */
function go(by) {
  const rows = walk();
  if (!rows.length) return;
  const place = rows.indexOf(plane.chosen);
  const next = by === 0 ? Math.floor(Math.random() * rows.length)
    : place < 0 ? 0 : (place + by + rows.length) % rows.length;
  choose(rows[next]);
}

function choose(row) {
  const { dots } = plane;
  plane.chosen = row;
  byId("viewer-ticker").textContent = patterns.tickers[dots.ticker[row]];
  byId("viewer-time").textContent = `${moment(dots.time[row])} · ${clusterName(dots.cluster[row])} · ${outcomeOf(row)}`;
  byId("viewer-note").textContent = dots.viewable[row] || !candles ? "" : "This page holds no bars of this window.";
  if (candles) {
    candles.classList.toggle("absent", !dots.viewable[row]);
    if (dots.viewable[row] && candles.dataset.begun) draw(candles);
  }
  count();
  repaint();
}

/** Lines break where bars are missing. */
function broken(times, values) {
  const [x, y] = [[], []];
  times.forEach((time, row) => {
    if (row && time - times[row - 1] > 1.5 * patterns.bar) {
      x.push(new Date((time + times[row - 1]) / 2).toISOString());
      y.push(null);
    }
    x.push(new Date(time).toISOString());
    y.push(values[row]);
  });
  return { x, y };
}

charts.candles = async (node, colour) => {
  node.dataset.begun = "yes";
  let row;
  let bars;
  do { // another window may be asked for while this one's bars are read
    row = plane.chosen;
    bars = row < 0 || !plane.dots.viewable[row] ? null : await barsOf(patterns.tickers[plane.dots.ticker[row]]);
  } while (row !== plane.chosen);
  if (!bars) return { traces: [], layout: { xaxis: { visible: false }, yaxis: { visible: false } } };
  const end = bars.time.indexOf(1000 * plane.dots.time[row]);
  const begin = end - patterns.length + 1;
  const [from, to] = [Math.max(0, end - 3 * patterns.length), Math.min(bars.time.length, end + patterns.horizon + 1)];
  const cut = (name) => bars[name].slice(from, to);
  const times = cut("time");
  const dates = times.map((time) => new Date(time).toISOString());
  const half = patterns.bar / 2;
  const edge = (place, by) => new Date(bars.time[place] + by * half).toISOString();
  const [up, down, band] = [written(named("long")), written(named("short")), written(named("badge"))];
  const curve = (name, column, yaxis, color, width, more = {}) => ({ type: "scatter", mode: "lines", name,
    ...broken(times, cut(column)), yaxis, line: { color, width }, hovertemplate: "%{y:.5~g}", ...more });
  const rise = cut("close").map((close, place) => close >= cut("open")[place]);
  const strength = cut("rsi").filter((value) => value !== null);
  const levels = strength.some((value) => value < 0) ? [-20, 20] : [30, 70];
  const strengths = [Math.min(levels[0], ...strength) - 6, Math.max(levels[1], ...strength) + 6];
  const box = (x0, x1, fillcolor) => ({ type: "rect", yref: "paper", y0: 0, y1: 1, x0, x1, fillcolor, line: { width: 0 },
    layer: "below" });
  const last = to - 1;
  const shapes = [
    box(edge(begin, -1), edge(end, 1), colour.window),
    ...(last > end ? [box(edge(end, 1), edge(last, 1), colour.after), { type: "line", yref: "y", x0: edge(end, 0), x1: edge(last, 1),
      y0: bars.close[end], y1: bars.close[end], line: { color: colour.muted, width: 1, dash: "dot" } }] : []),
    ...levels.map((level) => ({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y4", y0: level, y1: level, layer: "below",
      line: { color: colour.muted, width: 1, dash: "dot" } })),
  ];
  const hours = Math.round((bars.time[end] - bars.time[begin]) / 36e5);
  const gap = bars.time[end] - bars.time[begin] > (patterns.length - 1) * patterns.bar;
  byId("viewer-note").textContent = gap ? `This window runs across a gap: its ${patterns.length} bars span ${hours} hours.` : "";
  node.setAttribute("aria-label", `Candles of ${patterns.tickers[plane.dots.ticker[row]]}: the window of ${patterns.length} bars ends at ` +
    `${moment(plane.dots.time[row])} with a close of ${bars.close[end].toPrecision(5)}; ${outcomeOf(row)}`);
  node.dataset.row = row;
  const title = (text) => ({ text, font: { size: 11 }, standoff: 4 });
  return {
    traces: [
      curve("upper band", "bb_upper", "y", band, 1),
      curve("lower band", "bb_lower", "y", band, 1, { fill: "tonexty", fillcolor: colour.band }),
      curve("middle band", "bb_middle", "y", band, 1, { line: { color: band, width: 1, dash: "dot" } }),
      { type: "candlestick", name: "price", x: dates, open: cut("open"), high: cut("high"), low: cut("low"), close: cut("close"),
        increasing: { line: { color: up, width: 1 }, fillcolor: up }, decreasing: { line: { color: down, width: 1 }, fillcolor: down } },
      { type: "bar", name: "volume", x: dates, y: cut("volume"), yaxis: "y2", width: 0.7 * patterns.bar, offset: -0.35 * patterns.bar,
        marker: { color: rise.map((rose) => (rose ? up : down)), opacity: 0.75 }, hovertemplate: "%{y:.4~s}" },
      curve("band width", "bb_width", "y3", colour.ink, 1.3),
      curve("RSI", "rsi", "y4", colour.ink, 1.3),
    ],
    layout: {
      hovermode: "x unified", hoversubplots: "axis", shapes, bargap: 0,
      margin: { l: 56, r: 10, t: 8, b: 26 },
      xaxis: { type: "date", anchor: "y4", range: [edge(from, -1.5), edge(last, 1.5)], rangeslider: { visible: false },
        nticks: Math.max(3, Math.floor(node.clientWidth / 110)), tickangle: 0, hoverformat: "%Y-%m-%d %H:%M", showgrid: false,
        spikecolor: colour.muted, spikethickness: 1, spikedash: "dot" },
      yaxis: { domain: [0.5, 1], nticks: 6, tickformat: ".5~g" },
      yaxis2: { domain: [0.335, 0.47], nticks: 3, title: title("volume"), tickformat: "~s", rangemode: "tozero" },
      yaxis3: { domain: [0.17, 0.305], nticks: 3, title: title("width %") },
      yaxis4: { domain: [0, 0.14], range: strengths, tickvals: [...levels, (levels[0] + levels[1]) / 2], title: title("RSI") },
    },
  };
};

// ---- The pattern of each cluster ----

const faint = (name, share) => { const [red, green, blue] = named(name); return `rgba(${red},${green},${blue},${share})`; };
const plainColours = colours;
colours = () => ({ ...plainColours(), window: faint("accent", dark() ? 0.2 : 0.13), after: faint("badge", dark() ? 0.16 : 0.1),
  band: faint("badge", 0.07) });

/** Mean of a feature over the bars of a window, between its quantiles. */
function profileOf(cluster, feature, colour) {
  const shown = patterns.profiles[cluster][feature];
  const [red, green, blue] = clusterShade(Number(cluster));
  const x = shown.mean.map((_, place) => place - shown.mean.length + 1);
  const edge = (y) => ({ type: "scatter", mode: "lines", x, y, line: { width: 0 }, hoverinfo: "skip" });
  const filled = (y, opacity) => ({ ...edge(y), fill: "tonexty", fillcolor: `rgba(${red},${green},${blue},${opacity})` });
  const all = patterns.profiles[-2]?.[feature];
  const said = (name, y, color, width, dash) => ({ type: "scatter", mode: "lines", name, x, y, line: { color, width, dash },
    hovertemplate: "%{y:.4~g}" });
  return [edge(shown.q10), filled(shown.q90, 0.16), edge(shown.q25), filled(shown.q75, 0.26),
    ...(all ? [said("all windows", x.map((_, place) => all.mean[place]), colour.muted, 1.2, "dot")] : []),
    said("mean", shown.mean, written([red, green, blue]), 2.2)];
}

/** The path of a price that is 100 before the window and then moves by the mean log returns: their geometric mean. */
function pathOf(cluster) {
  return patterns.profiles[cluster].log_return.mean.reduce((path, step) => [...path, path.at(-1) * Math.exp(step ?? 0)], [100]);
}

/** The path of a cluster's price, beside that of all windows. */
function pathsOf(cluster, colour) {
  const own = pathOf(cluster);
  const x = own.map((_, place) => place - own.length + 1);
  const said = (name, y, color, width, dash) => ({ type: "scatter", mode: "lines", name, x, y, line: { color, width, dash },
    hovertemplate: "%{y:.2f}" });
  return [...(patterns.profiles[-2] ? [said("all windows", pathOf(-2), colour.muted, 1.2, "dot")] : []),
    said("mean", own, written(clusterShade(Number(cluster))), 2.4)];
}

/** Least and greatest of what is drawn of a feature, or of the price where none is named. */
function spans(cluster, feature) {
  const { q10, q90, mean } = feature ? patterns.profiles[cluster][feature] : { q10: [], q90: [], mean: pathOf(cluster) };
  const known = [...q10, ...q90, ...mean].filter((value) => value !== null);
  return [Math.min(...known), Math.max(...known)];
}

const stepsAxis = { nticks: 5, zeroline: false };
const baseLine = (colour, y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, layer: "below",
  line: { color: colour.muted, width: 1 } });

Object.assign(charts, {
  profile(node, colour) {
    const { cluster } = node.dataset;
    const feature = byId("profile-feature").value;
    const ends = byId("profile-scale").checked
      ? patterns.clusters.filter(({ number }) => number >= 0).map(({ number }) => spans(number, feature)) : [spans(cluster, feature)];
    const [low, high] = [Math.min(...ends.map(([least]) => least)), Math.max(...ends.map(([, most]) => most))];
    const room = 0.06 * (high - low) || 1;
    const unit = feature ? patterns.units[feature] : "percent of the close before the window, by the mean log return";
    const shown = feature ? patterns.profiles[cluster][feature].mean : pathOf(cluster);
    node.setAttribute("aria-label", `${feature || "Price"} over the window in ${clusterName(Number(cluster))}: mean from ` +
      `${shown[0]} to ${shown.at(-1)} ${unit}`);
    byId("profile-unit").textContent = `in ${unit}`;
    const base = feature ? 0 : 100;
    return {
      traces: feature ? profileOf(cluster, feature, colour) : pathsOf(cluster, colour),
      layout: { hovermode: "x unified", xaxis: stepsAxis, yaxis: { range: [low - room, high + room], nticks: 5 },
        shapes: low < base && high > base ? [baseLine(colour, base)] : [] },
    };
  },
  feature(node, colour) {
    const { feature } = node.dataset;
    const cluster = byId("feature-cluster").value;
    const [low, high] = spans(cluster, feature);
    const { mean } = patterns.profiles[cluster][feature];
    node.setAttribute("aria-label", `${feature} over the window in ${clusterName(Number(cluster))}: mean from ${mean[0]} to ` +
      `${mean.at(-1)} ${patterns.units[feature]}`);
    return { traces: profileOf(cluster, feature, colour), layout: { hovermode: "x unified", xaxis: stepsAxis, yaxis: { nticks: 5 },
      shapes: low < 0 && high > 0 ? [baseLine(colour, 0)] : [] } };
  },
  path(node, colour) {
    const cluster = byId("feature-cluster").value;
    const end = pathOf(cluster).at(-1).toFixed(2);
    node.setAttribute("aria-label", `Price over the window in ${clusterName(Number(cluster))}, from 100 to ${end}`);
    return { traces: pathsOf(cluster, colour),
      layout: { hovermode: "x unified", xaxis: stepsAxis, yaxis: { nticks: 5 }, shapes: [baseLine(colour, 100)] } };
  },
  histogram(node, colour) {
    const { cluster } = node.dataset;
    const { low, high, shares } = patterns.histograms;
    const middle = low.map((value, place) => (value + high[place]) / 2);
    const most = Math.max(...Object.values(shares).flat());
    const own = shares[cluster];
    const mean = own.reduce((sum, share, place) => sum + share * middle[place], 0);
    node.setAttribute("aria-label", `Outcomes of ${clusterName(Number(cluster))}, ${percent(mean, 2)} in the middle of its bins on average`);
    const bins = low.map((value, place) => `${percent(value)} to ${percent(high[place])}`);
    return {
      traces: [
        { type: "bar", name: "cluster", x: middle, y: own, width: low.map((value, place) => high[place] - value), text: bins, textposition: "none",
          marker: { color: written(clusterShade(Number(cluster))), opacity: 0.75 }, hovertemplate: "%{text}: %{y:.1%}<extra></extra>" },
        { type: "scatter", mode: "lines", name: "all", x: middle, y: shares[-2], line: { color: colour.ink, width: 1.2, shape: "hvh" },
          hovertemplate: "all windows: %{y:.1%}<extra></extra>" },
      ],
      layout: { hovermode: "x unified", bargap: 0, xaxis: { tickformat: "~%", nticks: 6, unifiedhovertitle: { text: " " } },
        yaxis: { tickformat: ".0%", range: [0, 1.08 * most], nticks: 4 },
        shapes: [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: 0, x1: 0, layer: "below", line: { color: colour.muted, width: 1, dash: "dot" } }] },
    };
  },
  counts(node, colour) {
    const { count: x, stability, stability_error: array, silhouette } = patterns.counts;
    const chosen = patterns.clusters.filter(({ number }) => number >= 0).length;
    node.setAttribute("aria-label", `Stability and silhouette of ${x.length} numbers of clusters; the figures are in the table beside`);
    return {
      traces: [{ ...line("silhouette", x, silhouette, colour.hold, 1.5), mode: "lines+markers" },
        { ...line("stability", x, stability, colour.accent, 2), mode: "lines+markers",
          error_y: { type: "data", array, color: colour.accent, thickness: 1.2, width: 3 } }],
      layout: { hovermode: "x unified", xaxis: { title: { text: "clusters" }, tickvals: x }, margin: { l: 40, r: 8, t: 10, b: 44 },
        yaxis: { rangemode: "tozero" },
        shapes: [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: chosen, x1: chosen, layer: "below",
          line: { color: colour.muted, width: 1, dash: "dash" } }] },
    };
  },
});

/** Draw again what was drawn of some kinds of charts. */
function redraw(...names) {
  for (const node of drawn) if (names.includes(node.dataset.chart)) draw(node);
}

byId("profile-feature")?.addEventListener("change", () => redraw("profile"));
byId("profile-scale")?.addEventListener("change", () => redraw("profile"));
byId("feature-cluster")?.addEventListener("change", () => redraw("feature", "path"));

// ---- What a person does ----

const fingers = new Map();
let moved = 0;

const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, place(event));
  if (fingers.size === 1) moved = 0;
});
canvas.addEventListener("pointermove", (event) => {
  if (!plane.painter) return;
  const [left, top] = place(event);
  const before = fingers.get(event.pointerId);
  if (!before) {
    const row = nearest(left, top, 12);
    if (row !== plane.near) tip(row);
    return;
  }
  moved += Math.hypot(left - before[0], top - before[1]);
  if (moved < 4) return;
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    zoom(apart([left, top]) / apart(before), (left + other[0]) / 2, (top + other[1]) / 2);
  } else {
    plane.view.x -= (left - before[0]) / plane.view.scale;
    plane.view.y += (top - before[1]) / plane.view.scale;
    plane.all = false;
  }
  fingers.set(event.pointerId, [left, top]);
  tip(-1);
});
canvas.addEventListener("pointerup", (event) => {
  const clicked = fingers.size === 1 && moved < 4;
  fingers.delete(event.pointerId);
  const row = clicked && plane.painter ? nearest(...place(event), event.pointerType === "touch" ? 22 : 12) : -1;
  if (row >= 0) {
    choose(row);
    if (byId("viewer").getBoundingClientRect().top > innerHeight - 120) byId("viewer").scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
});
canvas.addEventListener("pointercancel", (event) => fingers.delete(event.pointerId));
canvas.addEventListener("pointerleave", () => plane.painter && tip(-1));
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  tip(-1);
  zoom(Math.exp(-event.deltaY / 300), ...place(event));
}, { passive: false });

const keys = { ArrowLeft: () => go(-1), ArrowUp: () => go(-1), ArrowRight: () => go(1), ArrowDown: () => go(1), r: () => go(0),
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: showAll };
for (const node of [canvas, byId("viewer")]) {
  node.addEventListener("keydown", (event) => {
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input") || !plane.painter) return;
    event.preventDefault();
    act();
  });
}
const pressed = { "plane-in": () => zoom(1.6), "plane-out": () => zoom(1 / 1.6), "plane-all": showAll,
  "viewer-back": () => go(-1), "viewer-on": () => go(1), "viewer-any": () => go(0) };
for (const [id, act] of Object.entries(pressed)) byId(id).addEventListener("click", () => plane.painter && act());
for (const chip of document.querySelectorAll("[data-colour]")) {
  chip.addEventListener("click", () => plane.painter && colourBy(chip.dataset.colour));
}
byId("viewer-cluster").addEventListener("change", ({ target }) => {
  if (!plane.painter) return;
  alone(target.value === "" ? null : Number(target.value));
  go(1);
});

async function begin() {
  plane.dots = await columnsOf(patterns.points);
  plane.squares = squaresOf(plane.dots);
  plane.painter = painterFor(plane.dots);
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", () => { plane.painter = painterFor(plane.dots); recolour(); });
  showAll();
  colourBy("cluster");
  const [first] = walk();
  if (first === undefined) count(); else choose(first);
  new ResizeObserver(() => (plane.all ? showAll() : repaint())).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { legend(); recolour(); });
}

begin().catch((error) => {
  byId("plane").replaceChildren(element("p", { className: "note", textContent: "This browser could not draw the windows." }));
  console.error(error);
});
