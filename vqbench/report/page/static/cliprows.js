// The rows of the table of clips, as they stand in the document.

/** Makes the heads anew: buttons that sort. */
function fillHead() {
  const { table, columns, set } = clipTable;
  const heads = columns.map((column) => {
    const button = makeButton("", () => sortClips(column), { class: "sort" });
    button.append(breakable(column.head));
    const unit = column.shows?.unit && make("span", { class: "below" }, column.shows.unit);
    const figure = column.shows || column.key === "seconds";
    const about = column.shows && figureWords(column.shows);
    return make("th", { scope: "col", class: figure ? "figure" : column.key, title: about }, button, unit || null);
  });
  table.replaceChildren(
    make("caption", { class: "unseen" }, `Figures of ${page.index.sets[set]}, one a row`),
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody"),
  );
}

/** Says in the heads which column rows are sorted by, and which way. */
function markSorted() {
  const { table, columns, sorted, turned } = clipTable;
  for (const [at, head] of [...table.tHead.rows[0].cells].entries()) {
    if (columns[at] !== sorted) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", descendsFirst(sorted) === turned ? "ascending" : "descending");
  }
}

/** Shows the rows of the page that is turned to. */
function fillRows() {
  const { table, rows, from, columns, set, pageStatus, earlier, later } = clipTable;
  const shown = rows.slice(from, from + ROWS_A_PAGE);
  const places = clipsRead.places[set];
  table.tBodies[0].replaceChildren(...shown.map((row) => clipRow(columns, row, places[row])));
  pageStatus.textContent = shown.length
    ? `rows ${counted(from + 1)}–${counted(from + shown.length)} of ${counted(rows.length)}`
    : "no rows";
  for (const button of earlier) button.setAttribute("aria-disabled", String(from === 0));
  for (const button of later) button.setAttribute("aria-disabled", String(from + ROWS_A_PAGE >= rows.length));
}

function clipRow(columns, row, place) {
  return make("tr", {}, ...columns.map((column) => clipCell(column, row, place)));
}

function clipCell(column, row, place) {
  const text = column.texts(row);
  if (column.key === "ids") {
    return make("th", { scope: "row", class: "ids" }, clipLink(place), " ", listenButton(place));
  }
  if (!column.shows) return make("td", { class: column.key === "seconds" ? "figure" : column.key }, text);
  const value = column.values[row];
  if (!Number.isNaN(value)) return make("td", { class: `figure ${changeClass(column, value)}`.trim() }, text);
  return unscoredCell(page.whyUnscored(place, column));
}

/** A cell without a figure, and why. */
function unscoredCell(reason) {
  const dash = make("span", { "aria-hidden": "true" }, "—");
  return make("td", { class: "figure unscored", title: reason }, dash, hiddenWords(`not scored: ${reason}`));
}

/** Whether a difference is one for the better. */
function changeClass({ signed, shows }, value) {
  if (!signed || !shows.better || !value) return "";
  return value > 0 === (shows.better === "higher") ? "better" : "worse";
}

/** What a clip is called. */
function clipName(place) {
  return clipsRead.ids[place].trim() || "(no id)";
}

/** A link to a clip's detail. */
function clipLink(place, text = clipName(place)) {
  return make("a", { href: clipsRead.links[place] }, text);
}

/** Where clips are to be heard: place of a clip → place of its exhibit. */
const exhibitOfClip = remembered(() => {
  const exhibits = new Map();
  for (const [at, { clips }] of page.index.exhibits.entries()) {
    for (const place of clips) if (!exhibits.has(place)) exhibits.set(place, at);
  }
  return exhibits;
});

/** A button that opens a clip's exhibit; null where it has none. */
function listenButton(place, text = "listen") {
  const exhibit = exhibitOfClip().get(place);
  if (exhibit === undefined || typeof openExhibit !== "function") return null;
  const listen = () => {
    closeDetail();
    openExhibit(exhibit);
  };
  const button = makeButton(text, listen, { class: "listen" });
  button.append(hiddenWords(` to ${clipName(place)}`));
  return button;
}
