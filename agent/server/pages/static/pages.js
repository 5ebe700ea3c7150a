// The one script of all pages: finds out which page this is and brings it to life.

const main = document.getElementById("main");
const kinds = {
  project: () => import("./project.js"),
  sweep: () => import("./sweep.js"),
  run: () => import("./run.js"),
};

if (kinds[main.dataset.page]) {
  const { start } = await kinds[main.dataset.page]();
  await start(main);
  document.documentElement.dataset.ready = "yes";
}
