// Rewards, coupling and the policy's distance against the optimization step, all runs in one chart.

sections.training = {
  draw({ data, panel, width }) {
    const seed = state.seed ?? MEAN;
    const lineOf = (run, column) => run.lines[column]?.[seed] ?? { steps: [], values: [] };
    const lines = data.runs.map((run, index) => ({ name: run.name, index, ...lineOf(run, panel), chance: panel === "score" ? lineOf(run, "chance") : null }));
    const share = panel === "excess";
    const all = lines.flatMap(({ values, low = [], high = [], chance }) => [...values, ...low, ...high, ...(chance?.values ?? [])]);
    if (!all.some(Number.isFinite)) return { message: "No step of this seed has a value." };
    const steps = lines.flatMap((line) => line.steps);
    const hasChance = lines.some(({ chance }) => chance?.values.length);
    const entries = [
      ...(data.runs.length > 1 ? lines.map((line) => ({ name: line.name, color: runColor(line.index) })) : []),
      ...(hasChance ? [{ name: "chance", color: "var(--faint)", dashed: true }] : []),
    ];
    const keys = legend(entries, width, 54, 34);
    const top = Math.max(26, keys.height + 10);
    const frame = plot({
      width,
      height: 215 + top,
      x: { ...padded(steps, { share: 0.03 }), whole: true, name: "optimization step" },
      y: { ...padded(share ? all.map((value) => 100 * value) : all, { zero: panel === "ess" || panel === "mismatch_to_initial" }), name: share ? "percent" : "" },
      margin: { top },
    });
    const value = (number) => frame.sy(share ? 100 * number : number);
    const said = (number) => (share ? percent(number) : digits(number));
    const nodes = [...frame.nodes, ...keys.nodes];
    const series = lines.filter((line) => line.steps.length).map((line) => {
      const color = runColor(line.index);
      const points = line.steps.map((step, at) => [frame.sx(step), value(line.values[at])]);
      if (line.low) {
        const lower = line.steps.map((step, at) => [frame.sx(step), value(line.low[at])]);
        const upper = line.steps.map((step, at) => [frame.sx(step), value(line.high[at])]);
        nodes.push(path([...upper, ...lower.reverse()], { fill: color, "fill-opacity": 0.16, stroke: "none" }));
      }
      if (line.chance?.steps.length) {
        const level = line.chance.steps.map((step, at) => [frame.sx(step), value(line.chance.values[at])]);
        nodes.push(path(level, { stroke: color, "stroke-width": 1.3, "stroke-dasharray": "5 3" }));
      }
      nodes.push(path(points, { stroke: color, "stroke-width": 1.8 }));
      if (points.length <= 60) for (const [x, y] of points) nodes.push(shape("circle", { cx: x, cy: y, r: 2.4, fill: color }));
      return line.steps.map((step, at) => ({
        x: points[at][0],
        y: Number.isFinite(points[at][1]) ? points[at][1] : frame.bottom,
        blocks: [`s${step}`],
        text: () => `${data.runs.length > 1 ? `${line.name}, ` : ""}step ${step}: ${said(line.values[at])}${line.low ? ` (${said(line.low[at])} to ${said(line.high[at])})` : ""}`,
      }));
    });
    const reaches = new Set(steps);
    const several = lines.some((line) => line.low);
    return {
      nodes,
      height: frame.height,
      series,
      emphasize: (some) => some.map((one) => Number(String(one).slice(1))).filter((step) => reaches.has(step))
        .map((step) => shape("line", { class: "emphasis", "stroke-dasharray": "2 3", x1: frame.sx(step), x2: frame.sx(step), y1: frame.top, y2: frame.bottom })),
      caption: `${seed === MEAN ? (several ? "Mean over seeds; the band is from the lowest to the highest." : "One seed.") : `Seed ${seed}.`}`,
      csv: [["run", "step", "value", "lowest seed", "highest seed", ...(hasChance ? ["chance"] : [])], ...lines.flatMap((line) => line.steps.map((step, at) => [line.name, step, line.values[at], line.low?.[at] ?? null, line.high?.[at] ?? null, ...(hasChance ? [line.chance?.values[line.chance.steps.indexOf(step)] ?? null] : [])]))],
    };
  },
};
