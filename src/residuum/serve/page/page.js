"use strict";

// Names of files and classes come from strangers: everything goes to the page as textContent, nothing as HTML.

const AGAIN = 5;
const STRANGE = 0.99; // as residuum predict has it: stranger than 99 of 100 held-out pictures
const find = (id) => document.getElementById(id);
const tried = [];
let models = [];
let token = "";
let current = null;
let working = Promise.resolve();

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** The JSON at an address of this server; waits and asks again while the server is busy. */
async function ask(path, file) {
  const request = { headers: token ? { Authorization: `Bearer ${token}` } : {} };
  if (file) {
    request.method = "POST";
    request.body = new FormData();
    request.body.append("file", file, file.name || "pasted");
  }
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(path, request);
    } catch {
      throw new Error("the server cannot be reached: is it still running?");
    }
    const answer = await response.json();
    if (response.ok) return answer;
    if (response.status === 503 && attempt < AGAIN) {
      const seconds = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
      continue;
    }
    if (response.status === 401) find("token").hidden = false;
    throw new Error(answer.error);
  }
}

const address = (path, model, more) => `${path}?${new URLSearchParams({ model, ...more })}`;

async function start() {
  try {
    const first = await ask("/v1/model");
    models = await Promise.all(first.models.map((name) => ask(`/v1/model?${new URLSearchParams({ model: name })}`)));
  } catch (error) {
    find("status").textContent = error.message;
    return;
  }
  find("token").hidden = true;
  find("status").textContent = "";
  find("models").textContent = models.map((model) => `${model.name}, ${model.classes.length} classes`).join(" · ");
}

function add(files) {
  for (const file of files) {
    const entry = { file, name: file.name || "pasted picture", url: URL.createObjectURL(file), answers: {}, views: {} };
    tried.unshift(entry);
    working = working.then(() => classify(entry));
  }
  drawHistory();
}

async function classify(entry) {
  if (!models.length) await start();
  find("status").textContent = `${entry.name}: looking ...`;
  await Promise.all(models.map(async ({ name }) => {
    try {
      [entry.answers[name]] = await ask(address("/v1/predict", name), entry.file);
    } catch (error) {
      entry.answers[name] = { error: error.message };
    }
  }));
  show(entry);
  find("status").textContent = `${entry.name}: ${summary(entry)}`;
  for (const { name } of models) {
    const [best] = entry.answers[name].predictions ?? [];
    if (best) await explain(entry, name, best.class);
  }
}

/** [model, answer] in the order of the models. */
const answersOf = (entry) => models.map(({ name }) => [name, entry.answers[name]]).filter(([, answer]) => answer);

function summary(entry) {
  const answers = answersOf(entry);
  if (!answers.length) return "waiting ...";
  const said = answers.map(([, { error, predictions }]) =>
    error ?? `${predictions[0].class}, ${percent(predictions[0].probability)}`);
  return [...new Set(said)].join(" · ");
}

/** Fetch, once, where a model looked for a class, and draw it if that picture is still shown. */
async function explain(entry, model, wanted) {
  const key = JSON.stringify([model, wanted]);
  entry.wanted = { ...entry.wanted, [model]: wanted };
  if (!entry.views[key]) {
    try {
      entry.views[key] = await ask(address("/v1/explain", model, { class: wanted }), entry.file);
    } catch (error) {
      entry.views[key] = { error: error.message };
    }
  }
  if (entry === current) drawView(entry, model);
}

function show(entry) {
  current = entry;
  const picture = find("picture");
  find("now").hidden = false;
  find("now").classList.toggle("several", models.length > 1);
  find("name").textContent = entry.name;
  picture.alt = entry.name;
  picture.className = "";
  picture.onload = () => picture.classList.toggle("small", Math.max(picture.naturalWidth, picture.naturalHeight) < 128);
  picture.hidden = false;
  picture.onerror = () => {
    picture.onerror = null;
    if (entry.seen) picture.src = entry.seen;
    else picture.hidden = true;
  };
  picture.src = entry.url;
  find("answers").replaceChildren(...models.map(({ name }) => card(entry, name)));
  for (const { name } of models) drawView(entry, name);
  drawHistory();
}

function card(entry, model) {
  const answer = make("article", "answer");
  answer.dataset.model = model;
  if (models.length > 1) answer.append(make("h2", "", model));
  const { error, predictions, unlike } = entry.answers[model] ?? {};
  if (error) answer.append(make("p", "problem", error));
  if (!predictions) return answer;
  answer.append(make("p", "verdict", predictions[0].class));
  if (unlike >= STRANGE) answer.append(make("p", "problem", "Unlike the training pictures: do not rely on it."));
  const bars = make("ol", "bars");
  for (const { class: name, probability } of predictions) {
    const button = make("button");
    button.type = "button";
    button.dataset.class = name;
    button.title = "Show where it looked for this class";
    button.addEventListener("click", () => explain(entry, model, name));
    const bar = make("span", "bar");
    bar.style.setProperty("--share", probability);
    button.append(make("span", "class", name), make("span", "share", percent(probability)), bar);
    const item = make("li");
    item.append(button);
    bars.append(item);
  }
  answer.append(bars, make("div", "view"));
  return answer;
}

function drawView(entry, model) {
  const answer = [...document.querySelectorAll(".answer")].find((each) => each.dataset.model === model);
  const wanted = entry.wanted?.[model];
  const place = answer?.querySelector(".view");
  if (!place || wanted === undefined) return;
  for (const button of answer.querySelectorAll(".bars button")) {
    button.setAttribute("aria-pressed", button.dataset.class === wanted);
  }
  const view = entry.views[JSON.stringify([model, wanted])];
  if (!view) return;
  if (view.error) {
    place.replaceChildren(make("p", "note", view.error));
    return;
  }
  entry.seen = view.picture;
  const picture = find("picture");
  if (picture.complete && !picture.naturalWidth) { // a format this browser cannot show
    picture.hidden = false;
    picture.src = entry.seen;
  }
  const looked = make("div", "looked");
  looked.append(image(view.overlay, `Where ${model} looked for ${wanted}`));
  place.replaceChildren(make("h3", "", `Where it looked for ${wanted}`), looked);
  if (view.neighbours.length) place.append(make("h3", "", "Nearest training pictures"), nearest(view.neighbours));
}

function nearest(neighbours) {
  const tiles = make("ul", "tiles near");
  for (const each of neighbours) {
    const tile = make("li");
    tile.append(each.picture ? image(each.picture, each.name, "thumb") : make("div", "thumb gone", "not readable"));
    tile.append(make("p", "verdict", each.class));
    tile.title = each.name;
    tiles.append(tile);
  }
  return tiles;
}

function image(source, alt, className) {
  const found = make("img", className);
  found.alt = alt;
  found.onload = () => found.classList.toggle("small", Math.max(found.naturalWidth, found.naturalHeight) < 128);
  found.src = source;
  return found;
}

function drawHistory() {
  const held = document.activeElement?.entry; // who uses the keyboard stays where they are
  find("history").hidden = !tried.length;
  find("tried").replaceChildren(...tried.map((entry) => {
    const button = make("button");
    button.type = "button";
    button.entry = entry;
    if (entry === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => {
      show(entry);
      find("status").textContent = `${entry.name}: ${summary(entry)}`;
      scrollTo({ top: 0 });
    });
    const picture = image(entry.url, "", "thumb");
    picture.addEventListener("error", () => {
      if (entry.seen && picture.src !== entry.seen) picture.src = entry.seen;
      else picture.replaceWith(make("span", "thumb gone", "no preview"));
    });
    button.append(picture);
    const answers = answersOf(entry);
    if (!answers.length) button.append(make("span", "verdict", "waiting ..."));
    for (const [model, { error, predictions }] of answers) {
      const line = make("span", error ? "verdict wrong" : "verdict");
      line.textContent = error ? "not read" : `${predictions[0].class} ${percent(predictions[0].probability)}`;
      if (models.length > 1) line.title = model;
      button.append(line);
    }
    button.append(make("span", "file", entry.name));
    const item = make("li");
    item.append(button);
    return item;
  }));
  if (held) [...find("tried").querySelectorAll("button")].find((each) => each.entry === held)?.focus({ preventScroll: true });
}

find("files").addEventListener("change", (event) => { add(event.target.files); event.target.value = ""; });
find("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token-text").value.trim();
  start();
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); find("drop").classList.add("over"); });
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) find("drop").classList.remove("over"); });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  find("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
start();
