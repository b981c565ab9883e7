/** Takes whose lengths differ by no more than this are copies of each other, second by second. */
const SAME_LENGTH_S = 0.1;

/**
 * Takes that are heard against each other: one of them sounds at a time, and all keep one position.
 *
 * `heard` is the take that was chosen, `former` the one before it, `playing` and `looping` say what they say. A page
 * plays one sound: who starts stops whoever else plays.
 */
class Player {
  static #active = null;

  #sounds;
  #seconds;
  #changed;
  #sounding = 0; // The take that gives the position: until a chosen one has found its place it is not that one.
  #turn = 0; // Counts choices, so that one that comes late knows that it is no longer wanted.
  #lead_s = 0; // How long a take lately took to begin; it starts so far ahead.

  /** `sounds`: audio elements; `seconds`: their lengths until they are known; `changed()` is called at every change. */
  constructor(sounds, seconds, changed) {
    this.#sounds = sounds;
    this.#seconds = seconds;
    this.#changed = changed;
    this.heard = 0;
    this.former = sounds.length > 1 ? 1 : 0;
    this.playing = false;
    this.looping = false;
    for (const [take, sound] of sounds.entries()) {
      sound.addEventListener("ended", () => take === this.#sounding && this.pause());
      sound.addEventListener("seeked", () => this.#changed());
      sound.addEventListener("error", () => this.#fail(take));
    }
  }

  /** Seconds that a take lasts. */
  length(take) {
    const told = this.#sounds[take].duration;
    return Number.isFinite(told) && told > 0 ? told : this.#seconds[take];
  }

  /** Seconds into a take: the same second of copies, the same share of takes of other lengths. */
  place(take = this.heard) {
    return this.#convert(this.#sounds[this.#sounding].currentTime, this.#sounding, take);
  }

  /** Whether a take can be heard. */
  works(take) {
    return !this.#sounds[take].error;
  }

  /** Makes a take the one that is heard, at the same position; what plays goes on without a gap. */
  async hear(take) {
    if (!this.works(take)) return;
    if (take !== this.heard) [this.former, this.heard] = [this.heard, take];
    this.#turn += 1;
    if (this.playing && take !== this.#sounding) await this.#switch(take, this.#turn);
    else this.#settle();
    this.#changed();
  }

  /** Back to the take that was heard before this one. */
  swap() {
    return this.hear(this.former);
  }

  /** Plays the take that was chosen, from its start where it had come to its end. */
  async play() {
    if (!this.works(this.heard)) return;
    if (Player.#active !== this) Player.#active?.pause();
    Player.#active = this;
    this.#settle();
    const sound = this.#sounds[this.heard];
    if (this.length(this.heard) - sound.currentTime < 0.02) sound.currentTime = 0;
    this.playing = true;
    this.#changed();
    await this.#start(this.heard);
  }

  /** Stops where it is. */
  pause() {
    this.#turn += 1;
    this.playing = false;
    for (const sound of this.#sounds) sound.pause();
    this.#settle();
    this.#changed();
  }

  toggle() {
    return this.playing ? this.pause() : this.play();
  }

  /** Goes to a second of a take, in all of them. */
  seek(seconds, take = this.heard) {
    const at = Math.min(Math.max(seconds, 0), this.length(take));
    this.#sounds[this.#sounding].currentTime = this.#convert(at, take, this.#sounding);
    if (this.heard !== this.#sounding) this.hear(this.heard);
    this.#changed();
  }

  /** Whether a take begins anew at its end. */
  loop(looping) {
    this.looping = looping;
    for (const sound of this.#sounds) sound.loop = looping;
    this.#changed();
  }

  /** Lets go of the sounds. */
  close() {
    this.pause();
    for (const sound of this.#sounds) {
      sound.removeAttribute("src");
      sound.load();
    }
  }

  #convert(seconds, from, to) {
    const [whole, other] = [this.length(from), this.length(to)];
    const same = Math.abs(whole - other) <= SAME_LENGTH_S;
    return Math.min(same ? seconds : (seconds * other) / whole, other);
  }

  /** Takes the position along to the chosen take, while nothing has to go on sounding. */
  #settle() {
    if (this.heard === this.#sounding) return;
    this.#sounds[this.heard].currentTime = this.place();
    this.#sounding = this.heard;
  }

  /** Starts the other take unheard beside the one that plays, and passes on when it has found its place. */
  async #switch(take, turn) {
    const [old, next] = [this.#sounds[this.#sounding], this.#sounds[take]];
    next.muted = true;
    next.currentTime = this.place(take) + this.#lead_s;
    this.#changed();
    if (!(await this.#start(take))) return;
    if (next.seeking) await new Promise((done) => next.addEventListener("seeked", done, { once: true }));
    if (turn !== this.#turn) {
      if (take !== this.#sounding && take !== this.heard) next.pause();
      return;
    }
    const late_s = this.place(take) - next.currentTime;
    this.#lead_s = Math.min(Math.max(this.#lead_s + late_s / 2, 0), 0.25);
    [old.muted, next.muted] = [true, false];
    old.pause();
    this.#sounding = take;
  }

  /** Whether the take plays. */
  async #start(take) {
    if (take === this.#sounding) this.#sounds[take].muted = false;
    try {
      await this.#sounds[take].play();
      return true;
    } catch (error) {
      // "AbortError": a pause, or another choice, came before the sound did.
      if (error.name !== "AbortError") this.#fail(take);
      return false;
    }
  }

  /** A take that cannot be heard leaves the word to the one that sounded. */
  #fail(take) {
    if (take === this.heard) {
      this.heard = this.#sounding;
      if (take === this.#sounding) this.pause();
    }
    this.#changed();
  }
}
