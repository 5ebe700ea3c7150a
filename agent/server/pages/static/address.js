// What the reader has chosen stands in the address, so that a link shows the same.

export class Choices {
  // `usual` are the values that need not be said.
  constructor(usual = {}) {
    this.usual = usual;
    this.query = new URLSearchParams(location.search);
    this.query.delete("was"); // how a page without its script was sorted
  }

  get(name) {
    return this.query.get(name) ?? this.usual[name] ?? "";
  }

  list(name) {
    return this.get(name).split(",").filter(Boolean).map(decodeURIComponent);
  }

  numbers(name) {
    const found = this.get(name).split(",").map(Number);
    return found.length > 1 && found.every(Number.isFinite) ? found : null;
  }

  set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      const words = Array.isArray(value) ? value.map((part) => encoded(part)).join(",") : String(value ?? "");
      if (words === (this.usual[name] ?? "")) this.query.delete(name);
      else this.query.set(name, words);
    }
    const words = this.query.toString();
    history.replaceState(null, "", (words ? `?${words}` : location.pathname) + location.hash);
  }

  has(name, value) {
    return this.list(name).includes(value);
  }

  // Put a value into a list or take it out; answers whether it is in now.
  toggle(name, value) {
    const known = this.list(name);
    const isIn = !known.includes(value);
    this.set({ [name]: isIn ? [...known, value] : known.filter((one) => one !== value) });
    return isIn;
  }
}

const encoded = (part) => String(part).replace(/[%,]/g, encodeURIComponent);
