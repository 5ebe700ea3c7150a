// Parallel coordinates: one upright axis for each parameter and score, one line for each run.

import { make, number, svg, text } from "./format.js";
import { scale } from "./charts.js";

const HEIGHT = 320;
const MARGIN = { top: 44, bottom: 24, side: 70 };
const SHADES = 5;

export class Parallel {
  constructor(figure) {
    this.figure = figure;
    this.root = svg("svg", { role: "img", height: HEIGHT });
    this.said = make("p", { class: "said-of-chart", role: "status" });
    figure.append(this.root, this.said);
    this.root.addEventListener("pointerleave", () => this.highlight(null));
    new ResizeObserver(() => this.render()).observe(figure);
  }

  draw(spec) {
    this.spec = spec;
    this.render();
  }

  render() {
    const width = this.figure.clientWidth - 2;
    if (!this.spec || width < 50) return;
    const { axes, rows, metric } = this.spec;
    this.root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const named = axes.map((axis) => axis.heading).join(", ");
    this.root.setAttribute("aria-label", `${rows.length} runs over ${named}; the best are the darkest. `
      + "The table of points has the values.");
    if (!rows.length || axes.length < 2) {
      this.root.replaceChildren(svg("text", { x: width / 2, y: HEIGHT / 2, class: "axis",
        "text-anchor": "middle" }, "Nothing to draw until a run has a score"));
      return;
    }
    const gap = (width - 2 * MARGIN.side) / (axes.length - 1);
    const drawn = axes.map((axis, i) => upright(axis, rows, MARGIN.side + i * gap));
    const shades = this.shades(rows, metric);
    this.lines = new Map();
    const lines = rows.map((row, place) => this.line(row, drawn, shades[place]));
    const order = [...lines.keys()].sort((a, b) => shades[a] - shades[b]);
    this.root.replaceChildren(...order.map((place) => lines[place]), ...drawn.map((axis) => axis.element));
  }

  // 0 for the worst fifth of the runs, 4 for the best.
  shades(rows, metric) {
    const sign = this.spec.better === "higher" ? 1 : -1;
    const ranked = rows.map((row, place) => [sign * row.values[metric], place]).sort((a, b) => a[0] - b[0]);
    const shades = [];
    ranked.forEach(([, place], rank) => (shades[place] = Math.floor((rank * SHADES) / rows.length)));
    return shades;
  }

  line(row, axes, shade) {
    const d = axes.map((axis) => [axis.x, axis.place(row.values[axis.key])]).filter(([, y]) => y !== null)
      .map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const element = svg("path", { d, class: `line q${shade}`, pointerenter: () => this.highlight(row.id),
      click: () => location.assign(this.spec.href(row)) });
    this.lines.set(row.id, element);
    return element;
  }

  highlight(id) {
    for (const [own, element] of this.lines ?? []) element.classList.toggle("marked", own === id);
    const row = this.spec?.rows.find((other) => other.id === id);
    const words = row && this.spec.axes.map((a) => `${a.heading} ${text(a.key, row.values[a.key])}`).join(", ");
    this.said.textContent = row ? `${row.values.name ?? row.id}: ${words}` : "";
  }
}

function upright(axis, rows, x) {
  const values = rows.map((row) => row.values[axis.key]).filter((value) => value !== undefined);
  const [low, high] = [HEIGHT - MARGIN.bottom, MARGIN.top];
  const isNumber = values.length > 0 && values.every((value) => typeof value === "number");
  const { place, marks } = isNumber ? numeric(values, low, high) : listed(values, low, high);
  let free = Infinity; // labels that would lie on each other are left out
  const labels = [];
  for (const [value, words] of marks) {
    const y = place(value) + 4;
    if (y > free) continue;
    free = y - 13;
    labels.push(svg("text", { x: x + 6, y, class: "axis halo" }, words));
  }
  const title = axis.heading.length > 22 ? `${axis.heading.slice(0, 21)}…` : axis.heading;
  const element = svg("g", {}, svg("path", { d: `M${x} ${low}V${high}`, class: "rule strong" }), ...labels,
    svg("text", { x, y: 20, "text-anchor": "middle", class: "title" }, title, svg("title", {}, axis.key)));
  return { key: axis.key, x, place: (value) => (value === undefined ? null : place(value)), element };
}

function numeric(values, low, high) {
  const distinct = [...new Set(values)].sort((a, b) => a - b);
  const isLog = distinct[0] > 0 && distinct.at(-1) / distinct[0] >= 8;
  const found = scale(values, low, high, isLog);
  const marks = (distinct.length <= 6 ? distinct : found.ticks).map((value) => [value, number(value)]);
  return { place: found.place, marks };
}

function listed(values, low, high) {
  const distinct = [...new Set(values.map(String))].sort();
  const step = (low - high) / Math.max(1, distinct.length - 1);
  const place = (value) => (distinct.length === 1 ? (low + high) / 2 : low - distinct.indexOf(String(value)) * step);
  return { place, marks: distinct.map((value) => [value, value.length > 18 ? `${value.slice(0, 17)}…` : value]) };
}
