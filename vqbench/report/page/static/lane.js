/** One take: who it is of, its figures, what was heard in it, its mel and its tokens. */
class Lane {
  #take;
  #name;
  #mel;
  #picture;
  #playhead = make("div", { class: "playhead" });
  #fault = make("p", { class: "fault", hidden: true });
  #key = make("kbd", { "aria-hidden": "true" });
  #shownName = make("span", { class: "who" });
  #formerly = make("span", { class: "formerly" });

  /** `facts`: see `readLane`; `actions`: `choose()`, and `seek(seconds)` into this take. */
  constructor(take, place, facts, actions) {
    [this.#take, this.#mel] = [take, facts.mel];
    this.name = take.label;
    this.strip = facts.strip;
    this.button = makeButton("", actions.choose, { class: "take", "aria-pressed": "false" });
    const role = make("span", { class: "role" }, facts.role);
    this.button.append(this.#key, ...seriesMark(take.contender), this.#shownName, this.#formerly, role);
    this.element = make(
      "article",
      { class: "lane", "data-take": place },
      make("div", { class: "about" }, this.button, this.#fault, ...aboutTake(facts)),
      make("div", { class: "seen" }, ...whatWasHeard(facts.heard), this.#pictures(actions.seek)),
    );
  }

  /** Its mel, unpacked; null where there is none. */
  get mel() {
    return this.#mel;
  }

  /** Gives it a key, and a letter instead of its name; `formerly`: the letter that it had. */
  call(number, letter, formerly) {
    const key = number < 10 ? String((number + 1) % 10) : "";
    this.name = letter ?? this.#take.label;
    this.#key.textContent = key;
    this.#key.hidden = !key;
    this.button.toggleAttribute("aria-keyshortcuts", Boolean(key));
    if (key) this.button.setAttribute("aria-keyshortcuts", key);
    this.#shownName.replaceChildren(breakable(this.name));
    this.#formerly.textContent = formerly ? ` was ${formerly}` : "";
    this.element.setAttribute("aria-label", this.name);
  }

  /** Draws the mel, or its difference to that of a reference lane where there is one. */
  draw(scale, reference) {
    if (!this.#picture) return;
    if (reference && commonFrames(this.#mel, reference.mel)) {
      const words = `How the mel spectrogram of ${this.#take.label} differs from that of ${reference.name}`;
      this.#picture.showDifference(reference.mel, words);
      return;
    }
    const { bands, of } = this.#mel;
    const whose = of === "decoder" ? "written by its decoder" : "of its sound";
    const length = `${this.#take.seconds.toFixed(1)} s, ${bands} bands, low ones at the bottom`;
    this.#picture.showMel(scale, `Mel spectrogram of ${this.#take.label}, ${whose}: ${length}`);
  }

  /** Shows whether it is the one that is heard, and where. */
  show({ heard, share }) {
    this.button.setAttribute("aria-pressed", String(heard));
    this.element.toggleAttribute("data-heard", heard);
    this.#playhead.style.left = `${100 * share}%`;
  }

  /** Says why it cannot be heard. */
  tell(fault) {
    this.#fault.textContent = fault;
    this.#fault.hidden = !fault;
  }

  /** By how much the playhead is out of sight in a box that scrolls sideways: 0 where it is seen. */
  outOfSight(scroller) {
    const [head, lane, seen, box] = [this.#playhead, this.element, this.element.lastChild, scroller].map((element) =>
      element.getBoundingClientRect(),
    );
    const left = box.left + seen.left - lane.left;
    return head.right < left || head.left > box.right ? head.left - left : 0;
  }

  #pictures(seek) {
    const pictures = make("div", { class: "pictures" });
    pictures.style.setProperty("--seconds", this.#take.seconds);
    if (this.#mel) {
      this.#picture = new MelPicture(this.#mel);
      this.#picture.canvas.style.width = `${(100 * this.#mel.frames) / this.#mel.frames_per_s / this.#take.seconds}%`;
      pictures.append(this.#picture.canvas);
    } else {
      pictures.append(make("p", { class: "no-mel" }, "no mel spectrogram"));
    }
    if (this.strip) pictures.append(this.strip.element);
    pictures.append(this.#playhead);
    pictures.addEventListener("click", (event) => {
      const box = pictures.getBoundingClientRect();
      seek(((event.clientX - box.left) / box.width) * this.#take.seconds);
    });
    this.strip?.element.addEventListener("keydown", (event) => event.key === "Enter" && seek(this.strip.second));
    return pictures;
  }
}

/** What a lane shows of a take: `{figures, unscored, heard, mel, strip, role}`. */
async function readLane(take, shown, wanted) {
  const { sets } = await page.clips();
  const set = sets[shown.clip];
  const heard = take.contender === null ? null : await page.heard(take.contender, set);
  const [mel, tokens] = [await readMel(take.mel), take.tokens && (await unpackArray(take.tokens))];
  const cell_s = mel && tokens ? Math.max(1, Math.round(mel.frames / tokens.length)) / mel.frames_per_s : null;
  const strip = {
    tokens,
    wanted,
    by: shown.tokens_by,
    cell_s: cell_s ?? take.seconds / tokens?.length,
    seconds: take.seconds,
    name: take.label,
  };
  return {
    ...(await readFigures(take, shown.clip, set)),
    heard: heard && { words: heard[page.placeInSet(shown.clip)] },
    role: take.contender === null ? "" : page.index.contenders[take.contender].role,
    mel,
    strip: tokens?.length ? new TokenStrip(strip) : null,
  };
}

/** The headline figures of a take's clip, `[name, text]` each, and why there are none. */
async function readFigures(take, clip, set) {
  const [figures, unscored] = [[], new Set()];
  const headlines = page.index.figures.filter((figure) => figure.headline && figure.set === set);
  for (const { name } of take.contender === null ? [] : headlines) {
    const value = await page.value(name, take.contender, clip);
    if (!Number.isNaN(value)) figures.push([name, page.format(value, name)]);
    else if (await page.column(name, take.contender)) {
      figures.push([name, "—"]);
      unscored.add(page.whyUnscored(clip, { figure: name, contender: take.contender, reference: null }));
    }
  }
  return { figures, unscored: [...unscored] };
}

/** The colour that a contender has in the charts. */
function seriesMark(contender) {
  if (contender === null) return [];
  const mark = make("span", { class: "series", "aria-hidden": "true" });
  mark.style.background = `var(--series-${contender % 10})`;
  return [mark];
}

/** Figures, tokens, and what was not scored, as far as there are any. */
function aboutTake({ figures, unscored, strip }) {
  const entries = strip ? [...figures, strip.summary] : figures;
  const rows = entries.map(([name, text]) => make("div", {}, make("dt", {}, breakable(name)), make("dd", {}, text)));
  return [
    ...(rows.length ? [make("dl", { class: "scores" }, ...rows)] : []),
    ...unscored.map((reason) => make("p", { class: "unscored" }, `not scored: ${reason}`)),
  ];
}

/** What an ASR heard, its errors marked; nothing where nobody listened. */
function whatWasHeard(heard) {
  if (!heard) return [];
  const line = make("p", { class: "hypothesis" });
  if (!heard.words) line.append(make("em", {}, "no transcript"));
  else if (!heard.words[1].trim()) line.append(make("em", {}, "nothing heard"));
  else line.append(hiddenWords("heard: "), markErrors(...heard.words));
  return [line];
}

/** Seconds along all lanes of a group. */
function timeAxis(longest, span) {
  const step = span <= 3 ? 0.5 : 1;
  const axis = make("div", { class: "pictures axis", "aria-hidden": "true" });
  axis.style.setProperty("--seconds", longest);
  for (let second = 0; second <= longest - step / 4; second += step) {
    const tick = make("span", {}, second ? String(second) : "0 s");
    tick.style.left = `${(100 * second) / longest}%`;
    axis.append(tick);
  }
  return make("div", { class: "lane" }, make("div", { class: "about" }), make("div", { class: "seen" }, axis));
}
