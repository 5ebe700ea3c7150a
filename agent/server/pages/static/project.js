// The page of a project: the table of runs, their convergence, and the trade-off of two metrics.

import { Chart, legend } from "./charts.js";
import { number, offer } from "./format.js";
import { get, keepUp } from "./live.js";
import { front } from "./pareto.js";
import { Data, Table } from "./table.js";
import { showVariants } from "./variants.js";

const CURVES = ["validation/f1_score", "validation/accuracy", "validation/loss", "train/loss", "loss"];
const SCORES = ["test/f1_score", "final/validation_f1_score", "validation/f1_score"];
const COSTS = ["inference/time_per_output_token_ms", "inference/avg_latency_ms_per_sample", "inference/model_size_gb",
  "inference/flops_per_query_gflops", "train/total_training_flops_tflops", "train/own_gpu_seconds"];

export async function start(main) {
  const page = new Project(main.dataset.address);
  await page.load();
  keepUp(() => page.update());
}

class Project {
  constructor(address) {
    this.address = address;
    this.table = new Table(address, {
      changed: () => this.soon(),
      pointed: (id) => this.charts.forEach((chart) => chart.highlight(id)),
    });
    document.querySelector(".charts").hidden = false;
    this.curves = new Chart(document.getElementById("curves"));
    this.scatter = new Chart(document.getElementById("scatter"));
    this.charts = [this.curves, this.scatter];
    [this.key, this.x, this.y] = ["curve-key", "scatter-x", "scatter-y"]
      .map((id) => document.getElementById(id));
    this.key.addEventListener("change", () => this.loadCurves());
    this.x.addEventListener("change", () => this.draw());
    this.y.addEventListener("change", () => this.draw());
  }

  // The table answers a key press at once; the charts follow when the typing pauses.
  soon() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.draw(), 120);
  }

  async load() {
    const payload = await get(`${this.address}/data`);
    this.data = new Data();
    this.data.take(payload);
    this.at = payload.at;
    this.table.show(this.data);
    showVariants(payload.comparisons);
    this.offerMetrics();
    await this.loadCurves();
  }

  async loadCurves() {
    this.drawn = await get(`${this.address}/curves`, { key: this.key.value });
    this.draw();
  }

  async update() {
    const payload = await get(`${this.address}/data`, { since: this.at });
    const isNews = payload.at > this.at || payload.total !== this.data.rows.size;
    if (isNews) {
      const since = this.at;
      const known = this.data.rows.size;
      this.data.take(payload);
      this.at = payload.at;
      if (this.data.rows.size !== payload.total || this.data.rows.size !== known) {
        await this.load(); // runs have come or gone: their order is the server's
      } else {
        this.table.show(this.data);
        showVariants(payload.comparisons);
        this.offerMetrics();
        await this.updateCurves(since);
      }
    }
    return [...this.data.rows.values()].some(({ values }) => ["running", "pending"].includes(values.state));
  }

  async updateCurves(since) {
    const news = await get(`${this.address}/curves`, { key: this.key.value, since });
    if (news.x !== this.drawn.x || news.key !== this.drawn.key) return this.loadCurves();
    Object.assign(this.drawn.curves, news.curves);
    return this.draw();
  }

  offerMetrics() {
    const metrics = this.data.numbers((column) => column.origin === "summary");
    const pairs = metrics.map((column) => [column.key, column.heading]);
    const keys = metrics.map((column) => column.key);
    const logged = pairs.filter(([key]) => !/^(final|best|test|inference|stopped|slurm)\//.test(key));
    const first = (wanted, others = keys) => wanted.find((key) => keys.includes(key)) ?? others[0] ?? "";
    // the test score is only on the few that were chosen: a scatter is of every complete run
    const whole = [...this.data.rows.values()].filter((row) => row.values.state === "finished"
      && row.values.variant && !isPruned(row) && !isInference(row));
    const differs = (key) => new Set([...this.data.rows.values()].map((row) => row.values[key])
      .filter((value) => value !== undefined)).size > 1;
    offer(this.key, logged, this.key.value || first(CURVES, logged.map(([key]) => key)));
    const costs = [...COSTS.filter(differs), ...keys];
    offer(this.x, pairs, this.x.value || first(costs));
    const known = SCORES.filter((key) => whole.every((row) => row.values[key] !== undefined));
    offer(this.y, pairs, this.y.value || first([...known, ...SCORES], keys.filter((key) => key !== this.x.value)));
  }

  draw() {
    this.drawCurves();
    this.drawScatter();
  }

  describe(row) {
    return row.values.name || row.id;
  }

  href(row) {
    return `${this.address}/runs/${encodeURIComponent(row.id)}`;
  }

  drawCurves() {
    const { curves = {}, better, heading, x } = this.drawn ?? {};
    const rows = this.table.passing.filter((row) => curves[row.id] && !isInference(row));
    const isMany = rows.length > 8;
    const leaders = isMany ? bestOfEach(rows, curves, better) : new Set(rows);
    const plain = !rows.some((row) => row.style !== null);
    const series = rows.map((row, place) => ({
      id: row.id, label: this.describe(row), href: this.href(row), isFaint: !leaders.has(row),
      isPruned: isPruned(row),
      style: plain ? place % 7 : row.style ?? 6, xs: curves[row.id][0], ys: curves[row.id][1],
    }));
    series.sort((a, b) => Number(b.isFaint) - Number(a.isFaint));
    const notes = [isMany && !plain && "thick: the best run of each variant",
      rows.some(isPruned) && "×: pruned"].filter(Boolean);
    document.getElementById("curves-note").textContent = notes.join("; ");
    const summary = `${heading} over ${x?.toLowerCase()} for ${rows.length} runs. The arrow keys step`
      + " through the points; the table below has the values.";
    const named = plain ? (isMany ? [] : series.map((s) => ({ label: s.label, style: s.style })))
      : variants(rows);
    this.curves.draw({ kind: "lines", x: x ?? "", y: heading ?? "", series, summary, legend: legend(named) });
  }

  drawScatter() {
    const [x, y] = [this.x.value, this.y.value].map((key) => this.data.columns.get(key));
    if (!x || !y) return;
    const rows = this.table.passing.filter((row) => !isInference(row)
      && [x, y].every((column) => typeof row.values[column.key] === "number"));
    const points = rows.map((row) => ({ x: row.values[x.key], y: row.values[y.key], row }));
    const ended = points.filter(({ row }) => !isPruned(row) && row.values.state === "finished");
    const [onX, onY] = [referenceGpu(x, ended), referenceGpu(y, ended)];
    const onGpu = ended.filter(({ row }) => [onX, onY].every(({ holds }) => holds(row)));
    const isAlike = [x, y].map((column) => sameLength(column, onGpu));
    const whole = onGpu.filter(({ row }) => isAlike.every((holds) => holds(row)));
    const best = front(whole, [x.better, y.better]); // a score at an early rung competes with no run
    const note = document.getElementById("scatter-note");
    const gpu = onX.name ?? onY.name;
    const pale = [ended.length < points.length && "pruned or not finished",
      onGpu.length < ended.length && "measured elsewhere",
      whole.length < onGpu.length && "with much longer or shorter answers"].filter(Boolean).join(", or ");
    note.textContent = [gpu && `on ${gpu === "cpu" ? "the CPU" : gpu}`, pale && `pale: ${pale}`]
      .filter(Boolean).join("; ");
    const xs = points.map((point) => point.x);
    const isLogX = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) > 30;
    const series = points.map((point) => ({ id: point.row.id, label: this.describe(point.row),
      href: this.href(point.row), style: point.row.style ?? 0, isPale: !whole.includes(point), xs: [point.x], ys: [point.y] }));
    const summary = `${y.heading} against ${x.heading} for ${rows.length} runs; on the Pareto front: `
      + `${best.slice(0, 6).map(({ row, x: a, y: b }) => `${this.describe(row)} (${number(a)}, ${number(b)})`).join("; ") || "none"}.`;
    this.scatter.draw({ kind: "points", x: `${x.heading}, ${x.better} is better`, isLogX, summary,
      y: y.heading, series, front: best.map((point) => [point.x, point.y]), legend: legend(variants(rows)) });
  }
}

// Of each variant the run whose last value is the best.
function bestOfEach(rows, curves, better) {
  const sign = better === "higher" ? 1 : -1;
  const last = (row) => sign * curves[row.id][1].at(-1);
  const found = new Map();
  for (const row of rows) {
    const known = found.get(row.style);
    if (!known || last(row) > last(known)) found.set(row.style, row);
  }
  return new Set(found.values());
}

// What an inference run measured stands on its training run too.
function isInference({ values }) {
  return values.job_type === "inference";
}

// Which type of GPU most values of a column come from, and whether a row's value does. What depends
// on no GPU holds for every row.
function referenceGpu(column, points) {
  if (!column.gpu) return { name: null, holds: () => true };
  const on = ({ values }) => column.gpu.map((key) => values[key]).find((gpu) => gpu !== undefined);
  const counts = new Map();
  for (const { row } of points) if (on(row)) counts.set(on(row), (counts.get(on(row)) ?? 0) + 1);
  const [name] = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))[0] ?? [null];
  return { name, holds: (row) => [name, undefined].includes(on(row)) };
}

// A cost per answer rewards saying less: whether a row's answers are about as long as the median.
// `agent/results/pareto.py` has the same rule.
function sameLength(column, points) {
  if (!column.per_answer) return () => true;
  const length = ({ values }) => values[column.per_answer];
  const known = points.map(({ row }) => length(row)).filter((value) => typeof value === "number").sort((a, b) => a - b);
  if (!known.length) return () => true;
  const median = (known[(known.length - 1) >> 1] + known[known.length >> 1]) / 2;
  return (row) => length(row) === undefined || (length(row) >= median / 1.25 && length(row) <= median * 1.25);
}

function isPruned({ values }) {
  return values.state === "pruned" || String(values.tags ?? "").split(", ").includes("pruned");
}

function variants(rows) {
  const found = new Map();
  for (const row of rows) {
    if (!row.values.variant) continue;
    const entry = found.get(row.values.variant) ?? { style: row.style ?? 6, count: 0 };
    entry.count += 1;
    found.set(row.values.variant, entry);
  }
  return [...found].sort((a, b) => a[1].style - b[1].style)
    .map(([label, { style, count }]) => ({ label: `${label}, ${count} run${count === 1 ? "" : "s"}`, style }));
}
