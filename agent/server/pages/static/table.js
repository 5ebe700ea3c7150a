// A table of runs or points: sorted, filtered, grouped, with chosen columns, a part at a time.
// What the reader chooses stands in the address, so that it can be sent to somebody else.

import { badge, make, number, offer, text } from "./format.js";

const FEW_ROWS = 200; // with more, groups begin closed
const GROUPS = ["variant", "seed", "state", "sweep", "dataset", "base_model", "learning_rate"];

// Columns and rows as the server sends them, merged into what is known already.
export class Data {
  constructor() {
    this.columns = new Map(); // key -> {key, heading, origin, first, number, better}
    this.rows = new Map(); // id -> {id, style, values}
  }

  take(payload) {
    const rows = payload.ids.map((id, place) => {
      const row = { id, style: payload.styles[place], values: {} };
      this.rows.set(id || ` ${place}`, row);
      return row;
    });
    for (const { values, constant, ...column } of payload.columns) {
      if (!this.columns.has(column.key)) this.columns.set(column.key, column);
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
  constructor(address, options = {}) {
    this.address = address; // of the project
    this.options = options;
    this.form = document.getElementById("view");
    this.table = document.getElementById("runs");
    this.pager = document.getElementById("pager");
    const query = new URLSearchParams(location.search);
    this.choice = {
      q: query.get("q") ?? "",
      sort: query.get("sort") ?? options.sort ?? "",
      order: query.get("order") ?? options.order ?? "asc",
      group: query.get("group") ?? "",
      columns: (query.get("columns") ?? "").split(",").filter(Boolean),
      rows: query.get("rows") ?? "100",
    };
    this.part = 0;
    this.toggled = new Set(); // groups that are not as groups begin
    this.data = new Data();
    this.listen();
  }

  listen() {
    const { q, group, rows } = this.form.elements;
    document.querySelectorAll("[data-scripted]").forEach((part) => (part.hidden = false));
    document.querySelectorAll("[data-plain]").forEach((part) => (part.hidden = true));
    q.value = this.choice.q;
    rows.value = this.choice.rows;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    q.addEventListener("input", () => this.choose({ q: q.value }));
    group.addEventListener("change", () => this.choose({ group: group.value }));
    rows.addEventListener("change", () => this.choose({ rows: rows.value }));
  }

  choose(changes) {
    Object.assign(this.choice, changes);
    this.part = 0;
    this.remember();
    this.draw();
    if ("q" in changes) this.options.changed?.();
  }

  remember() {
    const query = new URLSearchParams();
    const { columns, ...plain } = this.choice;
    const usual = { rows: "100", order: "asc" };
    for (const [key, value] of Object.entries(plain)) {
      if (value && value !== usual[key]) query.set(key, value);
    }
    if (columns.length) query.set("columns", columns.join(","));
    const words = query.toString();
    history.replaceState(null, "", words ? `?${words}` : location.pathname);
  }

  show(data) {
    this.data = data;
    const keys = [...data.columns.keys()];
    const groups = [...GROUPS.filter((key) => keys.includes(key)),
      ...keys.filter((key) => data.columns.get(key).origin === "config" && !GROUPS.includes(key))];
    offer(this.form.elements.group, [["", "nothing"], ...groups.map((key) => [key, key])],
      this.choice.group);
    this.offerColumns();
    this.draw();
  }

  get shown() {
    const chosen = new Set(this.choice.columns);
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
    const tests = words(this.choice.q);
    this.passing = tests.length ? all.filter((row) => tests.every((test) => test(row.values))) : all;
    if (this.choice.sort) {
      this.passing = sorted(this.passing, this.choice.sort, this.choice.order === "desc");
    }
    const columns = this.shown;
    this.table.tHead.replaceChildren(this.head(columns));
    for (const body of [...this.table.tBodies]) body.remove();
    this.table.append(...(this.choice.group ? this.grouped(columns) : [this.plain(columns)]));
    const what = this.options.what ?? "runs";
    const count = `${this.passing.length} of ${all.length} ${what}`;
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

  head(columns) {
    const cells = columns.map((column) => {
      const isSorted = this.choice.sort === column.key;
      const isDown = this.choice.order === "desc";
      const press = () => this.choose({ sort: column.key, order: isSorted && !isDown ? "desc" : "asc" });
      const button = make("button", { type: "button", "data-hold": `head ${column.key}`,
        title: column.key, click: press }, column.heading);
      return make("th", { scope: "col", class: column.number ? "number" : null,
        "aria-sort": isSorted ? (isDown ? "descending" : "ascending") : null }, button);
    });
    return make("tr", {}, ...cells);
  }

  plain(columns) {
    const size = this.choice.rows === "all" ? Infinity : Number(this.choice.rows);
    const parts = Math.max(1, Math.ceil(this.passing.length / size));
    this.part = Math.min(this.part, parts - 1);
    const start = parts > 1 ? this.part * size : 0;
    this.drawPager(parts, start, size);
    const rows = this.passing.slice(start, start + size);
    return make("tbody", {}, ...(rows.length ? rows.map((row) => this.line(row, columns))
      : [make("tr", {}, make("td", { colspan: columns.length || 1 }, "Nothing passes this filter."))]));
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
    for (const row of this.passing) {
      const name = text(this.choice.group, row.values[this.choice.group]) || "(none)";
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
    const button = make("button", { type: "button", "aria-expanded": String(isOpen),
      "data-hold": `group ${name}`, click: toggle }, `${name} (${rows.length}, means)`);
    const cells = columns.map((column, place) => {
      if (place === 0) return make("th", { scope: "rowgroup" }, button);
      const found = rows.map((row) => row.values[column.key]).filter((v) => typeof v === "number");
      if (!column.number || !found.length || column.origin !== "summary") return make("td");
      const mean = found.reduce((sum, value) => sum + value, 0) / found.length;
      return make("td", { class: "number", title: `mean of ${found.length}` }, number(Number(mean.toPrecision(5))));
    });
    return make("tr", { class: "group" }, ...cells);
  }

  line(row, columns) {
    const cells = columns.map((column) => {
      const value = row.values[column.key];
      if (column.key === "name") {
        const href = `${this.address}/runs/${encodeURIComponent(row.id)}`;
        return make("th", { scope: "row" }, row.id ? make("a", { href, "data-hold": `run ${row.id}` }, value || row.id) : "");
      }
      if (column.key === "state") return make("td", {}, badge(value ?? ""));
      const isSwatch = column.key === "variant" && row.style !== null;
      const swatch = isSwatch && make("span", { class: `swatch c${row.style}`, "aria-hidden": "true" });
      return make("td", { class: column.number ? "number" : null }, swatch || "", text(column.key, value));
    });
    const point = () => this.options.pointed?.(row.id);
    const leave = () => this.options.pointed?.(null);
    return make("tr", { mouseenter: point, mouseleave: leave }, ...cells);
  }
}

// The same filter language as the server's: words, `key=value`, `key>number`.
function words(filter) {
  return filter.split(/\s+/).filter(Boolean).map((word) => {
    const match = word.match(/^([^<>=]+)(<=|>=|<|>|=)([^<>=]+)$/);
    const wanted = word.toLowerCase();
    const anywhere = (values) => Object.entries(values)
      .some(([key, value]) => text(key, value).toLowerCase().includes(wanted));
    if (!match) return anywhere;
    const [, key, sign, limit] = match;
    return (values) => (key in values ? compares(values[key], sign, limit) : anywhere(values));
  });
}

function compares(value, sign, wanted) {
  if (sign === "=") {
    return String(value).toLowerCase() === wanted.toLowerCase() || text("", value) === wanted;
  }
  const limit = Number(wanted);
  if (typeof value !== "number" || Number.isNaN(limit)) return false;
  return { "<": value < limit, ">": value > limit, "<=": value <= limit, ">=": value >= limit }[sign];
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
