// The colors of charts in both themes. On a dark page the map is dark at chance, on a light one it is light there.

const MAPS = {
  light: {
    above: ["#f4f4f1", "#d3e6ec", "#95c5dc", "#4a97c6", "#1d62a3", "#0b2f66"],
    below: ["#f4f4f1", "#fbdcb9", "#f2a964", "#d27021", "#8f3f06"],
    runs: ["#0072b2", "#c44f00", "#007a59", "#a84c87", "#7a6200", "#3d3d3d"],
    order: ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#8fbf2a"],
  },
  dark: {
    above: ["#1f2329", "#17405a", "#1b6a90", "#2d9cc4", "#74cfe8", "#dcf6fb"],
    below: ["#1f2329", "#4c2d15", "#8c4c19", "#d17d2e", "#f8bb77"],
    runs: ["#56b4e9", "#ff9a52", "#35cf9f", "#e8a0cb", "#e3cf4a", "#d8d8d8"],
    order: ["#6b5aa8", "#4f7fb5", "#2d9aa5", "#2fb58c", "#67cc5c", "#b5de2b", "#fde725"],
  },
};
const darkTheme = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

function maps() {
  return darkTheme.matches && !printing ? MAPS.dark : MAPS.light;
}

function channels(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

// A color along a list of stops, for a share from 0 to 1, as [red, green, blue].
function along(stops, share) {
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const at = Math.min(Math.floor(place), stops.length - 2);
  const [from, to] = [channels(stops[at]), channels(stops[at + 1])];
  return from.map((channel, index) => Math.round(channel + (place - at) * (to[index] - channel)));
}

function css(color) {
  return `rgb(${color.join(",")})`;
}

// A scale around a middle: chance, or no difference. Both sides have the same length, so that equal distances look
// equally strong; `reversed` is for angles, which are small where subspaces are close.
function scaleAround(middle, low, high, { reversed = false } = {}) {
  const reach = Math.max(high - middle, middle - low) || 1;
  return {
    low: Math.max(low, middle - reach),
    high: Math.min(high, middle + reach),
    middle,
    color(value) {
      const share = ((reversed ? -1 : 1) * (value - middle)) / reach;
      return along(share >= 0 ? maps().above : maps().below, Math.abs(share));
    },
  };
}

function scaleFrom(low, high) {
  return {
    low,
    high,
    middle: null,
    color: (value) => along(maps().above, high > low ? (value - low) / (high - low) : 0),
  };
}

function runColor(index) {
  return maps().runs[index % maps().runs.length];
}

function orderColor(index, count) {
  return css(along(maps().order, count > 1 ? index / (count - 1) : 0));
}

// The ends of a scale that a few outliers do not set: they are clipped where they would leave the rest in one color.
function robustEnds(values, share = 0.99) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  if (!sorted.length) return { low: 0, high: 1, clippedLow: false, clippedHigh: false };
  const last = sorted.length - 1;
  const [high, low] = [sorted[Math.floor(share * last)], sorted[Math.ceil((1 - share) * last)]];
  const spread = high - low || 1;
  const clippedHigh = sorted[last] > high + 0.5 * spread;
  const clippedLow = sorted[0] < low - 0.5 * spread;
  return { low: clippedLow ? low : sorted[0], high: clippedHigh ? high : sorted[last], clippedLow, clippedHigh };
}
