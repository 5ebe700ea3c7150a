// Parallel coordinates: one upright axis for each parameter and score, one line for each run. A
// missing value has a place of its own below the axis. Dragging along axes leaves the runs that
// pass through all of the marked stretches.

import { csv, save } from "./export.js";
import { isNotFinite, make, number, svg, text } from "./format.js";
import { isDrawable, logTicks, span, ticks } from "./scales.js";

const HEIGHT = 330;
const MARGIN = { top: 46, bottom: 46, side: 60 };
const [LOW, HIGH, MISSING] = [HEIGHT - MARGIN.bottom, MARGIN.top, HEIGHT - 14];
const NARROWEST = 96; // pixels between two axes; the chart scrolls sideways below that
const SHADES = 5;
const GRIP = 13; // how far beside an axis it can be grabbed

export class Parallel {
  // on: {picked(id), brushed([[key, from, to]…])}; `brushes` as the address has them.
  constructor(figure, brushes, on = {}) {
    Object.assign(this, { figure, on, brushes: new Map(brushes.map(([key, from, to]) => [key, [Number(from), Number(to)]])) });
    this.root = svg("svg", { role: "img", height: HEIGHT });
    this.box = make("div", { class: "parallel", tabindex: 0, role: "group", "aria-label": "Parallel coordinates" }, this.root);
    this.said = make("p", { class: "said-of-chart", role: "status" });
    this.clear = make("button", { type: "button", class: "reset", hidden: true, click: () => this.brush(null) }, "Show all");
    const table = make("button", { type: "button", class: "quiet small", "aria-label": "Save as CSV", click: () => this.saveCsv() }, "CSV");
    figure.append(this.box, make("div", { class: "chart-foot" }, this.said, this.clear, make("span", { class: "export" }, table)));
    this.root.addEventListener("pointerleave", () => this.highlight(null));
    new ResizeObserver(() => { if (this.box.clientWidth !== this.width) this.render(); }).observe(figure);
  }

  draw(spec) {
    this.spec = spec;
    this.render();
  }

  render() {
    this.width = this.box.clientWidth;
    if (!this.spec || this.width < 50) return;
    const { axes, rows, metric } = this.spec;
    const width = Math.max(this.width - 2, 2 * MARGIN.side + (axes.length - 1) * NARROWEST);
    this.root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.root.setAttribute("width", width);
    const named = axes.map((axis) => axis.heading).join(", ");
    this.root.setAttribute("aria-label", `${rows.length} runs over ${named}; the best are the darkest. `
      + "The table of points has the values, and its filter the same use as marking an axis.");
    if (!rows.length || axes.length < 2) {
      this.root.replaceChildren(svg("text", { x: this.width / 2, y: HEIGHT / 2, class: "axis",
        "text-anchor": "middle" }, "Nothing to draw until a run has a score"));
      return;
    }
    const gap = (width - 2 * MARGIN.side) / (axes.length - 1);
    this.axes = axes.map((axis, i) => upright(axis, rows, MARGIN.side + i * gap, gap, i === axes.length - 1));
    const shades = this.shades(rows, metric);
    this.lines = new Map();
    const lines = rows.map((row, place) => this.line(row, shades[place]));
    const order = [...lines.keys()].sort((a, b) => shades[a] - shades[b]);
    this.root.replaceChildren(...order.map((place) => lines[place]), ...this.axes.map((axis) => axis.element),
      ...this.axes.map((axis) => this.handle(axis)));
    this.applyBrushes();
  }

  // 0 for the worst fifth of the runs, 4 for the best; runs without a score count as the worst.
  shades(rows, metric) {
    const sign = this.spec.better === "higher" ? 1 : -1;
    const value = (row) => (isDrawable(row.values[metric]) ? sign * row.values[metric] : -Infinity);
    const ranked = rows.map((row, place) => [value(row), place]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    const shades = [];
    ranked.forEach(([, place], rank) => (shades[place] = Math.floor((rank * SHADES) / rows.length)));
    return shades;
  }

  line(row, shade) {
    const d = this.axes.map((axis, i) => `${i ? "L" : "M"}${axis.x.toFixed(1)} ${axis.place(row.values[axis.key]).toFixed(1)}`).join("");
    const isPicked = this.spec.picked?.has(row.id);
    const element = svg("path", { d, class: `line q${shade}${isPicked ? " chosen" : ""}`, "data-run": row.id,
      pointerenter: () => this.highlight(row.id), click: () => { this.highlight(row.id); this.on.picked?.(row.id); } });
    this.lines.set(row.id, { element, row });
    return element;
  }

  // ---------------------------------------------------------------- marking stretches of axes
  handle(axis) {
    const grip = svg("rect", { x: axis.x - GRIP, y: HIGH - 6, width: 2 * GRIP, height: MISSING - HIGH + 12, class: "grip",
      "data-key": axis.key });
    const mark = svg("rect", { x: axis.x - 5, width: 10, class: "brush" });
    axis.mark = mark;
    const height = (event) => event.clientY - this.root.getBoundingClientRect().top;
    let from = null;
    grip.addEventListener("pointerdown", (event) => {
      from = height(event);
      grip.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    grip.addEventListener("pointermove", (event) => {
      if (from === null) return;
      this.brushes.set(axis.key, [Math.min(from, height(event)), Math.max(from, height(event))]);
      this.applyBrushes();
    });
    grip.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(height(event) - from) < 4) this.brushes.delete(axis.key);
      from = null;
      this.brush(this.brushes);
    });
    return svg("g", {}, mark, grip);
  }

  brush(brushes) {
    this.brushes = brushes ?? new Map();
    this.applyBrushes();
    this.on.brushed?.([...this.brushes].map(([key, range]) => [key, ...range.map(Math.round)]));
  }

  isWithin({ values }) {
    return this.axes.every((axis) => {
      const range = this.brushes.get(axis.key);
      const y = axis.place(values[axis.key]);
      return !range || (y >= range[0] && y <= range[1]);
    });
  }

  applyBrushes() {
    for (const axis of this.axes ?? []) {
      const range = this.brushes.get(axis.key);
      axis.mark.setAttribute("y", range ? range[0] : 0);
      axis.mark.setAttribute("height", range ? Math.max(1, range[1] - range[0]) : 0);
    }
    let within = 0;
    for (const { element, row } of this.lines?.values() ?? []) {
      const isIn = this.isWithin(row);
      within += isIn;
      element.classList.toggle("outside", !isIn);
    }
    this.clear.hidden = !this.brushes.size;
    this.figure.dataset.within = within;
    if (this.brushes.size) this.said.textContent = `${within} of ${this.lines.size} runs pass through what is marked`;
  }

  // ---------------------------------------------------------------- reading it
  highlight(id) {
    for (const [own, { element }] of this.lines ?? []) element.classList.toggle("marked", own === id);
    const row = this.lines?.get(id)?.row;
    if (!row) {
      if (!this.brushes.size) this.said.replaceChildren();
      return;
    }
    const words = this.spec.axes.map((a) => `${a.heading} ${text(a.key, row.values[a.key], a.digits ?? null) || "missing"}`).join(", ");
    this.said.replaceChildren(`${row.values.name ?? row.id}: ${words} `, make("a", { href: this.spec.href(row) }, "open"));
  }

  saveCsv() {
    const { axes, rows } = this.spec;
    const seen = rows.filter((row) => this.isWithin(row));
    save("parallel.csv", csv([["id", ...axes.map((axis) => axis.key)],
      ...seen.map((row) => [row.id, ...axes.map((axis) => row.values[axis.key])])]), "text/csv");
  }
}

function upright(axis, rows, x, gap, isLast) {
  const known = rows.map((row) => row.values[axis.key]);
  const isAbsent = (value) => value === undefined || isNotFinite(value) || (typeof value === "number" && !isDrawable(value));
  const values = known.filter((value) => !isAbsent(value));
  const isNumber = values.length > 0 && values.every((value) => typeof value === "number");
  const { place, marks } = isNumber ? numeric(values) : listed(values);
  const letters = Math.max(6, Math.floor(gap / 7.2));
  const side = isLast ? { x: x - 6, "text-anchor": "end" } : { x: x + 6 };
  let free = Infinity; // labels that would lie on each other are left out
  const labels = [];
  for (const [value, words] of marks) {
    const y = place(value) + 4;
    if (y > free) continue;
    free = y - 13;
    labels.push(svg("text", { ...side, y, class: "axis halo" }, shortened(words, letters - 1)));
  }
  if (known.some(isAbsent)) {
    labels.push(svg("path", { d: `M${x - 4} ${MISSING}H${x + 4}`, class: "rule strong" }),
      svg("text", { ...side, y: MISSING + 4, class: "axis halo absent" }, "missing"));
  }
  const element = svg("g", {}, svg("path", { d: `M${x} ${LOW}V${HIGH}`, class: "rule strong" }), ...labels,
    ...heading(axis.heading, letters).map((line, i) => svg("text", { x, y: 14 + 14 * i, "text-anchor": "middle", class: "title" },
      line, svg("title", {}, axis.key))));
  return { key: axis.key, x, place: (value) => (isAbsent(value) ? MISSING : place(value)), element };
}

const shortened = (words, most) => (words.length > most ? `${words.slice(0, most - 1)}…` : words);

// A heading in at most two lines that fit between two axes.
function heading(words, letters) {
  if (words.length <= letters) return [words];
  const cut = words.slice(0, letters + 1).search(/[\s/._][^\s/._]*$/);
  const at = cut > 2 ? cut + 1 : letters;
  return [words.slice(0, at).trim(), shortened(words.slice(at).trim(), letters)];
}

function numeric(values) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  const isLog = distinct[0] > 0 && distinct.at(-1) / distinct[0] >= 8;
  const [least, most] = span(distinct, isLog, 0);
  const read = isLog ? Math.log : (value) => value;
  const place = (value) => LOW + ((read(value) - read(least)) / (read(most) - read(least))) * (HIGH - LOW);
  const stops = distinct.length <= 6 ? distinct : (isLog ? logTicks : ticks)(least, most);
  return { place, marks: stops.map((value) => [value, number(value)]) };
}

function listed(values) {
  const distinct = [...new Set(values.map(String))].sort();
  const step = (LOW - HIGH) / Math.max(1, distinct.length - 1);
  const place = (value) => (distinct.length === 1 ? (LOW + HIGH) / 2 : LOW - distinct.indexOf(String(value)) * step);
  return { place, marks: distinct.map((value) => [value, value]) };
}
