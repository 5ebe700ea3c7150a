// The page of a sweep: its points, the best runs, and how parameters and scores hang together.

import { Actions } from "./actions.js";
import { Choices } from "./address.js";
import { badge, make, number, text } from "./format.js";
import { get, keepUp } from "./live.js";
import { Parallel } from "./parallel.js";
import { Data, Table } from "./table.js";

const BEST = 10;

export async function start(main) {
  const { address, sweep, token } = main.dataset;
  const page = new Sweep(address, `${address}/sweeps/${encodeURIComponent(sweep)}`, token);
  await page.update();
  keepUp(() => page.update());
  await page.weigh();
}

class Sweep {
  constructor(project, address, token) {
    this.project = project;
    this.address = address;
    this.choices = new Choices({ rows: "100" });
    document.querySelector(".charts").hidden = false;
    const brushes = this.choices.list("brush").map((one) => one.split("|"));
    this.parallel = new Parallel(document.getElementById("parallel"), brushes, {
      picked: (id) => this.table.pick([id]),
      brushed: (found) => this.choices.set({ brush: found.map((one) => one.join("|")) }),
    });
    this.table = new Table(project, this.choices, { what: "points", query: `${address}/filter`, changed: () => this.draw(),
      picked: () => { this.actions.show(); this.draw(); }, pointed: (id) => this.parallel.highlight(id) });
    this.actions = new Actions(project, token, this.table, () => this.update());
  }

  async update() {
    const shown = await get(`${this.address}/data`);
    const words = JSON.stringify(shown);
    if (words !== this.words) {
      if (this.shown && shown.state !== this.shown.state) location.reload(); // other buttons apply
      [this.words, this.shown] = [words, shown];
      this.data = new Data();
      this.data.take(shown);
      await this.table.show(this.data);
      this.actions.show();
      this.actions.tell(shown.deleted);
      this.state();
      this.draw();
    }
    return shown.is_live;
  }

  state() {
    const { state, counts, ended, expected, agents } = this.shown;
    const put = (id, words) => (document.getElementById(id).textContent = words);
    document.getElementById("sweep-state").replaceChildren(badge(state));
    put("progress", expected === null ? String(ended) : `${ended} of ${expected}`);
    put("counts", Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ") || "none yet");
    put("agents", String(agents.length));
  }

  draw() {
    const { metric, better, keys } = this.shown;
    const known = [...this.data.rows.values()].filter((row) => row.id && typeof row.values[metric] === "number");
    const sign = better === "higher" ? -1 : 1;
    known.sort((a, b) => sign * (a.values[metric] - b.values[metric]));
    const list = document.getElementById("best");
    if (known.length) list.replaceChildren(...known.slice(0, BEST).map((row) => this.item(row)));
    const axes = [...keys, ...this.shown.metrics].map((key) => this.data.columns.get(key)).filter(Boolean);
    const rows = this.table.visible.filter((row) => row.id);
    this.parallel.draw({ axes, rows, metric, better, picked: this.table.picked, href: (row) => this.href(row) });
  }

  href(row) {
    return `${this.project}/runs/${encodeURIComponent(row.id)}`;
  }

  item(row) {
    const { metric, keys } = this.shown;
    const words = keys.filter((key) => key in row.values).map((key) => `${key} ${text(key, row.values[key])}`).join(", ");
    const digits = this.data.columns.get(metric)?.digits ?? null;
    return make("li", {}, make("a", { href: this.href(row) }, row.values.name ?? row.id), " ",
      make("b", {}, text(metric, row.values[metric], digits)), " ", make("span", { class: "faint" }, words));
  }

  // How much each parameter matters: worked out by the server on request.
  async weigh() {
    const box = document.getElementById("importance");
    const found = await get(`${this.address}/importance`).catch((error) => ({ problem: error.message }));
    if (found.problem) return box.replaceChildren(make("p", {}, found.problem));
    const rows = found.parameters.map(({ key, importance }) => make("tr", {}, make("th", { scope: "row" }, key),
      make("td", { class: "number" }, number(Number(importance.toFixed(3)))),
      make("td", { class: "bar-cell" }, make("meter", { min: 0, max: 1, value: importance, "aria-label": `importance of ${key}` }))));
    const head = ["Parameter", "Importance", "Share"].map((word) => make("th", { scope: "col" }, word));
    return box.replaceChildren(make("table", { class: "values importance" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)),
      make("p", { class: "faint" }, found.words));
  }
}
