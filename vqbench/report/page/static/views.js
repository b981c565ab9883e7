// What the table of clips can show: one figure of everybody, every figure of one, differences, or a scatter's two.

/** `[group, [[view, text], …]]` of all views; a view is named `figure:3`, `contender:1`, `difference:3` or `pair`. */
function viewGroups(pair) {
  const { figures, contenders, compares } = page.index;
  const columns = page.columns();
  const distinct = (places) => [...new Set(places)].sort((one, other) => one - other);
  const named = (kind, places, text) => distinct(places).map((at) => [`${kind}:${at}`, text(at)]);
  const own = columns.filter((column) => column.reference === null);
  const differences = compares ? columns.filter((column) => column.reference !== null) : [];
  const figureName = (at) => figures[at].name;
  const placesOf = (found, what) => found.map((column) => column[what]);
  return [
    ["differences", named("difference", placesOf(differences, "figure"), figureName)],
    ["one figure, everybody", named("figure", placesOf(own, "figure"), figureName)],
    ["one candidate, every figure", named("contender", placesOf(own, "contender"), (at) => contenders[at].label)],
    ["from the scatter plot", pair ? [["pair", pair.map(columnWords).join(" and ")]] : []],
  ];
}

/** A column in words: figure and whose. */
function columnWords(column) {
  return `${page.figure(column.figure).name}, ${page.columnLabel(column)}`;
}

/** The columns of a view; of one contender those of a set. */
function viewColumns(view, set, pair) {
  const [kind, at] = view.split(":");
  if (kind === "pair") return pair;
  const place = Number(at);
  const shows = {
    figure: (column) => column.figure === place && column.reference === null,
    difference: (column) => column.figure === place && column.reference !== null,
    contender: (column) =>
      column.contender === place && column.reference === null && page.figure(column.figure).set === set,
  };
  return page.columns().filter(shows[kind]);
}

/** The set whose clips a view shows: the figure's own; of one contender the one that is shown already, if it may be. */
function viewSet(view, set, pair) {
  const [kind, at] = view.split(":");
  if (kind === "pair") return page.figure(pair[0].figure).set;
  if (kind !== "contender") return page.figure(Number(at)).set;
  const sets = page
    .columns()
    .filter((column) => column.contender === Number(at) && column.reference === null)
    .map((column) => page.figure(column.figure).set);
  return sets.includes(set) ? set : sets[0];
}

/** The view to begin with, or to go to for a set: its first headline figure, of differences where there are any. */
function firstView(set = null) {
  const rank = ({ figure, reference }) => [
    page.index.compares && reference === null,
    !page.figure(figure).headline,
    figure,
  ];
  const [found] = page
    .columns()
    .filter((column) => set === null || page.figure(column.figure).set === set)
    .filter((column) => page.index.compares || column.reference === null)
    .map((column) => [rank(column), column])
    .sort(([one], [other]) => one[0] - other[0] || one[1] - other[1] || one[2] - other[2]);
  if (!found) return null;
  const [, { figure, reference }] = found;
  return `${reference === null ? "figure" : "difference"}:${figure}`;
}

/** The sets that have columns. */
function setsShown() {
  const there = new Set(page.columns().map((column) => page.figure(column.figure).set));
  return Object.entries(page.index.sets).filter(([set]) => there.has(set));
}

/** The column among others that comes nearest to an earlier one: itself, or the same contender's, or figure's. */
function nearestColumn(columns, earlier) {
  if (!earlier) return null;
  const alike = (...keys) => columns.find((column) => keys.every((key) => column[key] === earlier[key]));
  if (!earlier.shows) return alike("key") ?? null;
  return alike("key") ?? alike("contender", "reference") ?? alike("figure", "reference") ?? null;
}

/** What a figure is, in words. */
function figureWords({ name, description, better, unit }) {
  const end = { lower: "lower is better", higher: "higher is better" }[better] ?? "neither end is better";
  return `${name}: ${description}${unit ? `, in ${unit}` : ""} (${end})`;
}
