// The runs that no other run beats in two metrics.

// `points`: [{x, y}]; `better`: ["higher" | "lower", same for y]. A point is beaten when another
// is at least as good in both and better in one. Returned in the order of x.
export function front(points, [betterX, betterY]) {
  const [signX, signY] = [betterX, betterY].map((better) => (better === "higher" ? 1 : -1));
  const ranked = [...points].sort((a, b) => signX * (b.x - a.x) || signY * (b.y - a.y));
  const kept = [];
  let [best, at] = [-Infinity, null];
  for (const point of ranked) {
    const y = signY * point.y;
    if (y > best || (y === best && point.x === at)) { // equal points stand together
      kept.push(point);
      [best, at] = [y, point.x];
    }
  }
  return kept.sort((a, b) => a.x - b.x);
}
