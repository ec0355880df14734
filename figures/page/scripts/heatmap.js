// Every pair: the excess over chance, or the coupling, as a matrix. All runs of a kind share one color scale.

// The tables of runs that compare the same, blocks or tokens.
function tablesLike({ depth }) {
  return DATA.runs.map((_, run) => pairsOf(run)).filter((table) => table?.depth === depth);
}

function pairScale(table) {
  const tables = tablesLike(table);
  const ends = robustEnds(tables.flatMap((table) => [...table[state.show]]));
  const chance = state.show === "excess" ? 0 : tables.reduce((sum, { means }) => sum + means.chance, 0) / tables.length;
  return { scale: scaleAround(chance, Math.min(ends.low, chance), Math.max(ends.high, chance)), ...ends };
}

function pairText(table, row, column) {
  const what = table.depth ? "block" : "token";
  const [a, b] = [`${what} ${table.names[row]}`, `${what} ${table.names[column]}`];
  const at = row * table.side + column;
  if (!Number.isFinite(table.excess[at])) return row === column ? `${a}: not compared with itself` : `${a} and ${b}: not compared`;
  return `${a} in the frames of ${b}: excess ${percent(table.excess[at])}, coupling ${digits(table.coupling[at])}`;
}

sections.heatmap = {
  draw({ run, width }) {
    const table = pairsOf(run);
    if (!table) return { message: whyMissing(run) };
    const { scale, clippedLow, clippedHigh } = pairScale(table);
    const what = table.depth ? "block" : "token";
    const drawn = matrix({
      values: table[state.show],
      names: table.names,
      ids: table.ids,
      prefix: table.depth ? "" : "t",
      width,
      scale,
      bar: { name: shownName(), format: shownValue, middleName: "chance", clippedLow, clippedHigh },
      axisNames: [`${what} a (Jacobian)`, `${what} b (singular frames)`],
      text: (row, column) => pairText(table, row, column),
      chosen: chosenPair(),
      pick: choosePair,
    });
    const { means, prompt } = table;
    const error = means.error === null ? "" : ` ± ${percent(means.error)}`;
    const at = table.depth ? "" : `, block ${state.block}`;
    const left = table.depth || state.skip === "0" ? "" : `; the first ${state.skip === "1" ? "token is" : `${state.skip} tokens are`} left out`;
    return {
      ...drawn,
      caption: `Mean excess ${percent(means.excess)}${error}: coupling ${digits(means.coupling)}, chance ${digits(means.chance)} (K = ${kName()}, p = ${state.p}, ${state.variant}${at}, ${promptName(prompt)}${left}).`,
      csv: pairRows(table),
    };
  },
};

function pairRows(table) {
  const rows = [["a", "b", "excess", "coupling"]];
  for (let row = 0; row < table.side; row++) {
    for (let column = 0; column < table.side; column++) {
      const at = row * table.side + column;
      if (Number.isFinite(table.excess[at])) rows.push([table.names[row], table.names[column], table.excess[at], table.coupling[at]]);
    }
  }
  return rows;
}
