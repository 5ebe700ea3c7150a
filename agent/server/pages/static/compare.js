// The page that compares runs: their curves over each other; the tables are the server's.

import { Choices } from "./address.js";
import { Chart } from "./charts.js";
import { get } from "./live.js";
import { legend, STYLES } from "./marks.js";

export async function start(main) {
  const { address, runs, names } = main.dataset;
  const ids = runs.split(",");
  const labels = JSON.parse(names);
  const choices = new Choices();
  const select = document.getElementById("curve-key");
  const logY = document.getElementById("curve-logy");
  document.querySelector(".charts").hidden = false;
  const chart = new Chart(document.getElementById("curves"), 300, { zoomed: (view) => choices.set({ cz: Chart.written(view) }) });
  chart.look(choices.numbers("cz"));
  const list = chart.figure.appendChild(document.createElement("ul"));
  list.className = "legend";
  list.replaceChildren(...legend(labels.map((label, style) => ({ label, style: style % STYLES }))));
  const keys = [...select.options].map((option) => option.value);
  const usual = ["validation/f1_score", "train/loss", "loss"].find((key) => keys.includes(key)) ?? keys[0] ?? "";
  select.value = keys.includes(choices.get("curve")) ? choices.get("curve") : usual;
  logY.checked = choices.get("cly") === "1";
  const draw = async () => {
    const found = await get(`${address}/curves`, { key: select.value, runs });
    const series = ids.flatMap((id, style) => (found.curves[id] ? [{ id, label: labels[style], style: style % STYLES,
      href: `${address}/runs/${encodeURIComponent(id)}`, xs: found.curves[id][0], ys: found.curves[id][1] }] : []));
    chart.draw({ kind: "lines", name: select.value, x: found.x, y: found.heading, better: found.better, series, logY: logY.checked,
      summary: `${found.heading} of ${series.length} runs over ${found.x.toLowerCase()}`,
      legend: labels.map((label, style) => ({ label, style: style % STYLES })), nothing: "No curve of this metric" });
  };
  select.addEventListener("change", () => { choices.set({ curve: select.value }); chart.reset(); draw(); });
  logY.addEventListener("change", () => { choices.set({ cly: logY.checked ? "1" : "" }); chart.reset(); draw(); });
  await draw();
}
