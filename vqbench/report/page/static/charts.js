const SERIES_COLOURS = 10;
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const MARKERS = ["circle", "rect", "triangle", "rectRot", "cross", "star"];

const charts = [];
const darkScheme = matchMedia("(prefers-color-scheme: dark)");
let onPaper = false;

/** How a contender is drawn everywhere: a colour, and a dash and a marker for who cannot tell colours. */
function seriesLook(contender, theme) {
  return {
    colour: theme.series[contender % SERIES_COLOURS],
    dash: DASHES[contender % DASHES.length],
    marker: MARKERS[contender % MARKERS.length],
  };
}

/** Colours and font as the style sheet has them now; on paper the light ones, which stand outside media queries. */
function readTheme() {
  const root = document.documentElement;
  const light = new Map();
  for (const { cssRules } of onPaper ? document.styleSheets : []) {
    for (const rule of cssRules) {
      if (rule.selectorText !== ":root") continue;
      for (const name of rule.style) light.set(name, rule.style.getPropertyValue(name).trim());
    }
  }
  const computed = getComputedStyle(root);
  const colour = (name) => light.get(name) ?? computed.getPropertyValue(name).trim();
  return {
    ink: colour("--ink"),
    faint: colour("--faint"),
    rule: colour("--rule"),
    paper: colour("--paper"),
    accent: colour("--accent"),
    series: Array.from({ length: SERIES_COLOURS }, (_, at) => colour(`--series-${at}`)),
    font: getComputedStyle(document.body).fontFamily,
  };
}

/** A colour that lets through what is beneath. */
function translucent(colour, share) {
  return `color-mix(in srgb, ${colour} ${100 * share}%, transparent)`;
}

/**
 * Draws a chart into a new figure, and again whenever colours change.
 *
 * `describe(theme)` gives `{label, config}`: the chart in words, and its data and options for Chart.js.
 * The answer has the figure and `redraw`, for when what is described has changed.
 */
function drawChart(type, describe) {
  const canvas = make("canvas", { role: "img" });
  const figure = make("figure", { class: "chart" }, make("div", { class: "canvas" }, canvas));
  let chart = null;
  const redraw = () => {
    const theme = readTheme();
    const { label, config } = describe(theme);
    canvas.setAttribute("aria-label", label);
    setChartDefaults(theme);
    if (chart) {
      Object.assign(chart, { data: config.data, options: config.options });
      chart.update("none");
    } else {
      chart = new Chart(canvas, { type, ...config });
    }
  };
  const resize = () => chart.resize();
  const drawn = { figure, canvas, redraw, resize };
  charts.push(drawn);
  return drawn;
}

function setChartDefaults(theme) {
  const { defaults } = Chart;
  Object.assign(defaults, { animation: false, maintainAspectRatio: false });
  Object.assign(defaults, { color: theme.faint, borderColor: theme.rule });
  Object.assign(defaults.font, { family: theme.font, size: 13 });
  defaults.plugins.legend.display = false;
  Object.assign(defaults.plugins.tooltip, {
    backgroundColor: theme.paper,
    borderColor: theme.faint,
    borderWidth: 1,
    titleColor: theme.ink,
    bodyColor: theme.ink,
    footerColor: theme.faint,
    footerFont: { weight: "normal" },
    titleMarginBottom: 4,
    padding: 8,
    cornerRadius: 4,
    usePointStyle: true,
    boxPadding: 4,
  });
}

function redrawCharts() {
  for (const chart of charts) chart.redraw();
}

function onPrint(printing) {
  onPaper = printing;
  redrawCharts();
  for (const chart of charts) chart.resize();
}

darkScheme.addEventListener("change", redrawCharts);
addEventListener("beforeprint", () => onPrint(true));
addEventListener("afterprint", () => onPrint(false));

/** An axis with a title; on a logarithmic one only powers of ten are marked, or 1, 2 and 5 where these are few. */
function chartAxis(title, { log = false, least, most, decimals = 2 } = {}) {
  const axis = { title: { display: true, text: title }, min: least, max: most };
  if (!log) return { ...axis, type: "linear", ticks: { maxTicksLimit: 8 } };
  return {
    ...axis,
    type: "logarithmic",
    ticks: { callback: (value) => plainNumber(value), autoSkip: false },
    afterBuildTicks: (scale) => (scale.ticks = logTicks(scale.min, scale.max).map((value) => ({ value }))),
  };
}

/** Round numbers within a span, evenly spread on a logarithmic axis. */
function logTicks(least, most) {
  const powers = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.ceil(Math.log10(most)); power += 1) powers.push(power);
  const within = (steps) =>
    powers
      .flatMap((power) => steps.map((step) => Number(`${step}e${power}`)))
      .filter((value) => value >= least * 0.999 && value <= most * 1.001);
  const decades = within([1]);
  return decades.length > 2 ? decades : within([1, 2, 5]);
}

/** A number without noise behind it: 0.001, 20, 10,000. */
function plainNumber(value) {
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
}

/** Buttons that show and hide contenders; `changed` is called after each. */
function makeLegend(contenders, hidden, changed) {
  const toggle = (contender) => (button) => {
    if (!hidden.delete(contender)) hidden.add(contender);
    button.setAttribute("aria-pressed", String(!hidden.has(contender)));
    changed();
  };
  const entries = contenders.map((contender) => {
    const button = makeButton("", toggle(contender), { class: "entry", "aria-pressed": "true" });
    button.append(makeSwatch(contender), make("span", {}, page.index.contenders[contender].label));
    return make("li", {}, button);
  });
  return make("ul", { class: "legend", "aria-label": "Shown in the charts" }, ...entries);
}

/** A short piece of a contender's line. */
function makeSwatch(contender) {
  const look = seriesLook(contender, { series: [] });
  const shapes = {
    circle: "M10 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0",
    rect: "M10.5 2.5h7v7h-7z",
    triangle: "M14 2l4.5 7.5h-9z",
    rectRot: "M14 1.5l4.5 4.5l-4.5 4.5l-4.5 -4.5z",
    cross: "M14 1.5v9M9.5 6h9",
    star: "M14 1.5v9M9.5 6h9M10.8 2.8l6.4 6.4M10.8 9.2l6.4 -6.4",
  };
  return makeSvg(
    "svg",
    { class: `swatch series-${contender % SERIES_COLOURS}`, viewBox: "0 0 28 12", "aria-hidden": "true" },
    makeSvg("path", { d: "M0 6h28", "stroke-dasharray": look.dash.join(" ") }),
    makeSvg("path", { d: shapes[look.marker], class: "marker" }),
  );
}

/** The numbers of a chart for who does not see it: a table, made when it is asked for. */
function numbersTable(summary, table) {
  const details = make("details", { class: "numbers" }, make("summary", {}, summary));
  const fill = () => {
    const { caption, head, rows } = table();
    details.append(scrollBox(caption, makeTable(caption, head, rows)));
  };
  details.addEventListener("toggle", fill, { once: true });
  return details;
}
