// Blocks on a circle, with chords between those whose coupling exceeds chance; only the strongest are drawn.

const MOST_CHORDS = 60;
const LEAST_SCALE = 0.05; // the excess of a full-width chord if no pair reaches it, so that noise is drawn thinly

sections.circle = {
  draw({ run, width }) {
    const table = pairsOf(run);
    if (!table) return { message: whyMissing(run) };
    const shown = { ...table, [state.show]: table.excess };
    const above = strongestPairs(shown).filter(({ value }) => value > 0);
    const chords = above.slice(0, MOST_CHORDS);
    const tables = DATA.runs.map((_, index) => pairsOf(index)).filter((one) => one?.depth);
    const full = Math.max(LEAST_SCALE, ...tables.map((one) => strongestPairs({ ...one, [state.show]: one.excess })[0]?.value ?? 0));
    const size = Math.min(width, 560);
    const [cx, cy, radius] = [width / 2, size / 2, size / 2 - 26];
    const at = table.ids.map((_, index) => {
      const angle = (2 * Math.PI * index) / table.side - Math.PI / 2;
      return [cx + radius * Math.cos(angle), cy + radius * Math.sin(angle), angle];
    });
    const curve = ({ first, second }) => {
      const [[x1, y1], [x2, y2]] = [at[first], at[second]];
      const bend = (a, b, middle) => middle + 0.36 * (a - middle) + 0.36 * (b - middle);
      return [x1, y1, bend(x1, x2, cx), bend(y1, y2, cy), x2, y2];
    };
    const line = (chord, attributes) => {
      const [x1, y1, bx, by, x2, y2] = curve(chord).map((value) => value.toFixed(1));
      return shape("path", { d: `M${x1},${y1}Q${bx},${by} ${x2},${y2}`, fill: "none", "stroke-linecap": "round", "stroke-width": 0.4 + 5 * Math.min(1, chord.value / full), ...attributes });
    };
    const color = css(along(maps().above, 0.68));
    const nodes = [...chords].reverse().map((chord) => line(chord, { stroke: color, "stroke-opacity": 0.08 + 0.82 * Math.min(1, chord.value / full) ** 1.2 }));
    const step = Math.max(1, Math.ceil(table.side / Math.floor((2 * Math.PI * radius) / 22)));
    at.forEach(([x, y, angle], index) => {
      nodes.push(shape("circle", { cx: x, cy: y, r: table.side > 40 ? 3 : 5, fill: orderColor(index, table.side), stroke: "var(--card)" }));
      if (index % step === 0) nodes.push(label(table.names[index], cx + (radius + 16) * Math.cos(angle), cy + (radius + 16) * Math.sin(angle) + 4, { "text-anchor": "middle", class: "faint" }));
    });
    const places = at.map(([x, y], index) => {
      const own = chords.filter(({ first, second }) => first === index || second === index);
      const best = own[0];
      const partner = best && table.names[best.first === index ? best.second : best.first];
      return { x, y, blocks: [table.ids[index]], text: () => `block ${table.names[index]}: ${own.length} of the drawn chords${best ? `; the strongest, ${percent(best.value)}, with block ${partner}` : ""}` };
    });
    const middles = chords.map((chord) => {
      const [x1, y1, bx, by, x2, y2] = curve(chord);
      return { x: 0.25 * x1 + 0.5 * bx + 0.25 * x2, y: 0.25 * y1 + 0.5 * by + 0.25 * y2, blocks: [chord.a, chord.b], text: () => `blocks ${chord.a} and ${chord.b}: excess ${percent(chord.value)}`, pick: () => choosePair(chord.a, chord.b) };
    });
    const left = above.length - chords.length;
    return {
      nodes,
      height: size,
      series: middles.length ? [places, middles] : [places],
      reach: 18,
      emphasize: (blocks) => [
        ...chords.filter(({ a, b }) => (blocks.length > 1 ? blocks.includes(a) && blocks.includes(b) : blocks.includes(a) || blocks.includes(b))).map((chord) => line(chord, { stroke: "var(--chance)" })),
        ...table.ids.flatMap((id, index) => (blocks.includes(id) ? [shape("circle", { class: "emphasis", cx: at[index][0], cy: at[index][1], r: 8 })] : [])),
      ],
      caption: chords.length ? `${left ? `The ${chords.length} strongest of ${above.length}` : above.length} pairs above chance; the widest chord is ${percent(full)}.` : "No pair couples above chance.",
      csv: [["a", "b", "excess (mean of both directions)"], ...above.map(({ a, b, value }) => [a, b, value])],
    };
  },
};
