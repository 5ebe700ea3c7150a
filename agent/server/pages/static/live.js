// Asking the server again and again: often while something runs, seldom otherwise, and not at all
// while the page is hidden.

const LIVE_MS = 4_000;
const QUIET_MS = 20_000;

export class Gone extends Error {}

export async function get(address, query = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const words = new URLSearchParams(known).toString();
  const response = await fetch(words ? `${address}?${words}` : address, { credentials: "same-origin" });
  if (response.status === 401) throw new Gone("Your session has ended: load the page again to log in");
  if (response.status === 404) throw new Gone("This is no longer on the server");
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

// A form's fields; answers what the server says of it, {done} or {error}.
export async function post(address, fields) {
  const response = await fetch(address, { method: "POST", credentials: "same-origin", body: new URLSearchParams(fields),
    headers: { Accept: "application/json" } });
  if (response.status === 401) return { error: "Your session has ended: load the page again to log in" };
  try {
    return await response.json();
  } catch {
    return { error: `The server answered ${response.status}` };
  }
}

function say(words) {
  const place = document.getElementById("live");
  if (place.textContent !== words) place.textContent = words;
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

// `step` brings the page up to date and answers whether something still runs.
export async function keepUp(step) {
  for (let wait = 0; ; ) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    await visible();
    try {
      const isLive = await step();
      say(isLive ? "Live" : "Up to date");
      document.documentElement.dataset.live = isLive ? "yes" : "no";
      wait = isLive ? LIVE_MS : QUIET_MS;
    } catch (error) {
      if (error instanceof Gone) return say(error.message);
      if (!(error instanceof TypeError) && !/server answered/.test(error.message)) throw error;
      say("The server does not answer; trying again");
      wait = LIVE_MS;
    }
  }
}
