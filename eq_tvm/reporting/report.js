"use strict";
// Draws the report from the JSON in the page: cards, the picture of the network, the table of layers, one in detail.

const { bundles } = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 150, HEIGHT = 34, ACROSS = 176, DOWN = 62; // of boxes, and from one to the next

/** An element with attributes and children (texts or elements). */
function make(name, attributes = {}, ...children) {
  const space = ["svg", "g", "rect", "path", "text", "title"].includes(name);
  const element = space ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function summary(bundle) {
  const rows = bundle.summary.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  return make("section", { class: "card" }, make("h2", { style: "margin-top:0" }, bundle.name), make("dl", {}, ...rows));
}

/** The network, to zoom (wheel, buttons), to move (drag) and to search. */
function picture(bundle, choose) {
  if (!bundle.boxes.length) return make("p", { class: "soft" }, `No picture: ${bundle.why}.`);
  const layers = new Map(bundle.layers.map((layer) => [layer.name, layer]));
  const at = (box) => [box.column * ACROSS, box.row * DOWN];
  const lines = [], groups = [];
  for (const box of bundle.boxes) {
    const [x, y] = at(box);
    for (const i of box.inputs) {
      const [fromX, fromY] = at(bundle.boxes[i]);
      const middle = (fromY + HEIGHT + y) / 2;
      lines.push(make("path", { d: `M${fromX} ${fromY + HEIGHT}C${fromX} ${middle} ${x} ${middle} ${x} ${y}` }));
    }
    const layer = layers.get(box.name);
    const group = make("g", { class: (box.is_float ? "float " : "") + (layer ? "layer" : "") },
      make("rect", { x: x - WIDTH / 2, y, width: WIDTH, height: HEIGHT, rx: 6 }),
      make("text", { x, y: y + 14 }, layer?.kernel ? `${box.op}: ${layer.kernel.split(" ")[0]}` : box.op),
      make("text", { x, y: y + 27 }, box.name.length > 22 ? `…${box.name.slice(-21)}` : box.name),
      make("title", {}, [box.name, box.op, layer?.kernel, box.is_float && box.op !== "input" ? "float32" : ""]
        .filter(Boolean).join("\n")));
    if (layer) group.addEventListener("click", () => choose(layer.name));
    groups.push([box, group]);
  }
  const columns = bundle.boxes.map((box) => box.column * ACROSS), rows = bundle.boxes.map((box) => box.row);
  const left = Math.min(...columns) - ACROSS, right = Math.max(...columns) + ACROSS;
  const bottom = (Math.max(...rows) + 1) * DOWN;
  const svg = make("svg", { class: "picture", role: "img", preserveAspectRatio: "xMidYMin" }, make("title", {}, `The layers of ${bundle.name}`),
    ...lines, ...groups.map(([, group]) => group));
  let view = [left, -20, right - left, Math.min(bottom, right - left) + 20];
  const show = (to) => { view = to; svg.setAttribute("viewBox", view.join(" ")); };
  const zoom = (factor, [x, y] = [view[0] + view[2] / 2, view[1] + view[3] / 2]) =>
    show([x + (view[0] - x) * factor, y + (view[1] - y) * factor, view[2] * factor, view[3] * factor]);
  show(view);
  const place = (event) => {
    const area = svg.getBoundingClientRect(), scale = Math.max(view[2] / area.width, view[3] / area.height);
    return [view[0] + view[2] / 2 + (event.clientX - area.left - area.width / 2) * scale,
      view[1] + (event.clientY - area.top) * scale];
  };
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, place(event));
  }, { passive: false });
  let held = null;
  svg.addEventListener("pointerdown", (event) => { held = place(event); });
  svg.addEventListener("pointermove", (event) => {
    if (!held || !event.buttons) return;
    const [x, y] = place(event);
    show([view[0] + held[0] - x, view[1] + held[1] - y, view[2], view[3]]);
  });
  const search = make("input", { type: "search", placeholder: "find a layer", "aria-label": "find a layer",
    oninput: () => {
      const words = search.value.toLowerCase();
      const hits = groups.filter(([box, group]) => {
        const hit = words && `${box.name} ${box.op}`.toLowerCase().includes(words);
        group.classList.toggle("found", Boolean(hit));
        return hit;
      });
      if (hits.length) {
        const [x, y] = at(hits[0][0]);
        show([x - view[2] / 2, y - view[3] / 2, view[2], view[3]]);
      }
    } });
  const button = (text, label, act) => make("button", { type: "button", "aria-label": label, onclick: act }, text);
  const all = () => show([left, -20, right - left, bottom + 20]);
  return make("div", {}, make("div", { class: "tools" }, search, button("+", "zoom in", () => zoom(1 / 1.4)),
    button("−", "zoom out", () => zoom(1.4)), button("all", "the whole network", all)), svg);
}

/** Columns of the table: name, and what to show of a layer; `undefined` where a bundle knows nothing of it. */
const COLUMNS = [
  ["operator", (layer) => layer.op],
  ["type", (layer) => layer.scheme],
  ["cosine", (layer) => layer.cosine_after, (value) => value.toFixed(4)],
  ["kernel", (layer) => layer.kernel],
  ["MMACs", (layer) => layer.macs && layer.macs / 1e6, (value) => value.toFixed(2)],
  ["kcycles, estimated", (layer) => layer.cycles && layer.cycles / 1e3, (value) => value.toFixed(1)],
  ["µs", (layer) => layer.us, (value) => value.toFixed(1)],
  ["kB of weights", (layer) => layer.weight_bytes && layer.weight_bytes / 1e3, (value) => value.toFixed(1)],
];

/** All layers of all bundles, to sort and to filter; the lowest cosines first. */
function table(choose) {
  const known = bundles.map((bundle) => new Map(bundle.layers.map((layer) => [layer.name, layer])));
  const names = [...new Set(bundles.flatMap((bundle) => bundle.layers.map((layer) => layer.name)))];
  const of = (which, name) => known[which].get(name) ?? {};
  const columns = [];
  for (const [title, value, text = String] of COLUMNS) {
    const seen = bundles.map((_, which) => names.some((name) => value(of(which, name)) != null));
    if (!seen.some(Boolean)) continue;
    bundles.forEach((bundle, which) => columns.push({
      title: bundles.length > 1 ? `${title} ${"AB"[which]}` : title,
      value: (name) => value(of(which, name)),
      text: (name) => { const found = value(of(which, name)); return found == null ? "" : text(found); },
    }));
  }
  const head = make("tr", {}), body = make("tbody", {});
  const filter = make("input", { type: "search", placeholder: "filter: part of a name, kernel or type",
    "aria-label": "filter layers", oninput: () => fill() });
  const cosine = columns.find((column) => column.title.startsWith("cosine"));
  let order = cosine ?? { value: (name) => names.indexOf(name) }, up = true;
  function fill() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const compare = (a, b) => {
      const [x, y] = [order.value(a), order.value(b)];
      if (x == null || y == null) return (x == null) - (y == null);
      return (typeof x === "number" ? x - y : String(x).localeCompare(String(y))) * (up ? 1 : -1);
    };
    const shown = names.filter((name) => {
      const text = [name, ...columns.map((column) => column.text(name))].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    }).sort(compare);
    body.replaceChildren(...shown.map((name) => make("tr", { "data-name": name, onclick: () => choose(name) },
      make("td", { title: name }, name), ...columns.map((column) => make("td", {}, column.text(name))))));
  }
  const header = (title, column) => make("th", { scope: "col" }, make("button", { type: "button", onclick: () => {
    up = order === column ? !up : true;
    order = column;
    fill();
  } }, title));
  head.append(header("layer", { value: (name) => name }), ...columns.map((column) => header(column.title, column)));
  fill();
  return make("div", {}, make("div", { class: "tools" }, filter),
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, head), body)));
}

const WIDE = 600, HIGH = 120; // of a chart, without the words below

/** A chart with words below its ends, and what `draw` makes. */
function chart(left, right, ...drawn) {
  const words = (x, anchor, text) => make("text", { x, y: HIGH + 16, "font-size": 13, "text-anchor": anchor,
    fill: "currentColor" }, text);
  return make("svg", { class: "chart", viewBox: `0 0 ${WIDE} ${HIGH + 20}`, role: "img" }, ...drawn,
    words(0, "start", left), words(WIDE, "end", right));
}

/** Bars of counts, on a logarithmic scale; `title(i)` tells what bar i is of. */
function bars(counts, title) {
  const most = Math.log1p(Math.max(...counts)), width = WIDE / counts.length;
  return counts.map((count, i) => {
    const height = (HIGH - 5) * Math.log1p(count) / most;
    return make("rect", { x: i * width, width: width * 0.9, y: HIGH - height, height },
      make("title", {}, `${title(i)}: ${count}`));
  });
}

/** A line across the chart at x of [low, high], where it is in there. */
function mark(x, low, high, text) {
  const at = WIDE * (x - low) / (high - low);
  return at < 0 || at > WIDE ? [] : [make("path", { class: "mark", d: `M${at} 0V${HIGH}` }, make("title", {}, text))];
}

/** How often each quantized value of the weights comes. */
function weightsChart({ low, step, counts }) {
  return chart(String(low), String(low + (counts.length - 1) * step), ...bars(counts, (i) => low + i * step));
}

/** The values of the input, with the ends of its quantized range. */
function inputChart(layer) {
  const [low, high] = [layer.input_low, layer.input_high], step = (high - low) / layer.input_counts.length;
  return chart(low.toPrecision(4), high.toPrecision(4), ...bars(layer.input_counts, (i) => (low + i * step).toPrecision(4)),
    ...layer.input_ends.flatMap((end) => mark(end, low, high, `the quantized range ends at ${end.toPrecision(5)}`)));
}

/** The similarity of the quantized input with the float one over candidate scales, the chosen one marked. */
function similarityChart(layer) {
  const [scales, cosines] = [0, 1].map((which) => layer.similarity.map((point) => point[which]));
  const [low, high] = [Math.log(scales[0]), Math.log(scales.at(-1))];
  const [least, most] = [Math.min(...cosines), Math.max(...cosines)], span = most - least || 1;
  const points = layer.similarity.map(([scale, cosine]) => [WIDE * (Math.log(scale) - low) / (high - low),
    HIGH - 5 - (HIGH - 15) * (cosine - least) / span]);
  const words = (cosine) => cosine.toFixed(6);
  return chart(`scale ${scales[0].toPrecision(4)}, cosine from ${words(least)} to ${words(most)}`,
    scales.at(-1).toPrecision(4), make("path", { class: "curve", d: `M${points.map((point) => point.join(" ")).join("L")}` }),
    ...mark(Math.log(layer.input_scale), low, high, `the scale that was chosen: ${layer.input_scale}`));
}

function detail(bundle, name) {
  const layer = bundle.layers.find((each) => each.name === name);
  if (!layer) return make("section", { class: "card" }, make("p", { class: "soft" }, `${bundle.name} has no ${name}.`));
  const rows = [["operator", layer.op], ["type", layer.scheme], ["kept", layer.kept], ["kernel", layer.kernel],
    ["multiply-accumulates", layer.macs?.toLocaleString("en")],
    ["cycles, estimated", layer.cycles?.toLocaleString("en")], ["time", layer.us && `${layer.us} µs`],
    ["scale of its input", layer.input_scale?.toPrecision(5)],
    ["cosine", layer.cosine_after && [layer.cosine_before, layer.cosine_after].filter((value) => value != null)
      .map((value) => value.toFixed(5)).join(" → ")],
    ["channels that are too small for a scale", layer.lost_channels || null]];
  const list = rows.filter(([, text]) => text != null && text !== "")
    .flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, String(text))]);
  const charts = [
    ["Its input, and where the quantized range ends", layer.input_counts?.length > 1 && inputChart(layer)],
    ["Similarity over scales of the input, and the one that was chosen", layer.similarity?.length && similarityChart(layer)],
    ["Quantized weights", layer.weights && weightsChart(layer.weights)],
  ].filter(([, drawn]) => drawn).flatMap(([title, drawn]) => [make("h3", {}, title), drawn]);
  return make("section", { class: "card" }, make("h3", {}, `${bundle.name}: ${name}`), make("dl", {}, ...list), ...charts);
}

const details = make("div", { class: "bundles", id: "details" });
function choose(name) {
  details.replaceChildren(...bundles.map((bundle) => detail(bundle, name)));
  for (const row of document.querySelectorAll("tbody tr")) row.classList.toggle("chosen", row.dataset.name === name);
  details.scrollIntoView({ behavior: "smooth", block: "nearest" });
}

const legend = bundles.length > 1 ? [make("p", { class: "soft" }, `A: ${bundles[0].name}, B: ${bundles[1].name}`)] : [];
document.getElementById("page").append(make("h1", {}, document.title),
  make("div", { class: "bundles" }, ...bundles.map(summary)),
  ...bundles.flatMap((bundle) => [make("h2", {}, `Network: ${bundle.name}`), picture(bundle, choose)]),
  make("h2", {}, "Layers"), ...legend, table(choose), details);
