// Texts of values, the same as the server writes them, and small helpers for making elements.

export function number(value) {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(0);
  if (size >= 1e-4) return String(Number(value.toPrecision(4)));
  const [mantissa, exponent] = value.toExponential(2).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  const two = (part) => String(part).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

// `digits`: decimals that the whole column has, if it has a number of its own.
export function text(key, value, digits = null) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") return NOT_FINITE[value] ?? value;
  if (key === "created") return new Date(value * 1000).toISOString().slice(0, 16).replace("T", " ");
  if (key === "duration_s") return duration(value);
  return typeof digits === "number" ? value.toFixed(digits) : number(value);
}

// What JSON cannot say as a number.
const NOT_FINITE = { NaN: "NaN", Infinity: "∞", "-Infinity": "−∞" };
export const isNotFinite = (value) => typeof value === "string" && value in NOT_FINITE;

// Texts of users become text nodes, never markup.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function badge(state) {
  const word = String(state).toLowerCase();
  return make("span", { class: `state state-${word.replaceAll(" ", "-")}` }, word);
}

// Choices of a select, keeping what is chosen; `pairs` are [value, words].
export function offer(select, pairs, chosen) {
  const known = [...select.options].map((option) => option.value).join("\n");
  if (known !== pairs.map(([value]) => value).join("\n")) {
    select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
  }
  select.value = chosen;
}
