const collator = new Intl.Collator("en", { numeric: true });

/** The key of a column of figures, which names it everywhere. */
function columnKey({ figure, contender, reference }) {
  return `${figure}/${contender}/${reference ?? ""}`;
}

/**
 * The columns that say which clip a row is: `{key, head, texts, values}`, by the row's place in its set.
 *
 * `values` are what the column is sorted by: numbers, NaN for none.
 */
function clipColumns(clips, set) {
  const places = clips.places[set] ?? [];
  const columns = ["ids", "speakers", "texts"].map((field) => ({
    key: field,
    head: { ids: "clip", speakers: "speaker", texts: "text" }[field],
    texts: (row) => clips[field][places[row]] ?? "",
    get values() {
      return textRanks(field, set);
    },
  }));
  const seconds = Float64Array.from(places, (place) => clips.seconds[place]);
  columns.push({ key: "seconds", head: "seconds", values: seconds, texts: (row) => seconds[row].toFixed(2) });
  const told = { speakers: places.some((place) => clips.speakers[place]), seconds: seconds.some((one) => one > 0) };
  return columns.filter(({ key }) => told[key] ?? true);
}

/** Where each text of a set stands in the order of all of them; equal texts stand together, and none is NaN. */
const textRanks = remembered((field, set) => {
  const texts = clipsRead.places[set].map((place) => clipsRead[field][place] ?? "");
  const ordered = [...new Set(texts)].sort(collator.compare);
  const ranks = new Map(ordered.map((text, rank) => [text, rank]));
  return Float64Array.from(texts, (text) => (text ? ranks.get(text) : NaN));
});

/** A column of figures, with its values. */
async function figureColumn(column, head) {
  const figure = page.figure(column.figure);
  const signed = column.reference !== null;
  const values = await page.column(column.figure, column.contender, column.reference);
  const name = `${figure.name} ${page.columnLabel(column)}`;
  const texts = (row) => page.format(values[row], figure, { signed, unit: false });
  return { ...column, key: columnKey(column), head, name, values, texts, shows: figure, signed };
}

/** Whether the first order of a column is from large to small: the worst first, and of texts the first. */
function descendsFirst({ shows, key }) {
  return shows ? shows.better !== "higher" : key === "seconds";
}

/** The order of rows in words. */
function orderWords(column, turned) {
  if (column.shows?.better) return turned ? "best first" : "worst first";
  if (column.shows || column.key === "seconds") return turned ? "smallest first" : "largest first";
  return turned ? "from Z to A" : "from A to Z";
}

/** Rows in the order of a column, what has no value last; equal ones stay in the order of the clips. */
function orderRows(rows, column, turned) {
  const { values } = column;
  const sign = descendsFirst(column) === turned ? 1 : -1;
  const known = rows.filter((row) => !Number.isNaN(values[row]));
  known.sort((one, other) => sign * (values[one] - values[other]) || one - other);
  return known.concat(rows.filter((row) => Number.isNaN(values[row])));
}

/**
 * The rows that pass all filters.
 *
 * `words`: part of id, text or speaker; `limit`: `{column, most, value}`, which no missing value keeps;
 * `unscored`: only rows without a value in one of these columns, or null.
 */
function filterRows(haystacks, { words, limit, unscored }) {
  const wanted = words.trim().toLowerCase();
  const within = ({ column, most, value }, row) => (most ? column.values[row] <= value : column.values[row] >= value);
  return Array.from(haystacks.keys()).filter(
    (row) =>
      (!wanted || haystacks[row].includes(wanted)) &&
      (!limit || within(limit, row)) &&
      (!unscored || unscored.some(({ values }) => Number.isNaN(values[row]))),
  );
}

/** What the words of a filter are looked for in, row by row. */
const haystacksOf = remembered((set) =>
  clipsRead.places[set].map((place) =>
    [clipsRead.ids[place], clipsRead.texts[place], clipsRead.speakers[place] ?? ""].join("\n").toLowerCase(),
  ),
);

/** Rows as CSV, numbers whole; texts that a spreadsheet would take for a formula get an apostrophe before them. */
function csvText(columns, rows) {
  const text = (value) => quoted(/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
  const number = (value) => (Number.isNaN(value) ? "" : String(value));
  const isText = ({ shows, key }) => !shows && key !== "seconds";
  const cell = (column, row) => (isText(column) ? text(column.texts(row)) : number(column.values[row]));
  const head = columns.map((column) => text(column.name ?? column.head));
  return [head, ...rows.map((row) => columns.map((column) => cell(column, row)))]
    .map((cells) => `${cells.join(",")}\n`)
    .join("");
}

function quoted(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Hands a text over as a file. */
function downloadText(text, name, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
