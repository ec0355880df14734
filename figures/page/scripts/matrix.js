// A matrix as an image of one pixel per cell, which any number of blocks draws at once, with names, bar and cursor.

function matrix({ values, names, ids, width, most = 620, scale, bar, axisNames, text, chosen, pick, prefix = "", top = 0 }) {
  const count = names.length;
  const longest = Math.min(14, Math.max(...names.map((name) => name.length)));
  const words = longest > 4;
  const room = { left: 26 + 7 * longest, bottom: words ? 30 + 6 * longest : 40 };
  const side = Math.max(80, Math.min(width - room.left - 6, most));
  const colors = bar ? colorBar({ ...bar, scale, width: Math.min(side + room.left, width) }) : { nodes: [], height: 0 };
  const [x0, y0] = [room.left, top + colors.height + 6];
  const cell = side / count;
  const hatch = `hatch-${(matrix.serial = (matrix.serial ?? 0) + 1)}`;
  const nodes = [
    ...colors.nodes,
    shape("pattern", { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      shape("line", { x1: 0, x2: 0, y1: 0, y2: 5, stroke: "var(--hatch)", "stroke-width": 2 })),
    shape("rect", { x: x0, y: y0, width: side, height: side, fill: `url(#${hatch})` }),
    shape("image", { x: x0, y: y0, width: side, height: side, href: pixels(values, count, scale), preserveAspectRatio: "none", style: "image-rendering: pixelated" }),
    ...matrixNames(names, cell, side, x0, y0, words, longest, axisNames, room),
  ];
  const series = names.map((_, row) =>
    names.map((_, column) => ({
      x: x0 + (column + 0.5) * cell,
      y: y0 + (row + 0.5) * cell,
      blocks: [tag(prefix, ids[row]), tag(prefix, ids[column])],
      text: () => text(row, column, values[row * count + column]),
      pick: pick && row !== column ? () => pick(ids[row], ids[column]) : null,
    })),
  );
  const box = (row, column, attributes) => shape("rect", { x: x0 + column * cell, y: y0 + row * cell, width: cell, height: cell, ...attributes });
  const at = chosen ? [ids.indexOf(chosen[0]), ids.indexOf(chosen[1])] : [-1, -1];
  if (at[0] >= 0 && at[1] >= 0) nodes.push(box(at[0], at[1], { class: "chosen" }));
  return {
    nodes,
    height: y0 + side + room.bottom,
    series,
    inside: (x, y) => x >= x0 && x < x0 + side && y >= y0 && y < y0 + side,
    cursor: (mark) => shape("rect", { class: "cursor", x: mark.x - cell / 2, y: mark.y - cell / 2, width: cell, height: cell }),
    emphasize: (blocks) =>
      blocks.flatMap((block) => {
        const index = ids.findIndex((id) => tag(prefix, id) === block);
        if (index < 0) return [];
        return [
          shape("rect", { class: "emphasis band", x: x0, y: y0 + index * cell, width: side, height: cell }),
          shape("rect", { class: "emphasis band", x: x0 + index * cell, y: y0, width: cell, height: side }),
        ];
      }),
  };
}

function pixels(values, count, scale) {
  const canvas = element("canvas", { width: count, height: count });
  const context = canvas.getContext("2d");
  const image = context.createImageData(count, count);
  values.forEach((value, index) => {
    if (Number.isFinite(value)) image.data.set([...scale.color(value), 255], 4 * index); // otherwise transparent
  });
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

function matrixNames(names, cell, side, x0, y0, words, longest, axisNames, room) {
  const nodes = [];
  const step = [1, 2, 5, 10, 20, 50, 100].find((candidate) => candidate * cell >= (words ? 13 : 23)) ?? 200;
  names.forEach((name, index) => {
    if (index % step) return;
    const short = name.length > longest ? `${name.slice(0, longest - 1)}…` : name;
    const middle = (index + 0.5) * cell;
    nodes.push(label(short, x0 - 6, y0 + middle + 4, { "text-anchor": "end", class: "faint" }));
    const below = words
      ? { "text-anchor": "end", class: "faint", transform: `rotate(-60 ${x0 + middle + 4} ${y0 + side + 12})` }
      : { "text-anchor": "middle", class: "faint" };
    nodes.push(label(short, x0 + middle + (words ? 4 : 0), y0 + side + (words ? 12 : 16), below));
  });
  nodes.push(label(axisNames[1], x0 + side / 2, y0 + side + room.bottom - 6, { "text-anchor": "middle" }));
  nodes.push(label(axisNames[0], 0, 0, { "text-anchor": "middle", transform: `translate(${x0 - room.left + 12} ${y0 + side / 2}) rotate(-90)` }));
  return nodes;
}
