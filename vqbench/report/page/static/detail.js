/** Opens the clip that the address names, now and whenever the address changes. */
function followAddress() {
  addEventListener("hashchange", openNamedClip);
  openNamedClip();
}

/** The clip that the address names; -1 for none. */
function namedClip() {
  const hash = location.hash;
  return hash.startsWith("#clip=") ? clipsRead.links.indexOf(hash) : -1;
}

function openNamedClip() {
  const place = namedClip();
  if (place < 0) closeDetail();
  else openDetail(place);
}

/** The dialog; made when it is first needed. */
const detailDialog = remembered(() => {
  const dialog = make("dialog", { class: "detail", "aria-labelledby": "clip-detail-title" });
  dialog.addEventListener("close", leaveClip);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.getElementById("clip-detail").append(dialog);
  return dialog;
});

/** Takes the clip out of the address, so that its link opens it again; going back does so, too. */
function leaveClip() {
  if (namedClip() >= 0) history.pushState(null, "", "#");
}

function closeDetail() {
  if (detailDialog().open) detailDialog().close();
}

/** Shows all that is known of a clip. */
async function openDetail(place) {
  const dialog = detailDialog();
  const [heard, figures] = await Promise.all([heardPart(place), figuresPart(place)]);
  if (namedClip() !== place) return; // Another one was asked for meanwhile.
  const title = make("h3", { id: "clip-detail-title", tabindex: "-1" }, clipName(place));
  const bar = make("div", { class: "titlebar" }, title, stepLinks(place), makeButton("Close", closeDetail));
  dialog.replaceChildren(bar, clipFacts(place), ...heard, ...figures);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  title.focus();
}

/** Links to the clips before and behind it in the table. */
function stepLinks(place) {
  const [before, behind] = clipNeighbours(place);
  const links = [];
  if (before !== null) links.push(clipLink(before, "previous"));
  if (behind !== null) links.push(clipLink(behind, "next"));
  return links.length ? make("nav", { "aria-label": "Clips of the table" }, ...links) : null;
}

function clipFacts(place) {
  const { texts, speakers, sets, seconds } = clipsRead;
  const facts = [
    ["text", texts[place]],
    ["speaker", speakers[place]],
    ["length", seconds[place] > 0 ? `${seconds[place].toFixed(2)} s` : null],
    ["set", page.index.sets[sets[place]]],
    ["sound", listenButton(place, "listen and look")],
  ].filter(([, fact]) => fact);
  return make("dl", {}, ...facts.flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)]));
}

/** What was heard from everybody, its errors marked and counted. */
async function heardPart(place) {
  const set = clipsRead.sets[place];
  const all = await Promise.all(page.index.contenders.map((_, contender) => page.heard(contender, set)));
  const pairs = all.map((heard) => heard && (heard[page.placeInSet(place)] ?? []));
  const rows = pairs.flatMap((pair, contender) => (pair ? [heardRow(place, contender, pair)] : []));
  if (!rows.length) return [];
  const [reference] = pairs.find((pair) => pair?.length) ?? ["—"];
  const wanted = make("p", { class: "faint" }, "Wanted: ", make("span", { class: "wanted" }, reference));
  const table = makeTable("What was heard", ["", "heard", "errors"], rows);
  table.classList.add("heard");
  return [wanted, scrollBox("What was heard", table)];
}

function heardRow(place, contender, [reference, hypothesis, counted]) {
  const { label } = page.index.contenders[contender];
  if (reference !== undefined) {
    // Of a loop less counts than was heard.
    const errors = errorWords(errorsIn(reference, counted ?? hypothesis));
    return [label, markErrors(reference, hypothesis), counted === undefined ? errors : `${errors}; a loop`];
  }
  // The group of metrics for which an ASR listens is called as the set of clips is.
  const reason = unscoredReason(place, contender, clipsRead.sets[place]);
  return [label, make("span", { class: "faint" }, `— not scored${reason ? `: ${reason}` : ""}`), ""];
}

/** Errors in words: `2 of 9 words: 1 wrong, 1 missing`. */
function errorWords({ words, wrong, missing, extra, total }) {
  if (!total) return "none";
  const kinds = [
    [wrong, "wrong"],
    [missing, "missing"],
    [extra, "too many"],
  ];
  const told = kinds.filter(([n]) => n).map(([n, kind]) => `${n} ${kind}`);
  return `${total} in ${words} ${words === 1 ? "word" : "words"}: ${told.join(", ")}`;
}

/** Every figure of a clip, with the reasons of those that are not there beneath. */
async function figuresPart(place) {
  const set = clipsRead.sets[place];
  const columns = page.columns().filter(({ figure }) => page.figure(figure).set === set);
  if (!columns.length) return [];
  const values = new Map(await Promise.all(columns.map((column) => valueEntry(column, page.placeInSet(place)))));
  const who = new Map(columns.map((column) => [columnLabelKey(column), column]));
  const rank = ({ contender, reference }) => (reference === null ? 0 : page.index.contenders.length) + contender;
  const ordered = [...who.values()].sort((one, other) => rank(one) - rank(other));
  const reasons = [];
  const rows = [...new Set(columns.map(({ figure }) => figure))].map((figure) => [
    figureHead(figure),
    ...ordered.map((column) => figureCell({ ...column, figure }, values, place, reasons)),
  ]);
  const head = ["figure", ...ordered.map((column) => breakable(page.columnLabel(column)))];
  const table = makeTable("Figures of this clip", head, rows);
  table.classList.add("of-clip");
  const list = make("ol", { class: "reasons" }, ...reasons.map((reason) => make("li", {}, reason)));
  return [scrollBox("Figures of this clip", table), ...(reasons.length ? [list] : [])];
}

async function valueEntry(column, row) {
  return [columnKey(column), (await page.column(column.figure, column.contender, column.reference))[row]];
}

function columnLabelKey({ contender, reference }) {
  return `${contender}/${reference ?? ""}`;
}

function figureHead(figure) {
  const { name, unit, description } = page.figure(figure);
  return make("span", { title: description }, breakable(name), unit ? ` (${unit})` : null);
}

/** A value; a dash with the number of its reason; nothing where nobody measured it. */
function figureCell(column, values, place, reasons) {
  const value = values.get(columnKey(column));
  if (value === undefined) return "";
  const signed = column.reference !== null;
  if (!Number.isNaN(value)) return page.format(value, column.figure, { signed, unit: false });
  const reason = page.whyUnscored(place, column);
  if (!reasons.includes(reason)) reasons.push(reason);
  return make("span", { title: reason }, `— [${reasons.indexOf(reason) + 1}]`, hiddenWords(` not scored: ${reason}`));
}
