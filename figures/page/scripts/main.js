// Starts the page: draws every chart, and draws again what a choice, the width, the theme or the printer changes.

readFragment();
const charts = [...document.querySelectorAll(".chart")].map((box) => new Chart(box));

function drawAll() {
  for (const chart of charts) chart.draw();
  sayNow();
}

// What the controls choose, with the number that it gives.
function sayNow() {
  const said = DATA.runs.map((run, index) => {
    const table = pairsOf(index);
    if (!table) return null;
    const { excess, error } = table.means;
    return `${DATA.runs.length > 1 ? `${run.name}: ` : ""}${percent(excess)}${error === null ? "" : ` ± ${percent(error)}`}`;
  });
  const found = said.filter(Boolean);
  const shown = found.length > 3 ? [...found.slice(0, 3), `and ${found.length - 3} more`] : found;
  const absent = DATA.runs.length ? "No table at this choice" : "";
  const text = found.length ? `Excess over chance: ${shown.join("; ")}` : absent;
  document.getElementById("now").textContent = text;
  return text;
}

for (const control of controls) {
  control.addEventListener("change", () => {
    readControls();
    writeFragment();
    tell("change", control.name);
  });
}
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("reset").addEventListener("click", () => {
  history.replaceState(null, "", location.pathname + location.search);
  readFragment();
  tell("change", "all");
});
addEventListener("hashchange", () => {
  readFragment();
  tell("change", "all");
});

on("change", (what) => {
  drawAll();
  if (what === "pair") announce(`Chosen: ${state.pair.join(" and ")}. ${document.querySelector("#grid .caption")?.textContent ?? ""}`);
  else announce(`The charts have changed. ${[sayNow()].filter(Boolean).map((text) => `${text}.`).join("")}`);
});
on("hover", (blocks) => {
  for (const chart of charts) chart.emphasize(blocks);
});

darkTheme.addEventListener("change", drawAll);
addEventListener("beforeprint", () => {
  printing = true;
  drawAll();
});
addEventListener("afterprint", () => {
  printing = false;
  drawAll();
});
let lastWidth = innerWidth;
let waiting = 0;
addEventListener("resize", () => {
  if (innerWidth === lastWidth) return; // a phone's address bar changes the height alone
  lastWidth = innerWidth;
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(drawAll);
});
drawAll();
document.documentElement.dataset.drawn = "yes";
