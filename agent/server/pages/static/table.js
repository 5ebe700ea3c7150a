// A table of runs or points: sorted, filtered, grouped, with chosen columns, a part at a time; rows
// are selected and hidden. What the reader chooses stands in the address.

import { csv, save } from "./export.js";
import { badge, isNotFinite, make, offer, text } from "./format.js";
import { averaged } from "./means.js";
import { Query } from "./query.js";

const MOST_IN_ADDRESS = 300; // runs
const FEW_ROWS = 200; // with more, groups begin closed
const GROUPS = ["variant", "seed", "state", "sweep", "dataset", "base_model", "learning_rate"];

// Columns and rows as the server sends them, merged into what is known already.
export class Data {
  constructor() {
    this.columns = new Map(); // key -> {key, heading, origin, first, number, better, digits}
    this.rows = new Map(); // id -> {id, key, style, values}
  }

  take(payload) {
    const rows = payload.ids.map((id, place) => {
      const row = { id, key: id || ` ${place}`, style: payload.styles[place], values: {} };
      this.rows.set(row.key, row);
      return row;
    });
    for (const { values, constant, ...column } of payload.columns) {
      const known = this.columns.get(column.key);
      if (!known || (column.number && !known.number)) this.columns.set(column.key, column);
      rows.forEach((row, place) => {
        const value = values ? values[place] : constant;
        if (value !== null && value !== undefined) row.values[column.key] = value;
      });
    }
    return rows;
  }

  numbers(test = () => true) {
    return [...this.columns.values()].filter((column) => column.number && test(column));
  }
}

export class Table {
  // options: {what, query (address that answers a filter), changed(), pointed(id), picked()}
  constructor(address, choices, options = {}) {
    Object.assign(this, { address, choices, options });
    this.form = document.getElementById("view");
    this.table = document.getElementById("runs");
    this.pager = document.getElementById("pager");
    this.part = 0;
    this.toggled = new Set(); // groups that are not as groups begin
    this.data = new Data();
    this.compared = []; // groups of runs that may be compared, as the server has them
    [this.picked, this.hidden, this.only] = ["sel", "hide", "only"].map((name) => new Set(choices.list(name)));
    this.matches = null; // keys of the rows that pass the filter; null: all
    this.query = new Query(this.form.elements.q, options.query, (matches) => this.filtered(matches));
    this.listen();
  }

  listen() {
    const { q, group, rows } = this.form.elements;
    document.querySelectorAll("[data-scripted]").forEach((part) => (part.hidden = false));
    document.querySelectorAll("[data-plain]").forEach((part) => (part.hidden = true));
    q.value = this.choices.get("q");
    rows.value = this.choices.get("rows");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    q.addEventListener("input", () => this.choices.set({ q: q.value }));
    group.addEventListener("change", () => { this.choose({ group: group.value }); this.options.changed?.(); });
    rows.addEventListener("change", () => this.choose({ rows: rows.value }));
    document.getElementById("table-csv")?.addEventListener("click", () => this.saveCsv());
  }

  choose(changes) {
    this.choices.set(changes);
    this.part = 0;
    this.draw();
  }

  filtered(matches) {
    this.matches = matches;
    this.part = 0;
    this.draw();
    this.options.changed?.();
  }

  // ---------------------------------------------------------------- selected and hidden
  // What is hidden: some runs, or all but some. Long lists stay out of the address.
  isHidden(id) {
    return this.hidden.has(id) || (this.only.size > 0 && !this.only.has(id));
  }

  get hides() {
    return this.hidden.size + this.only.size > 0;
  }

  // The rows that charts show.
  get visible() {
    return this.hides ? this.passing.filter((row) => !this.isHidden(row.id)) : this.passing;
  }

  keep() {
    const short = (ids) => (ids.size <= MOST_IN_ADDRESS ? [...ids] : "");
    this.choices.set({ sel: short(this.picked), hide: short(this.hidden), only: short(this.only) });
  }

  pick(ids, isOn = null) {
    const { picked } = this;
    for (const id of ids) {
      if (isOn ?? !picked.has(id)) picked.add(id);
      else picked.delete(id);
    }
    this.keep();
    this.draw();
    this.options.picked?.();
  }

  hide(ids, isOn = null) {
    for (const id of ids) {
      if (isOn ?? !this.isHidden(id)) this.hidden.add(id);
      else {
        this.hidden.delete(id);
        if (this.only.size) this.only.add(id);
      }
    }
    this.keep();
    this.draw();
    this.options.changed?.();
  }

  // Hide all but some; none: show all.
  showOnly(ids) {
    this.hidden.clear();
    this.only = new Set(ids);
    this.keep();
    this.draw();
    this.options.changed?.();
  }

  async show(data) {
    this.data = data;
    const keys = [...data.columns.keys()];
    const groups = [...GROUPS.filter((key) => keys.includes(key)),
      ...keys.filter((key) => data.columns.get(key).origin === "config" && !GROUPS.includes(key))];
    offer(this.form.elements.group, [["", "nothing"], ...groups.map((key) => [key, key])],
      this.choices.get("group"));
    this.offerColumns();
    this.matches = await this.query.ask();
    this.draw();
  }

  get shown() {
    const chosen = new Set(this.choices.list("columns"));
    const wanted = (c) => c.key === "name" || (chosen.size ? chosen.has(c.key) : c.first);
    return [...this.data.columns.values()].filter(wanted);
  }

  offerColumns() {
    const field = this.form.querySelector(".chooser fieldset");
    const keys = [...this.data.columns.keys()].filter((key) => key !== "name");
    if (!field || field.dataset.keys === keys.join("\n")) return;
    field.dataset.keys = keys.join("\n");
    const shown = new Set(this.shown.map((column) => column.key));
    const boxes = keys.map((key) => {
      const box = make("input", { type: "checkbox", value: key, checked: shown.has(key) });
      box.addEventListener("change", () => {
        const chosen = [...field.querySelectorAll("input:checked")].map((input) => input.value);
        this.choose({ columns: chosen.length ? chosen : ["name"] });
      });
      const { heading, origin } = this.data.columns.get(key);
      return make("label", { title: `${origin}: ${key}` }, box, heading);
    });
    field.replaceChildren(field.querySelector("legend"), ...boxes);
  }

  // ---------------------------------------------------------------- what is drawn
  draw() {
    const held = this.held();
    const all = [...this.data.rows.values()];
    this.passing = this.matches ? all.filter((row) => this.matches.has(row.key)) : all;
    const { key, isDown } = this.order;
    if (key) this.passing = sorted(this.passing, key, isDown);
    const columns = this.shown;
    this.table.tHead.replaceChildren(this.head(columns));
    for (const body of [...this.table.tBodies]) body.remove();
    this.table.append(...(this.choices.get("group") ? this.grouped(columns) : [this.plain(columns)]));
    const what = this.options.what ?? "runs";
    const hidden = this.passing.length - this.visible.length;
    const count = `${this.passing.length} of ${all.length} ${what}${hidden ? `, ${hidden} hidden from charts` : ""}`;
    const output = document.getElementById("count");
    if (output.textContent !== count) output.textContent = count;
    held?.();
  }

  // The table is drawn anew; the focus stays on the button that had it.
  held() {
    const active = document.activeElement;
    const key = this.table.contains(active) && active.dataset.hold;
    if (!key) return null;
    return () => [...this.table.querySelectorAll("[data-hold]")]
      .find((element) => element.dataset.hold === key)?.focus({ preventScroll: true });
  }

  // A score's first order is the best first.
  get order() {
    const key = this.choices.get("sort");
    const wanted = this.choices.get("order");
    return { key, isDown: wanted ? wanted === "desc" : this.firstIsDown(key) };
  }

  firstIsDown(key) {
    const column = this.data.columns.get(key);
    return column?.origin === "summary" && column.better === "higher";
  }

  sortBy(key) {
    const isSorted = this.order.key === key;
    const isDown = isSorted ? !this.order.isDown : this.firstIsDown(key);
    this.choose({ sort: key, order: isDown === this.firstIsDown(key) ? "" : isDown ? "desc" : "asc" });
  }

  head(columns) {
    const { key, isDown } = this.order;
    const cells = columns.map((column) => {
      const isSorted = key === column.key;
      const button = make("button", { type: "button", "data-hold": `head ${column.key}`,
        title: column.key, click: () => this.sortBy(column.key) }, column.heading);
      return make("th", { scope: "col", class: column.number ? "number" : null,
        "aria-sort": isSorted ? (isDown ? "descending" : "ascending") : null }, button);
    });
    const passing = this.passing.filter((row) => row.id).map((row) => row.id);
    const isAll = passing.length > 0 && passing.every((id) => this.picked.has(id));
    const box = make("input", { type: "checkbox", "aria-label": "Select all that pass the filter", checked: isAll,
      "data-hold": "pick all", change: () => this.pick(passing, !isAll) });
    return make("tr", {}, make("td", { class: "marks" }, box), ...cells);
  }

  plain(columns) {
    const size = this.choices.get("rows") === "all" ? Infinity : Number(this.choices.get("rows"));
    const parts = Math.max(1, Math.ceil(this.passing.length / size));
    this.part = Math.min(this.part, parts - 1);
    const start = parts > 1 ? this.part * size : 0;
    this.drawPager(parts, start, size);
    const rows = this.passing.slice(start, start + size);
    const none = this.matches ? "Nothing passes this filter." : `No ${this.options.what ?? "runs"} yet.`;
    return make("tbody", {}, ...(rows.length ? rows.map((row) => this.line(row, columns))
      : [make("tr", {}, make("td", { colspan: columns.length + 1 }, none))]));
  }

  drawPager(parts, start, size) {
    this.pager.hidden = parts < 2;
    if (parts < 2) return;
    const step = (words, by) => make("button", { type: "button",
      disabled: this.part + by < 0 || this.part + by >= parts,
      click: () => { this.part += by; this.draw(); this.table.scrollIntoView(); } }, words);
    const end = Math.min(start + size, this.passing.length);
    this.pager.replaceChildren(step("Earlier", -1),
      make("span", {}, ` ${start + 1} to ${end} of ${this.passing.length} `), step("Later", 1));
  }

  grouped(columns) {
    this.pager.hidden = true;
    const groups = new Map();
    const group = this.choices.get("group");
    for (const row of this.passing) {
      const name = text(group, row.values[group]) || "(none)";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(row);
    }
    return [...groups].map(([name, rows]) => {
      const isOpen = this.passing.length <= FEW_ROWS !== this.toggled.has(name);
      const lines = isOpen ? rows.map((row) => this.line(row, columns)) : [];
      return make("tbody", {}, this.groupHead(name, rows, columns, isOpen), ...lines);
    });
  }

  groupHead(name, rows, columns, isOpen) {
    const toggle = () => {
      if (!this.toggled.delete(name)) this.toggled.add(name);
      this.draw();
    };
    const whole = averaged(this.compared, this.choices.get("group"), rows);
    const button = make("button", { type: "button", "aria-expanded": String(isOpen),
      "data-hold": `group ${name}`, click: toggle }, `${name} (${rows.length}, means of ${whole.rows.length})`);
    const ids = rows.filter((row) => row.id).map((row) => row.id);
    const isAll = ids.length > 0 && ids.every((id) => this.picked.has(id));
    const box = make("input", { type: "checkbox", "aria-label": `Select the runs of ${name}`, checked: isAll,
      "data-hold": `pick group ${name}`, change: () => this.pick(ids, !isAll) });
    const cells = columns.map((column, place) => {
      if (place === 0) return make("th", { scope: "rowgroup" }, button);
      const found = whole.rows.filter((row) => whole.holds(row, column.key)).map((row) => row.values[column.key])
        .filter((v) => typeof v === "number");
      if (!column.number || !found.length || column.origin !== "summary") return make("td");
      const mean = found.reduce((sum, value) => sum + value, 0) / found.length;
      return make("td", { class: "number", title: `mean of ${found.length}` }, text(column.key, mean, column.digits ?? null));
    });
    return make("tr", { class: "group" }, make("td", { class: "marks" }, box), ...cells);
  }

  line(row, columns) {
    const isHidden = this.isHidden(row.id);
    const name = row.values.name || row.id;
    const box = row.id && make("input", { type: "checkbox", "aria-label": `Select ${name}`, "data-hold": `pick ${row.id}`,
      checked: this.picked.has(row.id), change: () => this.pick([row.id]) });
    const eye = row.id && make("button", { type: "button", class: "eye", "aria-pressed": String(isHidden), "data-hold": `hide ${row.id}`,
      "aria-label": `Hide ${name} from the charts`, title: isHidden ? "Show in the charts" : "Hide from the charts",
      click: () => this.hide([row.id]) }, isHidden ? "○" : "●");
    const cells = columns.map((column) => {
      const value = row.values[column.key];
      if (column.key === "name") {
        const href = `${this.address}/runs/${encodeURIComponent(row.id)}`;
        if (!row.id) return make("td");
        return make("th", { scope: "row", title: name }, make("a", { href, "data-hold": `run ${row.id}` }, name));
      }
      if (column.key === "state") return make("td", {}, badge(value ?? ""));
      const isSwatch = column.key === "variant" && row.style !== null;
      const swatch = isSwatch && make("span", { class: `swatch c${row.style}`, "aria-hidden": "true" });
      const kind = column.number ? (isNotFinite(value) ? "number odd" : "number") : null;
      return make("td", { class: kind, title: typeof value === "number" ? String(value) : null }, swatch || "",
        text(column.key, value, column.digits ?? null));
    });
    const point = () => this.options.pointed?.(row.id);
    const leave = () => this.options.pointed?.(null);
    const state = [this.picked.has(row.id) && "picked", isHidden && "hidden-run"].filter(Boolean).join(" ");
    return make("tr", { class: state || null, mouseenter: point, mouseleave: leave },
      make("td", { class: "marks" }, box || "", eye || ""), ...cells);
  }

  saveCsv() {
    const columns = this.shown;
    const value = (row, { key }) => (key === "created" ? text(key, row.values[key]) : row.values[key]);
    const lines = this.passing.map((row) => [row.id, ...columns.map((column) => value(row, column))]);
    save(`${this.options.what ?? "runs"}.csv`, csv([["id", ...columns.map((column) => column.key)], ...lines]), "text/csv");
  }
}

function sorted(rows, key, isDown) {
  const kind = (value) => (value === undefined ? 2 : typeof value === "string" ? 1 : 0);
  const plain = (value) => (typeof value === "string" ? value.toLowerCase() : Number(value));
  return [...rows].sort((one, other) => {
    const [a, b] = [one.values[key], other.values[key]];
    if (kind(a) !== kind(b) || kind(a) === 2) return kind(a) - kind(b);
    const order = plain(a) < plain(b) ? -1 : plain(a) > plain(b) ? 1 : 0;
    return isDown ? -order : order;
  });
}
