// Which values an axis spans, where its ticks stand and what they say. Pure.

export const LARGEST = 1e150; // beyond, differences overflow

export function isDrawable(value, isLog = false) {
  return typeof value === "number" && Math.abs(value) < LARGEST && (!isLog || value > 0);
}

// [least, most] of the values with a little room around, null where nothing can be drawn.
export function span(values, isLog = false, room = 0.04) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (!isDrawable(value, isLog)) continue;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (least > most) return null;
  if (isLog) {
    const factor = least === most ? 1.5 : (most / least) ** room;
    return [least / factor, most * factor];
  }
  const away = least === most ? Math.abs(least) * 0.1 || 1 : (most - least) * room;
  return [least - away, most + away];
}

// About `wanted` round values within [least, most].
export function ticks(least, most, wanted = 6) {
  const rough = (most - least) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  if (!(power > 0)) return [least];
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) * power;
  const found = [];
  for (let i = Math.ceil(least / step); i * step <= most + step * 1e-9 && found.length < 50; i += 1) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

// On a logarithmic axis: powers of ten, with 2 and 5 between where there is room; round values
// where the span holds no two of them.
export function logTicks(least, most, wanted = 6) {
  for (const factors of [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]]) {
    const found = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += 1) {
      for (const factor of factors) {
        const value = Number((factor * 10 ** power).toPrecision(6));
        if (value >= least && value <= most) found.push(value);
      }
    }
    if (found.length < 2) return ticks(least, most, wanted).filter((value) => value > 0);
    if (found.length <= wanted + 1) return found;
    if (factors.length === 1) return found.filter((_, i) => i % Math.ceil(found.length / wanted) === 0);
  }
  return [];
}

// Words for ticks, with as many digits as tell them from each other.
export function labels(values) {
  for (let digits = 3; digits < 17; digits += 1) {
    const words = values.map((value) => tick(value, digits));
    if (digits === 16 || new Set(words).size === new Set(values).size) return words;
  }
  return [];
}

function tick(value, digits) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e-4 && size < 1e6) return String(Number(value.toPrecision(digits)));
  const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}
