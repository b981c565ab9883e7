/** The exhibits of the page, one of them open. */
class Exhibition {
  #exhibits = page.index.exhibits;
  #open = 0;
  #groups = [];
  #turn = 0; // Counts openings: what was unpacked for one that is no longer wanted is dropped.
  #select = make("select", {});
  #steps;
  #stage = make("div", { class: "stage" });

  constructor(root) {
    const options = this.#exhibits.map((exhibit, k) => [k, `${k + 1}. ${exhibitWords(exhibit)}`]);
    fillSelect(this.#select, [[null, options]], 0);
    this.#select.addEventListener("change", () => this.open(Number(this.#select.value)));
    this.#steps = [
      makeButton("Previous", () => this.open(this.#open - 1), { "data-action": "previous" }),
      makeButton("Next", () => this.open(this.#open + 1), { "data-action": "next" }),
    ];
    const chooser = make("div", { class: "chooser" }, labelled("Clip", this.#select), ...this.#steps);
    root.replaceChildren(...(this.#exhibits.length > 1 ? [chooser] : []), this.#stage);
  }

  /** Shows an exhibit in the place of the one that was open; answers with its title once it is there. */
  async open(k) {
    this.#turn += 1;
    const turn = this.#turn;
    const exhibit = this.#exhibits[k];
    if (!exhibit) return null;
    this.#open = k;
    this.#select.value = k;
    for (const [step, gone] of [k === 0, k === this.#exhibits.length - 1].entries()) {
      this.#steps[step].setAttribute("aria-disabled", String(gone));
    }
    for (const group of this.#groups.splice(0)) group.close();
    const found = await readExhibit(k);
    if (turn !== this.#turn) return null;
    this.#groups = found.map(({ shown, facts, text }) => {
      return new TakeGroup(shown, facts, text === exhibit.title ? "" : text);
    });
    const title = make("h3", { tabindex: "-1" }, exhibit.title);
    this.#stage.replaceChildren(
      make(
        "article",
        { class: "exhibit", "data-exhibit": k },
        title,
        make("p", { class: "why" }, [exhibit.speaker, ...exhibit.why].filter(Boolean).join(" · ")),
        ...(found.length ? [] : [make("p", {}, "The page holds no sounds of this clip.")]),
        ...this.#groups.map((group) => group.element),
      ),
    );
    if (turn > 1) announce(exhibitWords(exhibit));
    return title;
  }
}

/** An exhibit in a list: whose sentence, and why it is here. */
function exhibitWords({ title, speaker, why }) {
  const sentence = title.length > 60 ? `${title.slice(0, 59).trimEnd()}…` : title;
  return [sentence, speaker, why[0]].filter(Boolean).join(" · ");
}

/** Unpacks an exhibit: `{shown, facts, text}` of each of its clips. */
async function readExhibit(k) {
  const block = readBlock(`exhibit-${k}`);
  for (const shown of block?.shown ?? []) for (const take of shown.takes) take.audio = block.sounds[take.audio];
  const { texts } = await page.clips();
  const read = async (shown) => {
    const wanted = shown.tokens && (await unpackArray(shown.tokens));
    const facts = await Promise.all(shown.takes.map((take) => readLane(take, shown, wanted)));
    return { shown, facts, text: texts[shown.clip] };
  };
  return Promise.all((block?.shown ?? []).filter((shown) => shown.takes.length).map(read));
}

let exhibition = null;

/** Builds "Listen and look" and opens the first exhibit. */
async function showListening(root) {
  if (!root) return;
  if (!page.index.exhibits.length) {
    root.replaceChildren(make("p", { class: "faint" }, "There are no sounds in this page."));
    return;
  }
  exhibition = new Exhibition(root);
  await exhibition.open(0);
}

/** Opens an exhibit by its place and goes there. */
async function openExhibit(k) {
  const title = await exhibition?.open(k);
  title?.focus({ preventScroll: true });
  title?.closest("section").scrollIntoView();
}
