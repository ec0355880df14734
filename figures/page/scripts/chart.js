// The place of one chart: draws it at its width, and makes its marks reachable by pointer and by keyboard.
//
// A section's `draw({run, data, panel, width})` returns nodes, height, series (rows of marks with x, y, text and, where
// they have them, blocks and pick), caption, csv (rows of cells), and emphasize(blocks), or {message} in its place.

class Chart {
  constructor(box) {
    this.box = box;
    this.caption = box.parentElement.querySelector(".caption");
    this.section = box.dataset.section;
    this.run = Number(box.dataset.run);
    this.svg = shape("svg", { "aria-hidden": "true", focusable: "false" });
    this.emphasis = shape("g");
    this.cursor = shape("g");
    box.append(this.svg);
    box.setAttribute("tabindex", "0");
    box.setAttribute("role", "application");
    box.setAttribute("aria-roledescription", "chart");
    box.parentElement.querySelector(".csv").addEventListener("click", () => this.save());
    for (const event of ["pointermove", "pointerdown"]) box.addEventListener(event, (pointer) => this.point(pointer));
    box.addEventListener("pointerleave", () => this.leave());
    box.addEventListener("click", (pointer) => this.nearest(pointer)?.pick?.());
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("blur", () => this.leave());
  }

  draw() {
    const width = printing ? 640 : Math.max(240, Math.floor(this.box.clientWidth));
    const all = DATA.sections[this.section];
    const drawn = sections[this.section].draw({ run: this.run, data: all[this.run], panel: this.box.dataset.panel, width });
    this.drawn = drawn.message ? { nodes: [], height: 1, series: [], csv: [], caption: "", ...drawn } : drawn;
    const { nodes, height } = this.drawn;
    for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) this.svg.setAttribute(name, value);
    this.svg.replaceChildren(...nodes, this.emphasis, this.cursor);
    this.emphasis.replaceChildren();
    this.cursor.replaceChildren();
    this.caption.textContent = this.drawn.message ?? this.drawn.caption;
    this.at = null;
    const name = [document.getElementById(`${this.section}-title`).textContent, this.box.dataset.name].filter(Boolean).join(", ");
    const how = this.drawn.series.length ? " Arrow keys move through its values." : "";
    this.box.setAttribute("aria-label", `${name}: ${this.caption.textContent}${how}`);
    this.box.parentElement.querySelector(".csv").hidden = this.drawn.csv.length < 2;
  }

  place(pointer) {
    const frame = this.svg.getBoundingClientRect();
    const ratio = this.svg.viewBox.baseVal.width / (frame.width || 1);
    return [(pointer.clientX - frame.left) * ratio, (pointer.clientY - frame.top) * ratio];
  }

  nearest(pointer) {
    const [x, y] = this.place(pointer);
    const { series, inside, reach = 26 } = this.drawn;
    if (inside && !inside(x, y)) return null;
    if (this.drawn.find) return this.drawn.find(x, y) ?? null;
    let [best, least] = [null, inside ? Infinity : reach ** 2];
    for (const marks of series) {
      for (const mark of marks) {
        const away = (mark.x - x) ** 2 + (mark.y - y) ** 2;
        if (away < least) [best, least] = [mark, away];
      }
    }
    return best;
  }

  point(pointer) {
    const mark = this.nearest(pointer);
    this.box.classList.toggle("pointed", Boolean(mark?.pick));
    if (!mark) return this.leave();
    this.show(mark, pointer.clientX, pointer.clientY);
  }

  show(mark, x, y) {
    showTip(mark.text(), x, y);
    this.cursor.replaceChildren(this.drawn.cursor?.(mark) ?? shape("circle", { class: "cursor", cx: mark.x, cy: mark.y, r: 6 }));
    tell("hover", mark.blocks ?? []);
  }

  leave() {
    hideTip();
    this.cursor.replaceChildren();
    tell("hover", []);
  }

  emphasize(blocks) {
    this.emphasis.replaceChildren(...(blocks.length ? (this.drawn?.emphasize?.([...new Set(blocks)]) ?? []) : []));
  }

  key(event) {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    const { series } = this.drawn;
    if (!series.length || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") return this.leave();
    const mark = this.at && series[this.at[0]]?.[this.at[1]];
    if ((event.key === "Enter" || event.key === " ") && mark?.pick) {
      event.preventDefault();
      const at = this.at;
      mark.pick();
      this.at = at;
      return;
    }
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
    const row = this.at ? within(this.at[0] + move[0], series.length) : 0;
    this.at = [row, this.at ? within(this.at[1] + move[1], series[row].length) : 0];
    const chosen = series[this.at[0]][this.at[1]];
    const frame = this.svg.getBoundingClientRect();
    const ratio = frame.width / this.svg.viewBox.baseVal.width;
    this.show(chosen, frame.left + chosen.x * ratio, frame.top + chosen.y * ratio);
    announce(chosen.text());
  }

  save() {
    const cell = (value) => {
      const text = typeof value === "number" ? (Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "") : String(value ?? "");
      const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // no formulas in spreadsheets
      return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const text = this.drawn.csv.map((row) => row.map(cell).join(",")).join("\n") + "\n";
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${this.box.id}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    announce(`${this.box.id}.csv was saved`);
  }
}
