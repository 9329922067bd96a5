"use strict";
// One layer in detail: charts of its values, what each step changed, and why it has its kernel.

const WIDE = 600, HIGH = 120; // of a chart, without the words below

/** A chart of what `draw` makes, with words below its ends. */
function chart(left, right, ...drawn) {
  return make("div", { class: "chart" }, make("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" }, ...drawn),
    make("div", { class: "ends" }, make("span", {}, left), make("span", {}, right)));
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

/** Steps of a method with "+": what is called what, what its figure is, and whether that is a part of something. */
const STEPS = {
  center_channels: ["channels centered", "largest magnitude of its input", false],
  center_sources: ["what functions behind it read, centered", "error behind these functions, estimated", true],
  equalize: ["channels equalized", "error of its output, estimated from statistics", true],
  weights: ["weights: scales and rounding", "error of its output, on a sample", true],
  bias: ["bias corrected", "error of its output, on a sample", true],
  block: ["block reconstructed", "error of its block's output, on images held out", true],
};

/** What a step's figure was before and after it. */
function stepsTable({ steps }) {
  const known = Object.entries(STEPS).filter(([key]) => steps?.[key]);
  if (!known.length) return null;
  const rows = known.map(([key, [name, figure, isPart]]) => {
    const text = (value) => (isPart ? `${(100 * value).toPrecision(3)}\u00a0%` : value.toPrecision(4));
    return [name, figure, ...steps[key].map(text)];
  });
  const alone = steps.input && ` Its input alone, quantized here and in the layers before, causes ${(100 * steps.input[0]).toPrecision(3)}\u00a0%.`;
  return make("div", {}, plainTable(["step", "figure", "before", "after"], rows), make("p", { class: "soft" },
    "Errors are root mean squares, in parts of the output's. A sample: 32 positions of 4 calibration images." + (alone || "")));
}

const share = (value) => (value < 0.001 ? "under 0.1\u00a0%" : `${(100 * value).toPrecision(value < 0.1 ? 1 : 3)}\u00a0%`);

/** A proof in words, with how much of its bound is used. */
const proofWords = ([of, reached, bound]) => `${of}: ${reached.toLocaleString("en")} of ${bound.toLocaleString("en")}, ${share(reached / bound)}`;

/** All kernels that were considered, each with the cycles of its tilings, and why it was not taken. */
function kernelsTable(layer, bundle) {
  if (!layer.kernel) {
    return layer.op?.startsWith("conv") && bundle.kernels ? make("p", { class: "soft" }, "A depthwise kernel: of these there are few, and a rule picks one; nothing is estimated.") : null;
  }
  if (!layer.considered?.length) return null;
  const kernels = layer.considered, ends = kernels.flatMap((kernel) => [kernel.cycles[0], kernel.cycles.at(-1)]);
  const low = Math.log(Math.min(...ends)), span = Math.log(Math.max(...ends)) - low || 1;
  const strip = (kernel, isChosen) => make("svg", { class: "strip", viewBox: "0 0 200 16", role: "img", "aria-label": `${kernel.cycles.length} tilings` },
    ...kernel.cycles.map((cycles) => make("path", { d: `M${2 + 196 * (Math.log(cycles) - low) / span} 2V14` })),
    ...(isChosen ? [make("path", { class: "mark", d: `M${2 + 196 * (Math.log(layer.cycles) - low) / span} 0V16` })] : []));
  const head = layer.kernel.split(" ").slice(0, 2).join(" ");
  const rows = kernels.map((kernel) => {
    const name = kernel.kernel.split(" ").slice(0, 2).join(" "), isChosen = name === head;
    const broken = kernel.proofs.filter(([, reached, bound]) => reached > bound);
    const factor = kernel.cycles[0] / layer.cycles;
    const why = broken.length ? `refused, could overflow: ${broken.map(([of]) => of).join("; ")}`
      : isChosen ? (factor < 0.999 ? chosenOtherwise(bundle) : "chosen: fewest cycles")
        : factor < 0.999 ? "fewer cycles by estimate: not taken" : `slower: ${factor.toFixed(2)} times the cycles`;
    return [isChosen ? make("b", {}, layer.kernel) : kernel.kernel, kernel.cycles[0].toLocaleString("en"), strip(kernel, isChosen),
      make("div", {}, make("span", { class: broken.length ? "refused" : "" }, why),
        ...kernel.proofs.map((proof) => make("div", { class: "soft proof" }, proofWords(proof))))];
  });
  const out = Object.entries(layer.left_out ?? {}).map(([name, reason]) => [name, "", "", `not possible: ${reason}`]);
  return make("div", {}, plainTable(["kernel, its best tiling", "cycles", "all tilings", "verdict, and proofs: how far it can go, of its bound"], [...rows, ...out]),
    make("p", { class: "soft" }, "Estimated cycles of one core; each line of a strip is a tiling, from few cycles (left) to many, on a logarithmic scale. " +
      "A proof holds for any input: it uses the layer's own weights."));
}

const chosenOtherwise = (bundle) => (bundle.optimize === "size" ? "chosen: fewest cycles of those with small weights (--optimize size)"
  : "chosen: it was measured to be the fastest (--tune)");

function plainTable(head, rows) {
  return make("div", { class: "scroll" }, make("table", { class: "plain" },
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))))));
}

function detail(bundle, name) {
  const layer = bundle.layers.find((each) => each.name === name);
  if (!layer) return make("section", { class: "card" }, make("p", { class: "soft" }, `${bundle.name} has no ${name}.`));
  const rows = [["operator", layer.op], ["type", layer.scheme], ["kept", layer.kept], ["kernel", layer.kernel],
    ["multiply-accumulates", layer.macs?.toLocaleString("en")],
    ["cycles, estimated", layer.cycles?.toLocaleString("en")], ["time", layer.us && `${layer.us} µs`],
    ["scale of its input", layer.input_scale?.toPrecision(5)],
    ["cosine of its output", layer.cosine_after && [layer.cosine_before, layer.cosine_after].filter((value) => value != null)
      .map((value) => value.toFixed(5)).join(" → ")],
    ["channels that are too small for a scale", layer.lost_channels || null]];
  const list = rows.filter(([, text]) => text != null && text !== "")
    .flatMap(([label, text]) => [make("dt", {}, label), make("dd", {}, String(text))]);
  const charts = [
    ["Its input, and where the quantized range ends", layer.input_counts?.length > 1 && inputChart(layer)],
    ["Similarity over scales of the input, and the one that was chosen", layer.similarity?.length && similarityChart(layer)],
    ["Quantized weights", layer.weights && weightsChart(layer.weights)],
    ["What each step of the method changed", stepsTable(layer)],
    ["Why this kernel", kernelsTable(layer, bundle)],
  ].filter(([, drawn]) => drawn).flatMap(([title, drawn]) => [make("h3", {}, title), drawn]);
  return make("section", { class: "card" }, make("h3", {}, `${bundle.name}: ${name}`), make("dl", {}, ...list), ...charts);
}
