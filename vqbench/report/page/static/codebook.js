const MARKED_POINTS = 12;

/** Draws how often codes are used, and where in a sequence tokens agree; nothing where the runs tell neither. */
function showCodebook() {
  const holder = document.getElementById("codebook-charts");
  const { usage = [], positions = [] } = readBlock("codebook") ?? {};
  if (!holder || !(usage.length || positions.length)) return;
  const hidden = new Set();
  const drawn = [];
  if (usage.length) drawn.push(usageChart(usage, hidden));
  for (const set of new Set(positions.map((one) => one.set))) {
    const ofSet = positions.filter((one) => one.set === set && one.n.length);
    if (ofSet.length) drawn.push(positionChart(ofSet, hidden));
  }
  const contenders = [...new Set([...usage, ...positions].map((one) => one.contender))].sort((a, b) => a - b);
  const legend = makeLegend(contenders, hidden, () => drawn.forEach((one) => one.redraw()));
  holder.replaceChildren(legend, make("div", { class: "charts" }, ...drawn.map((one) => one.figure)));
  for (const one of drawn) one.redraw();
}

function contenderLabel(contender) {
  return page.index.contenders[contender].label;
}

/** A contender's line; markers are few, since they only say whose it is. */
function lineOf(contender, points, theme, hidden) {
  const { colour, dash, marker } = seriesLook(contender, theme);
  const every = Math.max(1, Math.round(points.length / MARKED_POINTS));
  return {
    label: contenderLabel(contender),
    data: points,
    hidden: hidden.has(contender),
    borderColor: colour,
    backgroundColor: colour,
    borderDash: dash,
    borderWidth: 2,
    pointStyle: marker,
    pointRadius: points.map((_, at) => (at % every ? 0 : 4)),
    pointHoverRadius: 5,
    pointBorderWidth: 1.5,
  };
}

function namesOf(series, hidden) {
  return series
    .filter((one) => !hidden.has(one.contender))
    .map((one) => contenderLabel(one.contender))
    .join(", ");
}

function usageChart(usage, hidden) {
  const pointsOf = (one) => one.ranks.map((x, at) => ({ x, y: one.counts[at] })).filter(({ y }) => y > 0);
  const most = Math.max(1, ...usage.flatMap((one) => one.counts));
  const longest = Math.max(1, ...usage.map((one) => one.size));
  const drawn = drawChart("line", (theme) => ({
    label:
      `Line chart: how often the code of each rank is written, both axes logarithmic, for ${namesOf(usage, hidden)}. ` +
      "The table below has its numbers.",
    config: {
      data: { datasets: usage.map((one) => lineOf(one.contender, pointsOf(one), theme, hidden)) },
      options: {
        parsing: false,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: chartAxis("rank of the code", { log: true, least: 1, most: longest }),
          y: chartAxis("tokens with it", { log: true, least: 1, most }),
        },
        plugins: {
          tooltip: {
            callbacks: {
              title: ([item]) => (item ? `rank ${counted(item.parsed.x)}` : ""),
              label: ({ dataset, parsed }) => `${dataset.label}: ${counted(parsed.y)}`,
            },
          },
        },
      },
    },
  }));
  drawn.figure.prepend(make("figcaption", {}, "How often codes are used: the most frequent code has rank 1"));
  drawn.figure.append(numbersTable("Show as table", () => usageNumbers(usage)));
  return drawn;
}

function usageNumbers(usage) {
  const ranks = [...new Set(usage.flatMap((one) => one.ranks))].sort((a, b) => a - b);
  const counts = usage.map((one) => new Map(one.ranks.map((rank, at) => [rank, one.counts[at]])));
  const cell = (count) => (count === undefined ? "" : counted(count));
  return {
    caption: "Tokens with the code of each rank",
    head: ["rank", ...usage.map((one) => `${contenderLabel(one.contender)} (${counted(one.size)} codes)`)],
    rows: ranks.map((rank) => [counted(rank), ...counts.map((known) => cell(known.get(rank)))]),
  };
}

function positionChart(positions, hidden) {
  const places = (one) => one.first.map((first, at) => (first + one.last[at]) / 2);
  const points = (one, values) => places(one).map((x, at) => ({ x, y: values[at] }));
  const longest = Math.max(...positions.map((one) => one.last.at(-1)));
  const noun = page.index.sets[positions[0].set] ?? positions[0].set;
  const drawn = drawChart("line", (theme) => ({
    label:
      `Line chart: share of tokens that are ${positions[0].by}'s own, by their position in the ${noun}, with confidence bands, ` +
      `for ${namesOf(positions, hidden)}. The table below has its numbers.`,
    config: {
      data: {
        datasets: positions.flatMap((one) => {
          const { colour } = seriesLook(one.contender, theme);
          const edge = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, hidden: hidden.has(one.contender) };
          return [
            { ...lineOf(one.contender, points(one, one.shares), theme, hidden), source: one },
            { ...edge, data: points(one, one.lows) },
            { ...edge, data: points(one, one.highs), fill: "-1", backgroundColor: translucent(colour, 0.15) },
          ];
        }),
      },
      options: {
        parsing: false,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
          x: chartAxis("position of the token", { least: 1, most: longest }),
          y: chartAxis("share that agrees", { least: 0 }),
        },
        plugins: { tooltip: { filter: ({ dataset }) => dataset.source, callbacks: positionTooltip() } },
      },
    },
  }));
  drawn.figure.prepend(make("figcaption", {}, `Agreement by the token's position in the ${noun}, with its interval`));
  drawn.figure.append(numbersTable("Show as table", () => positionNumbers(positions)));
  return drawn;
}

function positionTooltip() {
  return {
    title: ([item]) => (item ? `token ${tokenSpan(item.dataset.source, item.dataIndex)}` : ""),
    label: ({ dataset, dataIndex }) => `${dataset.label}: ${shareTold(dataset.source, dataIndex)}`,
  };
}

function tokenSpan(one, at) {
  const [first, last] = [one.first[at], one.last[at]].map(counted);
  return first === last ? first : `${first}–${last}`;
}

function shareTold(one, at) {
  const [share, low, high] = [one.shares, one.lows, one.highs].map((values) => values[at].toFixed(3));
  return `${share} (${low}–${high}, n = ${counted(one.n[at])})`;
}

function positionNumbers(positions) {
  const spans = new Map(positions.flatMap((one) => one.first.map((first, at) => [tokenSpan(one, at), first])));
  const found = positions.map((one) => new Map(one.first.map((_, at) => [tokenSpan(one, at), shareTold(one, at)])));
  const ordered = [...spans].sort(([, a], [, b]) => a - b);
  return {
    caption: "Share of tokens that agree, its interval, and how many sequences there are",
    head: ["token", ...positions.map((one) => contenderLabel(one.contender))],
    rows: ordered.map(([span]) => [span, ...found.map((known) => known.get(span) ?? "")]),
  };
}
