// Charts: lines over a common axis with bands, and scatters with a Pareto front. uPlot (vendor/)
// keeps scales, axes, zoom and canvas; what stands here says what to draw of runs, and how a chart
// is read with the mouse, a finger and the arrow keys.

import { exportButtons } from "./export.js";
import { make, number, svg } from "./format.js";
import { bandGroups, frontGroup, lineGroups, pathOf, pointGroups } from "./layers.js";
import { colour, dash } from "./marks.js";
import { isDrawable, labels, logTicks, span, ticks } from "./scales.js";

const NEAR = { mouse: 40, touch: 60, pen: 50 }; // pixels around the pointer in which a point is read
const FONT = "12px system-ui, sans-serif";

// spec: {kind: "lines" | "points", name, x, y (titles), logX, logY, better, summary (words),
//   front: [[x, y]…], bands: [{style, label, points: [{x, mean, low, high}]}], picked: Set of ids,
//   series: [{id, label, href, style, xs, ys, isFaint, isPale, isPruned}] with null for missing}
// on: {zoomed(view or null), picked(id)}
export class Chart {
  constructor(figure, height = 320, on = {}) {
    Object.assign(this, { figure, height, on, zoom: null, marked: null, bands: [] });
    this.box = make("div", { class: "chart", role: "application", tabindex: 0, "aria-roledescription": "chart",
      "aria-label": "Chart" }, make("p", { class: "nothing" }, "Loading…"));
    this.said = make("p", { class: "said-of-chart", role: "status" });
    this.wide = make("button", { type: "button", hidden: true, class: "reset", click: () => this.reset() }, "Show all");
    this.foot = make("div", { class: "chart-foot" }, this.said, this.wide, exportButtons(this));
    figure.append(this.box, this.foot);
    figure.chart = this;
    this.box.addEventListener("keydown", (event) => this.press(event));
    this.box.addEventListener("blur", () => this.mark(null));
    this.width = 0;
    new ResizeObserver(() => this.resize()).observe(figure);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.render());
  }

  draw(spec) {
    this.spec = spec;
    this.render();
  }

  resize() {
    if (this.box.clientWidth !== this.width) this.render();
  }

  reset() {
    this.zoom = null;
    this.on.zoomed?.(null);
    this.render();
  }

  render() {
    const width = this.box.clientWidth;
    if (!this.spec || width < 50) return;
    this.width = width;
    const { spec } = this;
    this.box.setAttribute("aria-label", spec.summary);
    this.plot?.destroy();
    this.plot = this.points = null;
    this.seen = drawable(spec);
    this.figure.dataset.series = this.seen.length;
    this.figure.dataset.bands = spec.bands?.length ?? 0;
    const full = extent(this.seen, spec);
    this.wide.hidden = !this.zoom;
    if (!full) return void this.box.replaceChildren(make("p", { class: "nothing" }, spec.nothing ?? "Nothing to draw yet"));
    this.full = full;
    this.view = this.zoom ?? full;
    this.box.replaceChildren();
    this.plot = new uPlot(this.options(width), this.data(), this.box);
    this.overlay();
  }

  // Drawn anew, read on: places are known only now.
  remark() {
    const { marked } = this;
    if (marked) this.mark(this.all().find((p) => p.series.id === marked.series.id && p.x === marked.x) ?? null);
  }

  // The view as it stands in an address, and back.
  static written(view) {
    return view ? [...view.x, ...view.y].map((value) => Number(value.toPrecision(6))) : "";
  }

  look(numbers) {
    if (numbers?.length === 4 && numbers.every(Number.isFinite)) this.zoom = { x: numbers.slice(0, 2), y: numbers.slice(2) };
  }

  // ---------------------------------------------------------------- for uPlot
  options(width) {
    const { spec } = this;
    const range = (axis) => () => this.view[axis];
    return {
      mode: 2, width, height: this.height, legend: { show: false }, padding: [12, 14, 0, 0],
      cursor: { drag: { x: true, y: true, uni: 15, setScale: false }, points: { show: false },
        bind: { dblclick: () => () => this.reset() } },
      scales: { x: { time: false, distr: spec.logX ? 3 : 1, range: range("x") },
        y: { distr: spec.logY ? 3 : 1, range: range("y") } },
      axes: [this.axis(spec.x, spec.logX, 60), this.axis(spec.y, spec.logY, 34)],
      series: [null, ...this.groups().map((group) => ({ facets: [{ scale: "x" }, { scale: "y" }], ...group }))],
      hooks: { ready: [() => queueMicrotask(() => this.remark())], setSelect: [(plot) => this.select(plot)], draw: [(plot) => this.name(plot)] },
    };
  }

  axis(title, isLog, space) {
    return {
      stroke: colour("soft"), font: FONT, labelFont: FONT, label: title ? title + (isLog ? ", log" : "") : undefined,
      labelSize: 20, space, grid: { stroke: colour("line"), width: 1 }, ticks: { show: false },
      size: (plot, words, side) => (side === 0 ? 26 : Math.max(34, ...(words ?? []).map((word) => word.length * 7 + 12))),
      incrs: (plot, side, least, most) => [Math.max(5, most - least)], // one that uPlot accepts: `splits` decides
      splits: (plot, side, least, most) => {
        const room = (side === 0 ? plot.bbox.width : plot.bbox.height) / devicePixelRatio / (side === 0 ? 70 : 40);
        return (isLog ? logTicks : ticks)(least, most, Math.max(2, Math.min(7, room)));
      },
      filter: (plot, splits) => splits,
      values: (plot, splits) => labels(splits),
    };
  }

  // uPlot takes its own look at the ends only: all ranges are given.
  data() {
    const { x, y } = this.full;
    return [null, ...this.groups().map(() => [[x[0], x[1]], [y[0], y[1]]])];
  }

  // What is drawn in one stroke: the series of one style, the crowd below what stands out.
  groups() {
    const { spec } = this;
    const groups = (spec.bands ?? []).flatMap((band) => bandGroups(band));
    const isCrowd = this.seen.length > 100;
    const kinds = new Map();
    for (const series of this.seen) {
      const isPicked = spec.picked?.has(series.id) ?? false;
      const rank = isPicked ? 2 : series.isFaint || series.isPale ? 0 : 1;
      const key = `${rank} ${series.style}`;
      if (!kinds.has(key)) kinds.set(key, { rank, style: series.style, members: [] });
      kinds.get(key).members.push(series);
    }
    for (const kind of [...kinds.values()].sort((a, b) => a.rank - b.rank)) {
      groups.push(...(spec.kind === "lines" ? lineGroups(kind, isCrowd) : pointGroups(kind)));
    }
    if (spec.front?.length > 1) groups.push(frontGroup(spec.front));
    return groups;
  }

  // The best value in words beside its point.
  name(plot) {
    const best = bestPoint(this.seen, this.spec, this.view);
    this.best = best;
    this.figure.dataset.best = best ? number(best.y) : "";
    if (!best) return;
    const { ctx } = plot;
    const [x, y] = [plot.valToPos(best.x, "x", true), plot.valToPos(best.y, "y", true)];
    const words = number(best.y);
    ctx.save();
    Object.assign(ctx, { textAlign: "left", textBaseline: "alphabetic" });
    ctx.font = `600 ${12 * devicePixelRatio}px system-ui, sans-serif`;
    const wide = ctx.measureText(words).width;
    const right = plot.bbox.left + plot.bbox.width;
    const left = Math.max(plot.bbox.left, Math.min(x - wide / 2, right - wide - 4));
    const isHigh = y - plot.bbox.top < 22 * devicePixelRatio;
    const base = y + (isHigh ? 20 : -9) * devicePixelRatio;
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.lineJoin = "round";
    ctx.strokeStyle = colour("ground");
    ctx.fillStyle = colour("ink");
    ctx.strokeText(words, left, base);
    ctx.fillText(words, left, base);
    ctx.beginPath();
    ctx.arc(x, y, 6 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.strokeStyle = colour("ink");
    ctx.stroke();
    ctx.restore();
  }

  // A dragged rectangle becomes the view.
  select(plot) {
    const { left, top, width, height } = plot.select;
    if (width < 4 && height < 4) return;
    const over = plot.over.getBoundingClientRect();
    const x = width < 4 ? this.view.x : [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
    const y = height < 4 ? this.view.y : [plot.posToVal(Math.min(top + height, over.height), "y"), plot.posToVal(top, "y")];
    this.zoom = { x, y };
    this.hasDragged = true;
    this.on.zoomed?.(this.zoom);
    queueMicrotask(() => this.render());
  }

  // ---------------------------------------------------------------- reading it
  overlay() {
    const { over } = this.plot;
    this.marker = svg("svg", { class: "marker", "aria-hidden": "true" });
    over.append(this.marker);
    over.addEventListener("pointerdown", (event) => { this.hasDragged = false; this.down = event; });
    over.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") this.pointAt(event); });
    over.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this.mark(null); });
    over.addEventListener("click", (event) => this.press1(event));
  }

  // Every point that can be read, in pixels of the plot.
  all() {
    if (this.points || !this.plot || this.plot.status !== 1) return this.points ?? [];
    const { plot, view } = this;
    const within = (value, [low, high]) => value >= low && value <= high;
    this.points = this.seen.flatMap((series) => series.xs.flatMap((x, i) => {
      const y = series.ys[i];
      if (y === null || x === null || !within(x, view.x) || !within(y, view.y)) return [];
      return [{ px: plot.valToPos(x, "x"), py: plot.valToPos(y, "y"), series, x, y }];
    }));
    return this.points;
  }

  nearest(event) {
    const box = this.plot.over.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let [best, least] = [null, (NEAR[event.pointerType] ?? 40) ** 2];
    for (const point of this.all()) {
      const away = (point.px - px) ** 2 + (point.py - py) ** 2;
      if (away < least) [best, least] = [point, away];
    }
    return best;
  }

  pointAt(event) {
    this.mark(this.nearest(event));
  }

  // A click picks the run; the first tap of a finger only reads it.
  press1(event) {
    if (this.hasDragged) return;
    const point = this.nearest(event);
    const isTouch = this.down?.pointerType === "touch";
    const isKnown = this.marked?.series.id === point?.series.id;
    this.mark(point);
    if (point && (!isTouch || isKnown)) this.on.picked?.(point.series.id);
  }

  press(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" && this.marked?.series.href) location.assign(this.marked.series.href);
    if (event.key === " " && this.marked) { event.preventDefault(); this.on.picked?.(this.marked.series.id); }
    if (event.key === "Escape") this.mark(null);
    if (!step || !this.all().length) return;
    event.preventDefault();
    const sorted = [...this.all()].sort((a, b) => a.px - b.px || a.py - b.py);
    const at = sorted.findIndex((p) => p.series === this.marked?.series && p.x === this.marked?.x && p.y === this.marked?.y);
    const next = at < 0 ? (step > 0 ? 0 : sorted.length - 1) : at + step;
    this.mark(sorted[(next + sorted.length) % sorted.length]);
  }

  highlight(id) {
    const points = id === null ? [] : this.all().filter((point) => point.series.id === id);
    this.mark(points.at(-1) ?? null);
  }

  // The point that is read: its run comes forward in its own colour and dash.
  mark(point) {
    this.marked = point;
    const { x, y } = this.spec ?? {};
    const said = point ? [`${point.series.label}: ${x} ${number(point.x)}${y ? `, ${y}` : ""} ${number(point.y)}`] : [];
    const key = point ? `${point.series.id} ${point.x} ${point.y}` : "";
    if (this.said.dataset.key !== key) {
      this.said.dataset.key = key;
      if (point?.series.href) said.push(" ", make("a", { href: point.series.href }, "open"));
      this.said.replaceChildren(...said);
    }
    if (!this.marker) return;
    if (!point) return void this.marker.replaceChildren();
    const { plot } = this;
    const { style } = point.series;
    const line = this.spec.kind === "lines" && svg("path", { d: pathOf(point.series, (value, axis) => plot.valToPos(value, axis)),
      class: `line marked s${style ?? 0}`, "stroke-dasharray": dash(style).join(" ") || "none" });
    this.marker.replaceChildren(line || "", svg("circle", { cx: point.px, cy: point.py, r: 7, class: "ring" }));
  }
}

// ---------------------------------------------------------------------- what is drawn
function drawable(spec) {
  const clean = (values, isLog) => values.map((value) => (isDrawable(value, isLog) ? value : null));
  return spec.series.map((series) => ({ ...series, xs: clean(series.xs, spec.logX), ys: clean(series.ys, spec.logY) }))
    .filter((series) => series.xs.some((x, i) => x !== null && series.ys[i] !== null));
}

function* shown(seen, bands, axis) {
  for (const { xs, ys } of seen) {
    for (let i = 0; i < xs.length; i += 1) {
      if (xs[i] !== null && ys[i] !== null) yield axis === "x" ? xs[i] : ys[i];
    }
  }
  for (const { points } of bands ?? []) {
    for (const point of points) {
      if (axis === "x") yield point.x;
      else yield* [point.low, point.high];
    }
  }
}

function extent(seen, spec) {
  const room = spec.kind === "points" ? 0.06 : 0.02;
  const x = span(shown(seen, spec.bands, "x"), spec.logX, spec.kind === "points" ? 0.06 : 0.01);
  const y = span(shown(seen, spec.bands, "y"), spec.logY, room + 0.03);
  return x && y && { x, y };
}

function bestPoint(seen, spec, view) {
  const sign = { higher: 1, lower: -1 }[spec.better];
  if (!sign) return null;
  let best = null;
  for (const series of seen) {
    if (series.isPale) continue;
    series.ys.forEach((y, i) => {
      const x = series.xs[i];
      if (y === null || x === null || x < view.x[0] || x > view.x[1] || y < view.y[0] || y > view.y[1]) return;
      if (!best || sign * y > sign * best.y) best = { x, y, series };
    });
  }
  return best;
}
