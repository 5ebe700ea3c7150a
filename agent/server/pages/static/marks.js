// Colour, dash and marker of a series: the same in every chart, in the legend and in the report.

import { make, svg } from "./format.js";

const SYMBOLS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.6-3.6h7.2v7.2h-7.2z", "M0-5 5 0 0 5-5 0z",
  "M0-5 4.8 3.6H-4.8z", "M0 5 4.8-3.6H-4.8z", "M-4.5-1.5h3v-3h3v3h3v3h-3v3h-3v-3h-3z",
  "M0-5 1.5-1.6 5-1.5 2.3.8 3.2 4.5 0 2.4-3.2 4.5-2.3.8-5-1.5-1.5-1.6z",
];
const DASHES = [[], [8, 4], [2, 3], [8, 3, 2, 3], [14, 4], [14, 3, 2, 3], [4, 2]];
export const STYLES = SYMBOLS.length;
export const CROSS = "M-4-4 4 4M-4 4 4-4";

const at = (style) => (style ?? 0) % STYLES;
export const symbol = (style) => SYMBOLS[at(style)];
export const dash = (style) => DASHES[at(style)];

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export const ink = (style) => colour(`s${at(style)}`);

// A piece of line with its marker, as it is drawn.
export function sample(style) {
  return svg("svg", { viewBox: "0 -7 38 14", width: 38, height: 14, "aria-hidden": "true", class: `s${at(style)}` },
    svg("path", { d: "M0 0H38", class: "line", "stroke-dasharray": dash(style).join(" ") || "none" }),
    svg("path", { d: symbol(style), class: "point", transform: "translate(19 0)" }));
}

// `entries`: [{label, style, name, isOff}]; with `pressed` each is a button that shows or hides.
export function legend(entries, pressed = null) {
  return entries.map(({ label, style, name, isOff }) => make("li", {}, pressed
    ? make("button", { type: "button", class: "quiet", "aria-pressed": String(!isOff),
      title: isOff ? "Show these runs" : "Hide these runs", click: () => pressed(name) }, sample(style), label)
    : make("span", {}, sample(style), label)));
}
