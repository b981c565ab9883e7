/** Between the loudest and the darkest of a picture; what is softer is as dark. */
const MEL_RANGE_DB = 70;

/** Differences of this and more are drawn in full colour. */
const MEL_DIFFERENCE_DB = 20;

/** Frames by which the mels of two copies may differ in length: a decoder writes whole tokens. */
const MEL_SLACK_FRAMES = 4;

/** Browsers refuse wider canvases. */
const MOST_CANVAS_PIXELS = 16000;

/** Even in lightness from black to pale yellow: Matplotlib's magma. */
const MEL_COLOURS = [
  [0, 0, 4],
  [16, 11, 45],
  [44, 17, 95],
  [81, 18, 124],
  [114, 31, 129],
  [147, 43, 128],
  [183, 55, 121],
  [216, 69, 108],
  [241, 96, 93],
  [251, 135, 97],
  [254, 174, 119],
  [254, 215, 153],
  [252, 253, 191],
];

/** Softer than the reference, louder than it; no difference is the paper itself, light or dark. */
const MEL_SOFTER = [43, 110, 214];
const MEL_LOUDER = [214, 62, 50];

/** 0 … 1 → red, green, blue, alpha. */
function melColour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (MEL_COLOURS.length - 1);
  const below = Math.min(Math.floor(at), MEL_COLOURS.length - 2);
  const above = MEL_COLOURS[below + 1];
  return [...MEL_COLOURS[below].map((channel, i) => channel + (at - below) * (above[i] - channel)), 255];
}

/** -1 … 1 → red, green, blue, alpha. */
function melDifferenceColour(share) {
  return [...(share < 0 ? MEL_SOFTER : MEL_LOUDER), 255 * Math.min(Math.abs(share), 1)];
}

/** The pixels that stand for 0 … n - 1. */
function melPalette(n, colourOf) {
  const channels = Uint8ClampedArray.from(Array.from({ length: n }, (_, at) => colourOf(at)).flat());
  return new Uint32Array(channels.buffer);
}

/** The mel of a take with its levels unpacked; null where there is none, or its levels are not of its shape. */
async function readMel(mel) {
  if (!mel) return null;
  const levels = await unpackArray(mel.levels);
  return levels.length === mel.bands * mel.frames ? { ...mel, levels } : null;
}

/** The levels between which all mels of a group are drawn: from the loudest of them down. */
function melScale(mels) {
  const loudest = (mel) => mel.levels.reduce((most, level) => Math.max(most, level), 0);
  const high = Math.max(1, ...mels.map(loudest));
  return { low: Math.max(0, high - MEL_RANGE_DB), high };
}

/** Frames over which a mel can be held against a reference; 0 where they do not match. */
function commonFrames(mel, reference) {
  if (!mel || !reference || mel === reference) return 0;
  const alike = mel.bands === reference.bands && Math.abs(mel.frames_per_s - reference.frames_per_s) < 0.01;
  if (!alike || Math.abs(mel.frames - reference.frames) > MEL_SLACK_FRAMES) return 0;
  return Math.min(mel.frames, reference.frames);
}

/** A picture of one mel, frame by frame and band by band, low bands at the bottom, drawn at the screen's own pixels. */
class MelPicture {
  #mel;
  #dots = document.createElement("canvas"); // One pixel for each frame and band.

  constructor(mel) {
    this.#mel = mel;
    this.canvas = make("canvas", { class: "mel", role: "img" });
    [this.#dots.width, this.#dots.height] = [mel.frames, mel.bands];
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
  }

  /** Draws the mel itself; `label` says it in words. */
  showMel({ low, high }, label) {
    const palette = melPalette(256, (level) => melColour((level - low) / (high - low)));
    const { levels, frames } = this.#mel;
    this.#show("mel", label, frames, (band, frame) => palette[levels[band * frames + frame]]);
  }

  /** Draws how much louder or softer it is than a reference, over the frames that both have. */
  showDifference(reference, label) {
    const palette = melPalette(511, (at) => melDifferenceColour((at - 255) / MEL_DIFFERENCE_DB));
    const [ours, theirs] = [this.#mel, reference];
    this.#show("difference", label, commonFrames(ours, theirs), (band, frame) => {
      const difference = ours.levels[band * ours.frames + frame] - theirs.levels[band * theirs.frames + frame];
      return palette[difference + 255];
    });
  }

  #show(kind, label, frames, pixelOf) {
    this.canvas.dataset.shows = kind;
    this.canvas.setAttribute("aria-label", label);
    const { bands, frames: width } = this.#mel;
    const image = new ImageData(width, bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (let band = 0; band < bands; band += 1) {
      const row = (bands - 1 - band) * width;
      for (let frame = 0; frame < frames; frame += 1) pixels[row + frame] = pixelOf(band, frame);
    }
    this.#dots.getContext("2d").putImageData(image, 0, 0);
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const width = Math.min(Math.round(canvas.clientWidth * devicePixelRatio), MOST_CANVAS_PIXELS);
    const height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (!width || !height) return;
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#dots, 0, 0, width, height);
  }
}

/** What the colours mean, as a strip with numbers: `ticks` are `[0 … 1, dB]`. */
function melLegend(kind, colourOf, ticks, words) {
  const strip = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const image = new ImageData(256, 1);
  new Uint32Array(image.data.buffer).set(melPalette(256, (at) => colourOf(at / 255)));
  strip.getContext("2d").putImageData(image, 0, 0);
  const scale = make("span", { class: "ticks" });
  for (const [share, db] of ticks) {
    const tick = make("span", {}, `${db}`.replace("-", "−"));
    tick.style.left = `${100 * share}%`;
    scale.append(tick);
  }
  const ramp = make("span", { class: "ramp" }, strip, scale);
  return make("p", { class: "scale", "data-of": kind }, ramp, make("span", {}, words));
}

/** The legend of the mels of a group. */
function melLevelLegend({ low, high }) {
  const ticks = [];
  for (let level = high; level >= low; level -= 10) ticks.push([(level - low) / (high - low), level - high]);
  const words = "dB below the loudest of these takes, one scale for all of them; low bands at the bottom";
  return melLegend("mel", melColour, ticks, words);
}

/** The legend of the differences. */
function melDifferenceLegend(reference) {
  const ticks = [-1, -0.5, 0, 0.5, 1].map((share) => [(share + 1) / 2, share * MEL_DIFFERENCE_DB]);
  const words = `dB softer (blue) or louder (red) than ${reference}; low bands at the bottom`;
  return melLegend("difference", (share) => melDifferenceColour(2 * share - 1), ticks, words);
}
