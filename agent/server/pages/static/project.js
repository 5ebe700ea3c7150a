// The page of a project: what was found, convergence, the trade-off of two metrics, and the runs.

import { Actions } from "./actions.js";
import { Choices } from "./address.js";
import { Chart } from "./charts.js";
import { badge, make, number, offer, text } from "./format.js";
import { get, keepUp } from "./live.js";
import { STYLES, legend } from "./marks.js";
import { averaged } from "./means.js";
import { front } from "./pareto.js";
import { isDrawable } from "./scales.js";
import { band, smooth } from "./smoothing.js";
import { Data, Table } from "./table.js";
import { showFound, showVariants } from "./variants.js";

const CURVES = ["validation/f1_score", "validation/accuracy", "validation/loss", "train/loss", "loss"];
const SCORES = ["test/f1_score", "final/validation_f1_score", "validation/f1_score"];
const COSTS = ["inference/time_per_output_token_ms", "inference/avg_latency_ms_per_sample", "inference/model_size_gb",
  "inference/flops_per_query_gflops", "train/total_training_flops_tflops", "train/own_gpu_seconds"];
const USUAL = { rows: "100", lines: "runs", smooth: "0" };
const BOXES = { "curve-logx": "clx", "curve-logy": "cly", "scatter-logx": "slx", "scatter-logy": "sly" };
const SELECTS = { "curve-key": "curve", "curve-lines": "lines", "curve-smooth": "smooth", "scatter-x": "sx", "scatter-y": "sy" };
const MANY = 8; // runs, from which on only the best of each group stand out

export async function start(main) {
  const page = new Project(main.dataset.address, main.dataset.token);
  await page.load();
  keepUp(() => page.update());
}

class Project {
  constructor(address, token) {
    this.address = address;
    this.choices = new Choices(USUAL);
    this.table = new Table(address, this.choices, {
      query: `${address}/filter`,
      changed: () => this.draw(),
      picked: () => { this.actions.show(); this.draw(); },
      pointed: (id) => this.charts.forEach((chart) => chart.highlight(id)),
    });
    this.actions = new Actions(address, token, this.table, () => this.load());
    document.querySelector(".charts").hidden = false;
    this.curves = this.chart("curves", "cz");
    this.scatter = this.chart("scatter", "sz");
    this.charts = [this.curves, this.scatter];
    this.listen();
  }

  // A chart whose view stands in the address under `name`.
  chart(id, name) {
    const chart = new Chart(document.getElementById(id), 320, {
      picked: (run) => this.table.pick([run]),
      zoomed: (view) => this.choices.set({ [name]: Chart.written(view) }),
    });
    chart.look(this.choices.numbers(name));
    return chart;
  }

  listen() {
    for (const [id, name] of Object.entries(BOXES)) {
      const box = document.getElementById(id);
      box.checked = this.choices.get(name) === "1";
      box.addEventListener("change", () => {
        this.choices.set({ [name]: box.checked ? "1" : name === "slx" ? "0" : "" });
        this.chartOf(id).reset();
        this.draw();
      });
    }
    for (const [id, name] of Object.entries(SELECTS)) {
      const select = document.getElementById(id);
      if (select.options.length) select.value = this.choices.get(name);
      select.addEventListener("change", () => {
        this.choices.set({ [name]: select.value });
        if (id !== "curve-smooth") this.chartOf(id).reset();
        return id === "curve-key" ? this.loadCurves() : this.draw();
      });
    }
  }

  chartOf(id) {
    return id.startsWith("curve") ? this.curves : this.scatter;
  }

  async load() {
    const payload = await get(`${this.address}/data`);
    this.data = new Data();
    this.data.take(payload);
    this.at = payload.at;
    this.tell(payload);
    await this.table.show(this.data);
    this.actions.show();
    this.offerMetrics();
    await this.loadCurves();
  }

  tell({ comparisons, deleted }) {
    this.compared = this.table.compared = comparisons;
    showFound(comparisons);
    showVariants(comparisons);
    this.actions.tell(deleted);
    const counts = new Map();
    for (const { values } of this.data.rows.values()) counts.set(values.state, (counts.get(values.state) ?? 0) + 1);
    const line = document.getElementById("states");
    const ranked = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    if (ranked.length) line.replaceChildren(...ranked.flatMap(([state, count]) => [make("span", {}, `${count} `, badge(state)), " "]));
  }

  async loadCurves() {
    const figure = document.getElementById("curves");
    figure.setAttribute("aria-busy", "true");
    this.drawn = await get(`${this.address}/curves`, { key: this.choices.get("curve") || this.key });
    figure.removeAttribute("aria-busy");
    this.draw();
  }

  get key() {
    return document.getElementById("curve-key").value;
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
        this.tell(payload);
        await this.table.show(this.data);
        this.offerMetrics();
        await this.updateCurves(since);
      }
    }
    return [...this.data.rows.values()].some(({ values }) => ["running", "pending"].includes(values.state));
  }

  async updateCurves(since) {
    const news = await get(`${this.address}/curves`, { key: this.key, since });
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
    const put = (id, offered, usual) => {
      const wanted = this.choices.get(SELECTS[id]);
      offer(document.getElementById(id), offered, offered.some(([key]) => key === wanted) ? wanted : usual());
    };
    put("curve-key", logged, () => first(CURVES, logged.map(([key]) => key)));
    put("scatter-x", pairs, () => first([...COSTS.filter(differs), ...keys]));
    const known = SCORES.filter((key) => whole.every((row) => row.values[key] !== undefined));
    const x = document.getElementById("scatter-x").value;
    put("scatter-y", pairs, () => first([...known, ...SCORES], keys.filter((key) => key !== x)));
  }

  // ---------------------------------------------------------------- drawing
  draw() {
    if (!this.drawn) return;
    this.grouping();
    this.drawCurves();
    this.drawScatter();
  }

  // Which group a run belongs to, and how the group is drawn: the variants, unless the reader
  // groups by something else.
  grouping() {
    const key = this.choices.get("group") || "variant";
    const rows = this.table.visible.filter((row) => !isInference(row));
    const names = new Map();
    const nameOf = (row) => text(key, row.values[key]);
    for (const row of rows) {
      const name = nameOf(row);
      if (name && !names.has(name)) names.set(name, { name, style: key === "variant" ? row.style ?? STYLES - 1 : null, count: 0 });
      if (name) names.get(name).count += 1;
    }
    const ordered = [...names.values()].sort((a, b) => (a.style ?? 0) - (b.style ?? 0) || compare(a.name, b.name));
    ordered.forEach((group, place) => (group.style ??= place % STYLES));
    const off = new Set(this.choices.list("off"));
    this.off = off;
    this.isPlain = !ordered.length;
    this.groups = new Map(ordered.map((group) => [group.name, group]));
    this.groupOf = (row) => this.groups.get(nameOf(row)) ?? null;
    this.entries = ordered.map(({ name, style, count }) => ({ name, style, isOff: off.has(name),
      label: `${name}, ${count} run${count === 1 ? "" : "s"}` }));
    document.getElementById("legend").replaceChildren(...legend(this.entries, (name) => {
      this.choices.toggle("off", name);
      this.draw();
    }));
  }

  rows() {
    return this.table.visible.filter((row) => !isInference(row) && !this.off.has(this.groupOf(row)?.name));
  }

  describe(row) {
    return row.values.name || row.id;
  }

  href(row) {
    return `${this.address}/runs/${encodeURIComponent(row.id)}`;
  }

  drawCurves() {
    const { curves = {}, better, heading, x } = this.drawn;
    const rows = this.rows().filter((row) => curves[row.id]);
    const weight = Number(this.choices.get("smooth"));
    const lines = this.choices.get("lines");
    const isMany = rows.length > MANY;
    const picked = this.table.picked;
    const leaders = isMany ? bestOfEach(rows, curves, better, this.groupOf) : new Set(rows);
    const isMeans = lines !== "runs" && !this.isPlain;
    const series = rows.map((row, place) => {
      const [xs, ys] = curves[row.id];
      return { id: row.id, label: this.describe(row), href: this.href(row), isFaint: isMeans || !leaders.has(row), isPruned: isPruned(row),
        style: this.isPlain ? place % STYLES : this.groupOf(row)?.style ?? STYLES - 1, xs, ys: smooth(xs, ys, weight) };
    });
    const bands = isMeans ? this.bands(rows, series, lines) : [];
    const missing = rows.reduce((sum, row) => sum + curves[row.id][1].filter((y) => y === null).length, 0);
    const notes = [isMany && !this.isPlain && !isMeans && "thick: the best run of each",
      isMeans && `band: ${lines === "sd" ? "one standard deviation" : "lowest to highest"}`,
      rows.some(isPruned) && "×: pruned", missing && `${missing} value${missing === 1 ? "" : "s"} missing or not finite: gaps`].filter(Boolean);
    document.getElementById("curves-note").textContent = notes.join("; ");
    const summary = `${heading} over ${x?.toLowerCase()} for ${rows.length} runs. The arrow keys step`
      + " through the points; the table below has the values.";
    const named = this.isPlain ? (isMany ? [] : series.map((s) => ({ label: s.label, style: s.style }))) : this.entries;
    if (this.isPlain) document.getElementById("legend").replaceChildren(...legend(named));
    const shown = isMeans ? series.filter((s) => picked.has(s.id)) : series;
    this.curves.draw({ kind: "lines", name: this.drawn.key, x: x ?? "", y: heading ?? "", better, series: shown, bands, picked, summary,
      legend: named, logX: this.choices.get("clx") === "1", logY: this.choices.get("cly") === "1",
      nothing: this.key ? "No run that is shown has logged this" : "Nothing has been logged yet" });
  }

  // The mean curve of each group: of the runs that stand for it, while there are none of all its runs.
  bands(rows, series, kind) {
    const key = this.choices.get("group") || "variant";
    const members = new Map();
    rows.forEach((row, place) => {
      const group = this.groupOf(row);
      if (group) members.set(group, [...(members.get(group) ?? []), { row, place }]);
    });
    return [...members].map(([{ name, style }, found]) => {
      const whole = new Set(averaged(this.compared, key, found.map(({ row }) => row)).rows);
      const kept = whole.size ? found.filter(({ row }) => whole.has(row)) : found;
      const curves = kept.map(({ place }) => [series[place].xs, series[place].ys.map((y) => (isDrawable(y) ? y : null))]);
      return { label: `${name}, mean of ${curves.length}`, style, points: band(curves, kind) };
    });
  }

  drawScatter() {
    const [x, y] = ["scatter-x", "scatter-y"].map((id) => this.data.columns.get(document.getElementById(id).value));
    if (!x || !y) {
      this.scatter.draw({ kind: "points", name: "", x: "", y: "", series: [], summary: "Nothing to draw", nothing: "No run has a measured value yet" });
      return;
    }
    const every = this.rows();
    const rows = every.filter((row) => [x, y].every((column) => typeof row.values[column.key] === "number"));
    const points = rows.map((row) => ({ x: row.values[x.key], y: row.values[y.key], row }));
    const { compared, whole, gpu } = comparable(this.compared, points, [x, y]);
    const best = front(whole, [x.better, y.better]); // a score at an early rung competes with no run
    const pale = [compared.length < points.length && "not complete, or of other settings",
      whole.length < compared.length && "measured elsewhere, or with much longer or shorter answers"].filter(Boolean).join(", or ");
    const absent = every.length - rows.length;
    document.getElementById("scatter-note").textContent = [gpu && `on ${gpu}`, pale && `pale: ${pale}`,
      absent && `${absent} without both values`].filter(Boolean).join("; ");
    const known = new Set(whole);
    const series = points.map((point) => ({ id: point.row.id, label: this.describe(point.row), href: this.href(point.row),
      style: this.groupOf(point.row)?.style ?? (this.isPlain ? 0 : STYLES - 1), isPale: !known.has(point), xs: [point.x], ys: [point.y] }));
    const summary = `${y.heading} against ${x.heading} for ${rows.length} runs; on the Pareto front: `
      + `${best.slice(0, 6).map(({ row, x: a, y: b }) => `${this.describe(row)} (${number(a)}, ${number(b)})`).join("; ") || "none"}.`;
    this.scatter.draw({ kind: "points", name: `${y.key}_by_${x.key}`, x: `${x.heading}, ${x.better} is better`, y: y.heading, better: y.better,
      logX: this.isLog("slx", points.map((point) => point.x)), logY: this.choices.get("sly") === "1", summary, series,
      picked: this.table.picked, front: best.map((point) => [point.x, point.y]), legend: this.entries,
      nothing: "No run that is shown has both values" });
  }

  // A wide span is logarithmic until the reader says otherwise.
  isLog(name, values) {
    const box = document.getElementById("scatter-logx");
    const chosen = this.choices.get(name);
    const [least, most] = [values.reduce((a, b) => Math.min(a, b), Infinity), values.reduce((a, b) => Math.max(a, b), -Infinity)];
    if (chosen === "") box.checked = least > 0 && most / least > 30;
    return box.checked;
  }
}

const compare = (a, b) => (Number(a) - Number(b) || (a < b ? -1 : a > b ? 1 : 0));

// Of each group the run whose last value is the best.
function bestOfEach(rows, curves, better, groupOf) {
  const sign = better === "higher" ? 1 : -1;
  const last = (row) => sign * (curves[row.id][1].findLast((y) => typeof y === "number") ?? -sign * Infinity);
  const found = new Map();
  for (const row of rows) {
    const known = found.get(groupOf(row));
    if (!known || last(row) > last(known)) found.set(groupOf(row), row);
  }
  return new Set(found.values());
}

// What an inference run measured stands on its training run too.
function isInference({ values }) {
  return values.job_type === "inference";
}

// Which points may stand on a front: of the largest group of runs that may be compared those which
// the server counts as complete, less those whose value of an axis was measured elsewhere or for
// answers of another length. Where no run is of the study, all finished ones.
function comparable(comparisons, points, axes) {
  const [largest] = comparisons;
  if (!largest) {
    const ended = points.filter(({ row }) => !isPruned(row) && row.values.state === "finished");
    return { compared: ended, whole: ended, gpu: null };
  }
  const runs = new Set(largest.runs);
  const unlike = new Set(axes.flatMap(({ key }) => largest.unlike[key] ?? []));
  const compared = points.filter(({ row }) => runs.has(row.id));
  return { compared, whole: compared.filter(({ row }) => !unlike.has(row.id)), gpu: axes.map(({ key }) => largest.gpus[key]).find(Boolean) };
}

function isPruned({ values }) {
  return values.state === "pruned" || String(values.tags ?? "").split(", ").includes("pruned");
}
