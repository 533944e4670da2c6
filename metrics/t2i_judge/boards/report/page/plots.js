"use strict";
// Plots by plotly.js, in the page's colours: where generators differ, checkpoints in order, strengths.

const report = data("report");
const board = report.board;
const generators = report.generators;
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourOf = (number) => colour(`--c${number % 8}`);
const [LOWEST, HIGHEST] = board.judge.score_range;
const MOST = 12; // generators in one plot of bars; the table has all
const generatorOf = (name) => board.generators.find((generator) => generator.name === name);

// Plotly reads some HTML in its texts; data has none.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const short = (text, most = 28) => plain(text.length > most ? `${text.slice(0, most - 1)}…` : text);

function layout(more) {
  const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true, fixedrange: true };
  const { xaxis, yaxis, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: colour("--ink") },
    margin: { l: 8, r: 12, t: 8, b: 36 }, hovermode: "closest", showlegend: false, dragmode: false,
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
    xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
  };
}

const drawn = new Map(); // element -> what draws it, to draw it again in other colours

const opened = new Promise((resolve) => (document.readyState === "complete" ? resolve() : window.addEventListener("load", resolve)));

async function draw(element, make) {
  if (!element) return;
  drawn.set(element, make);
  element.style.minHeight = `${make().height}px`; // nothing moves when it comes
  await opened; // the page is there before its plots are
  const library = await plotly();
  if (!library) {
    element.replaceChildren(el("p", { class: "note" }, "This browser cannot show the plot; the tables say the same."));
    return;
  }
  if (drawn.get(element) !== make) return;
  const { traces, ...rest } = make();
  await library.react(element, traces, layout(rest), { displayModeBar: false, responsive: true });
}

dark.addEventListener("change", () => drawn.forEach((make, element) => draw(element, make)));

const whiskers = (figures) => ({
  type: "data", symmetric: false, thickness: 2, width: 0,
  array: figures.map((figure) => (figure?.ci ? figure.ci[1] - figure.mean : 0)),
  arrayminus: figures.map((figure) => (figure?.ci ? figure.mean - figure.ci[0] : 0)),
});

const figureText = (figure) =>
  figure?.mean === null || figure?.mean === undefined
    ? "no score"
    : `${number(figure.mean)}${figure.ci ? ` [${number(figure.ci[0])}, ${number(figure.ci[1])}]` : ""}, ${counted(figure.n, "prompt")}`;

// Where it is better: aspects, categories, kinds of question.
const KINDS = { aspects: "Aspects", categories: "Categories", question_types: "Kinds of question" };

const placesOf = (kind) => [...new Set(board.generators.flatMap((generator) => Object.keys(generator[kind] ?? {})))];

function whereFigures(kind) {
  const rows = placesOf(kind).map((place) => [place, generators.map((name) => generatorOf(name)[kind]?.[place])]);
  return [["overall", generators.map((name) => generatorOf(name).overall)], ...rows];
}

function drawWhere(kind) {
  const rows = whereFigures(kind);
  const shown = generators.slice(0, MOST);
  draw(byId("plot-where"), () => ({
    height: 70 + rows.length * (18 + 15 * shown.length), barmode: "group", bargap: 0.28, bargroupgap: 0.08,
    xaxis: { title: { text: "mean score", standoff: 8 }, range: [LOWEST, HIGHEST] },
    yaxis: { tickvals: rows.map((_, at) => at), ticktext: rows.map(([place]) => `${short(words(place))}  `), range: [rows.length - 0.5, -0.5], showgrid: false, zeroline: false },
    traces: shown.map((name, g) => ({
      type: "bar", orientation: "h", name: plain(name), base: LOWEST,
      x: rows.map(([, figures]) => (figures[g]?.mean ?? LOWEST) - LOWEST), y: rows.map((_, at) => at),
      error_x: { ...whiskers(rows.map(([, figures]) => figures[g])), color: colour("--ink"), thickness: 1.25 },
      marker: { color: colourOf(g), opacity: 0.85 },
      text: rows.map(([place, figures]) => `<b>${short(name, 40)}</b><br>${short(words(place), 40)}: ${figureText(figures[g])}`),
      hoverinfo: "text", textposition: "none",
    })),
  }));
  byId("table-where").replaceChildren(
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Generator"), rows.map(([place]) => el("th", { scope: "col", class: "figure" }, words(place))))),
    el("tbody", {}, generators.map((name, g) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, name)), rows.map(([, figures]) =>
      el("td", { class: "figure" }, number(figures[g]?.mean), " ", el("small", {}, figures[g]?.ci ? `[${number(figures[g].ci[0])}, ${number(figures[g].ci[1])}]` : "")))))),
  );
}

function startWhere() {
  const kinds = Object.keys(KINDS).filter((kind) => placesOf(kind).length);
  const buttons = (kinds.length ? kinds : ["aspects"]).map((kind, at) =>
    el("button", { type: "button", "aria-pressed": String(at === 0), onclick: (event) => {
      buttons.forEach((button) => button.setAttribute("aria-pressed", String(button === event.currentTarget)));
      drawWhere(kind);
    } }, KINDS[kind]));
  byId("where-choices").append(...buttons, ...legend());
  drawWhere(kinds[0] ?? "aspects");
}

const legend = () => [
  ...generators.slice(0, MOST).map((name, g) => el("small", {}, el("i", { class: `swatch c${g % 8}`, "aria-hidden": "true" }), el("bdi", {}, name))),
  generators.length > MOST && el("small", {}, `the first ${MOST} of ${generators.length}; the table has all`),
].filter(Boolean);

function drawOrdered() {
  const names = board.generators.map((generator) => generator.name);
  const figures = board.generators.map((generator) => generator.overall);
  draw(byId("plot-ordered"), () => ({
    height: 280,
    xaxis: { tickvals: names.map((_, at) => at), ticktext: names.map((name) => short(name, 18)), showgrid: false },
    yaxis: { title: { text: "mean score" }, zeroline: false },
    traces: [{
      type: "scatter", mode: "lines+markers", x: names.map((_, at) => at), y: figures.map((figure) => figure.mean),
      error_y: { ...whiskers(figures), color: colourOf(0) }, line: { color: colourOf(0), width: 2 },
      marker: { size: names.map((name) => (name === board.ordered.best ? 14 : 8)), color: colourOf(0) },
      text: names.map((name, at) => `<b>${short(name, 40)}</b><br>${figureText(figures[at])}`), hoverinfo: "text",
    }],
  }));
}

function drawStrengths() {
  const rows = generators.map((name) => board.bradley_terry.find((row) => row.name === name));
  const figures = rows.map((row) => ({ mean: row.strength, ci: row.ci }));
  draw(byId("plot-strengths"), () => ({
    height: 60 + 34 * rows.length,
    xaxis: { title: { text: "Bradley-Terry strength" } },
    yaxis: { tickvals: rows.map((_, at) => at), ticktext: rows.map((row) => short(row.name)), range: [rows.length - 0.5, -0.5], showgrid: false },
    traces: [{
      type: "scatter", mode: "markers", x: figures.map((figure) => figure.mean), y: rows.map((_, at) => at),
      error_x: { ...whiskers(figures), color: colour("--soft") },
      marker: { size: 11, color: rows.map((_, at) => colourOf(at)) },
      text: rows.map((row) => `<b>${short(row.name, 40)}</b><br>${number(row.strength)}`), hoverinfo: "text",
    }],
  }));
}

startWhere();
if (board.ordered) drawOrdered();
if (board.bradley_terry) drawStrengths();
