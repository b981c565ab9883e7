/** The JSON of a script element; null where the page has none of that name. */
function readBlock(id) {
  const element = document.getElementById(id);
  return element && JSON.parse(element.textContent);
}

const ARRAY_TYPES = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float64: Float64Array,
};

/** The typed array of a packed one; all machines that browsers run on are little-endian, as the bytes are. */
async function unpackArray(packed) {
  const bytes = await unpackBytes(packed);
  return new ARRAY_TYPES[packed.type](bytes.buffer);
}

/** The value of a packed JSON. */
async function unpackJson(packed) {
  return JSON.parse(new TextDecoder().decode(await unpackBytes(packed)));
}

async function unpackBytes(packed) {
  const text = atob(packed.zlib ?? packed.data);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  if (!("zlib" in packed)) return bytes;
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

/** The same function, its answer to the same arguments kept. */
function remembered(answer) {
  const known = new Map();
  return (...given) => {
    const key = given.join("/");
    if (!known.has(key)) known.set(key, answer(...given));
    return known.get(key);
  };
}

const numberFormat = remembered(
  (decimals, signed) =>
    new Intl.NumberFormat("en", {
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
      roundingMode: "halfEven",
      signDisplay: signed ? "exceptZero" : "negative",
    }),
);

/** What the page is about. Contenders, clips and figures are named by their places in the index. */
const page = {
  get index() {
    return indexBlock();
  },

  /** `{ids, sets, texts, speakers, seconds, places, within, links}`: see `readClips`. */
  clips: remembered(readClips),

  /** Where a clip stands among those of its set; only after `clips` has answered. */
  placeInSet(place) {
    return clipsRead.within[place];
  },

  /** The figure of a name or a place. */
  figure(which) {
    return typeof which === "string" ? page.index.figures.find((one) => one.name === which) : page.index.figures[which];
  },

  /** What was heard from a contender: `[reference, hypothesis, counted?]` or null for each clip of a set; null for nothing. */
  heard: remembered(async (contender, set) => {
    const found = (heardBlock() ?? []).find((one) => one.contender === contender && one.set === set);
    return found ? unpackJson(found.texts) : null;
  }),

  /** The columns of a figure, as `{figure, contender, reference}`; of all figures where none is named. */
  columns(figure = null) {
    return columnsBlock().filter((one) => figure === null || one.figure === figure);
  },

  /** A column's values, one for each clip of the figure's set, NaN where there is none; null: no such column. */
  column(figure, contender, reference = null) {
    const place = typeof figure === "string" ? page.index.figures.indexOf(page.figure(figure)) : figure;
    return readColumn(place, contender, reference);
  },

  /** One value of a column; NaN where there is none. */
  async value(figure, contender, place) {
    const { sets } = await page.clips();
    const column = page.figure(figure)?.set === sets[place] ? await page.column(figure, contender) : null;
    return column ? column[page.placeInSet(place)] : NaN;
  },

  /** A value as people read it, by the figure's decimals and unit; the figure itself, its name or its place. */
  format(value, which, { signed = false, unit = true } = {}) {
    const figure = typeof which === "object" ? which : page.figure(which);
    if (Number.isNaN(value)) return "—";
    const text = numberFormat(figure.decimals, signed).format(value);
    return unit && figure.unit ? `${text} ${figure.unit}` : text;
  },

  /** Who a column is of: a contender, or a difference of two. */
  columnLabel({ contender, reference }) {
    const { label } = page.index.contenders[contender];
    return reference === null ? label : `${label} − ${page.index.contenders[reference].label}`;
  },

  /** Why a clip has no value in a column, as well as the page knows. */
  whyUnscored(place, { figure, contender, reference }) {
    const own = unscoredReason(place, contender, page.figure(figure).group);
    if (reference === null) return own ?? "this clip alone has no such figure";
    const other = unscoredReason(place, reference, page.figure(figure).group);
    const told = [
      [contender, own],
      [reference, other],
    ].filter(([, reason]) => reason);
    if (!told.length) return "one of the two has no such figure";
    return told.map(([who, reason]) => `${page.index.contenders[who].label}: ${reason}`).join("; ");
  },
};

const indexBlock = remembered(() => readBlock("index"));
const columnsBlock = remembered(() => readBlock("columns") ?? []);
const heardBlock = remembered(() => readBlock("heard"));

/** Whose figures of a clip are missing, and why; only after `clips` has answered. */
const unscoredReasons = remembered(() => {
  const { rows, groups, reasons } = unscoredRead;
  return new Map(rows.map(([place, who, group, why]) => [`${place}/${who}/${groups[group]}`, reasons[why]]));
});

function unscoredReason(place, contender, group) {
  if (clipsRead.runs && !clipsRead.runs[place].includes(page.index.contenders[contender].run)) {
    return "this clip is not in that run";
  }
  return unscoredReasons().get(`${place}/${contender}/${group}`) ?? null;
}

const readColumn = remembered(async (figure, contender, reference) => {
  const found = page.columns(figure).find((one) => one.contender === contender && one.reference === reference);
  if (!found) return null;
  const values = await unpackArray(found.values);
  return Float64Array.from(values, (value) => (value === found.missing ? NaN : value / found.scale));
});

let clipsRead = null;
let unscoredRead = { rows: [], groups: [], reasons: [] };

/**
 * The clips; `runs`, where there are several: the runs that each is in; `places`: set → places of its clips, `within`: place → place in its set, `links`: place → `#clip=…`.
 *
 * In a page of two runs an id may name two clips; the second one's link says so.
 */
async function readClips() {
  const packed = readBlock("clips");
  const clips = packed ? await unpackJson(packed) : { ids: [], sets: [], texts: [], speakers: [], seconds: [] };
  const missing = readBlock("unscored");
  if (missing) unscoredRead = await unpackJson(missing);
  const places = Object.create(null);
  const within = clips.sets.map((set, place) => (places[set] ??= []).push(place) - 1);
  const seen = new Map();
  const links = clips.ids.map((id) => {
    const times = (seen.get(id) ?? 0) + 1;
    seen.set(id, times);
    return `#clip=${encodeURIComponent(id)}${times > 1 ? `&${times}` : ""}`;
  });
  clipsRead = { ...clips, places, within, links };
  return clipsRead;
}
