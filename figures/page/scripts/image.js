// Each image as the model sees it with the measured patches, and a heat map of the coupling of its patches.

sections.image = {
  draw({ run, data, panel, width }) {
    const number = data.images[singlePrompt()] ? singlePrompt() : Object.keys(data.images)[0];
    const image = data.images[number];
    const side = Math.min(width, 420);
    return panel === "heat" ? imageHeat(run, data, number, image, side) : imagePicture(number, image, side);
  },
};

function patchPlaces(image, side, top) {
  const [width, height] = [side / image.columns, ((side / image.columns) * image.columns) / image.rows];
  return (patch) => ({ x: (patch % image.columns) * width, y: top + Math.floor(patch / image.columns) * height, width, height });
}

function imagePicture(number, image, side) {
  const place = patchPlaces(image, side, 0);
  const thin = image.marked.length > 32 ? 1 : 2.5;
  const nodes = [shape("image", { href: image.uri, width: side, height: side, preserveAspectRatio: "none" })];
  const series = [image.marked.map((patch) => {
    const box = place(patch);
    nodes.push(shape("rect", { ...box, fill: "none", stroke: "#ff2d9b", "stroke-width": thin }));
    return { x: box.x + box.width / 2, y: box.y + box.height / 2, text: () => `measured patch: row ${Math.floor(patch / image.columns)}, column ${patch % image.columns}` };
  })].filter((marks) => marks.length);
  return {
    nodes,
    height: side,
    series,
    caption: `${image.alt[0].toUpperCase() + image.alt.slice(1)}.`,
    csv: [["image", "row", "column"], ...image.marked.map((patch) => [number, Math.floor(patch / image.columns), patch % image.columns])],
  };
}

function imageHeat(run, data, number, image, side) {
  const parts = [state.k, state.p, number];
  const packed = data.heat[(DATA.runs[run].depth ? parts : [...parts, state.block]).join(",")];
  if (!packed) return { message: "A heat map needs several measured patches: coupling analyze --kind self, or --tokens all." };
  const values = unpacked(packed);
  const ends = robustEnds([...values], 1);
  const scale = scaleFrom(ends.low, ends.high);
  const bar = colorBar({ scale, width: side, name: "coupling", format: digits });
  const place = patchPlaces(image, side, bar.height + 4);
  const nodes = [...bar.nodes];
  const marks = [];
  values.forEach((value, patch) => {
    if (!Number.isFinite(value)) return;
    const box = place(patch);
    nodes.push(shape("rect", { ...box, fill: css(scale.color(value)) }));
    marks.push({ x: box.x + box.width / 2, y: box.y + box.height / 2, text: () => `row ${Math.floor(patch / image.columns)}, column ${patch % image.columns}: coupling ${digits(value)}` });
  });
  const rows = Map.groupBy ? [...Map.groupBy(marks, (mark) => mark.y).values()] : [marks];
  return {
    nodes,
    height: bar.height + 4 + side,
    series: rows,
    cursor: (mark) => shape("rect", { class: "cursor", ...shift(place(0), mark) }),
    caption: `Mean coupling of each patch, from ${digits(ends.low)} to ${digits(ends.high)} (K = ${kName()}, p = ${state.p}).`,
    csv: [["image", "row", "column", "coupling"], ...[...values].flatMap((value, patch) => (Number.isFinite(value) ? [[number, Math.floor(patch / image.columns), patch % image.columns, value]] : []))],
  };
}

function shift(box, mark) {
  return { x: mark.x - box.width / 2, y: mark.y - box.height / 2, width: box.width, height: box.height };
}
