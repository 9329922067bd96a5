// The front of types by cost: what errors the cycles buy.

/** The best assignments of types as a curve, error (on a logarithmic scale) over cycles; the chosen one marked. */
function frontChart({ cycles, error, front }) {
  const [low, high] = [front[0][0], front.at(-1)[0]];
  const logs = front.map(([, each]) => Math.log(Math.max(each, 1e-30)));
  const [least, most] = [Math.min(...logs), Math.max(...logs)], span = most - least || 1, wide = high - low || 1;
  const points = front.map(([each], i) => [WIDE * (each - low) / wide, HIGH - 5 - (HIGH - 15) * (logs[i] - least) / span]);
  const words = (each, at) => `${(each / 1e6).toPrecision(4)} M cycles, error ${at.toExponential(1)}`;
  return chart(words(...front[0]), words(...front.at(-1)),
    make("path", { class: "curve", d: `M${points.map((point) => point.join(" ")).join("L")}` }),
    ...mark(cycles.chosen, low, low + wide, `chosen: ${words(cycles.chosen, error)}`));
}

/** A card with the front of a bundle, where its types were weighed. */
function frontCard(bundle) {
  if (!bundle.types?.front || bundle.types.front.length < 2) return [];
  return [make("section", { class: "card front" }, make("h3", {}, "Types by cost"), frontChart(bundle.types),
    make("p", { class: "soft" }, "The least error of the outputs that any choice of types is predicted to have, for each number of cycles. The line: what was chosen."))];
}
