// Line-shape score and expodistance by token, all runs in one chart, random weights dashed.

sections.linearity = {
  draw({ data, panel, width }) {
    const skip = Number(state.skip ?? 0);
    const lines = data.map((run, index) => {
      const { texts, ...measures } = run.prompts[state.prompt] ?? run.prompts[MEAN];
      const points = measures[panel].map((value, token) => ({ token, value: value ?? NaN, text: texts?.[token] })).filter(({ token }) => token >= skip);
      return { ...run, index, points };
    });
    const values = lines.flatMap(({ points }) => points.map(({ value }) => value));
    const tokens = lines.flatMap(({ points }) => points.map(({ token }) => token));
    if (!values.some(Number.isFinite)) return { message: `No ${inputWord()} has a token that is left.` };
    const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
    const log = panel === "distance" && sorted.at(-1) > 50 * sorted[Math.floor(sorted.length / 2)];
    const color = ({ index, random }) => (random ? "var(--faint)" : runColor(index));
    const keys = legend(data.length > 1 ? lines.map((line) => ({ name: line.name, color: color(line), dashed: line.random })) : [], width, 54, 34);
    const top = Math.max(26, keys.height + 10);
    const ideal = panel === "shape" ? 1 : 0;
    const frame = plot({
      width,
      height: 225 + top,
      x: { ...padded(tokens, { share: 0.03 }), whole: true, name: state.prompt === MEAN ? "token position" : "token" },
      y: { ...padded(values, { zero: panel === "distance" && !log, log, extra: panel === "shape" ? [1] : [] }), name: panel === "shape" ? "line-shape score" : "expodistance" },
      margin: { top },
    });
    const nodes = [...frame.nodes, ...keys.nodes];
    if (!log) {
      const y = frame.sy(ideal);
      nodes.push(shape("line", { x1: frame.left, x2: frame.right, y1: y, y2: y, stroke: "var(--chance)", "stroke-dasharray": "2 3" }));
      nodes.push(label(panel === "shape" ? "straight" : "exponential", frame.right, y - 5, { class: "chance", "text-anchor": "end" }));
    }
    const series = lines.filter(({ points }) => points.length).map((line) => {
      const points = line.points.map(({ token, value }) => [frame.sx(token), frame.sy(log && !(value > 0) ? NaN : value)]);
      nodes.push(path(points, { stroke: color(line), "stroke-width": 1.8, "stroke-dasharray": line.random ? "5 3" : null }));
      for (const [x, y] of points) if (Number.isFinite(y)) nodes.push(shape("circle", { cx: x, cy: y, r: points.length > 60 ? 1.4 : 2.2, fill: color(line) }));
      return line.points.map(({ token, value, text }, at) => ({ x: points[at][0], y: Number.isFinite(points[at][1]) ? points[at][1] : frame.bottom, blocks: [`t${token}`], text: () => `${data.length > 1 ? `${line.name}, ` : ""}token ${token}${text === undefined ? "" : ` ${text}`}: ${digits(value)}` }));
    });
    const left = skip ? `, ${skip === 1 ? "the first token" : `the first ${skip} tokens`} left out` : "";
    return {
      nodes,
      height: frame.height,
      series,
      emphasize: (some) => some.filter((one) => String(one).startsWith("t")).map((one) => Number(String(one).slice(1))).filter((token) => tokens.includes(token))
        .map((token) => shape("line", { class: "emphasis", "stroke-dasharray": "2 3", x1: frame.sx(token), x2: frame.sx(token), y1: frame.top, y2: frame.bottom })),
      caption: `${state.prompt === MEAN ? `Median over ${inputWord()}s at each position` : `Tokens of ${promptName(state.prompt)}`}${left}.`,
      csv: [["run", "token", "text", panel === "shape" ? "line-shape score" : "expodistance"], ...lines.flatMap(({ name, points }) => points.map(({ token, value, text }) => [name, token, text ?? "", value]))],
    };
  },
};
