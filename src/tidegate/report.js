"use strict";
// The report's own JavaScript: opens the embedded arrays, draws few points for many rows, and draws again on every zoom.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
// plotly reads a little markup in its texts; a sensor's name is text and nothing else.
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const short = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
const figure = (value) => (Number.isNaN(value) ? "missing" : String(Number(value.toPrecision(4))));

// ---- the embedded arrays: base64 of deflated numbers, opened when first drawn

const kinds = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f32: Float32Array, f64: Float64Array };

async function unpack(block) {
  const text = atob(block.data), bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const codes = new kinds[block.kind](await new Response(stream).arrayBuffer());
  if (block.kind === "u32") return codes;
  const numbers = new Float64Array(codes.length), stepped = block.kind[0] === "u";
  for (let i = 0; i < codes.length; i++) {
    numbers[i] = !stepped ? block.offset + codes[i] : codes[i] ? block.offset + block.step * (codes[i] - 1) : NaN;
  }
  return numbers;
}

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

// ---- what all charts share

let printing = false;
const config = { displayModeBar: false, doubleClick: false, showTips: false };
const narrow = () => widthOf($("record")) < 560;
const widthOf = (chart) => (printing ? (chart === record ? 680 : 325) : chart.clientWidth); // A4 with its margins, in CSS pixels

function ink() {
  return { color: css("soft"), family: getComputedStyle(document.body).fontFamily, size: 12 };
}

function axis(more) {
  return { gridcolor: css("line"), linecolor: css("line"), tickcolor: css("line"), zeroline: false, fixedrange: true, ...more };
}

function around(values, room = 0.06) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const more = (high - low || Math.abs(high) || 1) * room;
  return [low - more, high + more];
}

const page = (chart, more) => ({
  width: widthOf(chart), paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: ink(), showlegend: false,
  hoverlabel: { bgcolor: css("raised"), bordercolor: css("line"), font: { ...ink(), color: css("ink") } }, ...more,
});

// ---- the record: score, blame and sensors over one time axis

const record = $("record");
let view, whole, step, chosen = [], fast = false;
let drag = matchMedia("(pointer: coarse)").matches ? false : "zoom";
const plotWidth = () => Math.max(150, widthOf(record) - leftMargin() - 12);
const strip = data.blame ? data.sensors.slice(0, Math.min(6, data.blame.sensors)) : [];
const marks = data.threshold === null ? [] : [data.threshold]; // no threshold: no budget could be kept
const logarithmic = data.threshold > 0 && data.peak > 20 * data.threshold;

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

// Wide enough for the names beside the blame strip, within reason.
function leftMargin() {
  return Math.min(narrow() ? 76 : 150, Math.max(44, ...strip.map((sensor) => textWidth(sensor.name))) + 14);
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

async function scorePanel() {
  const track = await open(data.score);
  const traces = [measured(track, "score", "score", 1.4)];
  const quick = fast && track.fast, says = [marks.length ? `threshold (dashed${track.bar ? ", higher after a strong event" : ""}): ${data.budget}` : "no threshold", ...(quick ? ["blue: fast score"] : [])].join(" · ");
  if (track.bar && marks.length) traces.unshift({ ...line(track, "bar", css("alarm"), 1.2, 1.5), line: dashed() });
  if (quick) traces.unshift({ ...line(track, "fast", css("expect"), 1, 1.5), opacity: 0.55 });
  const values = [...marks, ...traces.flatMap((trace) => inView(trace.x, trace.y))];
  if (!logarithmic) return { title: "Score", says, height: 190, traces, axis: { range: around(values) } };
  const floor = data.threshold / 1000, logs = values.map((value) => Math.log10(Math.max(value, floor)));
  for (const trace of traces) trace.y = trace.y.map((value) => (value < floor ? floor : value));
  return { title: "Score", says: `logarithmic · ${says}`, height: 190, traces, axis: { type: "log", dtick: 1, range: around(logs) } };
}

async function blamePanel() {
  const { t, share } = await open(data.blame), wide = data.blame.sensors, cell = Math.max(step, (3 * (view[1] - view[0])) / plotWidth());
  const count = Math.ceil((view[1] - view[0]) / cell), x = Array.from({ length: count }, (_, i) => view[0] + (i + 0.5) * cell);
  const z = strip.map(() => new Array(count).fill(null));
  for (let i = firstAtOrAfter(t, view[0]); i < t.length && t[i] < view[1]; i++) {
    const at = Math.min(count - 1, Math.floor((t[i] - view[0]) / cell));
    strip.forEach((_, c) => { z[c][at] = Math.max(z[c][at] ?? 0, share[i * wide + c] || 0); });
  }
  const names = strip.map((sensor) => plain(fitted(sensor.name, leftMargin() - 12)));
  const colorscale = [[0, css("raised")], [1, css("alarm")]];
  return {
    title: "Blame", says: "each sensor's share, inside alarms", height: 16 * strip.length + 4,
    traces: [{ type: "heatmap", x, z, colorscale, zmin: 0, zmax: 1, showscale: false, hoverinfo: "skip" }],
    axis: { range: [strip.length - 0.5, -0.5], tickvals: strip.map((_, c) => c), ticktext: names, showgrid: false },
  };
}

async function sensorPanel(sensor) {
  const track = await open(sensor), name = plain(short(sensor.name, 40)), traces = [measured(track, "seen", name, 1.1)];
  if (track.expected) traces.unshift(line(track, "expected", css("expect"), 1, 3));
  if (track.low && track.high) traces.unshift(band(track));
  return { title: name, height: 150, traces, axis: { range: around(traces.flatMap((trace) => inView(trace.x, trace.y))) } };
}

// Alarms in or near view; those less than a pixel apart become one rectangle.
function shades(top) {
  const [a, b] = view, half = (b - a) / 2, pixel = (b - a) / plotWidth(), merged = [];
  for (const [start, end] of data.alarms) {
    if (end < a - half || start > b + half) continue;
    const last = merged[merged.length - 1];
    if (last && start - last[1] < pixel) last[1] = Math.max(last[1], end);
    else merged.push([start, end]);
  }
  return merged.map(([x0, x1]) => ({
    type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: top, layer: "below",
    fillcolor: css("shade"), line: { color: css("shade"), width: 1 },
  }));
}

const dashed = () => ({ color: css("alarm"), width: 1.2, dash: "4px,3px" });

const threshold = () => (data.score.bar ? [] : marks.map((y) => ({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: y, y1: y, line: dashed() })));

const eventBars = () => data.events.map(([x0, x1]) => ({
  type: "rect", xref: "x", yref: "y domain", x0, x1, y0: 1.01, y1: 1.035, fillcolor: css("event"), line: { color: css("event"), width: 1 },
}));

function alarmNumbers() {
  const shown = data.alarms.map((alarm, i) => [alarm, i + 1]).filter(([[start, end]]) => end >= view[0] && start <= view[1]);
  if (shown.length > 24) return [];
  return shown.map(([[start], number]) => ({
    x: Math.max(start, view[0]), xref: "x", yref: "y domain", y: 1, xanchor: "left", yanchor: "top", showarrow: false,
    text: String(number), font: { color: css("alarm"), size: 11 },
  }));
}

// Panels one below the other on one x axis: each its own y axis and a title above.
function stacked(panels) {
  const above = 34, below = 40, height = panels.reduce((sum, panel) => sum + panel.height + above, below), inside = height - below;
  const layout = page(record, {
    height, margin: { l: leftMargin(), r: 12, t: 0, b: below }, dragmode: drag, hovermode: "x unified", hoversubplots: "axis", hoverdistance: 20,
    shapes: [...shades(1 - above / inside), ...eventBars(), ...threshold()], annotations: alarmNumbers(),
    xaxis: axis({
      type: data.clock ? "date" : "linear", range: [...view], fixedrange: false, anchor: "free", position: 0, ticks: "outside", nticks: narrow() ? 4 : 9,
      title: data.clock ? undefined : { text: "seconds since the first row" }, showspikes: true, spikemode: "across", spikethickness: 1,
      spikedash: "solid", spikecolor: css("soft"), hoverformat: data.clock ? (step < 1000 ? "%Y-%m-%d %H:%M:%S.%3f" : "%Y-%m-%d %H:%M:%S") : ".8~g",
    }),
  });
  const traces = [];
  let top = inside;
  panels.forEach((panel, i) => {
    const number = i ? i + 1 : "";
    top -= above;
    layout.annotations.push({
      xref: "paper", yref: "paper", x: 0, y: top / inside, yshift: i || !data.events.length ? 6 : 11, xanchor: "left", yanchor: "bottom", showarrow: false,
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
  const own = ++turn;
  const panels = await Promise.all([scorePanel(), ...(strip.length ? [blamePanel()] : []), ...chosen.map((i) => sensorPanel(data.sensors[i]))]);
  if (own !== turn) return;
  const { traces, layout } = stacked(panels);
  await Plotly.react(record, traces, layout, config);
  record.dataset.drawn = String(own);
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

function lookAt(alarm) {
  const [start, end, sensors] = data.alarms[alarm], room = Math.max(1.5 * (end - start), 40 * step);
  if (sensors.length) choose(sensors.slice(0, narrow() ? 2 : 3));
  return show(start - room, end + room);
}

function neighbour(direction) {
  const centres = data.alarms.map(([start, end], i) => [(start + end) / 2, i]), near = 0.001 * width();
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
  if (sensor.share >= 0.005) share.textContent = `${Math.round(100 * sensor.share)} %`;
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
  for (const row of document.querySelectorAll("[data-alarm]")) {
    const go = () => { lookAt(Number(row.dataset.alarm)); $("sensors").scrollIntoView({ behavior: "smooth" }); };
    row.addEventListener("click", go);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  }
  toggle("fast", (on) => { fast = on; });
  toggle("drag", (on) => { drag = on ? "pan" : "zoom"; });
}

// ---- training and calibration

function drawLosses() {
  if (!$("losses")) return;
  const [epochs, train, valid] = data.history, best = valid.indexOf(Math.min(...valid.filter((value) => value !== null)));
  const all = [...train, ...valid].filter((value) => value > 0), wide = Math.max(...all) > 30 * Math.min(...all);
  const curve = (y, name, colour, dash) => ({ x: epochs, y, name, mode: epochs.length > 1 ? "lines" : "markers", line: { color: colour, width: 1.6, dash } });
  const stopped = valid.some((value) => value !== null);
  const kept = { x: [epochs[best]], y: [valid[best]], mode: "markers", marker: { size: 8, color: css("expect") }, showlegend: false, hoverinfo: "skip" };
  Plotly.react($("losses"), [curve(train, "learned from", css("soft"), "4px,3px"), ...(stopped ? [curve(valid, "later rows", css("expect")), kept] : [])], page($("losses"), {
    height: 300, margin: { l: 52, r: 12, t: 30, b: 44 }, showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" }, hovermode: "x unified",
    xaxis: axis({ title: { text: "epoch" }, nticks: 8 }), yaxis: axis({ title: { text: "loss" }, type: wide ? "log" : "linear", nticks: 6, tickformat: ".2~g" }),
  }), config);
}

function drawChecks() {
  if (!$("checks")) return;
  const units = [["second", 1], ["minute", 60], ["hour", 3600], ["day", 86400], ["week", 604800]], asked = data.checks.map((check) => check[0]).sort((a, b) => a - b);
  const [unit, size] = units.find(([, seconds]) => asked[asked.length >> 1] * seconds >= 0.3) || units[4];
  const checks = data.checks.map((check) => check.map((value) => (value === null ? null : value * size)));
  const positive = checks.flat().filter((value) => value > 0), floor = Math.min(...positive) / 2, top = Math.max(...positive) * 2;
  const up = (value) => Math.max(value, floor), range = [Math.log10(floor) - 0.1, Math.log10(top)], known = checks.filter((check) => check[3] !== null);
  const chance = { x: known.flatMap(([x]) => [x, x, null]), y: known.flatMap(([, , low, high]) => [up(low), up(high), null]), mode: "lines", line: { color: css("band"), width: 12 }, hoverinfo: "skip" };
  const points = {
    x: checks.map((check) => check[0]), y: checks.map((check) => up(check[1])), mode: "markers",
    marker: { size: 9, color: css("ink"), symbol: checks.map((check) => (check[1] > 0 ? "circle" : "triangle-down-open")) },
    text: checks.map((check) => (check[1] > 0 ? `seen ${figure(check[1])}` : "none seen") + `, asked ${figure(check[0])} per ${unit}`), hovertemplate: "%{text}<extra></extra>",
  };
  const log = (text) => axis({ type: "log", range, dtick: 1, title: { text } });
  Plotly.react($("checks"), [chance, points], page($("checks"), {
    height: 300, margin: { l: 60, r: 12, t: 30, b: 44 }, xaxis: log(`asked, per ${unit}`), yaxis: log(`seen, per ${unit}`),
    shapes: [{ type: "line", x0: floor, y0: floor, x1: top, y1: top, layer: "below", line: { color: css("soft"), width: 1, dash: "4px,3px" } }],
  }), config);
}

// ---- light, dark, paper

const drawAll = async () => { await draw(); drawLosses(); drawChecks(); };
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";

function theme(name) {
  if (name) document.documentElement.dataset.theme = name; else delete document.documentElement.dataset.theme;
  $("theme").textContent = isDark() ? "Light" : "Dark";
  return drawAll();
}

function themes() {
  let before, settled;
  $("theme").addEventListener("click", () => theme(isDark() ? "light" : "dark"));
  system.addEventListener("change", () => theme(document.documentElement.dataset.theme));
  addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; printing = true; theme("light"); });
  addEventListener("afterprint", () => { printing = false; theme(before); });
  addEventListener("resize", () => { clearTimeout(settled); settled = setTimeout(() => { if (!printing) drawAll(); }, 150); });
}

async function start() {
  times = await unpack(data.times);
  whole = [times[0], times[times.length - 1]];
  step = (whole[1] - whole[0]) / (times.length - 1);
  view = [...whole];
  $("sensors").append(...data.sensors.map(chip));
  choose(data.sensors.map((_, i) => i).slice(0, narrow() ? 2 : 3));
  themes();
  await theme();
  listen();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start().catch((error) => {
  $("problem").hidden = false;
  $("problem").textContent = `The charts could not be drawn: ${error.message}. A browser of 2023 or later is needed.`;
  throw error;
});
