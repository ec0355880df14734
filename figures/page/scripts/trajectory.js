// Tokens' paths through the residual stream on two principal components.

sections.trajectory = {
  draw({ data, width }) {
    const prompts = Object.keys(data);
    const prompt = prompts.includes(state.prompt) ? state.prompt : prompts[0];
    const paths = data[prompt][state.skip ?? "0"];
    if (!paths) return { message: `This ${inputWord()} has no token that is left.` };
    const { tokens, texts, shares } = paths;
    const [xs, ys] = [unpacked(paths.x), unpacked(paths.y)];
    const layers = xs.length / tokens.length;
    const share = (index) => `principal component ${index + 1} (${percent(shares[index], 0)} of variance)`;
    const frame = plot({ width, height: Math.min(430, Math.max(300, 0.75 * width)), x: { ...padded(xs), name: share(0) }, y: { ...padded(ys), name: share(1) } });
    const nodes = [...frame.nodes];
    const placed = [];
    const series = tokens.map((token, index) => {
      const color = orderColor(index, tokens.length);
      const points = Array.from({ length: layers }, (_, layer) => [frame.sx(xs[index * layers + layer]), frame.sy(ys[index * layers + layer])]);
      nodes.push(path(points, { stroke: color, "stroke-opacity": 0.65, "stroke-width": 1.3 }));
      const [first, last] = [points[0], points.at(-1)];
      nodes.push(shape("circle", { cx: first[0], cy: first[1], r: 3.4, fill: "var(--card)", stroke: color, "stroke-width": 1.4 }));
      nodes.push(shape("circle", { cx: last[0], cy: last[1], r: 4, fill: color }));
      placed.push({ text: texts[index], x: last[0], y: last[1] });
      return points.map(([x, y], layer) => ({ x, y, blocks: [`t${token}`, ...(layer ? [layer - 1] : [])], text: () => `token ${token} ${texts[index]}, ${layer ? `after block ${layer - 1}` : "where it enters the first block"}` }));
    });
    nodes.push(...apart(placed, frame));
    const skip = Number(state.skip ?? 0);
    const left = skip ? `; ${skip === 1 ? "the first token is" : `the first ${skip} tokens are`} left out` : "";
    return {
      nodes,
      height: frame.height,
      series,
      emphasize: (some) => series.flatMap((marks) => marks.flatMap((mark, layer) => {
        const token = mark.blocks[0];
        const shown = some.some((one) => (typeof one === "number" ? layer === one + 1 : one === token && layer === layers - 1));
        return shown ? [shape("circle", { class: "emphasis", cx: mark.x, cy: mark.y, r: 5 })] : [];
      })),
      caption: `${promptName(prompt)[0].toUpperCase() + promptName(prompt).slice(1)}, ${tokens.length} tokens, ${layers - 1} blocks${left}${prompt === state.prompt ? "" : " (paths are of single prompts)"}.`,
      csv: [["token", "text", "layer", "component 1", "component 2"], ...tokens.flatMap((token, index) => Array.from({ length: layers }, (_, layer) => [token, texts[index], layer, xs[index * layers + layer], ys[index * layers + layer]]))],
    };
  },
};

// Names beside points, without those that would lie on another name.
function apart(places, frame) {
  const taken = [];
  return places.flatMap(({ text, x, y }) => {
    const room = 6.4 * text.length;
    const left = x + 8 + room > frame.right;
    const box = [left ? x - 8 - room : x + 8, y - 7, left ? x - 8 : x + 8 + room, y + 7];
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) return [];
    taken.push(box);
    return [label(text, left ? x - 8 : x + 8, y + 4, { class: "faint", "text-anchor": left ? "end" : "start", style: "font-size: 11px" })];
  });
}
