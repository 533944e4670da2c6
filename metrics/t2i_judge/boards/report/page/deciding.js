"use strict";
// What decides it: for two generators, each prompt's two scores, and the questions that make most of the difference.

function meansOf(g) {
  const scores = new Map();
  for (const image of report.images) {
    if (image.generator === g && image.score !== undefined) scores.set(image.prompt, [...(scores.get(image.prompt) ?? []), image.score]);
  }
  return new Map([...scores].map(([prompt, values]) => [prompt, mean(values)]));
}

function drawPrompts(a, b) {
  const [ofA, ofB] = [meansOf(a), meansOf(b)];
  const prompts = [...ofA.keys()].filter((prompt) => ofB.has(prompt));
  const element = byId("plot-prompts");
  draw(element, () => ({
    height: 380,
    xaxis: { title: { text: short(generators[a]) }, range: [LOWEST, HIGHEST], zeroline: false },
    yaxis: { title: { text: short(generators[b]) }, range: [LOWEST, HIGHEST], zeroline: false },
    shapes: [{ type: "line", x0: LOWEST, y0: LOWEST, x1: HIGHEST, y1: HIGHEST, line: { color: colour("--soft"), width: 1, dash: "dot" } }],
    traces: [{
      type: "scatter", mode: "markers", x: prompts.map((prompt) => ofA.get(prompt)), y: prompts.map((prompt) => ofB.get(prompt)), customdata: prompts,
      marker: { size: 10, opacity: 0.75, color: prompts.map((prompt) => colourOf(ofA.get(prompt) >= ofB.get(prompt) ? a : b)) },
      text: prompts.map((prompt) => `${short(report.prompts[prompt].text, 60)}<br>${number(ofA.get(prompt))} and ${number(ofB.get(prompt))}`), hoverinfo: "text", cliponaxis: false,
    }],
  })).then(() => {
    element.removeAllListeners?.("plotly_click");
    element.on?.("plotly_click", (event) => showPrompt(event.points[0].customdata, a, b));
  });
}

// The pictures of these two generators for a prompt, in the feed.
function showPrompt(prompt, a, b) {
  const image = imagesOf.get(prompt)?.find((each) => each.generator === a || each.generator === b);
  if (image) goTo(image.id);
}

function exampleOf(prompt, a, b) {
  const images = imagesOf.get(prompt) ?? [];
  const two = [a, b].map((g) => images.find((image) => image.generator === g)).filter(Boolean);
  if (two.length < 2) return null;
  return el("button", { type: "button", title: report.prompts[prompt].text, "aria-label": `See ${report.prompts[prompt].text}`, onclick: () => showPrompt(prompt, a, b) },
    two.some((image) => image.thumbnail) ? two.map((image) => pictureOf(image, "")) : report.prompts[prompt].id);
}

function drawQuestions(a, b) {
  const [first, second, sign] = a < b ? [a, b, 1] : [b, a, -1];
  const { questions } = report.deciding.find((pair) => pair.a === first && pair.b === second) ?? { questions: [] };
  byId("decides-questions").replaceChildren(...questions.map((question) => {
    const winner = question.difference * sign > 0 ? a : b;
    return el("li", {},
      el("div", { class: "ask" }, el("b", { class: "text", dir: "auto" }, question.text),
        el("span", { class: `for c${winner % 8}` }, `${signed(Math.abs(question.difference))} for `, el("bdi", {}, generators[winner]))),
      el("small", {}, `${words(question.aspect)} · ${counted(question.n, "prompt")}`),
      el("div", { class: "examples" }, question.examples.map((prompt) => exampleOf(prompt, a, b))));
  }));
  if (!questions.length) byId("decides-questions").append(el("li", { class: "note" }, "The judge asked the two no common question, or gave both the same answers. The plot shows each prompt's two scores."));
}

function startDeciding() {
  const [a, b] = [byId("decides-a"), byId("decides-b")];
  if (!a) return;
  for (const select of [a, b]) select.append(...generators.map((name, g) => el("option", { value: g }, name)));
  b.value = String(generators.length - 1);
  const show = (event) => {
    if (a.value === b.value) (event?.target === b ? a : b).value = String((Number(a.value) + 1) % generators.length);
    drawPrompts(Number(a.value), Number(b.value));
    drawQuestions(Number(a.value), Number(b.value));
  };
  a.addEventListener("change", show);
  b.addEventListener("change", show);
  show();
}

startDeciding();
