// Which runs a group's mean is taken over: like with like, as the report has it.

const VARIANT_KEYS = new Set(["variant", "model_variant", "quantization_strategy", "quantization_method"]);

// Of `rows`, grouped by `key`: for a group of variants the runs that stand for them (each variant at
// its own best setting, every seed once), for any other group the complete runs; of one group of
// runs that may be compared, the largest. In a project that compares nothing all of them, but not
// what an inference run repeats.
export function averaged(comparisons, key, rows) {
  const own = rows.filter(({ values }) => values.job_type !== "inference");
  if (!comparisons?.length) return { rows: own, holds: () => true };
  for (const comparison of comparisons) {
    const ids = new Set(VARIANT_KEYS.has(key) ? comparison.selected : comparison.runs);
    const found = own.filter(({ id }) => ids.has(id));
    if (found.length) return { rows: found, holds: (row, metric) => !comparison.unlike[metric]?.includes(row.id) };
  }
  return { rows: [], holds: () => true };
}
