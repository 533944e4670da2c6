"use strict";
// What every page's scripts share. Texts are set as text, never as HTML.

const data = (name) => JSON.parse(document.getElementById(`data-${name}`).textContent);

const byId = (id) => document.getElementById(id);

// el("td", {class: "figure", onclick: f}, "text", child, ...): attributes by name, handlers by on..., children last.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

const number = (value, digits = 2) => (value === undefined || value === null ? "–" : value.toFixed(digits));

const signed = (value, digits = 2) =>
  value === undefined || value === null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

const words = (name) => name.replaceAll("_", " ");

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

// Inside another page's frame (srcdoc) the browser would look for places of this page in that one.
document.addEventListener("click", (event) => {
  const place = location.protocol === "about:" && event.target.closest("a[href^='#']");
  if (!place) return;
  event.preventDefault();
  byId(place.getAttribute("href").slice(1))?.scrollIntoView();
});

// plotly.js, unpacked when it is first wanted; null where a browser cannot.
let unpacked;
function plotly() {
  unpacked ??= unpack(byId("plotly").textContent.trim()).catch(() => null);
  return unpacked;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text(); // the page's policy knows its hash
  document.head.append(script);
  return window.Plotly ?? null;
}
