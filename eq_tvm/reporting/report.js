// Draws the report from the JSON in the page: cards, the picture of the network, the table of layers.

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
  const card = make("section", { class: "card" }, make("h2", { style: "margin-top:0" }, bundle.name), make("dl", {}, ...rows));
  return make("div", {}, card, ...frontCard(bundle));
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
      const from = bundle.boxes[i], rows = box.row - from.row;
      const [fromX, fromY] = at(from);
      const middle = (fromY + HEIGHT + y) / 2;
      // Around the boxes between, where there are some in the way
      const straight = (row) => fromX + (x - fromX) * (row - from.row) / rows;
      const inTheWay = (other) => other.row > from.row && other.row < box.row
        && Math.abs(at(other)[0] - straight(other.row)) < 0.6 * WIDTH;
      const aside = rows > 1 && bundle.boxes.some(inTheWay) ? WIDTH : 0;
      const [above, below] = aside ? [fromY + HEIGHT + DOWN / 2, y - DOWN / 2] : [middle, middle];
      lines.push(make("path", { d: `M${fromX} ${fromY + HEIGHT}C${fromX + aside} ${above} ${x + aside} ${below} ${x} ${y}` }));
    }
    const layer = layers.get(box.name);
    const group = make("g", { class: (box.is_float ? "float " : "") + (layer ? "layer" : "") },
      make("rect", { x: x - WIDTH / 2, y, width: WIDTH, height: HEIGHT, rx: 6 }),
      make("text", { x, y: y + 14 }, layer?.kernel ? `${box.op}: ${layer.kernel.split(" ")[0]}` : box.op),
      make("text", { x, y: y + 27 }, box.name.length > 22 ? `…${box.name.slice(-21)}` : box.name),
      make("title", {}, [box.name, box.op, layer?.kernel, box.is_float && !["input", "output"].includes(box.op) ? "float32" : ""]
        .filter(Boolean).join("\n")));
    if (layer) group.addEventListener("click", () => choose(layer.name));
    groups.push([box, group]);
  }
  const columns = bundle.boxes.map((box) => box.column * ACROSS), rows = bundle.boxes.map((box) => box.row);
  const middle = (Math.min(...columns) + Math.max(...columns)) / 2;
  // No larger than life: a chain of layers would be one column, as wide as the page
  const reach = Math.max((Math.max(...columns) - Math.min(...columns)) / 2 + ACROSS, Math.min(window.innerWidth, 1100) / 2);
  const left = middle - reach, right = middle + reach;
  const bottom = (Math.max(...rows) + 1) * DOWN;
  const svg = make("svg", { class: "picture", role: "img", preserveAspectRatio: "xMidYMin" }, make("title", {}, `The layers of ${bundle.name}`),
    ...lines, ...groups.map(([, group]) => group));
  svg.style.height = `min(60vh, ${bottom + 40}px)`;
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
  const legend = make("p", { class: "soft" }, make("span", { class: "integer key" }, "integers"), " ",
    make("span", { class: "float key" }, "float32"), " Choose a layer to see it in detail. Drag to move, wheel to zoom. " +
      "A ReLU or clip is part of what is before it, where the quantized range ends there.");
  return make("div", {}, make("div", { class: "tools" }, search, button("+", "zoom in", () => zoom(1 / 1.4)),
    button("−", "zoom out", () => zoom(1.4)), button("all", "the whole network", all)), svg, legend);
}

/** How much of its bound the proof of the layer's kernel with the least margin uses, in percent. */
function boundUsed(layer) {
  const head = layer.kernel?.split(" ").slice(0, 2).join(" ");
  const chosen = layer.considered?.find((kernel) => kernel.kernel.split(" ").slice(0, 2).join(" ") === head);
  return chosen?.proofs.length ? 100 * Math.max(...chosen.proofs.map(([, reached, bound]) => reached / bound)) : null;
}

/** Columns of the table: name, and what to show of a layer; `undefined` where a bundle knows nothing of it. */
const COLUMNS = [
  ["operator", (layer) => layer.op],
  ["type", (layer) => layer.scheme],
  ["cosine", (layer) => layer.cosine_after, (value) => value.toFixed(4)],
  ["kernel", (layer) => layer.kernel],
  ["% of its bound", (layer) => boundUsed(layer), (value) => (value < 0.1 ? "< 0.1" : value.toFixed(1))],
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
    make("div", { class: "scroll tall" }, make("table", {}, make("thead", {}, head), body)));
}

const details = make("div", { class: "bundles", id: "details" });
function choose(name, scroll = true) {
  details.replaceChildren(...bundles.map((bundle) => detail(bundle, name)));
  for (const row of document.querySelectorAll("tr[data-name]")) row.classList.toggle("chosen", row.dataset.name === name);
  if (scroll) details.scrollIntoView({ behavior: "smooth", block: "start" });
}

const legend = bundles.length > 1 ? [make("p", { class: "soft" }, `A: ${bundles[0].name}, B: ${bundles[1].name}`)] : [];
document.getElementById("page").append(make("h1", {}, document.title),
  make("div", { class: "bundles" }, ...bundles.map(summary)),
  ...bundles.flatMap((bundle) => [make("h2", {}, `Network: ${bundle.name}`), picture(bundle, choose)]),
  make("h2", {}, "Layers"), make("p", { class: "soft" }, "Those that lose most come first; choose one to see it in detail below, a column to sort by it. " +
    "Cosine: between a layer's float and quantized outputs, 1 is equal. % of its bound: the largest sum that its kernel can ever meet, of what fits; below 100 it is exact."), ...legend, table(choose), details);
const worst = document.querySelector("tr[data-name]");
if (worst) choose(worst.dataset.name, false);
