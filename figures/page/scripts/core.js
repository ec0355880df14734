// Elements, numbers, and what the reader has chosen: the state of the page, its URL and its announcements.

const DATA = JSON.parse(document.getElementById("data").textContent);
const MEAN = "-1";
const sections = {}; // by name: {draw, mean?}; each section's script adds its own

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A number with three significant digits, without an exponent where it is readable without.
function digits(value, count = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) return value.toExponential(count - 1);
  return size >= 10 ** count ? String(Math.round(value)) : String(Number(value.toPrecision(count)));
}

function percent(value, decimals = 1) {
  if (!Number.isFinite(value)) return "–";
  const text = (100 * value).toFixed(decimals);
  return `${Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−")} %`;
}

// How a block or a token is called where it is marked in all charts: a block by its number, token 3 as "t3".
function tag(prefix, id) {
  return prefix ? prefix + id : id;
}

// The state: what the controls say, and the chosen pair.

const controls = [...document.querySelectorAll("#controls select")];
const state = { pair: null };
const listeners = { change: [], hover: [] };

function on(event, listener) {
  listeners[event].push(listener);
}

function tell(event, detail) {
  for (const listener of listeners[event]) listener(detail);
}

function readControls() {
  for (const control of controls) state[control.name] = control.value;
}

// Firefox and readers keep a choice over a reload; the URL is what counts.
function readFragment() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const control of controls) {
    control.value = control.dataset.default;
    const value = wanted.get(control.name);
    if (value !== null && [...control.options].some((option) => option.value === value)) control.value = value;
  }
  const pair = /^(\d{1,5})-(\d{1,5})$/.exec(wanted.get("pair") ?? "");
  state.pair = pair ? [Number(pair[1]), Number(pair[2])] : null;
  readControls();
}

function writeFragment() {
  const parts = new URLSearchParams();
  for (const control of controls) {
    if (control.value !== control.dataset.default) parts.set(control.name, control.value);
  }
  if (state.pair) parts.set("pair", state.pair.join("-"));
  const text = parts.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function choosePair(first, second) {
  state.pair = [first, second];
  writeFragment();
  tell("change", "pair");
}

function announce(text) {
  document.getElementById("announcer").textContent = text;
}

// The tooltip is for the eye; the announcer says the same to screen readers.

const tip = element("div", { id: "tip", "aria-hidden": "true" });
document.body.append(tip);

function showTip(text, x, y) {
  tip.textContent = text;
  tip.style.visibility = "visible";
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth - 6 ? x - width - 14 : x + 14;
  const top = y + 16 + height > innerHeight - 6 ? y - height - 12 : y + 16;
  tip.style.left = `${Math.min(Math.max(6, left), Math.max(6, innerWidth - width - 6))}px`;
  tip.style.top = `${Math.max(6, top)}px`;
}

function hideTip() {
  tip.style.visibility = "hidden";
}
