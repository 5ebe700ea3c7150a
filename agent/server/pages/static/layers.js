// What a chart draws of runs, as uPlot's series: everything of one style in one stroke.

import { CROSS, colour, dash, ink, symbol } from "./marks.js";

// The line of a series as SVG path data; `place` gives pixels. A missing value ends a piece.
export function pathOf({ xs, ys }, place) {
  let d = "";
  let isOpen = false;
  xs.forEach((x, i) => {
    if (x === null || ys[i] === null) { isOpen = false; return; }
    d += `${isOpen ? "L" : "M"}${place(x, "x").toFixed(1)} ${place(ys[i], "y").toFixed(1)}`;
    isOpen = true;
  });
  return d;
}

// Places of single points: those between two gaps, and where a run ends.
export function lonePlaces({ xs, ys }) {
  const known = (i) => i >= 0 && i < xs.length && xs[i] !== null && ys[i] !== null;
  const lone = [];
  let last = -1;
  for (let i = 0; i < xs.length; i += 1) {
    if (!known(i)) continue;
    last = i;
    if (!known(i - 1) && !known(i + 1)) lone.push(i);
  }
  return { lone, last };
}

const pixels = (plot) => (value, axis) => plot.valToPos(value, axis, true);

const outlines = new Map();

function stamp(path, d, x, y, size = 1) {
  if (!outlines.has(d)) outlines.set(d, new Path2D(d));
  path.addPath(outlines.get(d), { a: size, d: size, e: x, f: y });
}

export function lineGroups({ rank, style, members }, isCrowd) {
  const alpha = rank > 0 ? 1 : isCrowd ? 0.16 : 0.4;
  const place = (plot, visit) => {
    const at = pixels(plot);
    for (const series of members) visit(series, at, devicePixelRatio);
  };
  const strokes = (plot) => {
    const stroke = new Path2D();
    place(plot, (series, at) => {
      let isOpen = false;
      for (let i = 0; i < series.xs.length; i += 1) {
        const [x, y] = [series.xs[i], series.ys[i]];
        if (x === null || y === null) { isOpen = false; continue; }
        if (isOpen) stroke.lineTo(at(x, "x"), at(y, "y"));
        else stroke.moveTo(at(x, "x"), at(y, "y"));
        isOpen = true;
      }
    });
    return { stroke, fill: null, clip: null, band: null, gaps: null, flags: 0 };
  };
  const ends = (plot) => {
    const [stroke, fill] = [new Path2D(), new Path2D()];
    place(plot, (series, at, size) => {
      const { lone, last } = lonePlaces(series);
      const put = (i, d, path, scale = 1) => stamp(path, d, at(series.xs[i], "x"), at(series.ys[i], "y"), size * scale);
      for (const i of lone) put(i, symbol(style), fill, 0.7);
      if (series.isPruned) put(last, CROSS, stroke, rank ? 1 : 0.7);
      else if (rank) put(last, symbol(style), fill);
    });
    return { stroke, fill, clip: null, band: null, gaps: null, flags: 0 };
  };
  const paint = ink(style);
  const shared = { stroke: paint, alpha, points: { show: false } };
  return [
    { ...shared, width: [1, 2.2, 3.4][rank], dash: rank ? dash(style) : [], paths: strokes },
    { ...shared, width: 1.6, fill: paint, paths: ends },
  ];
}

export function pointGroups({ rank, style, members }) {
  const paths = (plot) => {
    const fill = new Path2D();
    const at = pixels(plot);
    for (const { xs, ys } of members) {
      xs.forEach((x, i) => {
        if (x !== null && ys[i] !== null) stamp(fill, symbol(style), at(x, "x"), at(ys[i], "y"), devicePixelRatio * (rank === 2 ? 1.5 : 1));
      });
    }
    return { stroke: fill, fill, clip: null, band: null, gaps: null, flags: 0 };
  };
  const isPicked = rank === 2;
  return [{ stroke: colour(isPicked ? "ink" : "ground"), width: isPicked ? 1.6 : 0.8, fill: ink(style), alpha: rank === 0 ? 0.3 : 1,
    paths, points: { show: false } }];
}

export function bandGroups({ style, points }) {
  const path = (plot, values, isOpen) => {
    const at = pixels(plot);
    const found = new Path2D();
    values.forEach(([x, y], i) => (i || isOpen ? found.lineTo(at(x, "x"), at(y, "y")) : found.moveTo(at(x, "x"), at(y, "y"))));
    return found;
  };
  const area = (plot) => {
    const around = [...points.map((p) => [p.x, p.high]), ...[...points].reverse().map((p) => [p.x, p.low])];
    return { stroke: null, fill: path(plot, around), clip: null, band: null, gaps: null, flags: 0 };
  };
  const line = (plot) => ({ stroke: path(plot, points.map((p) => [p.x, p.mean])), fill: null, clip: null, band: null, gaps: null, flags: 0 });
  const paint = ink(style);
  return [
    { stroke: paint, width: 0, fill: paint, alpha: 0.18, paths: area, points: { show: false } },
    { stroke: paint, width: 2.4, dash: dash(style), paths: line, points: { show: false } },
  ];
}

export function frontGroup(front) {
  const paths = (plot) => {
    const at = pixels(plot);
    const stroke = new Path2D();
    front.forEach(([x, y], i) => {
      if (i === 0) return stroke.moveTo(at(x, "x"), at(y, "y"));
      stroke.lineTo(at(x, "x"), at(front[i - 1][1], "y"));
      return stroke.lineTo(at(x, "x"), at(y, "y"));
    });
    return { stroke, fill: null, clip: null, band: null, gaps: null, flags: 0 };
  };
  return { stroke: colour("soft"), width: 1.2, dash: [5, 4], paths, points: { show: false } };
}
