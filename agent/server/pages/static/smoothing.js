// What is drawn instead of the raw values: smoothed curves, means and bands of groups. Pure.

const GRID = 60; // places at which a mean is taken

// An exponential moving average that counts distance on the x axis, so that uneven spacing does
// not bias it; the weights are corrected at the beginning. Missing values stay missing.
export function smooth(xs, ys, weight) {
  if (!(weight > 0)) return ys;
  const known = xs.filter((x, i) => ys[i] !== null && x !== null);
  const step = known.length > 1 ? (known.at(-1) - known[0]) / (known.length - 1) : 1;
  let [sum, total, last] = [0, 0, null];
  return ys.map((y, i) => {
    if (y === null || xs[i] === null) return y;
    const kept = last === null ? 0 : weight ** (step > 0 ? Math.max(0, (xs[i] - last) / step) : 1);
    [sum, total, last] = [sum * kept + y * (1 - weight), total * kept + (1 - weight), xs[i]];
    return sum / total;
  });
}

// Mean and band of several curves: [{x, mean, low, high, count}] where at least one is known.
// `kind` "sd": one standard deviation each way (sample's); "range": the lowest and the highest.
export function band(curves, kind) {
  const bounds = curves.flatMap(([xs]) => xs.filter((x) => x !== null));
  const places = grid(bounds);
  const found = [];
  for (const x of places) {
    const values = curves.map((curve) => at(curve, x)).filter((value) => value !== null);
    if (!values.length) continue;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const away = values.length < 2 ? 0 : Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1));
    const [low, high] = kind === "range" ? [Math.min(...values), Math.max(...values)] : [mean - away, mean + away];
    found.push({ x, mean, low, high, count: values.length });
  }
  return found;
}

function grid(bounds) {
  const distinct = [...new Set(bounds)].sort((a, b) => a - b);
  if (distinct.length <= GRID) return distinct;
  const [least, most] = [distinct[0], distinct.at(-1)];
  return Array.from({ length: GRID }, (_, i) => least + ((most - least) * i) / (GRID - 1));
}

// A curve's value at a place between its first and last point; never across a gap.
function at([xs, ys], x) {
  let high = xs.findIndex((other) => other !== null && other >= x);
  if (high < 0) return null;
  if (xs[high] === x) return ys[high];
  const low = high - 1;
  if (low < 0 || ys[low] === null || ys[high] === null || xs[low] === null) return null;
  return ys[low] + ((ys[high] - ys[low]) * (x - xs[low])) / (xs[high] - xs[low]);
}
