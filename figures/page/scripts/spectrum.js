// Singular values by block, and their reciprocals with the least-squares line.

sections.spectrum = {
  draw({ run, data, panel, width }) {
    const { blocks, ranks } = data[state.prompt] ?? data[MEAN];
    const shown = ranks.slice(0, kOf(run));
    const inverse = panel === "reciprocals";
    const valuesOf = ({ s }) => s.map((value) => (value > 0 ? (inverse ? 1 / value : value) : NaN));
    const same = DATA.sections.spectrum.flatMap((one, index) => (one[state.prompt] ?? one[MEAN]).ranks.slice(0, kOf(index)).flatMap(valuesOf));
    const positive = same.filter((value) => value > 0).sort((a, b) => a - b);
    const log = !inverse && positive.length > 0 && positive.at(-1) > 20 * positive[Math.floor(positive.length / 2)];
    const entries = shown.map(({ r2 }, rank) => ({ name: `σ${subscript(rank + 1)}${inverse && r2 !== null ? ` R² ${r2.toFixed(2)}` : ""}`, color: orderColor(rank, shown.length) }));
    const keys = legend(entries, width, 54, 34);
    const frame = plot({
      width,
      height: 230 + keys.height,
      x: { ...padded(blocks, { share: 0.03 }), whole: true, name: "block" },
      y: { ...padded(same, { zero: !log, log }), name: inverse ? "1 / singular value" : "singular value" },
      margin: { top: keys.height + 10 },
    });
    const nodes = [...frame.nodes, ...keys.nodes];
    const series = shown.map((rank, index) => {
      const values = valuesOf(rank);
      const color = orderColor(index, shown.length);
      const points = blocks.map((block, at) => [frame.sx(block), frame.sy(values[at])]);
      if (!inverse) nodes.push(path(points, { stroke: color, "stroke-width": 1.6 }));
      else if (rank.slope !== null) {
        const ends = [blocks[0], blocks.at(-1)].map((block) => [frame.sx(block), frame.sy(rank.intercept + rank.slope * block)]);
        nodes.push(path(ends, { stroke: color, "stroke-width": 1.4, "stroke-dasharray": "5 3" }));
      }
      for (const [x, y] of points) if (Number.isFinite(y)) nodes.push(shape("circle", { cx: x, cy: y, r: blocks.length > 40 ? 1.8 : 2.6, fill: color }));
      const fit = rank.r2 === null ? "" : `, R² of the line through reciprocals ${rank.r2.toFixed(2)}`;
      return blocks.map((block, at) => ({ x: frame.sx(block), y: Number.isFinite(points[at][1]) ? points[at][1] : frame.bottom, blocks: [block], text: () => `block ${block}, σ${subscript(index + 1)} = ${digits(rank.s[at] ?? NaN)}${inverse ? `, 1/σ = ${digits(values[at])}` : ""}${fit}` }));
    });
    const line = (block) => shape("line", { class: "emphasis", "stroke-dasharray": "2 3", x1: frame.sx(block), x2: frame.sx(block), y1: frame.top, y2: frame.bottom });
    const fits = shown.map(({ r2 }) => r2).filter((r2) => r2 !== null);
    const straight = fits.length ? `R² of the lines: ${digits(Math.min(...fits), 2)} to ${digits(Math.max(...fits), 2)}.` : "Too few blocks for a line.";
    return {
      nodes,
      height: frame.height,
      series,
      emphasize: (some) => some.filter((block) => blocks.includes(block)).map(line),
      caption: `The ${shown.length} largest, ${promptName(data[state.prompt] ? state.prompt : MEAN)}${log ? "; logarithmic" : ""}. ${inverse ? straight : ""}`,
      csv: [["block", "rank", "singular value", "reciprocal", "slope", "intercept", "R²"], ...shown.flatMap((rank, index) => blocks.map((block, at) => [block, index + 1, rank.s[at], rank.s[at] > 0 ? 1 / rank.s[at] : null, rank.slope, rank.intercept, rank.r2]))],
    };
  },
};

function subscript(number) {
  return String(number).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[Number(digit)]);
}
