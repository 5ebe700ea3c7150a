// The filter box: the server reads the query, so that pages and command line know one language.
// What is wrong is said under the box with the wrong word marked; keys and values are completed.

import { make } from "./format.js";
import { get } from "./live.js";

const PAUSE_MS = 60; // between two questions while a query is typed

export class Query {
  // `found` gets the keys of the rows that pass, null for all.
  constructor(box, address, found) {
    Object.assign(this, { box, address, found, turn: 0, last: null });
    this.list = make("datalist", { id: "query-words" });
    this.problem = document.getElementById("query-problem");
    this.notes = document.getElementById("query-notes");
    box.setAttribute("list", this.list.id);
    box.setAttribute("aria-describedby", `${this.problem.id} ${this.notes.id}`);
    box.after(this.list);
    box.addEventListener("input", () => this.soon());
    box.addEventListener("focus", () => this.ask());
  }

  soon() {
    clearTimeout(this.waiting);
    const wait = this.isAsking ? PAUSE_MS : 0;
    this.waiting = setTimeout(async () => {
      this.isAsking = true;
      const matches = await this.ask().finally(() => (this.isAsking = false));
      this.found(matches);
    }, wait);
  }

  // Keys of the rows that pass; null where all do; what passed before where the query is wrong.
  async ask() {
    const { value, selectionStart } = this.box;
    this.turn += 1;
    const { turn } = this;
    const isFocused = document.activeElement === this.box;
    if (!value.trim()) this.last = null;
    if (!value.trim() && !isFocused) {
      this.say(value, {});
      return null;
    }
    const at = isFocused ? [...value.slice(0, selectionStart ?? value.length)].length : null;
    const answer = await get(this.address, { q: value, at });
    if (turn !== this.turn) return this.last;
    this.say(value, answer);
    if (value.trim() && !answer.problem) this.last = new Set(answer.ids.map((id, i) => id || ` ${answer.places[i]}`));
    return this.last;
  }

  say(value, { problem, notes, completion }) {
    const letters = [...value]; // places count characters, not halves of them
    const part = (from, to) => letters.slice(from, to).join("");
    this.problem.hidden = !problem;
    this.problem.dataset.asked = value;
    this.box.setAttribute("aria-invalid", String(Boolean(problem)));
    if (problem) {
      const { text, start, end, near } = problem;
      const meant = near?.length ? `; near: ${near.join(", ")}` : "";
      this.problem.replaceChildren(make("code", {}, part(0, start), make("mark", {}, part(start, end) || " "), part(end)), ` ${text}${meant}`);
    }
    this.notes.hidden = !notes?.length;
    this.notes.textContent = notes?.join("; ") ?? "";
    const { start, end, candidates = [] } = completion ?? {};
    this.list.replaceChildren(...candidates.map(({ insert, label, count }) => make("option", {
      value: part(0, start) + insert + part(end), label: count === null ? label : `${label} (${count} run${count === 1 ? "" : "s"})` })));
  }
}
