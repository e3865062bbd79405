// The completion page: of each channel what was read, and in its holes the fill with its band, the naive rule, the truth.

function dotted(trace, colour, size) {
  const { sparse, rows, ...rest } = trace;
  return { ...rest, mode: sparse ? "lines+markers" : "lines", marker: { size, color: colour } };
}

async function sensorPanel(sensor) {
  const track = await open(sensor), name = plain(short(sensor.name, 40));
  const fill = line(track, "expected", css("expect"), 1.6, 1.5), rule = line(track, "linear", css("soft"), 1, 1.5);
  const traces = [band(track), { ...rule, line: { ...rule.line, dash: "4px,3px" } }];
  if (track.truth) traces.push(dotted(line(track, "truth", css("good"), 1.4, 1.5), css("good"), 3.5));
  traces.push({
    ...dotted(fill, css("expect"), 4), hoverinfo: "all",
    customdata: fill.rows.map((row) => [track.low[row], track.high[row], track.linear[row]]),
    hovertemplate: fill.rows.map((row) => (Number.isNaN(track.seen[row]) ? `${name}, filled: %{y:.4~g} (90 %: %{customdata[0]:.4~g} to %{customdata[1]:.4~g}; ${data.rule} %{customdata[2]:.4~g})<extra></extra>` : "<extra></extra>")),
  });
  traces.push(measured({ t: track.t, seen: track.seen }, "seen", name, 1.2));
  return { title: name, height: 170, traces, axis: { range: around(traces.flatMap((trace) => inView(trace.x, trace.y).filter(Number.isFinite))) } };
}

// To begin with, what lies around the longest hole, where the record is too long to see one in.
function firstView() {
  const rows = Math.round((whole[1] - whole[0]) / step), [start, end] = data.places[data.longest] ?? [];
  if (start === undefined || rows < 600) return [...whole];
  const half = Math.max(1.5 * (end - start), 150 * step), middle = Math.min(Math.max((start + end) / 2, whole[0] + half), whole[1] - half);
  return [middle - half, middle + half];
}

const own = { panels: () => [], sensor: sensorPanel, places: data.places, view: firstView };
