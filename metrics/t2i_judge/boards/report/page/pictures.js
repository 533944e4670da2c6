"use strict";
// The pictures: a card a prompt with every generator's images side by side; filters, keys, and addresses of items.

const BATCH = 48; // pictures made at a time, in whole cards
const feed = byId("feed");
const state = { cards: [], made: 0, current: -1, chosen: null };

const imagesOf = new Map(); // number of a prompt -> its images
for (const image of report.images) {
  if (!imagesOf.has(image.prompt)) imagesOf.set(image.prompt, []);
  imagesOf.get(image.prompt).push(image);
}
for (const images of imagesOf.values()) images.sort((a, b) => a.generator - b.generator);

const statusOf = (image) => image.status ?? "ok";

// Filters.
const checked = () => new Set([...document.querySelectorAll("#filter-generators input:checked")].map((box) => Number(box.value)));

function apart(images) {
  const scores = new Map();
  for (const image of images) {
    if (image.score === undefined) continue;
    scores.set(image.generator, [...(scores.get(image.generator) ?? []), image.score]);
  }
  const means = [...scores.values()].map(mean);
  return means.length > 1 ? Math.max(...means) - Math.min(...means) : null;
}

function wanted() {
  const text = byId("filter-text").value.trim().toLowerCase();
  const category = byId("filter-category").value;
  const status = byId("filter-status").value;
  const shown = checked();
  const cards = [];
  for (const [number, images] of imagesOf) {
    const prompt = report.prompts[number];
    if (text && !prompt.text.toLowerCase().includes(text)) continue;
    if (category && (prompt.category ?? "") !== category.slice(1)) continue;
    const kept = images.filter((image) => shown.has(image.generator));
    if (!kept.length) continue;
    if (status === "failed" && !kept.some((image) => image.status)) continue;
    if (status && status !== "failed" && !kept.some((image) => statusOf(image) === status)) continue;
    cards.push({ number, prompt, images: kept, apart: apart(kept) });
  }
  return sorted(cards);
}

function sorted(cards) {
  const lowest = (card) => Math.min(...card.images.map((image) => image.score ?? Infinity));
  const order = byId("filter-order").value;
  if (order === "difference") cards.sort((a, b) => (b.apart ?? -1) - (a.apart ?? -1));
  if (order === "lowest") cards.sort((a, b) => lowest(a) - lowest(b));
  return cards;
}

function refresh() {
  state.cards = wanted();
  state.made = 0;
  state.current = -1;
  state.chosen = null;
  feed.replaceChildren();
  const images = state.cards.reduce((sum, card) => sum + card.images.length, 0);
  byId("count").textContent = `${state.cards.length.toLocaleString("en")} of ${counted(imagesOf.size, "prompt")}, ${counted(images, "image")}`;
  grow();
}

// Cards.
const more = el("button", { type: "button", class: "more", onclick: () => grow() }, "More prompts");
const watch = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && grow(), { rootMargin: "600px" });
watch.observe(more);

function grow(upTo = 0) {
  for (let made = 0; state.made < state.cards.length && (made < BATCH || state.made < upTo); state.made++) {
    feed.append(cardOf(state.cards[state.made], state.made));
    made += state.cards[state.made].images.length;
  }
  if (state.made < state.cards.length) feed.after(more);
  else more.remove();
}

function cardOf(card, at) {
  const { prompt, images } = card;
  const answers = el("details", { class: "answers", ontoggle: () => answers.open && fill() }, el("summary", {}, "Questions, answers and explanations"));
  const fill = () => answers.childElementCount === 1 && answers.append(answerTable(images), ...comparisonsOf(card));
  const known = images.some((image) => image.answers || image.why || image.aspects);
  card.open = () => known && (answers.open = true, fill());
  card.figures = images.map((image) => figureOf(image, () => choose(at, image), () => zoom(image)));
  card.element = el("li", { class: "card", tabindex: "-1" },
    el("h3", { class: "text", dir: "auto" }, prompt.text),
    el("p", { class: "meta" },
      card.apart !== null && el("span", { class: "apart" }, `${number(card.apart)} apart`),
      prompt.category && el("bdi", {}, prompt.category), el("bdi", {}, prompt.id)),
    el("div", { class: "row", tabindex: "0", role: "group", "aria-label": "Pictures" }, card.figures),
    known && answers);
  return card.element;
}

function pictureOf(image, alt) {
  if (!image.thumbnail) return el("span", { class: "none" }, image.unreadable ? "cannot be read" : "not in this page");
  const picture = el("img", { src: `data:image/webp;base64,${image.thumbnail}`, alt, decoding: "async", loading: "lazy" });
  picture.addEventListener("load", () => picture.classList.toggle("exact", picture.naturalWidth < 160));
  return picture;
}

// Files beside the page are not beside a frame of another page.
const linkOf = (image, text) => location.protocol !== "about:" && image.link && el("a", { href: image.link, target: "_blank", rel: "noopener noreferrer" }, text);

function figureOf(image, onchoose, onzoom) {
  const name = generators[image.generator];
  const lost = image.score === undefined;
  const share = lost ? 0 : (100 * (image.score - LOWEST)) / (HIGHEST - LOWEST);
  const figure = el("figure", { class: `picture c${image.generator % 8}${lost ? " lost" : ""}` },
    el("button", { type: "button", "aria-label": `Enlarge ${name}`, onclick: () => { onchoose(); onzoom(); } }, pictureOf(image, `by ${name}`)),
    el("figcaption", {},
      el("span", { class: "who" }, el("span", { title: name }, el("i", { class: "swatch", "aria-hidden": "true" }), el("bdi", {}, name), image.seed && el("small", {}, ` ${image.seed}`)), el("b", { class: "score" }, number(image.score))),
      el("span", { class: "track" }, el("i", { style: `width:${share}%` })),
      image.interval && el("small", { class: "interval", title: `calibrated on ${image.interval.n} images, for similar prompts` }, intervalText(image.interval)),
      image.status && el("span", { class: "why" }, `${words(image.status)}: ${image.reason ?? ""}`),
      image.sent && el("details", {}, el("summary", {}, "rewritten prompt"), el("p", { class: "text", dir: "auto" }, image.sent)),
      !image.thumbnail && linkOf(image, "open the image")));
  figure.image = image;
  return figure;
}

// Where the target of one image's score lies, of a judge whose intervals are calibrated.
const TARGETS = { human_mean: "people", latent: "truth" };
const intervalText = ({ low, high, level, target }) =>
  `${TARGETS[target] ?? target}: ${number(low, 1)} to ${number(high, 1)} in ${Math.round(100 * level)}% of cases`;

// Questions by rows, pictures by columns. Questions that were asked about some pictures only have rows of their own.
function answerTable(images) {
  const rows = new Map();
  images.forEach((image, column) => {
    (report.questions[image.questions] ?? []).forEach((question, at) => {
      const key = JSON.stringify(question);
      if (!rows.has(key)) rows.set(key, { question, cells: [] });
      rows.get(key).cells[column] = image.answers?.[at];
    });
  });
  const aspects = [...new Set(images.flatMap((image) => Object.keys(image.aspects ?? {})))];
  const line = (title, cells, apart) => el("tr", { class: apart ? "differs" : null }, el("th", { scope: "row", class: apart ? "apart" : null }, title), cells);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Questions and answers" }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Question"), images.map((image) =>
      el("th", { scope: "col" }, el("i", { class: `swatch c${image.generator % 8}`, "aria-hidden": "true" }), el("bdi", {}, generators[image.generator]))))),
    el("tbody", {},
      [...rows.values()].map(({ question, cells }) => line(
        [el("span", { class: "text", dir: "auto" }, question.text), el("p", {}, words(question.aspect), question.expected ? ` · expected ${question.expected}` : "")],
        images.map((_, column) => el("td", {}, cells[column] && answerOf(cells[column]))), differs(cells))),
      aspects.map((aspect) => line(words(aspect), images.map((image) => el("td", {}, el("b", { class: "score" }, number(image.aspects?.[aspect])))))),
      images.some((image) => image.why) && line("In words", images.map((image) => el("td", {}, el("p", { class: "text", dir: "auto" }, image.why ?? "")))))));
}

function differs(cells) {
  const scores = cells.filter((cell) => cell?.score !== undefined).map((cell) => cell.score);
  return scores.length > 1 && Math.max(...scores) - Math.min(...scores) > 0.4 * (HIGHEST - LOWEST);
}

function answerOf(answer) {
  if (answer.status) return [el("span", { class: "mark no" }, "!"), el("span", { class: "failed" }, `${words(answer.status)}: ${answer.reason ?? ""}`)];
  const mark = answer.matches === undefined ? null : el("span", { class: `mark ${answer.matches ? "yes" : "no"}`, role: "img", "aria-label": answer.matches ? "as expected" : "not as expected" }, answer.matches ? "✓" : "✗");
  return [
    el("b", { class: "score" }, number(answer.score, 1)), mark, el("span", { class: "text", dir: "auto" }, answer.text ?? ""),
    answer.raw !== undefined && Math.abs(answer.raw - answer.score) > 0.05 && el("p", {}, `${number(answer.raw, 1)} in itself; what it is about is not there`),
    answer.why && el("p", { class: "text", dir: "auto" }, answer.why),
  ];
}

function comparisonsOf(card) {
  const lines = report.compared.filter((line) => line.prompt === card.prompt.text && generators.includes(line.a) && generators.includes(line.b));
  if (!lines.length) return [];
  const said = (line) => {
    if (line.status !== "ok") return `${line.a} and ${line.b}: ${words(line.status)}, ${line.reason ?? ""}`;
    if (line.winner !== "tie") return `${line[line.winner]} beats ${line[line.winner === "a" ? "b" : "a"]}`;
    return `${line.a} and ${line.b}: a tie${line.first === line.second ? "" : " (the two orders disagree)"}`;
  };
  return [el("p", {}, "Compared directly"), el("ul", {}, lines.map((line) => el("li", { class: "text" }, said(line))))];
}

// One card and one of its pictures are current; the address names the picture.
function choose(at, image, scroll = false) {
  if (state.made < at + 3) grow(at + 3);
  const card = state.cards[at];
  if (state.current !== at) {
    state.cards[state.current]?.element?.classList.remove("current");
    card.element.classList.add("current");
    state.current = at;
  }
  state.chosen = image ?? card.images[0];
  for (const figure of document.querySelectorAll(".picture.chosen")) figure.classList.remove("chosen");
  const figure = card.figures.find((each) => each.image === state.chosen);
  figure?.classList.add("chosen");
  if (scroll) {
    card.element.focus({ preventScroll: true });
    card.element.scrollIntoView({ block: "start", behavior: "instant" });
    figure?.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
  }
  name(state.chosen.id);
}

function name(id) {
  try {
    history.replaceState(null, "", `#item=${encodeURIComponent(id)}`);
  } catch {
    // inside another page's frame there is no address to change
  }
}

function goTo(id) {
  const image = report.images.find((each) => each.id === id);
  if (!image) return;
  const find = () => state.cards.findIndex((card) => card.images.includes(image));
  if (find() < 0) {
    byId("filters").reset();
    for (const box of document.querySelectorAll("#filter-generators input")) box.checked = true;
    refresh();
  }
  const at = find();
  choose(at, image, true);
  state.cards[at].open();
}

function step(by) {
  const at = Math.max(0, Math.min(state.cards.length - 1, state.current < 0 ? 0 : state.current + by));
  if (state.cards.length) choose(at, null, true);
}

function stepPicture(by) {
  if (state.current < 0) return step(0);
  const card = state.cards[state.current];
  const next = card.images.indexOf(state.chosen) + by;
  if (next >= 0 && next < card.images.length) return choose(state.current, card.images[next], true);
  const at = state.current + by;
  if (at >= 0 && at < state.cards.length) choose(at, state.cards[at].images.at(by > 0 ? 0 : -1), true);
}

function zoom(image) {
  const box = byId("zoom");
  const close = el("form", { method: "dialog" }, el("b", { class: "text" }, generators[image.generator], " ", number(image.score)), el("button", {}, "Close"));
  box.replaceChildren(close, pictureOf(image, `by ${generators[image.generator]}`),
    el("p", { class: "text", dir: "auto" }, report.prompts[image.prompt].text), linkOf(image, "open the image itself") || "");
  if (!box.open) box.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog, .plot, .scroll")) return;
  const inside = state.current >= 0 && event.target.closest("#feed");
  const acts = {
    j: () => step(1), k: () => step(-1), ArrowRight: () => stepPicture(1), ArrowLeft: () => stepPicture(-1),
    ...(inside && { ArrowDown: () => step(1), ArrowUp: () => step(-1) }),
    ...(inside && event.target.matches(".card") && { Enter: () => zoom(state.chosen), o: () => state.cards[state.current].open() }),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
});

function startPictures() {
  const option = (value, text = value) => el("option", { value }, text);
  const categories = [...new Set(report.prompts.map((prompt) => prompt.category ?? ""))];
  byId("filter-category").append(option("", "all"), ...categories.filter(Boolean).sort().map((category) => option(`=${category}`, category)));
  byId("filter-category").closest("label").hidden = categories.length < 2;
  const statuses = [...new Set(report.images.map(statusOf))].sort();
  byId("filter-status").append(option("", "all"), ...(statuses.some((status) => status !== "ok") ? [option("failed", "any failure")] : []), ...statuses.map((status) => option(status, words(status))));
  byId("filter-generators").append(...generators.map((name, g) => el("label", { class: `c${g % 8}` }, el("input", { type: "checkbox", value: g, checked: true }), el("bdi", {}, name))));
  byId("filters").addEventListener("input", refresh);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filter-generators").addEventListener("change", refresh);
  refresh();
  const named = () => location.hash.startsWith("#item=") && goTo(decodeURIComponent(location.hash.slice(6)));
  window.addEventListener("hashchange", named);
  named();
}

// At the top: the prompt on which the first generator is furthest above the last.
function startExample() {
  const last = generators.length - 1;
  let best = { apart: 0 };
  for (const images of imagesOf.values()) {
    const [a, b] = [0, last].map((g) => images.find((image) => image.generator === g && image.score !== undefined && image.thumbnail));
    if (a && b && a !== b && a.score - b.score > best.apart) best = { apart: a.score - b.score, pair: [a, b] };
  }
  if (!best.pair) return;
  byId("example").append(
    ...best.pair.map((image) => figureOf(image, () => {}, () => zoom(image))),
    el("p", {}, "Their largest difference, not a typical one: ", el("a", { href: `#item=${encodeURIComponent(best.pair[0].id)}`, onclick: (event) => { event.preventDefault(); goTo(best.pair[0].id); } }, el("bdi", {}, report.prompts[best.pair[0].prompt].text))));
}

startPictures();
startExample();
