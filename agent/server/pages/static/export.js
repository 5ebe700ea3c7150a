// What is seen, to take along: charts as PNG, SVG and CSV, tables as CSV.

import { make, number } from "./format.js";
import { dash, colour, ink, symbol, CROSS } from "./marks.js";
import { lonePlaces, pathOf } from "./layers.js";
import { labels, logTicks, ticks } from "./scales.js";

const LEGEND = 20; // pixels of one line of the legend
const KINDS = { PNG: savePng, SVG: saveSvg, CSV: saveCsv };

export function exportButtons(chart) {
  const buttons = Object.entries(KINDS).map(([word, save]) =>
    make("button", { type: "button", class: "quiet small", title: `Save what is seen as ${word}`,
      "aria-label": `Save as ${word}`, click: () => save(chart) }, word));
  return make("span", { class: "export" }, ...buttons);
}

export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const href = URL.createObjectURL(blob);
  const link = make("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

// Lines of a CSV file as RFC 4180 has them. A text that a spreadsheet would run gets a quote mark.
export function csv(lines) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}

const fileName = (chart, ending) => `${(chart.spec.name || "chart").replace(/[^\w.-]+/g, "_")}.${ending}`;

function entries(chart) {
  return (chart.spec.legend ?? []).filter((entry) => !entry.isOff);
}

async function savePng(chart) {
  if (!chart.plot) return;
  const { canvas } = chart.plot.ctx;
  const size = devicePixelRatio;
  const named = entries(chart);
  const whole = make("canvas", { width: canvas.width, height: canvas.height + (named.length * LEGEND + 10) * size });
  const ctx = whole.getContext("2d");
  ctx.fillStyle = colour("ground");
  ctx.fillRect(0, 0, whole.width, whole.height);
  ctx.drawImage(canvas, 0, 0);
  ctx.scale(size, size);
  ctx.font = "12px system-ui, sans-serif";
  named.forEach(({ label, style }, i) => {
    ctx.save();
    ctx.translate(14, canvas.height / size + LEGEND * (i + 0.6));
    Object.assign(ctx, { strokeStyle: ink(style), fillStyle: ink(style), lineWidth: 2 });
    ctx.setLineDash(dash(style));
    ctx.stroke(new Path2D("M0 0H38"));
    ctx.translate(19, 0);
    ctx.fill(new Path2D(symbol(style)));
    ctx.fillStyle = colour("ink");
    ctx.fillText(label, 28, 4);
    ctx.restore();
  });
  whole.toBlob((blob) => save(fileName(chart, "png"), blob), "image/png");
}

function saveCsv(chart) {
  const { spec, view } = chart;
  const within = (value, [low, high]) => value === null || (value >= low && value <= high);
  const lines = [["run", "name", spec.x || "x", spec.y || spec.name || "y"]];
  for (const { id, label, xs, ys } of chart.seen ?? []) {
    xs.forEach((x, i) => { if (x !== null && within(x, view.x) && within(ys[i], view.y)) lines.push([id, label, x, ys[i]]); });
  }
  for (const { label, points } of spec.bands ?? []) {
    if (lines[0].length === 4) lines[0].push("low", "high", "runs");
    for (const point of points) lines.push(["", label, point.x, point.mean, point.low, point.high, point.count]);
  }
  save(fileName(chart, "csv"), csv(lines), "text/csv");
}

// ---------------------------------------------------------------------- SVG
const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const tag = (name, attributes, text = "") => {
  const words = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(value)}"`).join("");
  return `<${name}${words}>${text}</${name}>`;
};

function saveSvg(chart) {
  if (chart.plot) save(fileName(chart, "svg"), svgOf(chart), "image/svg+xml");
}

export function svgOf(chart) {
  const { plot, spec, seen, view, width, height } = chart;
  const { left, top, width: w, height: h } = Object.fromEntries(Object.entries(plot.bbox).map(([k, v]) => [k, v / devicePixelRatio]));
  const place = (value, axis) => plot.valToPos(value, axis) + (axis === "x" ? left : top);
  const text = (x, y, words, more = {}) => tag("text", { x, y, "font-family": "sans-serif", "font-size": 12, fill: colour("ink"), ...more }, escaped(words));
  const rule = (d) => tag("path", { d, stroke: colour("line"), fill: "none" });
  const stops = (axis, count) => ((axis === "x" ? spec.logX : spec.logY) ? logTicks : ticks)(...view[axis], count);
  const [xs, ys] = [stops("x", Math.min(7, w / 70)), stops("y", Math.min(7, h / 40))];
  const parts = [
    ...xs.map((v) => rule(`M${place(v, "x")} ${top}V${top + h}`)), ...ys.map((v) => rule(`M${left} ${place(v, "y")}H${left + w}`)),
    ...labels(xs).map((words, i) => text(place(xs[i], "x"), top + h + 17, words, { "text-anchor": "middle" })),
    ...labels(ys).map((words, i) => text(left - 6, place(ys[i], "y") + 4, words, { "text-anchor": "end" })),
    text(left + w / 2, height - 4, spec.x, { "text-anchor": "middle" }),
    tag("text", { transform: `translate(12 ${top + h / 2}) rotate(-90)`, "text-anchor": "middle", "font-family": "sans-serif",
      "font-size": 12, fill: colour("ink") }, escaped(spec.y ?? "")),
  ];
  const marks = [
    ...(spec.bands ?? []).flatMap((band) => bandSvg(band, place)),
    ...(spec.front?.length > 1 ? [frontSvg(spec.front, place)] : []),
    ...seen.map((series) => (spec.kind === "lines" ? lineSvg(series, place) : pointSvg(series, place))),
  ];
  if (chart.best) {
    const [x, y] = [place(chart.best.x, "x"), place(chart.best.y, "y")];
    marks.push(tag("circle", { cx: x, cy: y, r: 6, fill: "none", stroke: colour("ink"), "stroke-width": 1.5 }),
      text(Math.min(x, left + w - 4), y - top < 22 ? y + 20 : y - 9, number(chart.best.y), { "font-weight": 600,
        "text-anchor": x > left + w - 40 ? "end" : "middle" }));
  }
  const clip = tag("clipPath", { id: "plot" }, tag("rect", { x: left, y: top, width: w, height: h }));
  const named = entries(chart).map(({ label, style }, i) => tag("g", { transform: `translate(14 ${height + LEGEND * (i + 0.6)})` },
    tag("path", { d: "M0 0H38", stroke: ink(style), "stroke-width": 2, "stroke-dasharray": dash(style).join(" ") || "none" })
    + tag("path", { d: symbol(style), fill: ink(style), transform: "translate(19 0)" }) + text(46, 4, label)));
  const whole = height + named.length * LEGEND + 10;
  return tag("svg", { xmlns: "http://www.w3.org/2000/svg", width, height: whole, viewBox: `0 0 ${width} ${whole}` },
    clip + tag("rect", { width, height: whole, fill: colour("ground") }) + parts.join("")
    + tag("g", { "clip-path": "url(#plot)" }, marks.join("")) + named.join(""));
}

function lineSvg(series, place) {
  const { lone, last } = lonePlaces(series);
  const at = (i) => `translate(${place(series.xs[i], "x").toFixed(1)} ${place(series.ys[i], "y").toFixed(1)})`;
  const line = tag("path", { d: pathOf(series, place), fill: "none", stroke: ink(series.style), opacity: series.isFaint ? 0.3 : 1,
    "stroke-width": series.isFaint ? 1 : 2.2, "stroke-dasharray": series.isFaint ? "none" : dash(series.style).join(" ") || "none" });
  const dots = lone.map((i) => tag("path", { d: symbol(series.style), fill: ink(series.style), transform: at(i) }));
  const end = series.isPruned ? tag("path", { d: CROSS, stroke: ink(series.style), fill: "none", transform: at(last) })
    : series.isFaint ? "" : tag("path", { d: symbol(series.style), fill: ink(series.style), transform: at(last) });
  return line + dots.join("") + end;
}

function pointSvg({ xs, ys, style, isPale }, place) {
  return xs.map((x, i) => (x === null || ys[i] === null ? "" : tag("path", { d: symbol(style), fill: ink(style), opacity: isPale ? 0.3 : 1,
    transform: `translate(${place(x, "x").toFixed(1)} ${place(ys[i], "y").toFixed(1)})` }))).join("");
}

function bandSvg({ style, points }, place) {
  const d = (pairs) => pairs.map(([x, y], i) => `${i ? "L" : "M"}${place(x, "x").toFixed(1)} ${place(y, "y").toFixed(1)}`).join("");
  const around = [...points.map((p) => [p.x, p.high]), ...[...points].reverse().map((p) => [p.x, p.low])];
  return [tag("path", { d: `${d(around)}Z`, fill: ink(style), opacity: 0.18 }),
    tag("path", { d: d(points.map((p) => [p.x, p.mean])), fill: "none", stroke: ink(style), "stroke-width": 2.4,
      "stroke-dasharray": dash(style).join(" ") || "none" })];
}

function frontSvg(front, place) {
  const d = front.map(([x, y], i) => (i ? `L${place(x, "x")} ${place(front[i - 1][1], "y")}L` : "M") + `${place(x, "x")} ${place(y, "y")}`).join("");
  return tag("path", { d, fill: "none", stroke: colour("soft"), "stroke-dasharray": "5 4" });
}
