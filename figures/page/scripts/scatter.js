// One point per model, with the least-squares line.

sections.scatter = {
  draw({ data, width }) {
    const { rows, line, note, labels } = data;
    const groups = [...new Set(rows.map(({ group }) => group))];
    const keys = legend(groups.length > 1 ? groups.map((name, index) => ({ name, color: runColor(index) })) : [], width, 54, 34);
    const top = Math.max(26, keys.height + 10);
    const frame = plot({
      width,
      height: Math.min(440, Math.max(300, 0.6 * width)),
      x: { ...padded(rows.map(({ score }) => score), { share: 0.08 }), name: labels[0] },
      y: { ...padded(rows.map(({ benchmark }) => benchmark), { share: 0.08 }), name: labels[1] },
      margin: { top },
    });
    const nodes = [...frame.nodes, ...keys.nodes];
    if (line.length) nodes.push(path(line.map(([x, y]) => [frame.sx(x), frame.sy(y)]), { stroke: "var(--faint)", "stroke-width": 1.4 }));
    const marks = rows.map(({ model, score, benchmark, group }) => ({ x: frame.sx(score), y: frame.sy(benchmark), group, model, score, text: () => `${model}: ${labels[0]} ${digits(score)}, ${labels[1]} ${digits(benchmark)}` }));
    for (const { x, y, group } of marks) nodes.push(shape("circle", { cx: x, cy: y, r: 4.5, fill: runColor(groups.indexOf(group)), "fill-opacity": 0.9 }));
    const names = apart(marks.map(({ model, x, y }) => ({ text: model, x, y })), frame);
    const few = names.length < marks.length ? "; further names appear on hover" : "";
    return {
      nodes: [...nodes, ...names],
      height: frame.height,
      series: [[...marks].sort((a, b) => a.score - b.score)],
      caption: `${note[0].toUpperCase() + note.slice(1)}${few}.`,
      csv: [["model", "group", labels[0], labels[1]], ...rows.map(({ model, group, score, benchmark }) => [model, group, score, benchmark])],
    };
  },
};
