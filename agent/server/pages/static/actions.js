// What is done with the selected runs: compared, hidden, tagged, stopped, deleted and brought back.

import { make } from "./format.js";
import { post } from "./live.js";

export class Actions {
  // `changed` is called after the server has changed something.
  constructor(address, token, table, changed) {
    Object.assign(this, { address, token, table, changed });
    this.bar = document.getElementById("picked");
    this.notice = document.getElementById("notice");
    const { bar } = this;
    this.count = bar.querySelector("output");
    const on = (name, work) => bar.querySelector(`[value=${name}]`).addEventListener("click", work);
    on("compare", () => location.assign(`${address}/compare?${new URLSearchParams({ runs: this.ids.join(",") })}`));
    on("hide", () => table.hide(this.ids, true));
    on("only", () => table.showOnly(this.ids));
    on("show", () => table.showOnly([]));
    on("clear", () => table.pick(this.ids, false));
    on("stop", () => this.change("stop"));
    on("delete", () => this.change("delete"));
    bar.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const { tag } = event.target.elements;
      if (tag.value.trim()) this.change("tag", { tag: tag.value.trim() });
      tag.value = "";
    });
  }

  get ids() {
    return [...this.table.picked].filter((id) => this.table.data.rows.has(id));
  }

  show() {
    const { ids } = this;
    const states = ids.map((id) => this.table.data.rows.get(id).values.state);
    const isLive = (state) => ["running", "pending"].includes(state);
    this.bar.hidden = !ids.length && !this.table.hides;
    this.count.textContent = `${ids.length} selected`;
    const allow = (name, isAllowed) => (this.bar.querySelector(`[value=${name}]`).disabled = !isAllowed);
    allow("compare", ids.length >= 2 && ids.length <= 4);
    allow("show", this.table.hides);
    allow("stop", states.some(isLive));
    allow("delete", states.some((state) => !isLive(state)));
    for (const name of ["hide", "only", "clear", "tag"]) allow(name, ids.length > 0);
  }

  async change(action, more = {}, ids = this.ids) {
    const answer = await post(`${this.address}/change`, { token: this.token, action, runs: ids.join(","), ...more });
    this.say(answer.error ?? answer.done, Boolean(answer.error));
    if (action === "delete" && !answer.error) this.table.pick(ids, false);
    await this.changed();
  }

  say(words, isProblem = false) {
    this.said = words;
    this.notice.classList.toggle("problem", isProblem);
    this.tell(this.deleted ?? []);
  }

  // `deleted`: runs that can still be brought back.
  tell(deleted = []) {
    this.deleted = deleted;
    const undo = deleted.length > 0 && make("button", { type: "button", click: () => this.change("restore", {}, deleted) },
      `Undo: bring ${deleted.length === 1 ? "it" : "them"} back`);
    const words = this.said ?? (deleted.length ? `${deleted.length} run${deleted.length === 1 ? "" : "s"} deleted.` : "");
    this.notice.hidden = !words;
    this.notice.replaceChildren(words, " ", undo || "");
  }
}
