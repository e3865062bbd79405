// A record: lines over one axis of time, few points drawn for many rows, drawn again on every zoom.
//
// What stands in it is the page's `own`: `panels()` above those of the sensors, `sensor(sensor)`, and where there are any
// `shapes(top)`, `annotations()`, `names` (beside a strip), `places` ([start, end, sensors] to look at one after the
// other), `lookAt(place)`, `view` to begin with and `listen()`.

let times;
const opened = new Map();

// A track's columns by name, with its own times `t`, and the band as `low` and `high`.
function open(track) {
  if (!opened.has(track)) opened.set(track, openNow(track));
  return opened.get(track);
}

async function openNow(track) {
  const columns = {};
  for (const [name, block] of Object.entries(track)) if (block && block.data) columns[name] = await unpack(block);
  const { rows, expected, below, above } = columns;
  columns.t = rows ? Float64Array.from(rows, (row) => times[row]) : times;
  if (below) columns.low = expected.map((value, i) => value - below[i]);
  if (above) columns.high = expected.map((value, i) => value + above[i]);
  return columns;
}

// ---- few points for many rows, extremes kept (the rule of `downsample` in report.py)

function firstAtOrAfter(t, x) {
  let low = 0, high = t.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t[middle] < x) low = middle + 1; else high = middle;
  }
  return low;
}

// The rows of [from, to) worth drawing: the first, last, least and greatest of each `width` of time, and one of each gap.
function worth(t, y, from, to, width) {
  const kept = [];
  let bucket = -1, first = 0, least = 0, most = 0, last = -1;
  const keep = (row) => { if (kept[kept.length - 1] !== row) kept.push(row); };
  const close = () => {
    if (last < 0) return;
    keep(first);
    keep(Math.min(least, most));
    keep(Math.max(least, most));
    keep(last);
  };
  for (let i = from; i < to; i++) {
    if (Number.isNaN(y[i])) continue;
    const own = Math.floor((t[i] - t[from]) / width);
    const gap = last >= 0 && i - last > 1 && t[i] - t[last] >= width ? last + 1 : -1;
    if (own !== bucket) {
      close();
      if (gap >= 0) keep(gap);
      bucket = own;
      first = least = most = i;
    }
    if (y[i] < y[least]) least = i;
    if (y[i] > y[most]) most = i;
    last = i;
  }
  close();
  return kept;
}

// low..high as closed shapes, one a stretch without gaps; of each `width` of time (0: every row) the outermost values.
function outline(t, low, high, from, to, width) {
  const x = [], y = [];
  let edge = [], bucket = -1, last = -1;
  const close = () => {
    for (const [at, , top] of edge) { x.push(at); y.push(top); }
    for (const [at, bottom] of edge.reverse()) { x.push(at); y.push(bottom); }
    if (edge.length) { x.push(null); y.push(null); }
    edge = [];
    bucket = -1;
  };
  for (let i = from; i < to; i++) {
    if (Number.isNaN(low[i]) || Number.isNaN(high[i])) continue;
    if (last >= 0 && i - last > 1 && t[i] - t[last] >= width) close();
    const own = width ? Math.floor((t[i] - t[from]) / width) : i, end = edge[edge.length - 1];
    if (own !== bucket) edge.push([t[i], low[i], high[i]]);
    else { end[1] = Math.min(end[1], low[i]); end[2] = Math.max(end[2], high[i]); }
    bucket = own;
    last = i;
  }
  close();
  return { x, y };
}

// ---- the record: panels over one time axis

let view, whole, step, chosen = [];
let drag = matchMedia("(pointer: coarse)").matches ? false : "zoom";
const plotWidth = () => Math.max(150, widthOf(record) - leftMargin() - 12);

const pen = document.createElement("canvas").getContext("2d");

function textWidth(text) {
  pen.font = `12px ${ink().family}`;
  return pen.measureText(text).width;
}

function fitted(text, room) {
  if (textWidth(text) <= room) return text;
  let most = text.length;
  while (most > 1 && textWidth(short(text, most)) > room) most--;
  return short(text, most);
}

// Wide enough for the names beside a strip, within reason.
function leftMargin() {
  return Math.min(narrow() ? 76 : 150, Math.max(44, ...(own.names ?? []).map(textWidth)) + 14);
}

// The rows in view from `a` to `b`, and from `from` to `to` half a view on both sides: moving shows those before the
// next drawing. `every`: few enough to draw each one; else `span` is the time of one drawn column of pixels.
function loaded(t, pixels) {
  const [start, end] = view, half = (end - start) / 2, row = (x) => firstAtOrAfter(t, x);
  const a = Math.max(0, row(start) - 1), b = Math.min(t.length, row(end) + 1);
  const from = Math.max(0, row(start - half)), to = Math.min(t.length, row(end + half));
  return { from, a, b, to, every: to - from <= 2 * plotWidth(), span: (pixels * (end - start)) / plotWidth() };
}

const inView = (x, y) => y.filter((_, i) => x[i] !== null && x[i] >= view[0] && x[i] <= view[1]);
const take = (column, rows) => rows.map((row) => column[row]);

function line(track, column, colour, width, pixels) {
  const { from, a, b, to, every, span } = loaded(track.t, pixels), part = (start, end, by) => worth(track.t, track[column], start, end, by);
  const rows = every ? Array.from({ length: to - from }, (_, i) => from + i) : [...part(from, a, 5 * span), ...part(a, b, span), ...part(b, to, 5 * span)];
  return {
    type: "scatter", x: take(track.t, rows), y: take(track[column], rows), rows, connectgaps: false, hoverinfo: "skip",
    mode: "lines", sparse: b - a < plotWidth() / 8, line: { color: colour, width },
  };
}

// The line of what was measured: it answers the pointer and, where rows stand apart, shows each as a dot.
function measured(track, column, name, width) {
  const { rows, sparse, ...trace } = line(track, column, css("trace"), width, 1.5), bare = `${name}: %{y:.4~g}<extra></extra>`;
  const banded = `${name}: %{y:.4~g} (expected %{customdata[0]:.4~g} to %{customdata[1]:.4~g})<extra></extra>`;
  const known = (row) => track.low && track.high && !Number.isNaN(track.low[row]);
  return {
    ...trace, mode: sparse ? "lines+markers" : "lines", marker: { size: 4, color: css("trace") }, hoverinfo: "all",
    customdata: track.low && track.high ? rows.map((row) => [track.low[row], track.high[row]]) : undefined,
    hovertemplate: rows.map((row) => (known(row) ? banded : bare)),
  };
}

function band(track) {
  const { from, to, every, span } = loaded(track.t, 2);
  const shape = outline(track.t, track.low, track.high, from, to, every ? 0 : span);
  return { type: "scatter", ...shape, mode: "none", fill: "toself", fillcolor: css("band"), hoverinfo: "skip" };
}

// Panels one below the other on one x axis: each its own y axis and a title above.
function stacked(panels) {
  const above = 34, below = 40, height = panels.reduce((sum, panel) => sum + panel.height + above, below), inside = height - below;
  const layout = page(record, {
    height, margin: { l: leftMargin(), r: 12, t: 0, b: below }, dragmode: drag, hovermode: "x unified", hoversubplots: "axis", hoverdistance: 20,
    shapes: own.shapes?.(1 - above / inside) ?? [], annotations: own.annotations?.() ?? [],
    xaxis: axis({
      type: data.clock ? "date" : "linear", range: [...view], fixedrange: false, anchor: "free", position: 0, ticks: "outside", nticks: narrow() ? 4 : 9,
      title: data.clock ? undefined : { text: data.axis ?? "seconds since the first row" }, showspikes: true, spikemode: "across", spikethickness: 1,
      spikedash: "solid", spikecolor: css("soft"), hoverformat: data.clock ? (step < 1000 ? "%Y-%m-%d %H:%M:%S.%3f" : "%Y-%m-%d %H:%M:%S") : ".8~g",
    }),
  });
  const traces = [];
  let top = inside;
  panels.forEach((panel, i) => {
    const number = i ? i + 1 : "";
    top -= above;
    layout.annotations.push({
      xref: "paper", yref: "paper", x: 0, y: top / inside, yshift: panel.raised ? 11 : 6, xanchor: "left", yanchor: "bottom", showarrow: false,
      text: `<b>${panel.title}</b>${panel.says && !narrow() ? ` <span style="color: ${css("soft")}">&#160;${panel.says}</span>` : ""}`,
      font: { color: css("ink"), size: 13 },
    });
    layout["yaxis" + number] = axis({ domain: [(top - panel.height) / inside, top / inside], nticks: 5, ...panel.axis });
    for (const { rows, sparse, ...trace } of panel.traces) traces.push({ ...trace, xaxis: "x", yaxis: "y" + number });
    top -= panel.height;
  });
  return { traces, layout };
}

let turn = 0;

async function draw() {
  const mine = ++turn;
  const panels = await Promise.all([...own.panels(), ...chosen.map((i) => own.sensor(data.sensors[i]))]);
  if (mine !== turn) return;
  const { traces, layout } = stacked(panels);
  await Plotly.react(record, traces, layout, config);
  record.dataset.drawn = String(mine);
}

let waiting;

// What is in view from now on; many calls before the next frame draw once.
function show(a, b) {
  const most = whole[1] - whole[0], width = Math.min(most, Math.max(b - a, 4 * step));
  const start = Math.min(Math.max((a + b - width) / 2, whole[0]), whole[1] - width);
  view = [start, start + width];
  waiting ??= new Promise(requestAnimationFrame).then(() => { waiting = undefined; return draw(); });
  return waiting;
}

// ---- what people do

const middle = () => (view[0] + view[1]) / 2;
const width = () => view[1] - view[0];
const zoom = (by, at = middle()) => show(at - (at - view[0]) * by, at + (view[1] - at) * by);

function lookAt(place) {
  if (own.lookAt) return own.lookAt(place);
  const [start, end, sensors] = own.places[place], room = Math.max(1.5 * (end - start), 40 * step);
  if (sensors.length) choose(sensors.slice(0, narrow() ? 2 : 3));
  return show(start - room, end + room);
}

function neighbour(direction) {
  if (own.neighbour) return own.neighbour(direction);
  const centres = own.places.map(([start, end], i) => [(start + end) / 2, i]), near = 0.001 * width();
  if (width() > 0.98 * (whole[1] - whole[0])) return lookAt(direction > 0 ? 0 : centres.length - 1);
  const found = centres.filter(([at]) => (at - middle()) * direction > near);
  return found.length ? lookAt(found[direction > 0 ? 0 : found.length - 1][1]) : undefined;
}

const moves = {
  all: () => show(...whole), in: () => zoom(0.5), out: () => zoom(2), previous: () => neighbour(-1), next: () => neighbour(1),
  earlier: () => show(view[0] - width() / 2, view[1] - width() / 2), later: () => show(view[0] + width() / 2, view[1] + width() / 2),
};
const keys = { ArrowLeft: "earlier", ArrowRight: "later", "+": "in", "=": "in", "-": "out", 0: "all" };

function choose(sensors) {
  chosen = sensors;
  for (const [i, chip] of [...$("sensors").children].entries()) chip.setAttribute("aria-pressed", String(chosen.includes(i)));
}

function chip(sensor, i) {
  const button = document.createElement("button"), share = document.createElement("small");
  button.type = "button";
  button.textContent = sensor.name;
  share.textContent = sensor.says ?? "";
  button.append(share);
  button.addEventListener("click", () => { choose(chosen.includes(i) ? chosen.filter((other) => other !== i) : [...chosen, i]); draw(); });
  return button;
}

function toggle(id, act) {
  $(id)?.addEventListener("click", ({ currentTarget }) => {
    const on = currentTarget.getAttribute("aria-pressed") !== "true";
    currentTarget.setAttribute("aria-pressed", String(on));
    act(on);
    draw();
  });
}

// plotly gives dates back as text in UTC: "2024-03-09", "2024-03-09 14:02" or "2024-03-09 14:02:10.5".
const instant = (x) => (typeof x === "number" ? x : Date.parse(x.length > 10 ? x.replace(" ", "T") + "Z" : x));

function listen() {
  record.on("plotly_relayout", (change) => {
    if ("xaxis.range[0]" in change) show(instant(change["xaxis.range[0]"]), instant(change["xaxis.range[1]"]));
  });
  record.on("plotly_doubleclick", moves.all);
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => moves[button.dataset.move]());
  record.addEventListener("keydown", (event) => { if (keys[event.key] && !event.ctrlKey) { event.preventDefault(); moves[keys[event.key]](); } });
  record.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const share = (event.clientX - record.getBoundingClientRect().left - leftMargin()) / plotWidth();
    zoom(2 ** (event.deltaY / 200), view[0] + share * width());
  }, { passive: false });
  own.listen?.();
  toggle("drag", (on) => { drag = on ? "pan" : "zoom"; });
}

async function openRecord() {
  times = await unpack(data.times);
  whole = [times[0], data.end ?? times[times.length - 1]];
  step = (times[times.length - 1] - times[0]) / Math.max(1, times.length - 1) || 1;
  view = own.view?.() ?? [...whole];
  $("sensors").append(...data.sensors.map(chip));
  choose(data.sensors.map((_, i) => i).slice(0, narrow() ? 2 : 3));
}
