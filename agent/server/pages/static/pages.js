// The one script of all pages: finds out which page this is and brings it to life.

const main = document.getElementById("main");
const kinds = {
  project: () => import("./project.js"),
  sweep: () => import("./sweep.js"),
  run: () => import("./run.js"),
  compare: () => import("./compare.js"),
};

if (kinds[main.dataset.page]) {
  const { start } = await kinds[main.dataset.page]();
  try {
    await start(main);
  } catch (error) {
    document.getElementById("live").textContent = `The page's data cannot be read: ${error.message}`;
    throw error;
  }
  document.documentElement.dataset.ready = "yes";
}
