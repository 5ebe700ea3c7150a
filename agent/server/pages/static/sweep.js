// The page of a sweep: its points, the best runs, and how parameters and scores hang together.

import { badge, make, number, text } from "./format.js";
import { get, keepUp } from "./live.js";
import { Parallel } from "./parallel.js";
import { Data, Table } from "./table.js";

const BEST = 10;

export async function start(main) {
  const { address, sweep } = main.dataset;
  const page = new Sweep(address, `${address}/sweeps/${encodeURIComponent(sweep)}`);
  await page.update();
  keepUp(() => page.update());
}

class Sweep {
  constructor(project, address) {
    this.project = project;
    this.address = address;
    document.querySelector(".charts").hidden = false;
    this.parallel = new Parallel(document.getElementById("parallel"));
    this.table = new Table(project, { what: "points", changed: () => this.draw(),
      pointed: (id) => this.parallel.highlight(id) });
  }

  async update() {
    const shown = await get(`${this.address}/data`);
    const words = JSON.stringify(shown);
    if (words !== this.words) {
      if (this.shown && shown.state !== this.shown.state) location.reload(); // other buttons apply
      [this.words, this.shown] = [words, shown];
      this.data = new Data();
      this.data.take(shown);
      this.table.show(this.data);
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
    const rows = this.table.passing.filter((row) => typeof row.values[metric] === "number");
    this.parallel.draw({ axes, rows, metric, better, href: (row) => this.href(row) });
  }

  href(row) {
    return `${this.project}/runs/${encodeURIComponent(row.id)}`;
  }

  item(row) {
    const { metric, keys } = this.shown;
    const words = keys.filter((key) => key in row.values).map((key) => `${key} ${text(key, row.values[key])}`).join(", ");
    return make("li", {}, make("a", { href: this.href(row) }, row.values.name ?? row.id), " ",
      make("b", {}, number(row.values[metric])), " ", make("span", { class: "faint" }, words));
  }
}
