// Angles between the top singular subspaces of blocks; all runs and both sides share one color scale.

sections.angles = {
  draw({ run, data, panel, width }) {
    const { blocks } = DATA.runs[run];
    const choice = `${state.k},${state.prompt}`;
    const all = DATA.sections.angles.filter(Boolean).flatMap(({ tables }) => Object.values(tables[choice] ?? {}).map(unpacked));
    if (!data.tables[choice]) return { message: whyMissing(run) };
    const values = unpacked(data.tables[choice][panel]);
    const chance = data.chance[Number(state.k)];
    const ends = robustEnds(all.flatMap((array) => [...array]));
    const degrees = (value) => `${digits(value)}°`;
    const middle = chance ?? ends.high;
    const finite = [...values].filter(Number.isFinite);
    const mean = finite.reduce((sum, value) => sum + value, 0) / finite.length;
    return {
      ...matrix({
        values,
        names: blocks.map(String),
        ids: blocks,
        width,
        scale: scaleAround(middle, Math.min(ends.low, middle), Math.max(ends.high, middle), { reversed: true }),
        bar: { name: "angle", format: degrees, middleName: "chance", clippedLow: ends.clippedLow, clippedHigh: ends.clippedHigh },
        axisNames: ["block", "block"],
        text: (row, column, value) => (row === column ? `block ${blocks[row]}: not compared with itself` : `${panel} subspaces of blocks ${blocks[row]} and ${blocks[column]}: ${degrees(value)}${chance === null ? "" : `, chance ${degrees(chance)}`}`),
        chosen: chosenPair(),
        pick: choosePair,
      }),
      caption: `Mean ${degrees(mean)}${chance === null ? "" : `; random subspaces have ${degrees(chance)}`} (K = ${kName()}, ${promptName(state.prompt)}).`,
      csv: [["block", "other block", "angle in degrees"], ...[...values].flatMap((value, at) => (Number.isFinite(value) ? [[blocks[Math.floor(at / blocks.length)], blocks[at % blocks.length], value]] : []))],
    };
  },
};
