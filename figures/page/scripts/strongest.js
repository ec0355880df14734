// The strongest pairs as bars from chance; all runs of a kind share one scale.

const MOST_BARS = 14;

sections.strongest = {
  draw({ run, width }) {
    const table = pairsOf(run);
    if (!table) return { message: whyMissing(run) };
    const pairs = strongestPairs(table);
    const bars = pairs.slice(0, MOST_BARS);
    if (!bars.length) return { message: "No pair could be compared." };
    const prefix = table.depth ? "" : "t";
    const chance = state.show === "excess" ? 0 : table.means.chance;
    const names = bars.map(({ first, second }) => [second, first].map((at) => table.names[at]).reverse().join(" – "));
    const room = Math.min(0.42 * width, 20 + 7 * Math.max(...names.map((name) => name.length)));
    const values = [...tablesLike(table).flatMap((one) => strongestPairs(one).slice(0, MOST_BARS).flatMap(({ there, back }) => [there, back])), chance];
    const scale = axisScale({ low: Math.min(...values), high: Math.max(...values) }, room, width - 62);
    const { scale: colors } = pairScale(table);
    const step = 27;
    const nodes = [];
    const series = bars.map((bar, index) => {
      const y = 14 + step * (index + 0.5);
      const [from, to] = [scale(chance), scale(bar.value)];
      const most = Math.floor(room / 7) - 2;
      const name = names[index].length > most ? `${names[index].slice(0, most - 1)}…` : names[index];
      nodes.push(label(name, room - 10, y + 4, { "text-anchor": "end" }));
      nodes.push(shape("rect", { x: Math.min(from, to), y: y - 8, width: Math.max(1, Math.abs(to - from)), height: 16, rx: 2, fill: css(colors.color(bar.value)), stroke: "var(--line)" }));
      nodes.push(shape("line", { class: "axis", x1: scale(bar.there), x2: scale(bar.back), y1: y, y2: y }));
      for (const end of [bar.there, bar.back]) nodes.push(shape("circle", { cx: scale(end), cy: y, r: 2.2, fill: "var(--ink)" }));
      nodes.push(label(shownValue(bar.value), Math.max(to, scale(bar.there), scale(bar.back)) + 8, y + 4, { class: "faint" }));
      return [{
        x: to,
        y,
        blocks: [tag(prefix, bar.a), tag(prefix, bar.b)],
        text: () => `${names[index]}: ${shownName()} ${shownValue(bar.value)}; one way ${shownValue(bar.there)}, the other ${shownValue(bar.back)}`,
        pick: () => choosePair(bar.a, bar.b),
      }];
    });
    const bottom = 14 + step * bars.length;
    nodes.push(shape("line", { x1: scale(chance), x2: scale(chance), y1: 10, y2: bottom + 4, stroke: "var(--chance)", "stroke-width": 2 }));
    nodes.push(label("chance", scale(chance), bottom + 18, { class: "chance", "text-anchor": scale(chance) < 60 ? "start" : "middle" }));
    const row = (index) => shape("rect", { class: "emphasis band", x: 0, y: 14 + step * index, width, height: step });
    const chosen = chosenPair();
    const at = bars.findIndex((bar) => chosen && [bar.a, bar.b].sort().join() === [...chosen].sort().join());
    if (at >= 0) nodes.push(shape("rect", { class: "chosen", x: 1, y: 15 + step * at, width: width - 2, height: step - 2, rx: 4 }));
    const above = pairs.filter((pair) => pair.value > chance).length;
    return {
      nodes,
      height: bottom + 26,
      series,
      inside: (x, y) => y >= 14 && y < bottom,
      find: (x, y) => series[Math.floor((y - 14) / step)]?.[0],
      cursor: (mark) => row(series.findIndex(([one]) => one === mark)),
      emphasize: (blocks) => bars.flatMap((bar, index) => (blocks.some((block) => [tag(prefix, bar.a), tag(prefix, bar.b)].includes(block)) ? [row(index)] : [])),
      caption: `${bars.length} of ${pairs.length} pairs; ${above} are above chance. The dots are both directions. Click a pair to see its projection.`,
      csv: [["a", "b", `${state.show} (mean of both directions)`, "a in the frames of b", "b in the frames of a"], ...pairs.map(({ first, second, value, there, back }) => [table.names[first], table.names[second], value, back, there])],
    };
  },
};
