// What was found and the comparison of variants on a project page, as the server works them out.

import { make } from "./format.js";

export function showFound(comparisons) {
  const section = document.getElementById("found");
  section.hidden = !comparisons.length;
  const several = comparisons.length > 1;
  const words = JSON.stringify(comparisons.map(({ headline, lines }) => [headline, lines.map((line) => line.sentence)]));
  if (section.dataset.words === words) return; // what the reader has opened stays open
  section.dataset.words = words;
  section.querySelector("div").replaceChildren(...comparisons.flatMap(({ headline, lines }) => {
    const sentences = lines.filter(({ sentence }) => sentence);
    const list = make("ul", {}, ...sentences.map(({ sentence, style }) =>
      make("li", {}, swatchOf(style) || "", `${sentence}.`)));
    const head = make("p", { class: "headline" }, headline);
    if (!sentences.length) return [head];
    return [head, make("details", { open: !several && innerWidth >= 640 }, make("summary", {}, "Variant by variant"), list)];
  }));
}

const swatchOf = (style) => style !== null && make("span", { class: `swatch c${style}`, "aria-hidden": "true" });

export function showVariants(comparisons) {
  const section = document.getElementById("variants");
  section.hidden = !comparisons.length;
  const open = new Set([...section.querySelectorAll("details[open]")].map((fold) => fold.dataset.label));
  section.querySelector("div").replaceChildren(...comparisons.map((comparison) => {
    const { label, gpu, flops } = comparison;
    const name = label ? `Variants of ${label}` : "Variants";
    const box = make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": name }, tableOf(comparison));
    const note = gpu && make("p", { class: "faint" }, `Times and memory belong to ${gpu}.`);
    const why = flops && make("p", { class: "faint" }, flops);
    if (comparisons.length === 1) return make("div", {}, box, note || "", why || "");
    return make("details", { "data-label": label, open: open.has(label) }, make("summary", {}, label), box, note || "", why || "");
  }));
}

function tableOf({ label, headings, lines }) {
  const head = headings.map((heading) => make("th", { scope: "col", class: "number" }, heading));
  const rows = lines.map(({ variant, style, texts }) => make("tr", {},
    make("th", { scope: "row" }, swatchOf(style) || "", variant),
    ...texts.map((text) => make("td", { class: "number" }, text))));
  return make("table", { class: "grid" }, make("caption", { class: "unseen" }, label || "What each variant keeps"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Variant"), ...head)), make("tbody", {}, ...rows));
}
