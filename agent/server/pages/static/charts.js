// Charts as SVG: lines over a common axis, and scatters with a Pareto front. A chart can be read
// with the mouse and with the arrow keys; what is under the pointer is said in a status line.

import { make, number, svg } from "./format.js";

const MARGIN = { top: 12, right: 16, bottom: 46, left: 62 };
const SYMBOLS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.6-3.6h7.2v7.2h-7.2z", "M0-5 5 0 0 5-5 0z",
  "M0-5 4.8 3.6H-4.8z", "M0 5 4.8-3.6H-4.8z", "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
];

export function symbol(style) {
  return SYMBOLS[(style ?? 0) % SYMBOLS.length];
}

export function scale(values, low, high, isLog) {
  let [least, most] = extent(values);
  if (least === most) {
    const room = isLog ? null : Math.abs(least) * 0.1 || 1;
    [least, most] = isLog ? [least / 2, most * 2] : [least - room, most + room];
  }
  const read = isLog ? Math.log10 : (value) => value;
  const [start, end] = [read(least), read(most)];
  const place = (value) => low + ((read(value) - start) / (end - start)) * (high - low);
  return { place, least, most, isLog, ticks: isLog ? logTicks(least, most) : ticks(least, most) };
}

function extent(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return [least, most];
}

function ticks(least, most, wanted = 6) {
  const rough = (most - least) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(least / step); i * step <= most + step * 1e-9; i += 1) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

function logTicks(least, most) {
  const decades = Math.log10(most / least);
  const factors = decades < 1.2 ? [1, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : [1];
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += 1) {
    for (const factor of factors) {
      const value = Number((factor * 10 ** power).toPrecision(6));
      if (value >= least * 0.999 && value <= most * 1.001) found.push(value);
    }
  }
  return found;
}

// spec: {kind: "lines" | "points", x, y (titles), isLogX, summary (words), front: [[x, y]…],
//        series: [{id, label, href, style, xs, ys, isFaint}]}
export class Chart {
  constructor(figure, height = 320) {
    this.figure = figure;
    this.height = height;
    this.root = svg("svg", { role: "application", tabindex: 0, "aria-roledescription": "chart" });
    this.said = make("p", { class: "said-of-chart", role: "status" });
    this.legend = make("ul", { class: "legend" });
    figure.append(this.root, this.said, this.legend);
    this.root.addEventListener("pointermove", (event) => this.pointAt(event));
    this.root.addEventListener("pointerleave", () => this.mark(null));
    this.root.addEventListener("blur", () => this.mark(null));
    this.root.addEventListener("keydown", (event) => this.press(event));
    this.root.addEventListener("click", () => this.open());
    new ResizeObserver(() => this.render()).observe(figure);
  }

  draw(spec) {
    this.spec = spec;
    this.render();
  }

  render() {
    const width = this.figure.clientWidth - 2;
    if (!this.spec || width < 50) return;
    const { spec, height } = this;
    const usable = spec.series.filter((series) => series.xs.length);
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.root.setAttribute("height", height);
    this.root.setAttribute("aria-label", spec.summary);
    this.legend.replaceChildren(...(spec.legend ?? []));
    this.points = [];
    if (!usable.length) {
      this.root.replaceChildren(svg("text", { x: width / 2, y: height / 2, "text-anchor": "middle",
        class: "axis" }, "Nothing to draw yet"));
      return;
    }
    const isLogX = spec.isLogX && usable.every((series) => series.xs.every((x) => x > 0));
    const pad = spec.kind === "points" ? 8 : 0;
    this.left = spec.y ? MARGIN.left : MARGIN.left - 16;
    this.x = scale(usable.flatMap((s) => s.xs), this.left + pad, width - MARGIN.right - pad, isLogX);
    this.y = scale(usable.flatMap((s) => s.ys), height - MARGIN.bottom - pad, MARGIN.top + pad);
    this.marker = svg("g", { class: "marker" });
    const drawn = usable.map((series) => this.drawSeries(series));
    this.root.replaceChildren(...this.axes(width, isLogX), this.drawFront(), ...drawn, this.marker);
    const same = (point) => point.series.id === this.marked.series.id && point.x === this.marked.x;
    if (this.marked) this.mark(this.points.find(same) ?? null); // drawn anew, read on
  }

  axes(width, isLogX) {
    const { height, spec } = this;
    const [bottom, left, right] = [height - MARGIN.bottom, this.left, width - MARGIN.right];
    const parts = [];
    let free = -Infinity;
    for (const value of this.x.ticks) {
      const at = this.x.place(value);
      parts.push(svg("path", { d: `M${at} ${MARGIN.top}V${bottom}`, class: "rule" }));
      const words = number(value);
      if (at - words.length * 4 < free) continue;
      free = at + words.length * 4 + 6;
      parts.push(svg("text", { x: at, y: bottom + 17, "text-anchor": "middle", class: "axis" }, words));
    }
    for (const value of this.y.ticks) {
      const at = this.y.place(value);
      parts.push(svg("path", { d: `M${left} ${at}H${right}`, class: "rule" }));
      parts.push(svg("text", { x: left - 7, y: at + 4, "text-anchor": "end", class: "axis" }, number(value)));
    }
    const x = spec.x + (isLogX ? ", log" : "");
    parts.push(svg("text", { x: (left + right) / 2, y: height - 8, "text-anchor": "middle", class: "title" }, x));
    parts.push(svg("text", { transform: `translate(14 ${(MARGIN.top + bottom) / 2}) rotate(-90)`,
      "text-anchor": "middle", class: "title" }, spec.y));
    return parts;
  }

  drawSeries(series) {
    const places = series.xs.map((x, i) => [this.x.place(x), this.y.place(series.ys[i])]);
    places.forEach(([px, py], i) => this.points.push({ px, py, series, x: series.xs[i], y: series.ys[i] }));
    const style = `s${series.style ?? 0}`;
    if (this.spec.kind === "points") {
      const d = symbol(series.style);
      return svg("g", { class: series.isPale ? `${style} pale` : style }, ...places.map(([px, py]) =>
        svg("path", { d, transform: `translate(${px.toFixed(1)} ${py.toFixed(1)})`, class: "point" })));
    }
    const d = places.map(([px, py], i) => `${i ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");
    const crowd = this.spec.series.length > 100 ? " faint-line crowd" : " faint-line";
    const line = svg("path", { d, class: `line ${style}${series.isFaint ? crowd : ""}` });
    if (places.length > 1 && !series.isPruned) return line;
    const at = `translate(${places.at(-1).map((v) => v.toFixed(1)).join(" ")})`;
    const end = series.isPruned ? svg("path", { d: "M-4-4 4 4M-4 4 4-4", class: "cross", transform: at })
      : svg("path", { d: symbol(series.style), class: "point", transform: at });
    return svg("g", { class: style }, line, end);
  }

  drawFront() {
    const front = this.spec.front ?? [];
    if (front.length < 2) return svg("g");
    const places = front.map(([x, y]) => [this.x.place(x), this.y.place(y)]);
    const d = places.map(([px, py], i) =>
      (i ? `L${px} ${places[i - 1][1]}L${px} ${py}` : `M${px} ${py}`)).join("");
    return svg("path", { d, class: "front" });
  }

  // ---------------------------------------------------------------- reading it
  pointAt(event) {
    const box = this.root.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [null, 40 ** 2];
    for (const point of this.points ?? []) {
      const away = (point.px - px) ** 2 + (point.py - py) ** 2;
      if (away < least) [best, least] = [point, away];
    }
    this.mark(best);
  }

  press(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") this.open();
    if (event.key === "Escape") this.mark(null);
    if (!step || !this.points?.length) return;
    event.preventDefault();
    const sorted = [...this.points].sort((a, b) => a.px - b.px || a.py - b.py);
    const at = sorted.findIndex((p) => p.series === this.marked?.series && p.x === this.marked?.x
      && p.y === this.marked?.y);
    const next = at < 0 ? (step > 0 ? 0 : sorted.length - 1) : at + step;
    this.mark(sorted[(next + sorted.length) % sorted.length]);
  }

  open() {
    if (this.marked?.series.href) location.assign(this.marked.series.href);
  }

  highlight(id) {
    const points = id === null ? [] : (this.points ?? []).filter((point) => point.series.id === id);
    this.mark(points.at(-1) ?? null);
  }

  mark(point) {
    this.marked = point;
    this.root.classList.toggle("opens", Boolean(point?.series.href));
    const { x, y } = this.spec ?? {};
    const words = point
      ? `${point.series.label}: ${x} ${number(point.x)}${y ? `, ${y}` : ""} ${number(point.y)}` : "";
    if (this.said.textContent !== words) this.said.textContent = words;
    if (!this.marker) return;
    if (!point) return void this.marker.replaceChildren();
    const line = this.spec.kind === "lines" && this.points.filter((other) => other.series === point.series)
      .map(({ px, py }, i) => `${i ? "L" : "M"}${px} ${py}`).join("");
    this.marker.replaceChildren(
      line ? svg("path", { d: line, class: `line marked s${point.series.style ?? 0}` }) : "",
      svg("circle", { cx: point.px, cy: point.py, r: 7, class: "ring" }));
  }
}

export function legend(entries) {
  return entries.map(({ label, style }) => make("li", { class: `s${style ?? 0}` },
    svg("svg", { viewBox: "-7 -7 14 14", width: 14, height: 14, "aria-hidden": "true" },
      svg("path", { d: symbol(style), class: "point" })), label));
}
