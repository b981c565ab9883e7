/**
 * The tokens of a take, one cell a token: a tall one where the token is the one that should be there, a low one where
 * it is another, a middle one where nobody knows. Pointing at a cell or the arrow keys tell its numbers.
 */
class TokenStrip {
  #tokens;
  #wanted;
  #by;
  #cell_s;
  #readout = make("span", { class: "readout", "aria-hidden": "true" });
  #mark = makeSvg("rect", { class: "mark", y: 0, width: 0.86, height: 1, visibility: "hidden" });

  /** `wanted`: what should be there, or null, written by `by`; `cell_s`: seconds of a token; of a take of `seconds`. */
  constructor({ tokens, wanted, by, cell_s, seconds, name }) {
    [this.#tokens, this.#wanted, this.#by, this.#cell_s] = [tokens, wanted, by ?? "the teacher", cell_s];
    this.at = 0;
    this.element = make("div", {
      class: "tokens",
      role: "slider",
      tabindex: "0",
      "aria-label": `Tokens of ${name}; ${this.summary.join(": ")}`,
      "aria-valuemin": "1",
      "aria-valuemax": String(tokens.length),
    });
    this.element.style.width = `${(100 * tokens.length * cell_s) / seconds}%`;
    this.element.append(this.#picture(), this.#readout);
    this.#show(0);
    this.#listen();
  }

  /** What it shows as a whole, and the number. */
  get summary() {
    const n = this.#tokens.length;
    if (!this.#wanted) return ["tokens", counted(n)];
    const agreeing = this.#tokens.reduce((sum, token, at) => sum + (token === this.#wanted[at]), 0);
    return [`same tokens as ${this.#by}`, `${counted(agreeing)} of ${counted(n)}`];
  }

  /** Seconds at which the cell that is pointed at begins. */
  get second() {
    return this.at * this.#cell_s;
  }

  #picture() {
    const shapes = { same: "0h.86v1h-.86z", other: ".72h.86v.28h-.86z", unknown: ".36h.86v.64h-.86z" };
    const paths = { same: "", other: "", unknown: "" };
    for (const [at, token] of this.#tokens.entries()) {
      const kind = this.#wanted ? (token === this.#wanted[at] ? "same" : "other") : "unknown";
      paths[kind] += `M${at} ${shapes[kind]}`;
    }
    const drawn = Object.entries(paths).filter(([, d]) => d);
    return makeSvg(
      "svg",
      { viewBox: `0 0 ${this.#tokens.length} 1`, preserveAspectRatio: "none", "aria-hidden": "true" },
      ...drawn.map(([kind, d]) => makeSvg("path", { class: kind, d })),
      this.#mark,
    );
  }

  /** What is known of a token. */
  #words(at) {
    const place = `token ${counted(at + 1)} of ${counted(this.#tokens.length)} at ${(at * this.#cell_s).toFixed(2)} s`;
    if (!this.#wanted) return `${place}: ${this.#tokens[at]}`;
    const wanted = this.#wanted[at];
    const verdict = wanted === this.#tokens[at] ? "the same" : (wanted ?? "nothing");
    return `${place}: ${this.#tokens[at]}; ${this.#by} wrote ${verdict}`;
  }

  #show(at) {
    this.at = Math.min(Math.max(at, 0), this.#tokens.length - 1);
    const words = this.#words(this.at);
    this.element.setAttribute("aria-valuenow", String(this.at + 1));
    this.element.setAttribute("aria-valuetext", words);
    this.#mark.setAttribute("x", String(this.at));
    this.#readout.textContent = words;
    const share = (this.at + 0.5) / this.#tokens.length;
    this.#readout.style.left = `${100 * share}%`;
    this.#readout.style.translate = `${-100 * share}% 0`;
  }

  #listen() {
    const { element } = this;
    const told = (shown) => {
      element.toggleAttribute("data-told", shown);
      this.#mark.setAttribute("visibility", shown ? "visible" : "hidden");
    };
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity };
    element.addEventListener("focus", () => told(element.matches(":focus-visible")));
    element.addEventListener("blur", () => told(false));
    element.addEventListener("pointerleave", () => told(false));
    element.addEventListener("pointermove", (event) => {
      const box = element.getBoundingClientRect();
      this.#show(Math.floor(((event.clientX - box.left) / box.width) * this.#tokens.length));
      told(true);
    });
    element.addEventListener("keydown", (event) => {
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      this.#show(this.at + steps[event.key]);
      told(true);
      this.#mark.scrollIntoView({ block: "nearest", inline: "nearest" });
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
