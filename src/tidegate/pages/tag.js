// The page of a tagger: strips of labels and their probabilities, or values, above the readings.

const palette = ["#4c86c6", "#d4a72c", "#4f9d69", "#a06cc0", "#3fa7a7", "#c98bb0", "#7a6a55", "#8c8c8c"];
const shade = (k) => (k < palette.length ? palette[k] : `hsl(${(k * 137.5) % 360}, 45%, 55%)`);
let strips, worths;

async function openLabels() {
  if (strips || !data.labels) return;
  strips = await Promise.all(data.labels.strips.map(async ({ name, rows }) => ({ name, rows: (await unpack(rows)).map(Math.round) })));
  worths = await Promise.all(data.labels.proba.map(unpack));
}

// Columns of pixels in view: their edges as rows, and the middle of each in time.
function columnsInView(pixels) {
  const count = Math.max(1, Math.min(Math.floor(plotWidth() / pixels), Math.ceil((view[1] - view[0]) / step)));
  const wide = (view[1] - view[0]) / count, edges = Array.from({ length: count + 1 }, (_, i) => firstAtOrAfter(times, view[0] + i * wide));
  edges[count] = firstAtOrAfter(times, view[1] + step / 2);
  return { count, edges, x: Array.from({ length: count }, (_, i) => view[0] + (i + 0.5) * wide) };
}

// The most frequent class of rows [from, to), or null where there is none.
function mostly(rows, from, to) {
  const counts = new Map();
  for (let i = from; i < to; i++) if (!Number.isNaN(rows[i])) counts.set(rows[i], (counts.get(rows[i]) ?? 0) + 1);
  let best = null;
  for (const [k, n] of counts) if (best === null || n > counts.get(best)) best = k;
  return best;
}

function wrongIn(from, to) {
  const truth = strips.find(({ name }) => name === "true").rows, named = strips.find(({ name }) => name === "named").rows;
  for (let i = from; i < to; i++) if (!Number.isNaN(truth[i]) && truth[i] !== named[i]) return 1;
  return null;
}

async function labelPanel() {
  await openLabels();
  const { count, edges, x } = columnsInView(2), classes = data.labels.classes.length, top = Math.max(1, classes - 1);
  const each = (act) => Array.from({ length: count }, (_, i) => act(edges[i], Math.max(edges[i + 1], edges[i])));
  const z = strips.map(({ rows }) => each((from, to) => mostly(rows, from, to)));
  const colours = Array.from({ length: classes }, (_, k) => [[k / classes, shade(k)], [(k + 1) / classes, shade(k)]]).flat();
  const names = strips.map(({ name }) => name);
  const text = z.map((row) => row.map((k) => (k === null ? "" : plain(data.labels.classes[k]))));
  const heat = { type: "heatmap", x, y: names.map((_, i) => i), z, text, colorscale: colours, zmin: -0.5, zmax: top + 0.5, showscale: false, ygap: 3, hovertemplate: "%{text}<extra></extra>" };
  const traces = [heat];
  if (data.places.length) {
    names.push("differs");
    const wrong = [each(wrongIn)];
    traces.push({ type: "heatmap", x, y: [names.length - 1], z: wrong, colorscale: [[0, css("alarm")], [1, css("alarm")]], showscale: false, ygap: 3, hoverinfo: "skip" });
  }
  return {
    title: "Labels", height: 24 * names.length + 4, traces,
    axis: { range: [names.length - 0.5, -0.5], tickvals: names.map((_, i) => i), ticktext: names, showgrid: false },
  };
}

async function worthPanel() {
  await openLabels();
  const { count, edges, x } = columnsInView(3);
  const means = worths.map((column) => Array.from({ length: count }, (_, i) => {
    let sum = 0, n = 0;
    for (let r = edges[i]; r < Math.max(edges[i + 1], edges[i]); r++) if (!Number.isNaN(column[r])) { sum += column[r]; n += 1; }
    return n ? sum / n : null;
  }));
  const traces = means.map((y, j) => ({
    type: "scatter", x, y, mode: "lines", line: { width: 0, color: shade(data.labels.stacked[j]), shape: count < plotWidth() / 8 ? "hvh" : "linear" }, stackgroup: "worth", fillcolor: shade(data.labels.stacked[j]),
    name: plain(short(data.labels.classes[data.labels.stacked[j]], 24)), hovertemplate: "%{fullData.name}: %{y:.0%}<extra></extra>",
  }));
  return { title: "Probability", says: data.labels.others ? "of the most frequent classes" : "before smoothing", height: 110, traces, axis: { range: [0, 1], tickformat: ".0%", nticks: 3 } };
}

async function valuePanel(block) {
  const track = await open(block), name = plain(short(block.name, 40));
  const told = line(track, "said", css("expect"), 1.5, 1.5);
  const traces = track.truth ? [line(track, "truth", css("trace"), 1.1, 1.5)] : [];
  if (track.truth) Object.assign(traces[0], { hoverinfo: "all", hovertemplate: "true: %{y:.4~g}<extra></extra>" });
  traces.push({ ...told, hoverinfo: "all", hovertemplate: "said: %{y:.4~g}<extra></extra>" });
  return { title: name, height: 190, traces, axis: { range: around(traces.flatMap((trace) => inView(trace.x, trace.y).filter(Number.isFinite))) } };
}

async function sensorPanel(sensor) {
  const track = await open(sensor), name = plain(short(sensor.name, 40)), traces = [measured(track, "seen", name, 1.1)];
  return { title: name, height: 110, traces, axis: { range: around(traces.flatMap((trace) => inView(trace.x, trace.y).filter(Number.isFinite))) } };
}

// Which colour is which class.
function legend() {
  if (!$("classes")) return;
  const many = data.labels.classes, shown = many.slice(0, 24);
  shown.forEach((name, k) => {
    const one = document.createElement("span"), box = document.createElement("i");
    one.className = "legend";
    box.className = "box";
    box.style.background = shade(k);
    one.append(box, name);
    $("classes").append(one);
  });
  if (many.length > shown.length) $("classes").append(`and ${many.length - shown.length} more `);
}

const own = {
  names: data.labels ? ["differs"] : [], places: data.places, sensor: sensorPanel,
  panels: () => (data.labels ? [labelPanel(), worthPanel()] : data.values.map(valuePanel)),
  shapes: (top) => data.learned.map(([x0, x1]) => ({ type: "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: top, layer: "below", fillcolor: css("fan"), line: { width: 0 } })),
  listen: legend,
};
