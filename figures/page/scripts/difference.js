// The excess of every pair of a run minus that of the first run.

sections.difference = {
  draw({ run, width }) {
    const [table, first] = [pairsOf(run), pairsOf(0)];
    if (!table || !first) return { message: whyMissing(run) };
    const difference = (index) => {
      const other = pairsOf(index);
      return other?.depth && other.side === first.side ? other.excess.map((value, at) => value - first.excess[at]) : [];
    };
    const values = difference(run);
    const drawnRuns = DATA.runs.map((_, index) => index).filter((index) => index > 0 && DATA.sections.difference[index]);
    const ends = robustEnds(drawnRuns.flatMap((index) => [...difference(index)]));
    const points = (value) => percent(value).replace(" %", " points");
    const name = DATA.runs[0].name;
    const finite = values.filter(Number.isFinite);
    const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
    return {
      ...matrix({
        values,
        names: table.names,
        ids: table.ids,
        width,
        scale: scaleAround(0, Math.min(ends.low, 0), Math.max(ends.high, 0)),
        bar: { name: "difference of excess", format: points, middleName: "equal", clippedLow: ends.clippedLow, clippedHigh: ends.clippedHigh },
        axisNames: ["block a (Jacobian)", "block b (singular frames)"],
        text: (row, column, value) => (row === column ? pairText(table, row, column) : `block ${table.names[row]} in the frames of block ${table.names[column]}: ${points(value)} (${percent(table.excess[row * table.side + column])} minus ${percent(first.excess[row * table.side + column])})`),
        chosen: chosenPair(),
        pick: choosePair,
      }),
      caption: `Compared with ${name}: ${points(mean)} on average; ${finite.filter((value) => value > 0).length} of ${finite.length} ordered pairs are higher (K = ${kName()}, p = ${state.p}, ${state.variant}, ${promptName(table.prompt)}).`,
      csv: [["a", "b", `excess minus that of ${name}`], ...[...values].flatMap((value, at) => (Number.isFinite(value) ? [[table.names[Math.floor(at / table.side)], table.names[at % table.side], value]] : []))],
    };
  },
};
