/** What the buttons of a group do: name, words, what the key is called in the page, and for a browser. */
const TAKE_ACTIONS = [
  ["play", "Play", "Space", "Space"],
  ["start", "Start", "Home", "Home"],
  ["back", "−0.5 s", "←", "ArrowLeft"],
  ["on", "+0.5 s", "→", "ArrowRight"],
  ["swap", "Swap last two", "X", "X"],
  ["loop", "Loop", "L", "L"],
];

/** The buttons over a group of takes, its position, and what they show of its state. */
class TakeControls {
  #buttons = {};
  #position = make("input", { type: "range", min: 0, max: 1000, value: 0, "aria-label": "Position" });
  #time = make("span", { class: "time", "aria-hidden": "true" });

  /** `act(name)` and `seek(0 … 1)` do it; `reference`: whom differences are to; `several`: is there a choice. */
  constructor({ act, seek, reference, several }) {
    const actions = TAKE_ACTIONS.filter(([name]) => several || name !== "swap");
    for (const [name, words, key, shortcut] of actions) {
      const button = this.#button(name, words, act, { "aria-keyshortcuts": shortcut });
      button.append(make("kbd", { "aria-hidden": "true" }, key));
    }
    if (several) this.#buttons.swap.title = "Back and forth between the two takes heard last";
    if (reference !== null) this.#button("difference", `Difference to ${reference}`, act);
    if (several) this.#button("blind", "Hide names", act);
    for (const name of ["loop", "difference", "blind"]) this.#buttons[name]?.setAttribute("aria-pressed", "false");
    this.#position.addEventListener("input", () => seek(this.#position.value / this.#position.max));
    const { difference, blind, ...transport } = this.#buttons;
    this.element = make(
      "div",
      { class: "deck" },
      make("div", { class: "transport" }, ...Object.values(transport)),
      make("div", { class: "position" }, this.#position, this.#time),
      make("div", { class: "views" }, difference, blind),
    );
  }

  /** Shows what plays, and where. */
  show({ playing, looping, blind, difference, second, length }) {
    const { play, ...others } = this.#buttons;
    play.querySelector("span").textContent = playing ? "Pause" : "Play";
    play.dataset.icon = playing ? "pause" : "play";
    others.loop.setAttribute("aria-pressed", String(looping));
    others.difference?.setAttribute("aria-pressed", String(difference));
    others.blind?.setAttribute("aria-pressed", String(blind));
    if (others.difference) others.difference.hidden = blind;
    const words = [second, length].map((one) => one.toFixed(1));
    this.#time.textContent = `${words.join(" / ")} s`;
    this.#position.value = Math.round((1000 * second) / length);
    this.#position.setAttribute("aria-valuetext", `${words.join(" of ")} s`);
  }

  #button(name, words, act, attributes = {}) {
    const button = makeButton("", () => act(name), { "data-action": name, ...attributes });
    button.append(make("span", {}, words));
    this.#buttons[name] = button;
    return button;
  }
}
