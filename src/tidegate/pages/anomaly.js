// The anomaly page: score with threshold and alarms, blame, and of each sensor what was expected and seen.

let fast = false;
const strip = data.blame ? data.sensors.slice(0, Math.min(6, data.blame.sensors)) : [];
const marks = data.threshold === null ? [] : [data.threshold]; // no threshold: no budget could be kept
const logarithmic = data.threshold > 0 && data.peak > 20 * data.threshold;

async function scorePanel() {
  const track = await open(data.score);
  const traces = [measured(track, "score", "score", 1.4)];
  const quick = fast && track.fast, says = [marks.length ? `threshold (dashed${track.bar ? ", higher after a strong event" : ""}): ${data.budget}` : "no threshold", ...(quick ? ["blue: fast score"] : [])].join(" · ");
  if (track.bar && marks.length) traces.unshift({ ...line(track, "bar", css("alarm"), 1.2, 1.5), line: dashed() });
  if (quick) traces.unshift({ ...line(track, "fast", css("expect"), 1, 1.5), opacity: 0.55 });
  const values = [...marks, ...traces.flatMap((trace) => inView(trace.x, trace.y))];
  if (!logarithmic) return { title: "Score", raised: data.events.length > 0, says, height: 190, traces, axis: { range: around(values) } };
  const floor = data.threshold / 1000, logs = values.map((value) => Math.log10(Math.max(value, floor)));
  for (const trace of traces) trace.y = trace.y.map((value) => (value < floor ? floor : value));
  return { title: "Score", raised: data.events.length > 0, says: `logarithmic · ${says}`, height: 190, traces, axis: { type: "log", dtick: 1, range: around(logs) } };
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

const own = {
  names: strip.map((sensor) => sensor.name), places: data.alarms, sensor: sensorPanel, annotations: alarmNumbers,
  panels: () => [scorePanel(), ...(strip.length ? [blamePanel()] : [])],
  shapes: (top) => [...shades(top), ...eventBars(), ...threshold()],
  listen() {
    for (const row of document.querySelectorAll("[data-alarm]")) {
      const go = () => { lookAt(Number(row.dataset.alarm)); $("sensors").scrollIntoView({ behavior: "smooth" }); };
      row.addEventListener("click", go);
      row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    }
    toggle("fast", (on) => { fast = on; });
  },
};
