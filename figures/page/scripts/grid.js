// The chosen pair: each Jacobian in the singular frames of the other, as absolute values.

sections.grid = {
  draw({ run, data, width }) {
    const { depth, blocks } = DATA.runs[run];
    const pair = chosenPair();
    const prompts = Object.keys(data.prompts);
    const prompt = prompts.includes(state.prompt) ? state.prompt : prompts[0];
    const table = data.prompts[prompt];
    const ids = depth ? blocks : DATA.pairs[run].tokens[prompt];
    const group = depth ? 0 : data.groups.indexOf(state.block);
    if (!pair || group < 0 || !pair.every((one) => ids.includes(one))) {
      return { message: pair ? `This run has no such pair: ${pair.join(" and ")}.` : "No pair is chosen." };
    }
    const size = Math.min(data.size, kOf(run));
    const what = depth ? "block" : "token";
    const tiles = [pair, [...pair].reverse()].map(([a, b]) => {
      const at = (group * ids.length + ids.indexOf(a)) * ids.length + ids.indexOf(b);
      const largest = table.largest[at] ?? NaN;
      const all = unpacked(table.shares).subarray(at * data.size ** 2, (at + 1) * data.size ** 2);
      const values = Float64Array.from({ length: size ** 2 }, (_, index) => largest * all[Math.floor(index / size) * data.size + (index % size)]);
      return { a, b, values };
    });
    const ranks = Array.from({ length: size }, (_, rank) => rank + 1);
    const high = Math.max(...tiles.flatMap(({ values }) => [...values]));
    const beside = width >= 360;
    const each = beside ? (width - 20) / 2 : width;
    const drawn = tiles.map(({ a, b, values }) =>
      matrix({
        values,
        names: ranks.map(String),
        ids: ranks,
        prefix: "r",
        width: each,
        most: 330,
        scale: scaleFrom(0, high),
        bar: { name: `${what} ${a} in the frames of ${b}`, format: digits },
        axisNames: ["left vector of b", "right vector of b"],
        text: (row, column, value) => `${what} ${a} in the frames of ${b}: entry ${row + 1}, ${column + 1} is ${digits(value)}`,
      }),
    );
    const shift = beside ? [each + 20, 0] : [0, drawn[0].height + 12];
    const moved = shape("g", { transform: `translate(${shift.join(" ")})` }, ...drawn[1].nodes);
    const second = drawn[1].series.map((marks) => marks.map((mark) => ({ ...mark, x: mark.x + shift[0], y: mark.y + shift[1] })));
    const cell = drawn[0].series[0].length > 1 ? drawn[0].series[0][1].x - drawn[0].series[0][0].x : 40;
    const cut = data.size < data.of && kOf(run) > data.size ? `, the first ${data.size} of them` : "";
    return {
      nodes: [...drawn[0].nodes, moved],
      height: beside ? drawn[0].height : drawn[0].height + drawn[1].height + 12,
      series: [...drawn[0].series, ...second].map((marks) => marks.map((mark) => ({ ...mark, blocks: pair.map((one) => (depth ? one : `t${one}`)) }))),
      inside: (x, y) => drawn[0].inside(x, y) || drawn[1].inside(x - shift[0], y - shift[1]),
      cursor: (mark) => shape("rect", { class: "cursor", x: mark.x - cell / 2, y: mark.y - cell / 2, width: cell, height: cell }),
      caption: `${what[0].toUpperCase() + what.slice(1)}s ${pair.join(" and ")}, K = ${kName()}${cut}, ${promptName(prompt)}${prompt === state.prompt ? "" : " (projections are of single prompts)"}.`,
      csv: [[what, `frames of ${what}`, "row", "column", "absolute value"], ...tiles.flatMap(({ a, b, values }) => [...values].map((value, index) => [a, b, Math.floor(index / size) + 1, (index % size) + 1, value]))],
    };
  },
};
