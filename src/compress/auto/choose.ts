/** One form of one layer, with what it costs and what it loses. */
export interface Option {
  cost: number;
  /** Losses of layers add up, near enough: squared errors of the model's outputs with this layer changed alone. */
  loss: number;
}

/**
 * Choices of one option a layer that no other choice beats in cost as well as in loss, as far as Lagrange multipliers find
 * them (Everett 1963): the lower convex hull of all choices, cheapest last. Of each layer the first option is what it is now.
 */
export function frontOf(layers: readonly (readonly Option[])[]): number[][] {
  let choice = layers.map((options) => cheapest(options, 0));
  const front = [choice];
  // From the dearest to the cheapest: always the step next that saves most a loss.
  for (;;) {
    let best: { layer: number; option: number; rate: number } | undefined;
    for (const [i, options] of layers.entries()) {
      const now = options[choice[i]];
      for (const [k, { cost, loss }] of options.entries()) {
        if (!(cost < now.cost)) continue;
        const rate = (now.cost - cost) / Math.max(loss - now.loss, 1e-30);
        if (!best || rate > best.rate) best = { layer: i, option: k, rate };
      }
    }
    if (!best) return front;
    const { layer, option } = best;
    choice = choice.map((old, i) => (i === layer ? option : old));
    front.push(choice);
  }
}

/** Of the options that lose least, the cheapest. */
function cheapest(options: readonly Option[], from: number): number {
  let best = from;
  for (const [k, { cost, loss }] of options.entries()) {
    if (loss < options[best].loss || (loss === options[best].loss && cost < options[best].cost)) best = k;
  }
  return best;
}
