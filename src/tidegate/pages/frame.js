"use strict";
// What every page's JavaScript shares: embedded arrays opened, charts in the page's colours, light and dark, paper.

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

// ---- what all charts share

let printing = false;
const config = { displayModeBar: false, doubleClick: false, showTips: false };
const widthOf = (chart) => (printing ? (chart.closest(".pair") ? 325 : 680) : chart.clientWidth); // A4 with its margins, in CSS pixels
const narrow = () => document.documentElement.clientWidth < 640 && !printing;

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

// ---- charts that come whole: traces and layout, colours by name

function coloured(part) {
  if (typeof part === "string") return part.startsWith("$") ? css(part.slice(1)) : part;
  if (Array.isArray(part)) return part.map(coloured);
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(Object.entries(part).map(([name, inner]) => [name, coloured(inner)]));
}

function drawChart(id) {
  const { traces, layout } = coloured(data.charts[id]);
  for (const [name, inner] of Object.entries(layout)) if (/^[xy]axis/.test(name)) layout[name] = axis(inner);
  return Plotly.react($(id), traces.map((trace) => ({ type: "scatter", ...trace })), page($(id), layout), config);
}

// ---- light, dark, paper

const record = $("record");
const drawAll = () => Promise.all([...(record ? [draw()] : []), ...Object.keys(data.charts).filter($).map(drawChart)]);
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
  if (record) await openRecord();
  themes();
  await theme();
  if (record) listen();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

function begin() {
  start().catch((error) => {
    $("problem").hidden = false;
    $("problem").textContent = `The charts could not be drawn: ${error.message}. A browser of 2023 or later is needed.`;
    throw error;
  });
}
