// Axes, ticks, legends: what line charts and matrices share.

function roundTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw || 1));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw) ?? power;
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(Number(tick.toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(Number(tick.toPrecision(3)));
    }
  }
  if (ticks.length <= 6) return ticks;
  const powers = ticks.filter((tick) => /^1(e|0*$)|^0\.0*1$/.test(String(tick)));
  return powers.length > 1 ? powers : ticks.filter((_, index) => index % 2 === 0);
}

// A scale from values to pixels: {low, high, log, whole}.
function axisScale({ low, high, log = false, whole = false }, from, to) {
  const place = log ? Math.log : (value) => value;
  const [a, b] = [place(low), place(high)];
  const scale = (value) => from + ((place(value) - a) / (b - a || 1)) * (to - from);
  scale.ticks = (count) => {
    const ticks = log ? logTicks(low, high) : roundTicks(low, high, count);
    return whole ? ticks.filter(Number.isInteger) : ticks;
  };
  return scale;
}

// The space around values, so that marks do not lie on the frame.
function padded(values, { zero = false, log = false, share = 0.05, extra = [] } = {}) {
  const finite = [...values, ...extra].filter((value) => Number.isFinite(value) && (!log || value > 0));
  if (!finite.length) return { low: log ? 0.1 : 0, high: 1, log };
  let low = finite.reduce((a, b) => Math.min(a, b));
  let high = finite.reduce((a, b) => Math.max(a, b));
  if (log) return { low: low / 1.15, high: high * 1.15, log };
  if (zero) low = Math.min(low, 0);
  const pad = share * (high - low || Math.abs(high) || 1);
  return { low: zero && low === 0 ? 0 : low - pad, high: high + pad };
}

// A frame for points and lines: axes, ticks, names; returns its nodes and its two scales.
function plot({ width, height = 250, x, y, margin = {} }) {
  const room = { left: 54, right: 12, top: 26, bottom: 44, ...margin };
  const right = Math.max(room.left + 40, width - room.right);
  const bottom = height - room.bottom;
  const sx = axisScale(x, room.left, right);
  const sy = axisScale(y, bottom, room.top);
  const nodes = [];
  for (const tick of sy.ticks(5)) {
    nodes.push(shape("line", { class: "gridline", x1: room.left, x2: right, y1: sy(tick), y2: sy(tick) }));
    nodes.push(label(digits(tick), room.left - 7, sy(tick) + 4, { "text-anchor": "end", class: "faint" }));
  }
  for (const tick of sx.ticks(Math.max(2, Math.floor((right - room.left) / 60)))) {
    nodes.push(shape("line", { class: "axis", x1: sx(tick), x2: sx(tick), y1: bottom, y2: bottom + 4 }));
    nodes.push(label(x.names?.[tick] ?? digits(tick), sx(tick), bottom + 18, { "text-anchor": "middle", class: "faint" }));
  }
  nodes.push(shape("line", { class: "axis", x1: room.left, x2: right, y1: bottom, y2: bottom }));
  nodes.push(label(x.name, (room.left + right) / 2, height - 6, { "text-anchor": "middle" }));
  nodes.push(label(y.name, 0, 12, {}));
  return { nodes, sx, sy, left: room.left, right, top: room.top, bottom, height };
}

function label(text, x, y, attributes = {}) {
  return shape("text", { x, y, ...attributes }, text);
}

function path(points, attributes) {
  let text = "";
  let pen = false;
  for (const [x, y] of points) {
    if (Number.isFinite(x) && Number.isFinite(y)) text += `${pen ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`;
    pen = Number.isFinite(x) && Number.isFinite(y);
  }
  return shape("path", { d: text, fill: "none", ...attributes });
}

// Entries of a legend in rows; returns nodes and the height that they take.
function legend(entries, width, left = 0, top = 12) {
  const nodes = [];
  let [x, y] = [left, top];
  for (const { name, color, dashed } of entries) {
    const room = 34 + 6.6 * name.length;
    if (x > left && x + room > width) [x, y] = [left, y + 18];
    nodes.push(shape("line", { x1: x, x2: x + 18, y1: y - 4, y2: y - 4, stroke: color, "stroke-width": 3, "stroke-dasharray": dashed ? "5 3" : null }));
    nodes.push(label(name, x + 24, y));
    x += room;
  }
  return { nodes, height: entries.length ? y + 8 : 0 };
}

// A horizontal color bar with its ends and, where there is one, the mark of chance.
function colorBar({ scale, width, name, format, middleName, clippedLow, clippedHigh }) {
  const [top, height] = [20, 11];
  const nodes = [label(name, 0, 12)];
  const steps = Math.max(24, Math.min(120, Math.round(width / 3)));
  for (let step = 0; step < steps; step++) {
    const value = scale.low + ((step + 0.5) / steps) * (scale.high - scale.low);
    nodes.push(shape("rect", { x: (step / steps) * width, y: top, width: width / steps + 0.5, height, fill: css(scale.color(value)) }));
  }
  nodes.push(shape("rect", { x: 0.5, y: top, width: width - 1, height, fill: "none", class: "axis", "stroke-opacity": 0.5 }));
  nodes.push(label(`${clippedLow ? "≤ " : ""}${format(scale.low)}`, 0, top + 25, { class: "faint" }));
  nodes.push(label(`${clippedHigh ? "≥ " : ""}${format(scale.high)}`, width, top + 25, { class: "faint", "text-anchor": "end" }));
  if (scale.middle !== null && scale.middle >= scale.low && scale.middle <= scale.high) {
    const x = ((scale.middle - scale.low) / (scale.high - scale.low || 1)) * width;
    nodes.push(shape("line", { x1: x, x2: x, y1: top - 3, y2: top + height + 3, stroke: "var(--chance)", "stroke-width": 2.5 }));
    const text = `${middleName} ${format(scale.middle)}`;
    const half = 3.3 * text.length;
    // Below the bar where it does not meet the ends' numbers, otherwise above it on the right.
    if (x - half > 52 && x + half < width - 52) nodes.push(label(text, x, top + 25, { class: "chance", "text-anchor": "middle" }));
    else nodes.push(label(text, width, 12, { class: "chance", "text-anchor": "end" }));
  }
  return { nodes, height: top + 34 };
}
