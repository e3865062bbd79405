// The forecast page: of each channel what was read, and a forecast with its bands from the moment that is chosen.

let moment = data.real ?? data.typical ?? data.moments.length - 1;
const steps = Array.from({ length: data.ahead }, (_, k) => (k + 1) * data.every);
const inner = Math.max(0, data.held.indexOf(0.9)); // the band that the pointer tells

// The ends (low, high) of band b around the forecast of moment m; the widest lies outermost in `ends`.
function band90(track, m, b) {
  const count = data.ahead, at = (row, k) => track.breadth[m] * track.ends[row * count + k], wide = 2 * data.held.length;
  const mean = (k) => track.mean[m * count + k];
  return { low: steps.map((_, k) => mean(k) + at(data.held.length - 1 - b, k)), high: steps.map((_, k) => mean(k) + at(wide - data.held.length + b, k)) };
}

function fan(track, m, name) {
  const start = data.moments[m], x = steps.map((step) => start + step), y = Array.from(track.mean.subarray(m * data.ahead, (m + 1) * data.ahead));
  const bands = data.held.map((_, b) => {
    const { low, high } = band90(track, m, b), outline = data.ahead > 1 ? [x, low, high] : [[x[0] - data.every / 3, x[0] + data.every / 3], [low[0], low[0]], [high[0], high[0]]];
    return { type: "scatter", x: [...outline[0], ...[...outline[0]].reverse()], y: [...outline[2], ...[...outline[1]].reverse()], mode: "none", fill: "toself", fillcolor: css("fan"), hoverinfo: "skip" };
  }).reverse();
  const said = data.held.length ? band90(track, m, inner) : null;
  return [...bands, {
    type: "scatter", x, y, mode: data.ahead > 1 ? "lines" : "markers", line: { color: css("expect"), width: 1.8 }, marker: { size: 7, color: css("expect") },
    customdata: said ? x.map((_, k) => [said.low[k], said.high[k]]) : undefined,
    hovertemplate: `${name}, forecast: %{y:.4~g}${said ? ` (${Math.round(100 * data.held[inner])} %: %{customdata[0]:.4~g} to %{customdata[1]:.4~g})` : ""}<extra></extra>`,
  }];
}

// All the other forecasts in view, thin: how it would have gone on.
function others(track) {
  const x = [], y = [], [a, b] = view, mine = data.moments[moment], length = data.ahead * data.every, skip = Math.max(1, Math.ceil((data.ahead * (b - a)) / length / (2 * plotWidth())));
  let end = -Infinity;
  data.moments.forEach((start, m) => {
    if (start > b || start + length < a || start < end || Math.abs(start - mine) < length) return;
    end = start + length;
    for (let k = 0; k < data.ahead; k += skip) { x.push(start + steps[k]); y.push(track.mean[m * data.ahead + k]); }
    x.push(null);
    y.push(null);
  });
  return { type: "scatter", x, y, mode: data.ahead > 1 ? "lines" : "markers", line: { color: css("expect"), width: 0.9 }, marker: { size: 3, color: css("expect") }, opacity: 0.6, hoverinfo: "skip", connectgaps: false };
}

async function sensorPanel(sensor) {
  const track = await open(sensor), name = plain(short(sensor.name, 40));
  const traces = [others(track), ...fan(track, moment, name), measured({ t: track.t, seen: track.seen }, "seen", name, 1.2)];
  return { title: name, height: 190, traces, axis: { range: around(traces.flatMap((trace) => inView(trace.x, trace.y).filter(Number.isFinite))) } };
}

const when = (x) => (data.clock ? new Date(x).toISOString().replace("T", " ").replace(/(:00)?\.000Z$/, "") : `${figure(x)} s`);

function lookAround(m) {
  moment = m;
  const start = data.moments[m], length = data.ahead * data.every;
  $("which").textContent = `Forecast made ${data.clock ? "" : "at "}${when(start)}`;
  return show(start - Math.max(data.back * data.every, length), start + 1.15 * length);
}

const own = {
  panels: () => [], sensor: sensorPanel, lookAt: lookAround,
  shapes: (top) => [{ type: "line", xref: "x", yref: "paper", x0: data.moments[moment], x1: data.moments[moment], y0: 0, y1: top, line: { color: css("event"), width: 1.2, dash: "4px,3px" } }],
  neighbour: (direction) => lookAround(Math.min(data.moments.length - 1, Math.max(0, moment + direction))),
  listen() {
    for (const button of document.querySelectorAll("[data-moment]")) button.addEventListener("click", () => lookAround(data[button.dataset.moment]));
    record.on("plotly_click", ({ points }) => {
      const x = instant(points[0].x), after = data.moments.findIndex((start) => start > x);
      lookAround(Math.max(0, after < 0 ? data.moments.length - 1 : after - 1));
    });
    return lookAround(moment);
  },
};
