// The numbers of the runs: unpacked when they are first needed, and chosen by the state.

const unpackedArrays = new Map();

function unpacked(packed) {
  if (!unpackedArrays.has(packed)) {
    const [low, high, bits, text] = packed;
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const codes = bits === 16 ? new Uint16Array(bytes.buffer) : bytes; // little-endian, as all browsers' machines are
    const steps = 2 ** bits - 2;
    unpackedArrays.set(packed, Float64Array.from(codes, (code) => (code > steps ? NaN : low + (code * (high - low)) / steps)));
  }
  return unpackedArrays.get(packed);
}

// The prompt of charts of single prompts, which show the first one if the mean is chosen.
function singlePrompt() {
  return state.prompt === MEAN ? "0" : state.prompt;
}

function kOf(run) {
  return DATA.runs[run].ks[Number(state.k)];
}

function kName() {
  return DATA.ks[Number(state.k)];
}

// The chosen table of a run: its values, the names of its rows, and the means; null where the page does not have it.
function pairsOf(run) {
  const { depth, blocks } = DATA.runs[run];
  const pairs = DATA.pairs[run];
  const prompt = depth ? state.prompt : singlePrompt();
  const parts = [state.k, state.p, state.variant, prompt];
  const table = pairs.tables[(depth ? parts : [...parts, state.block]).join(",")];
  if (!table) return null;
  const values = { excess: unpacked(table.e), coupling: unpacked(table.c) };
  if (depth) return { ...values, depth, names: blocks.map(String), ids: blocks, side: blocks.length, means: named(table.means[0]), prompt };
  return withoutFirst(values, table, pairs.tokens[prompt], pairs.texts[prompt], prompt);
}

// Tables that compare tokens, without the first tokens that the reader leaves out.
function withoutFirst(values, table, tokens, texts, prompt) {
  const kept = tokens.map((token, index) => [token, index]).filter(([token]) => token >= Number(state.skip ?? 0));
  const take = (array) => Float64Array.from(kept.flatMap(([, row]) => kept.map(([, column]) => array[row * tokens.length + column])));
  const skips = [...(document.getElementById("control-skip")?.options ?? [{ value: "0" }])].map((option) => option.value);
  return {
    excess: take(values.excess),
    coupling: take(values.coupling),
    depth: false,
    names: kept.map(([token]) => `${token} ${texts[token]}`),
    ids: kept.map(([token]) => token),
    side: kept.length,
    means: named(table.means[Math.max(0, skips.indexOf(state.skip ?? "0"))]),
    prompt,
  };
}

function named([coupling, chance, excess, error]) {
  return { coupling, chance, excess, error };
}

// Why a table is not on the page, for a message in the chart's place.
function whyMissing(run) {
  if (!DATA.runs[run].depth && !DATA.runs[run].blocks.includes(state.block)) return "This run has no such block.";
  return `To keep this page small, single ${inputWord()}s are shown for the absolute variant alone.`;
}

// Unordered pairs of a table, from the strongest, by the mean of both directions.
function strongestPairs(table) {
  const shown = table[state.show];
  const found = [];
  for (let row = 0; row < table.side; row++) {
    for (let column = 0; column < row; column++) {
      const there = shown[row * table.side + column];
      const back = shown[column * table.side + row];
      const value = (there + back) / 2;
      if (Number.isFinite(value)) found.push({ a: table.ids[column], b: table.ids[row], first: column, second: row, value, there, back });
    }
  }
  return found.sort((one, other) => other.value - one.value);
}

// The chosen pair, or the strongest of the first run that has one.
function chosenPair() {
  if (state.pair) return state.pair;
  for (let run = 0; run < DATA.runs.length; run++) {
    const table = pairsOf(run);
    const [strongest] = table ? strongestPairs(table) : [];
    if (strongest) return [strongest.a, strongest.b];
  }
  return null;
}

function shownName() {
  return state.show === "excess" ? "excess over chance" : "coupling";
}

function shownValue(value) {
  return state.show === "excess" ? percent(value) : digits(value);
}

// What an input of the runs is called: "prompt" or "image".
function inputWord() {
  return document.querySelector("#control-prompt").labels[0].firstChild.textContent.trim();
}

function promptName(prompt) {
  const what = inputWord();
  return prompt === MEAN ? `mean over ${what}s` : `${what} ${prompt}`;
}
