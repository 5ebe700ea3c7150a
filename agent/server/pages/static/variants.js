// The comparison of variants on a project page, as the server works it out.

import { make } from "./format.js";

export function showVariants(comparisons) {
  const section = document.getElementById("variants");
  section.hidden = !comparisons.length;
  section.querySelector("div").replaceChildren(...comparisons.flatMap(({ label, headings, lines, gpu }) => {
    const head = headings.map((heading) => make("th", { scope: "col", class: "number" }, heading));
    const rows = lines.map(({ variant, style, texts }) => {
      const swatch = style !== null && make("span", { class: `swatch c${style}`, "aria-hidden": "true" });
      return make("tr", {}, make("th", { scope: "row" }, swatch || "", variant),
        ...texts.map((text) => make("td", { class: "number" }, text)));
    });
    const caption = make("caption", { class: label ? null : "unseen" }, label || "What each variant keeps");
    const table = make("table", { class: "grid" }, caption,
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Variant"), ...head)),
      make("tbody", {}, ...rows));
    const name = label ? `Variants of ${label}` : "Variants";
    const note = gpu && make("p", { class: "faint" }, `Times and memory belong to ${gpu}.`);
    const box = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, table);
    return note ? [box, note] : [box];
  }));
}
