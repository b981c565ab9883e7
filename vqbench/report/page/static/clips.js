const ROWS_A_PAGE = 100;

/**
 * The table of clips: what it shows, and the parts of the page that show it.
 *
 * Rows come in pages rather than in a window that moves under the eyes: those of a page are all in the document, so
 * that screen readers, the browser's search and printers find them.
 */
const clipTable = {
  set: null,
  view: null,
  pair: null, // The two columns that came from the scatter plot.
  columns: [],
  sorted: null, // The column that rows are sorted by; null leaves them in the order of the clips.
  turned: false,
  rows: [], // Those that pass the filters, in order.
  from: 0, // The first of them on the page.
  turn: 0, // Counts choices of a view, so that one whose figures come late knows that it is no longer wanted.
};

/** Shows the table of clips with its controls, and a clip's detail where the address names one. */
async function showClips() {
  const holder = document.getElementById("clips-body");
  clipTable.view = firstView();
  await page.clips();
  if (clipTable.view === null) {
    holder.replaceChildren(make("p", { class: "faint" }, "There are no figures of single clips here."));
  } else {
    const parts = makeClipParts();
    Object.assign(clipTable, parts);
    holder.replaceChildren(parts.controls, parts.about, parts.status, parts.box, parts.pager);
    await chooseView(clipTable.view);
  }
  followAddress();
}

/** Shows two columns of one set side by side, as a scatter plot asks for. */
async function showPair(pair) {
  clipTable.pair = pair;
  await chooseView("pair");
  clipTable.box.focus();
  clipTable.box.scrollIntoView({ block: "nearest" });
}

function makeClipParts() {
  const viewSelect = make("select", { id: "clips-view" });
  viewSelect.addEventListener("change", () => chooseView(viewSelect.value));
  const setSelect = make("select", { id: "clips-set" });
  setSelect.addEventListener("change", () => chooseSet(setSelect.value));
  const table = make("table", { class: "clips" });
  const [filterControls, filters] = makeFilters();
  return {
    ...filters,
    viewSelect,
    setSelect,
    table,
    controls: make(
      "div",
      { class: "controls", role: "search", "aria-label": "Clips to show" },
      labelled("Columns", viewSelect),
      labelled("Set", setSelect),
      ...filterControls,
      makeButton("Clear filters", clearFilters),
      makeButton("Download CSV", downloadRows, { id: "clips-csv" }),
    ),
    about: make("p", { class: "faint", id: "clips-about" }),
    status: make("p", { role: "status", id: "clips-status" }),
    box: make("div", { class: "wide clips-box", role: "region", tabindex: "0", "aria-label": "Clips" }, table),
    ...makePager(),
  };
}

function makeFilters() {
  const words = make("input", { type: "search", id: "clips-words", autocomplete: "off", spellcheck: "false" });
  const limitColumn = make("select", { id: "clips-limit-column", "aria-label": "Column that is limited" });
  const limitKind = make("select", { id: "clips-limit-kind", "aria-label": "Kind of limit" });
  const limitValue = make("input", { type: "number", step: "any", id: "clips-limit-value", "aria-label": "Limit" });
  limitKind.append(make("option", { value: "least" }, "at least"), make("option", { value: "most" }, "at most"));
  const [unscoredTick, unscoredBox] = tickBox("unscored only", { id: "clips-unscored" });
  for (const control of [words, limitColumn, limitKind, limitValue, unscoredBox]) {
    control.addEventListener("input", filterClips);
  }
  const limit = make("span", { class: "control", role: "group", "aria-label": "Only clips within a limit" });
  limit.append(make("span", { "aria-hidden": "true" }, "Only"), limitColumn, limitKind, limitValue);
  const controls = [labelled("Id, text or speaker has", words), limit, unscoredTick];
  return [controls, { words, limitColumn, limitKind, limitValue, unscoredBox }];
}

function makePager() {
  const go = (target) => () => {
    const last = Math.max(0, Math.floor((clipTable.rows.length - 1) / ROWS_A_PAGE)) * ROWS_A_PAGE;
    clipTable.from = Math.min(last, Math.max(0, target(clipTable.from, last)));
    fillRows();
    clipTable.box.scrollTop = 0;
    announce(clipTable.pageStatus.textContent);
  };
  const pageStatus = make("span", { id: "clips-page" });
  const earlier = [
    makeButton("First", go(() => 0)),
    makeButton("Previous", go((from) => from - ROWS_A_PAGE), { id: "clips-previous" }),
  ];
  const later = [
    makeButton("Next", go((from) => from + ROWS_A_PAGE), { id: "clips-next" }),
    makeButton("Last", go((_, last) => last)),
  ];
  const pager = make("nav", { class: "pager", "aria-label": "Pages of the table" }, ...earlier, pageStatus, ...later);
  return { pager, pageStatus, earlier, later };
}

function chooseSet(set) {
  const stays = viewSet(clipTable.view, set, clipTable.pair) === set;
  return chooseView(stays ? clipTable.view : firstView(set), set);
}

/** Shows a view; what rows are sorted and limited by follows as well as it can. */
async function chooseView(view, set = clipTable.set) {
  const shownSet = viewSet(view, set, clipTable.pair);
  const turn = clipTable.turn + 1;
  Object.assign(clipTable, { view, set: shownSet, turn });
  fillSelect(clipTable.viewSelect, viewGroups(clipTable.pair), view);
  fillSelect(clipTable.setSelect, [[null, setsShown()]], shownSet);
  const clips = await page.clips();
  const chosen = viewColumns(view, shownSet, clipTable.pair);
  const figures = await Promise.all(chosen.map((column) => figureColumn(column, headOf(view, column))));
  if (clipTable.turn !== turn) return;
  const columns = [...clipColumns(clips, shownSet), ...figures];
  const limited = nearestColumn(columns, clipTable.columns.find(({ key }) => key === clipTable.limitColumn.value));
  const followed = nearestColumn(columns, clipTable.sorted);
  const sorted = followed ?? (view.startsWith("difference") ? figures[0] : null);
  const numbers = columns.filter(({ shows, key }) => shows || key === "seconds");
  const limits = numbers.map(({ key, head }) => [key, head]);
  fillSelect(clipTable.limitColumn, [[null, limits]], limited?.key ?? figures[0].key);
  clipTable.about.textContent = view.startsWith("contender") ? "" : aboutView(figures);
  Object.assign(clipTable, { columns, sorted, turned: clipTable.turned && followed !== null });
  fillHead();
  filterClips();
}

function headOf(view, column) {
  if (view === "pair") return columnWords(column);
  return view.startsWith("contender") ? page.figure(column.figure).name : page.columnLabel(column);
}

function aboutView(figures) {
  return [...new Set(figures.map(({ shows }) => figureWords(shows)))].join("; ");
}

function clearFilters() {
  for (const field of [clipTable.words, clipTable.limitValue]) field.value = "";
  clipTable.unscoredBox.checked = false;
  filterClips();
  clipTable.words.focus();
}

/** Sorts by a column: its worst first, and at the second call the other way round. */
function sortClips(column) {
  clipTable.turned = clipTable.sorted === column ? !clipTable.turned : false;
  clipTable.sorted = column;
  filterClips();
}

function filterClips() {
  const { columns, sorted, turned, limitColumn, limitKind, limitValue, unscoredBox } = clipTable;
  const column = columns.find(({ key }) => key === limitColumn.value);
  const limit = { column, most: limitKind.value === "most", value: limitValue.valueAsNumber };
  const rows = filterRows(haystacksOf(clipTable.set), {
    words: clipTable.words.value,
    limit: column && !Number.isNaN(limit.value) ? limit : null,
    unscored: unscoredBox.checked ? columns.filter(({ shows }) => shows) : null,
  });
  clipTable.rows = sorted ? orderRows(rows, sorted, turned) : rows;
  clipTable.from = 0;
  tellRows();
  fillRows();
}

function tellRows() {
  const { set, sorted, turned, rows, status } = clipTable;
  const all = clipsRead.places[set].length;
  const order = sorted ? `, by ${sorted.name ?? sorted.head}, ${orderWords(sorted, turned)}` : "";
  status.textContent = `${counted(rows.length)} of ${counted(all)} ${page.index.sets[set]}${order}`;
  markSorted();
}

function downloadRows() {
  downloadText(csvText(clipTable.columns, clipTable.rows), "clips.csv", "text/csv");
}

/** The clips before and behind one in the table as it stands; null where there is none. */
function clipNeighbours(place) {
  const places = clipsRead.places[clipTable.set] ?? [];
  const at = clipTable.rows.findIndex((row) => places[row] === place);
  const neighbour = (step) => (at < 0 ? null : (places[clipTable.rows[at + step]] ?? null));
  return [neighbour(-1), neighbour(1)];
}
