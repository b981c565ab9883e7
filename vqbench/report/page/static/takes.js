/** Seconds that lanes show at once; longer takes scroll sideways. */
const LANE_SPAN_S = 10;

/** Seconds that an arrow key goes. */
const NUDGE_S = 0.5;

/** The takes of one clip: a lane each, heard against each other and seen on one scale. */
class TakeGroup {
  #takes;
  #lanes;
  #player;
  #scale;
  #order; // Places of the takes, from the first lane to the last.
  #blind = false;
  #difference = false;
  #controls;
  #scroller;
  #following = false;

  /** `facts`: what `readLane` found, take by take; `text`: the sentence, where it is not the exhibit's own. */
  constructor(shown, facts, text) {
    this.#takes = shown.takes;
    this.#order = shown.takes.map((_, at) => at);
    this.#lanes = shown.takes.map((take, at) => {
      const actions = { choose: () => this.#press(at), seek: (seconds) => this.#seekIn(at, seconds) };
      return new Lane(take, at, facts[at], actions);
    });
    const sounds = shown.takes.map((take, at) => this.#sound(take, at));
    const lengths = shown.takes.map((take) => take.seconds);
    this.#player = new Player(sounds, lengths, () => this.#show());
    this.#scale = melScale(this.#lanes.flatMap((lane) => lane.mel ?? []));
    this.#build(shown, text, sounds);
    this.#draw();
    this.#call();
    this.#show();
  }

  /** Lets go of the sounds. */
  close() {
    this.#player.close();
  }

  #sound({ audio }, at) {
    const source = "url" in audio ? audio.url : `data:${audio.mime};base64,${audio.data}`;
    const sound = make("audio", { "data-take": at, preload: "auto", src: source });
    const fault = "url" in audio ? `${audio.url} is missing, or is` : `This is ${audio.mime},`;
    sound.addEventListener("error", () => this.#lanes[at].tell(`${fault} a sound that this browser cannot play.`));
    return sound;
  }

  #build(shown, text, sounds) {
    const lengths = shown.takes.map((take) => take.seconds);
    const longest = Math.max(...lengths);
    // Other utterances may happen to be as long; frame by frame they have nothing to do with each other.
    const copies = longest - Math.min(...lengths) <= SAME_LENGTH_S;
    const compares = copies && this.#lanes.some((lane) => commonFrames(lane.mel, this.#lanes[0].mel));
    this.#controls = new TakeControls({
      act: (name) => this.#act(name),
      seek: (share) => this.#seek(share * this.#player.length(this.#player.heard)),
      reference: compares ? this.#lanes[0].name : null,
      several: this.#takes.length > 1,
    });
    this.#scroller = make("div", { class: "lanes" }, ...this.#lanes.map((lane) => lane.element));
    this.#scroller.append(timeAxis(longest, Math.min(longest, LANE_SPAN_S)));
    this.element = make("section", { class: "takes", role: "group", tabindex: "-1", "aria-label": shown.label });
    this.element.style.setProperty("--span", Math.min(longest, LANE_SPAN_S));
    this.element.style.setProperty("--longest", longest);
    this.element.append(
      make("h4", {}, shown.label),
      ...(text ? [make("p", { class: "sentence" }, text)] : []),
      this.#controls.element,
      this.#scroller,
      ...this.#legends(compares),
      make("div", { hidden: true }, ...sounds),
    );
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    // After a click the keys are the group's, so that Space pauses whatever was clicked last.
    this.element.addEventListener("click", (event) => event.detail && this.element.focus({ preventScroll: true }));
  }

  #legends(compares) {
    const mels = this.#lanes.filter((lane) => lane.mel).length;
    return [
      ...(mels ? [melLevelLegend(this.#scale)] : []),
      ...(compares ? [melDifferenceLegend(this.#lanes[0].name)] : []),
    ];
  }

  #act(name) {
    const player = this.#player;
    const acts = {
      play: () => (player.playing || this.#canPlay() ? player.toggle() : null),
      start: () => this.#seek(0),
      back: () => this.#seek(player.place() - NUDGE_S),
      on: () => this.#seek(player.place() + NUDGE_S),
      swap: () => this.#choose(player.former),
      loop: () => player.loop(!player.looping),
      difference: () => this.#setDifference(!this.#difference),
      blind: () => this.#setBlind(!this.#blind),
    };
    acts[name]();
  }

  /** A take's own button: hears it; once more, and it pauses. */
  #press(at) {
    if (this.#player.playing && at === this.#player.heard) this.#player.pause();
    else this.#choose(at);
  }

  #choose(at) {
    if (!this.#player.works(at)) {
      announce(`${this.#lanes[at].name} cannot be heard`);
      return;
    }
    this.#player.hear(at);
    if (!this.#player.playing) this.#player.play();
    if (document.activeElement?.matches("button.take")) this.#lanes[at].button.focus({ preventScroll: true });
    this.#announcePlace();
  }

  #seek(seconds) {
    this.#player.seek(seconds);
    this.#reveal();
  }

  /** Scrolls sideways until the playhead is in sight. */
  #reveal() {
    this.#scroller.scrollLeft += this.#lanes[this.#player.heard].outOfSight(this.#scroller);
  }

  /** Hears a take from a second of it on. */
  #seekIn(at, seconds) {
    this.#player.seek(seconds, at);
    if (this.#player.works(at)) this.#player.hear(at);
    this.#reveal();
    this.#announcePlace();
  }

  #announcePlace() {
    const { heard } = this.#player;
    const seconds = [this.#player.place(), this.#player.length(heard)].map((one) => one.toFixed(1));
    announce(`${this.#lanes[heard].name}, ${seconds.join(" of ")} s`);
  }

  #canPlay() {
    const works = this.#player.works(this.#player.heard);
    if (!works) announce(`${this.#lanes[this.#player.heard].name} cannot be heard`);
    return works;
  }

  #setDifference(difference) {
    this.#difference = difference;
    this.#draw();
    this.#show();
  }

  /** Hides whose takes they are and mixes them; shown again, each still tells the letter that it had. */
  #setBlind(blind) {
    this.#blind = blind;
    this.#player.pause();
    const former = new Map(this.#order.map((at, place) => [at, letterOf(place)]));
    this.#order = this.#takes.map((_, at) => at);
    if (blind) shuffle(this.#order);
    this.#scroller.prepend(...this.#order.map((at) => this.#lanes[at].element));
    this.#call(blind ? new Map() : former);
    this.#player.hear(this.#order[0]);
    this.#player.former = this.#order[1] ?? this.#order[0];
    this.#player.seek(0);
    announce(blind ? "names are hidden, takes are in another order" : "names are shown");
  }

  #call(former = new Map()) {
    this.element.toggleAttribute("data-blind", this.#blind);
    for (const [place, at] of this.#order.entries()) {
      this.#lanes[at].call(place, this.#blind ? letterOf(place) : null, former.get(at));
    }
  }

  #draw() {
    for (const lane of this.#lanes) lane.draw(this.#scale, this.#difference ? this.#lanes[0] : null);
    this.element.dataset.shows = this.#difference ? "difference" : "mel";
  }

  /** Brings buttons and lanes up to date; while something plays, again and again. */
  #show() {
    const player = this.#player;
    this.element.dataset.state = player.playing ? "playing" : "paused";
    for (const [at, lane] of this.#lanes.entries()) {
      lane.show({ heard: at === player.heard, share: player.place(at) / player.length(at) });
    }
    const [second, length] = [player.place(), player.length(player.heard)];
    const { playing, looping } = player;
    this.#controls.show({ playing, looping, blind: this.#blind, difference: this.#difference, second, length });
    if (playing && !this.#following) this.#follow();
  }

  #follow() {
    this.#following = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const again = () => {
      this.#following = false;
      if (!this.#player.playing || !this.element.isConnected) return;
      // Whoever scrolled away from the playhead is left alone.
      const seen = this.#lanes[this.#player.heard].outOfSight(this.#scroller) === 0;
      this.#show();
      if (seen) this.#reveal();
    };
    if (calm) setTimeout(again, 250);
    else requestAnimationFrame(again);
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key, target } = event;
    const named = { " ": "play", Home: "start", ArrowLeft: "back", ArrowRight: "on", x: "swap", l: "loop" };
    const act = named[key.length === 1 ? key.toLowerCase() : key];
    const take = /^[0-9]$/.test(key) ? this.#order[(Number(key) + 9) % 10] : undefined;
    // Space is the button's own on a button.
    if ((key === " " && target.closest("button")) || (act === undefined && take === undefined)) return;
    event.preventDefault();
    if (take === undefined) this.#act(act);
    else this.#choose(take);
  }
}

function letterOf(place) {
  return place < 26 ? String.fromCharCode(65 + place) : String(place + 1);
}

/** Fisher and Yates, in place. */
function shuffle(list) {
  for (let last = list.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [list[last], list[other]] = [list[other], list[last]];
  }
}
