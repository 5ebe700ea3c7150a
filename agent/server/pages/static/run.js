// The page of one run: a small chart for each metric, and what still changes while it runs.

import { Chart } from "./charts.js";
import { Choices } from "./address.js";
import { badge, duration, make, text } from "./format.js";
import { get, keepUp } from "./live.js";
import { smooth } from "./smoothing.js";

const FIRST = ["validation/f1_score", "validation/accuracy", "train/loss", "loss"];
const FEW_CHARTS = 6; // the others wait in a fold
const HIDDEN = new Set(["epoch", "step"]);
const TITLES = { epoch: "Epoch", step: "Step", seconds: "Seconds" };

export async function start(main) {
  const page = new Run(main.dataset.address, Number(main.dataset.line));
  await page.update();
  keepUp(() => page.update());
}

class Run {
  constructor(address, line) {
    this.address = address;
    this.line = line;
    this.revision = null;
    this.charts = new Map();
    this.choices = new Choices({ smooth: "0" });
    const find = (id) => document.getElementById(id);
    [this.axis, this.smooth, this.logX, this.logY] = ["x-axis", "smooth", "log-x", "log-y"].map(find);
    if (this.choices.get("over")) this.axis.value = this.choices.get("over");
    this.zooms = new Map(this.choices.list("zoom").map((one) => one.split("|")));
    this.smooth.value = this.choices.get("smooth");
    this.logX.checked = this.choices.get("lx") === "1";
    this.logY.checked = this.choices.get("ly") === "1";
    this.axis.addEventListener("change", () => this.choose({ over: this.axis.value }));
    this.smooth.addEventListener("change", () => this.choose({ smooth: this.smooth.value }));
    this.logX.addEventListener("change", () => this.choose({ lx: this.logX.checked ? "1" : "" }));
    this.logY.addEventListener("change", () => this.choose({ ly: this.logY.checked ? "1" : "" }));
    document.querySelectorAll("[data-scripted]").forEach((part) => (part.hidden = false));
  }

  // Which part of a chart is looked at stands in the address too.
  zoomed(name, view) {
    if (view) this.zooms.set(name, view.join(" "));
    else this.zooms.delete(name);
    this.choices.set({ zoom: [...this.zooms].map((pair) => pair.join("|")) });
  }

  choose(changes) {
    this.zooms.clear();
    this.choices.set({ ...changes, zoom: "" });
    for (const chart of this.charts.values()) chart.zoom = null;
    this.draw();
  }

  async update() {
    const news = await get(`${this.address}/data`, { revision: this.revision, line: this.line });
    document.getElementById("run-state").replaceChildren(badge(news.state));
    document.getElementById("duration").textContent = duration(news.duration_s);
    this.revision = news.revision;
    if (this.wasLive && !news.is_live) this.offerRest();
    this.wasLive = news.is_live;
    if (news.history) {
      this.news = news;
      this.draw();
      this.summarise(news.summary);
      this.write(news.console);
    }
    return news.is_live;
  }

  // Predictions and files stand in the page as it was loaded.
  offerRest() {
    const link = make("a", { href: location.pathname }, "load the page again");
    document.querySelector("h1").after(make("p", { role: "note" }, "The run has ended: ", link,
      " for its predictions and files."));
  }

  draw() {
    const { history, system, better } = this.news;
    if (!this.choices.get("over")) {
      const series = Object.values(history);
      const hasEpochs = series.some(({ epoch }) => epoch.length > 1 && epoch.every((value) => value !== null));
      this.axis.value = hasEpochs ? "epoch" : "step";
    }
    const rank = (key) => (FIRST.indexOf(key) + 1 || FIRST.length + 1);
    const keys = Object.keys(history).filter((key) => !HIDDEN.has(key))
      .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
    this.drawAll("history", keys.map((key) => [key, history[key], this.axis.value]), better);
    this.drawAll("system", Object.keys(system).sort().map((key) => [key, system[key], "seconds"]));
  }

  drawAll(place, wanted, better = {}) {
    const box = document.getElementById(place);
    if (!wanted.length) box.replaceChildren(make("p", {}, "Nothing has been logged."));
    for (const [key, series, wish] of wanted) {
      const name = `${place} ${key}`;
      if (!this.charts.has(name)) {
        box.querySelector(":scope > p")?.remove();
        const figure = make("figure", { "aria-label": key }, make("figcaption", {}, make("h3", {}, key)));
        this.place(box).append(figure);
        const chart = new Chart(figure, 200, { zoomed: (view) => this.zoomed(name, Chart.written(view)) });
        chart.look(this.zooms.get(name)?.split(" ").map(Number));
        this.charts.set(name, chart);
      }
      const axis = [wish, "step", "seconds"].find((x) => series[x].every((value) => value !== null)) ?? wish;
      const pairs = series.y.map((y, i) => [series[axis][i], y]).filter(([x]) => x !== null);
      const xs = pairs.map(([x]) => x);
      const raw = pairs.map(([, y]) => y);
      const weight = Number(this.smooth.value);
      const missing = raw.filter((y) => y === null).length;
      const last = raw.at(-1) ?? null;
      const summary = `${key} over ${TITLES[axis].toLowerCase()}, ${raw.length - missing} points, last `
        + `${last === null ? "missing" : text("", last)}${missing ? `, ${missing} missing or not finite` : ""}`;
      const smoothed = { id: key, label: key, href: null, style: 1, xs, ys: smooth(xs, raw, weight) };
      const behind = { ...smoothed, id: `${key} raw`, label: `${key}, as logged`, isFaint: true, ys: raw };
      this.charts.get(name).draw({ kind: "lines", name: key, x: TITLES[axis], y: "", summary, logX: this.logX.checked,
        logY: this.logY.checked, better: better[key], nothing: missing ? "No finite value has been logged" : "Nothing positive to draw",
        series: weight > 0 ? [behind, smoothed] : [smoothed] });
    }
  }

  // Where the next chart goes: in sight, or from the seventh on into the fold.
  place(box) {
    const grid = box.querySelector(".small-charts") ?? box.appendChild(make("div", { class: "small-charts" }));
    if (grid.childElementCount < FEW_CHARTS) return grid;
    const fold = box.querySelector("details") ?? box.appendChild(make("details", {},
      make("summary", {}), make("div", { class: "small-charts" })));
    fold.firstChild.textContent = `More charts (${fold.lastChild.childElementCount + 1})`;
    return fold.lastChild;
  }

  summarise(pairs) {
    const body = document.querySelector("#summary tbody");
    if (!pairs.length) return;
    pairs.sort(([a], [b]) => (a < b ? -1 : 1));
    body.replaceChildren(...pairs.map(([key, value]) =>
      make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, text("", value)))));
  }

  write({ lines, next }) {
    this.line = next;
    if (!lines.length) return;
    const box = document.getElementById("console");
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    box.hidden = false;
    document.getElementById("no-console")?.remove();
    box.append(`${lines.join("\n")}\n`);
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  }
}
