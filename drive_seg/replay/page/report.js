"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const frames = data.pictures; // one entry a picture: {row, index, t, image, masks, confidence, birdseye, facts}
let at = 0, mode = "overlay", opacity = 0.55, playing = null;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) name === "class" ? (node.className = value) : node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function draw(tag, attributes, parent) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}
const percent = (share, digits = 1) => share == null ? "–" : (100 * share).toFixed(digits) + " %";
const seconds = (t) => Math.floor(t / 60) + ":" + (t % 60).toFixed(2).padStart(5, "0");
const colour = (rgb) => "rgb(" + rgb.join(",") + ")";

// ---- pictures -------------------------------------------------------------------------------------------------------
const cache = new Map();
function load(source) { // a decoded image, remembered
  if (!source) return Promise.resolve(null);
  if (!cache.has(source)) {
    const image = new Image();
    image.src = source;
    cache.set(source, image.decode().then(() => image, () => null));
  }
  return cache.get(source);
}
const scratch = document.createElement("canvas");
function pixels(image) {
  scratch.width = image.naturalWidth; scratch.height = image.naturalHeight;
  const context = scratch.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, scratch.width, scratch.height);
}
// Masks come as grey values: planner label id, and `drivable_bit` where drivable.
function tinted(masks, opaque) {
  const out = pixels(masks), p = out.data;
  for (let i = 0; i < p.length; i += 4) {
    const look = data.palette[p[i]] || [0, 0, 0, 0];
    p[i] = look[0]; p[i + 1] = look[1]; p[i + 2] = look[2];
    p[i + 3] = opaque ? 255 : Math.round(255 * look[3]);
  }
  return out;
}
function heat(confidence) {
  const out = pixels(confidence), p = out.data;
  for (let i = 0; i < p.length; i += 4) { // dark blue (unsure) to yellow (sure)
    const c = p[i] / 255;
    p[i] = 255 * Math.min(1, 1.6 * c * c); p[i + 1] = 230 * Math.pow(c, 1.5); p[i + 2] = 110 * (1 - c) + 40 * c; p[i + 3] = 255;
  }
  return out;
}
const layer = document.createElement("canvas");
async function paint(canvas, frame, what = mode, strength = opacity) {
  const [image, masks, confidence] = await Promise.all([load(frame.image), load(frame.masks), what === "confidence" ? load(frame.confidence) : null]);
  const size = image || masks;
  const context = canvas.getContext("2d");
  if (!size) { context.clearRect(0, 0, canvas.width, canvas.height); return; }
  if (canvas.width !== size.naturalWidth || canvas.height !== size.naturalHeight) { canvas.width = size.naturalWidth; canvas.height = size.naturalHeight; }
  context.globalAlpha = 1;
  context.imageSmoothingEnabled = true;
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (image) context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (what === "image") return;
  const shown = what === "confidence" ? confidence && heat(confidence) : masks && tinted(masks, what === "labels");
  if (!shown) return;
  layer.width = shown.width; layer.height = shown.height;
  layer.getContext("2d").putImageData(shown, 0, 0);
  context.globalAlpha = what === "overlay" ? strength : 1;
  context.drawImage(layer, 0, 0, canvas.width, canvas.height);
}

// ---- the place in the drive -----------------------------------------------------------------------------------------
const listeners = [];
let painting = Promise.resolve(); // the large picture
const small = []; // thumbnails, painted one after the other once the large picture is there
async function paintSmall() {
  for (const [canvas, frame] of small.splice(0)) await paint(canvas, frame, "overlay", 0.55);
  document.body.dataset.thumbnails = "painted";
}
function go(position) {
  at = Math.max(0, Math.min(frames.length - 1, position));
  const frame = frames[at];
  if (!frame) return;
  byId("slider").value = at;
  byId("clock").textContent = seconds(frame.t) + " · frame " + frame.index;
  const facts = byId("facts");
  facts.replaceChildren(...Object.entries(frame.facts).map(([name, value]) => make("span", {}, name + " ", make("b", {}, value))));
  byId("notice").hidden = !frame.problem;
  byId("notice").textContent = frame.problem || "";
  const wanted = at;
  painting = painting.then(() => wanted === at ? paint(byId("picture"), frame) : null).then(() => {
    if (wanted !== at) return;
    document.body.dataset.painted = wanted;
    document.body.dataset.shown = mode;
  });
  if (frame.birdseye) load(frame.birdseye).then((image) => {
    const canvas = byId("birdseye");
    if (!image || wanted !== at) return;
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    canvas.getContext("2d").drawImage(image, 0, 0);
  });
  byId("birdseye-box").hidden = !frame.birdseye;
  for (const listener of listeners) listener(frame);
}
function nearest(t) {
  let best = 0;
  frames.forEach((frame, i) => { if (Math.abs(frame.t - t) < Math.abs(frames[best].t - t)) best = i; });
  return best;
}
const rowPosition = (row) => frames.findIndex((frame) => frame.row === row);
function play(on) {
  clearInterval(playing);
  playing = on ? setInterval(() => at + 1 < frames.length ? go(at + 1) : play(false), 150) : null;
  byId("play").textContent = on ? "Pause" : "Play";
}
function setUpViewer() {
  byId("slider").max = frames.length - 1;
  byId("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  byId("previous").onclick = () => go(at - 1);
  byId("next").onclick = () => go(at + 1);
  byId("play").onclick = () => { if (!playing && at === frames.length - 1) go(0); play(!playing); };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -frames.length, End: frames.length};
    if (event.key in steps) {
      if (event.target.id === "opacity") return;
      if (!event.key.startsWith("Arrow") && event.target.id !== "slider" && event.target.id !== "viewer") return;
      event.preventDefault();
      go(at + steps[event.key]);
    } else if (event.key === " " && event.target.tagName !== "BUTTON") {
      event.preventDefault();
      byId("play").click();
    }
  });
  byId("opacity").addEventListener("input", (event) => { opacity = event.target.value / 100; go(at); });
  for (const button of byId("mode").children) {
    if (button.dataset.mode === "confidence" && !frames.some((frame) => frame.confidence)) { button.hidden = true; continue; }
    button.onclick = () => {
      mode = button.dataset.mode;
      for (const other of byId("mode").children) other.setAttribute("aria-pressed", other === button);
      go(at);
    };
  }
  byId("legend").append(...data.legend.map(([name, rgb]) => make("li", {}, make("i", {style: "background:" + colour(rgb)}), name)));
  const cells = Math.min(12, frames.length), strip = [];
  for (let i = 0; i < cells; i++) {
    const position = Math.round(i * (frames.length - 1) / Math.max(1, cells - 1));
    const cell = make("canvas", {width: 160, height: 90});
    cell.onclick = () => go(position);
    byId("strip").append(cell);
    strip.push([position, cell]);
  }
  listeners.push(() => {
    const here = strip.reduce((best, entry) => Math.abs(entry[0] - at) < Math.abs(best[0] - at) ? entry : best, strip[0]);
    for (const entry of strip) entry[1].classList.toggle("here", entry === here);
  });
  small.unshift(...strip.map(([position, cell]) => [cell, frames[position]]));
  const span = Math.max(1, frames.length - 1);
  for (const moment of data.moments) {
    const position = rowPosition(moment.row);
    if (position >= 0) byId("ticks").append(make("i", {style: "left:" + 100 * position / span + "%", title: moment.why}));
  }
}

// ---- charts ---------------------------------------------------------------------------------------------------------
const niceTop = (value) => {
  const power = Math.pow(10, Math.floor(Math.log10(value || 1)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((f) => f * power).find((v) => v >= value * 0.999) || value;
};
function chart(spec) {
  const W = 1000, H = 110, left = 0, right = 0, top = 6, bottom = 16; // the drawing is stretched to the page's width
  const times = data.times, last = Math.max(times[times.length - 1] || 0, 1e-9);
  const finite = spec.lines.flatMap((line) => line.values.filter((v) => v != null));
  if (!finite.length) return;
  let low = spec.floor ?? 0, high = niceTop(Math.max(...finite));
  if (spec.zoom) { low = Math.min(...finite); high = Math.max(...finite); const pad = Math.max(0.02, (high - low) * 0.1); low = Math.max(0, low - pad); high = Math.min(1, high + pad); }
  if (high <= low) high = low + 1;
  const x = (t) => left + (W - left - right) * t / last;
  const y = (v) => top + (H - top - bottom) * (1 - (v - low) / (high - low));
  const box = make("div", {class: "chart"});
  const keys = spec.lines.map((line) => make("span", {class: "key"}));
  box.append(make("header", {}, make("h3", {}, spec.title), ...keys));
  const svg = draw("svg", {viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": spec.title}, box);
  for (const share of [0, 0.5, 1]) {
    const value = low + share * (high - low);
    draw("line", {class: "gridline", x1: left, x2: W - right, y1: y(value), y2: y(value), "vector-effect": "non-scaling-stroke"}, svg);
  }
  for (const stretch of data.health) {
    const band = draw("rect", {x: x(stretch.from), width: Math.max(2, x(stretch.to) - x(stretch.from)), y: top, height: H - bottom - top, fill: stretch.state === "FAULT" ? "var(--bad)" : "var(--warn)", opacity: 0.16}, svg);
    draw("title", {}, band).textContent = stretch.state + ": " + stretch.reasons;
  }
  for (const event of data.moments.filter((m) => spec.events && m.problem)) draw("line", {x1: x(event.t), x2: x(event.t), y1: top, y2: H - bottom, stroke: "var(--bad)", "vector-effect": "non-scaling-stroke"}, svg);
  for (const line of spec.lines) {
    let path = "", pen = false;
    line.values.forEach((v, i) => {
      if (v == null) { pen = false; return; }
      path += (pen ? "L" : "M") + x(times[i]).toFixed(1) + " " + y(v).toFixed(1);
      if (!pen && (line.values[i + 1] == null)) path += "h.1";
      pen = true;
    });
    draw("path", {d: path, fill: "none", stroke: line.colour, "stroke-width": 1.4, "stroke-linejoin": "round", "stroke-linecap": "round", "vector-effect": "non-scaling-stroke"}, svg);
  }
  const cursor = draw("line", {class: "cursor", y1: top, y2: H - bottom, "vector-effect": "non-scaling-stroke"}, svg);
  // Text would be stretched with the drawing, so the axis is written in HTML beside it.
  const tag = (text, style) => box.append(make("span", {class: "key axis", style: "position:absolute;font-size:10px;" + style}, text));
  tag(spec.format(high), "left:0;bottom:92px");
  tag(spec.format(low), "left:0;bottom:12px");
  tag(seconds(last), "right:0;bottom:-4px");
  tag("0:00", "left:48px;bottom:-4px");
  listeners.push((frame) => {
    cursor.setAttribute("x1", x(frame.t)); cursor.setAttribute("x2", x(frame.t));
    const i = closest(times, frame.t);
    spec.lines.forEach((line, k) => keys[k].replaceChildren(make("i", {style: "background:" + line.colour}), line.name + " " + (line.values[i] == null ? "–" : spec.format(line.values[i]))));
  });
  const jump = (event) => {
    const area = svg.getBoundingClientRect();
    go(nearest((event.clientX - area.left) / area.width * last));
  };
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); jump(event); });
  svg.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
  byId("charts").append(box);
}
function closest(times, t) {
  let low = 0, high = times.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; times[middle] < t ? (low = middle) : (high = middle); }
  return Math.abs(times[low] - t) <= Math.abs(times[high] - t) ? low : high;
}
function histogram(spec) {
  const W = 300, H = 100, bottom = 16, counts = spec.counts, most = Math.max(...counts, 1), wide = W / counts.length;
  const box = make("div", {class: "histogram"}, make("header", {}, make("h3", {}, spec.title), make("span", {class: "key"}, spec.note)));
  const svg = draw("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": spec.title}, box);
  counts.forEach((count, i) => count && draw("rect", {x: i * wide + 0.5, width: wide - 1, y: (H - bottom) * (1 - count / most), height: (H - bottom) * count / most, fill: "var(--c1)", rx: 1}, svg));
  draw("line", {class: "gridline", x1: 0, x2: W, y1: H - bottom, y2: H - bottom}, svg);
  draw("text", {x: 0, y: H - 4}, svg).textContent = spec.low;
  draw("text", {x: W, y: H - 4, "text-anchor": "end"}, svg).textContent = spec.high;
  byId("histograms").append(box);
}

// ---- the rest of the page -------------------------------------------------------------------------------------------
function table(rows, meter) {
  return make("table", {}, make("tbody", {}, ...rows.map(([name, value, share]) => make("tr", {}, make("th", {scope: "row"}, name), make("td", {class: "number"}, value),
    ...(meter ? [make("td", {class: "meter"}, share == null ? "" : make("span", {class: "bar", style: `width:${100 * share}%`}))] : [])))));
}
function facts(rows) {
  return make("table", {}, make("tbody", {}, ...rows.map(([name, value]) => make("tr", {}, make("th", {scope: "row"}, name), make("td", {}, value)))));
}
function fillPage() {
  byId("name").textContent = data.name;
  byId("subtitle").textContent = data.subtitle;
  byId("verdict").textContent = data.verdict.text;
  byId("verdict").classList.add(data.verdict.kind);
  byId("tiles").append(...data.tiles.map(([value, name]) => make("div", {class: "tile"}, make("b", {}, value), make("span", {}, name))));
  byId("moments-none").hidden = data.moments.length > 0;
  for (const moment of data.moments) {
    const position = rowPosition(moment.row), canvas = make("canvas", {width: 320, height: 180});
    const card = make("button", {class: "moment"}, canvas, make("span", {}, make("b", {}, seconds(moment.t) + " · frame " + moment.index), moment.why));
    card.onclick = () => { go(position); byId("viewer").scrollIntoView({behavior: "smooth", block: "start"}); };
    byId("moments").append(card);
    if (position >= 0) small.push([canvas, frames[position]]);
  }
  byId("series-note").textContent = data.series_note;
  byId("health-card").hidden = !data.health.length;
  for (const stretch of data.health) {
    const line = make("button", {class: "event"}, make("b", {class: stretch.state === "FAULT" ? "bad" : "warn"}, stretch.state), " " + seconds(stretch.from) + "–" + seconds(stretch.to) + " " + stretch.reasons);
    line.onclick = () => { go(nearest(stretch.from)); byId("viewer").scrollIntoView({behavior: "smooth", block: "start"}); };
    byId("health").append(line);
  }
  const formats = {share: (v) => percent(v), ms: (v) => v.toFixed(v < 10 ? 1 : 0) + " ms", number: (v) => v.toFixed(3)};
  for (const spec of data.charts) chart({...spec, format: formats[spec.format], lines: spec.lines.map((line, i) => ({...line, colour: line.rgb ? colour(line.rgb) : `var(--c${i % 7 + 1})`}))});
  data.histograms.forEach(histogram);
  if (data.truth) {
    byId("truth-card").hidden = false;
    byId("truth").append(make("p", {class: "muted"}, data.truth.note), make("div", {class: "two"}, make("div", {}, make("h3", {}, "IoU"), table(data.truth.iou, true)), make("div", {}, make("h3", {}, "What counts on the road"), table(data.truth.figures, true))));
  }
  if (data.golden) {
    byId("golden-card").hidden = false;
    byId("golden").append(...data.golden.lines.map((line) => make("p", {}, line)), make("div", {class: "differences"}, ...data.golden.pictures.map(([caption, source]) => make("figure", {style: "margin:0"}, make("img", {src: source, alt: caption}), make("figcaption", {}, caption)))));
  }
  byId("origin").append(make("div", {class: "two"}, facts(data.origin[0]), facts(data.origin[1])));
}
fillPage();
setUpViewer();
go(0);
painting.then(paintSmall);
