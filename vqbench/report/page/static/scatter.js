const NAMED_POINTS = 3;

/** One figure of everyone against another, clip by clip; nothing where there are no figures of single clips. */
async function showScatter() {
  const holder = document.getElementById("scatter-body");
  const begin = firstPair();
  if (!begin) {
    holder.replaceChildren(make("p", { class: "faint" }, "There are no figures of single clips here."));
    return;
  }
  await page.clips();
  const state = { axes: { x: scatterAxis("x", begin.x), y: scatterAxis("y", begin.y) }, points: [] };
  const chart = drawChart("scatter", (theme) => describeScatter(state, theme));
  const status = make("p", { role: "status", id: "scatter-status" });
  const update = () => updateScatter(state, chart, status);
  for (const { controls } of Object.values(state.axes)) controls.addEventListener("input", update);
  const asTable = makeButton("Show as table", () => showPair(axisColumns(state)), { id: "scatter-table" });
  const controls = make("div", { class: "controls" }, state.axes.x.controls, state.axes.y.controls);
  holder.replaceChildren(controls, make("div", { class: "controls" }, status, asTable), chart.figure);
  chart.canvas.classList.add("scatter");
  await update();
}

/** What to begin with: a headline figure of both sides where runs are compared, else two headline figures of one. */
function firstPair() {
  const { contenders, compares } = page.index;
  const headline = (column) => page.figure(column.figure).headline;
  const columns = page.columns().filter(({ reference }) => reference === null);
  const differences = page.columns().filter(({ reference }) => reference !== null);
  const first = compares ? (differences.find(headline) ?? differences[0]) : null;
  if (first) {
    return { x: { ...first, contender: first.reference, reference: null }, y: { ...first, reference: null } };
  }
  const candidates = columns.filter(({ contender }) => contenders[contender].role === "candidate");
  const x = candidates.find(headline) ?? candidates[0] ?? columns[0];
  if (!x) return null;
  const beside = columns.filter(
    ({ figure, contender }) => page.figure(figure).set === page.figure(x.figure).set && contender === x.contender,
  );
  const others = beside.filter(({ figure }) => figure !== x.figure);
  return { x, y: others.find(headline) ?? others[0] ?? x };
}

/** The controls of an axis: its figure, whose, and whether it is logarithmic. */
function scatterAxis(name, { figure, contender, reference }) {
  const figureSelect = make("select", { id: `scatter-${name}-figure`, "aria-label": "Figure" });
  const whoSelect = make("select", { id: `scatter-${name}-who` });
  const [logTick, logBox] = tickBox("logarithmic", { id: `scatter-${name}-log` });
  const legend = make("legend", {}, name === "x" ? "Across" : "Up");
  const controls = make("fieldset", {}, legend, figureSelect, labelled("of", whoSelect), logTick);
  fillSelect(figureSelect, [[null, figureOptions(null)]], figure);
  fillSelect(whoSelect, [[null, whoOptions(figure)]], whoKey({ contender, reference }));
  return { controls, figureSelect, whoSelect, logBox };
}

function figureOptions(set) {
  const figures = [...new Set(page.columns().map(({ figure }) => figure))].sort((one, other) => one - other);
  const named = figures.filter((figure) => set === null || page.figure(figure).set === set);
  return named.map((figure) => [figure, page.figure(figure).name]);
}

function whoOptions(figure) {
  return page.columns(figure).map((column) => [whoKey(column), page.columnLabel(column)]);
}

function whoKey({ contender, reference }) {
  return `${contender}/${reference ?? ""}`;
}

/** The columns that the controls name, x and y. */
function axisColumns({ axes }) {
  return [axes.x, axes.y].map(({ figureSelect, whoSelect }) => {
    const [contender, reference] = whoSelect.value.split("/");
    const place = reference === "" ? null : Number(reference);
    return { figure: Number(figureSelect.value), contender: Number(contender), reference: place };
  });
}

/** What may be chosen up follows from what is chosen across: figures of the same clips. */
function limitChoices({ x, y }) {
  fillSelect(x.whoSelect, [[null, whoOptions(Number(x.figureSelect.value))]], x.whoSelect.value);
  const { set } = page.figure(Number(x.figureSelect.value));
  fillSelect(y.figureSelect, [[null, figureOptions(set)]], y.figureSelect.value);
  fillSelect(y.whoSelect, [[null, whoOptions(Number(y.figureSelect.value))]], y.whoSelect.value);
}

async function updateScatter(state, chart, status) {
  limitChoices(state.axes);
  const columns = axisColumns(state);
  const chosen = columns.map(columnKey).join();
  const [xs, ys] = await Promise.all(columns.map((one) => page.column(one.figure, one.contender, one.reference)));
  if (axisColumns(state).map(columnKey).join() !== chosen) return; // Others were chosen meanwhile.
  const logs = [state.axes.x, state.axes.y].map(({ logBox }) => logBox.checked);
  const { set } = page.figure(columns[0].figure);
  const places = clipsRead.places[set];
  const scored = Array.from(xs.keys()).filter((row) => !Number.isNaN(xs[row]) && !Number.isNaN(ys[row]));
  const drawn = scored.filter((row) => !(logs[0] && xs[row] <= 0) && !(logs[1] && ys[row] <= 0));
  // Chart.js takes points that it need not parse to be sorted.
  state.points = drawn.map((row) => ({ x: xs[row], y: ys[row], place: places[row] })).sort((a, b) => a.x - b.x);
  Object.assign(state, { columns, logs });
  status.textContent = pointsTold(page.index.sets[set], places.length, scored.length, drawn.length);
  chart.redraw();
}

/** How many clips are drawn, and why the others are not. */
function pointsTold(noun, all, scored, drawn) {
  const left = [
    [all - scored, "without one of the two figures"],
    [scored - drawn, "at zero or less, which has no place on a logarithmic axis"],
  ];
  const told = left.filter(([n]) => n).map(([n, why]) => `${counted(n)} ${why}`);
  return `${counted(drawn)} of ${counted(all)} ${noun}${told.length ? `; left out: ${told.join(", ")}` : ""}`;
}

function describeScatter({ points, columns, logs }, theme) {
  const [across, up] = columns.map(columnWords);
  const colour = translucent(theme.accent, points.length > 2000 ? 0.35 : 0.6);
  const figures = columns.map(({ figure }) => page.figure(figure));
  const titles = columns.map((column, at) => columnWords(column) + (figures[at].unit ? ` (${figures[at].unit})` : ""));
  const look = { backgroundColor: colour, borderWidth: 0, radius: points.length > 2000 ? 2.5 : 3.5 };
  const hover = { hoverRadius: 6, hoverBackgroundColor: theme.ink, hoverBorderWidth: 0 };
  return {
    label: `Scatter plot of ${counted(points.length)} clips: across ${across}; up ${up}. “Show as table” lists them.`,
    config: {
      data: { datasets: [{ data: points, ...look, ...hover, order: 0 }, ...sameLine(points, columns, theme)] },
      options: {
        parsing: false,
        interaction: { mode: "nearest", intersect: true },
        onClick: (_, [found]) => found && openPoint(points[found.index]),
        onHover: (event, found) => event.native.target.classList.toggle("on-point", found.length > 0),
        scales: { x: chartAxis(titles[0], { log: logs[0] }), y: chartAxis(titles[1], { log: logs[1] }) },
        plugins: { tooltip: { displayColors: false, ...pointTooltip(points, columns) } },
      },
    },
  };
}

/** Where both axes show the same figure: the line on which both are the same. */
function sameLine(points, columns, theme) {
  if (columns[0].figure !== columns[1].figure || !points.length) return [];
  let [least, most] = [Infinity, -Infinity];
  for (const { x, y } of points) [least, most] = [Math.min(least, x, y), Math.max(most, x, y)];
  const data = [least, most].map((value) => ({ x: value, y: value }));
  const hidden = { radius: 0, hitRadius: 0, hoverRadius: 0 };
  return [{ data, showLine: true, borderColor: theme.faint, borderWidth: 1, borderDash: [4, 4], ...hidden, order: 1 }];
}

function openPoint(point) {
  if (point) location.hash = clipsRead.links[point.place];
}

/** Ids and both numbers of the points under the pointer; of many that lie on each other the first. */
function pointTooltip(points, columns) {
  const shown = (item, at) => item.datasetIndex === 0 && at < NAMED_POINTS;
  const numbers = ({ x, y }) => [x, y].map((value, at) => page.format(value, columns[at].figure)).join(" / ");
  return {
    filter: shown,
    callbacks: {
      label: ({ dataIndex }) => `${clipName(points[dataIndex].place)}: ${numbers(points[dataIndex])}`,
      footer: (items) => {
        const more = (items[0]?.chart.getActiveElements().length ?? 0) - NAMED_POINTS;
        return more > 0 ? `and ${counted(more)} more here` : "";
      },
    },
  };
}
