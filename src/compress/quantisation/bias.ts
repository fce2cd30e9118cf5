import type { Weights } from '../../formats/index.js';
import { floatBias, type Graph } from '../../graph/ir.js';
import { mapLayers, type Unit, unitsOf, valuesOf } from '../layers.js';
import { momentsOf } from '../products.js';
import type { Job, Step } from '../step.js';

/**
 * Bias correction: what the change of a layer's weights does to the mean of its outputs is taken off its bias,
 * b' = b - (W' - W) E[x] (Nagel et al. 2019, Data-Free Quantization through Weight Equalization and Bias Correction). The
 * means are those of the changed model, layer by layer.
 * @param after `before` with other weights in the same layers
 */
export async function correctBias(job: Job, before: Graph, after: Graph): Promise<Graph> {
  const then = new Map<string, Weights>(
    unitsOf(before, {}, 'bias correction').flatMap(({ layers }) => layers.map(({ name, weights }) => [name, weights])),
  );
  const changed = unitsOf(after, {}, 'bias correction').filter(({ name, weights }) => {
    const old = then.get(name);
    return old && old !== weights && old.rows === weights.rows && old.cols === weights.cols;
  });
  let graph = after;
  for (const unit of changed) {
    await momentsOf(
      { ...job, graph },
      [unit],
      (_, moments) => {
        graph = shifted(graph, unit, then.get(unit.name)!, moments);
      },
      { gram: false },
    );
  }
  return graph;
}

function shifted(graph: Graph, unit: Unit, old: Weights, moments: readonly { mean: Float64Array }[]): Graph {
  const { rows, cols } = old;
  const [a, b] = [valuesOf(old), valuesOf(unit.weights)];
  const shift = Float64Array.from({ length: rows }, (_, r) => {
    const { mean } = moments[Math.floor((r * moments.length) / rows)];
    let sum = 0;
    for (let c = 0; c < cols; c++) sum += (a[r * cols + c] - b[r * cols + c]) * mean[c];
    return sum;
  });
  return mapLayers(graph, (layer) => {
    if (layer.weights !== unit.weights) return layer;
    const bias = floatBias(layer);
    return { ...layer, bias: Float32Array.from(shift, (x, r) => x + (bias?.[r] ?? 0)) };
  });
}

/** A step with bias correction after it: of the layers whose weights it changed, where they are still there. */
export function biasCorrected(step: Step): Step {
  return {
    name: `${step.name}, bias corrected`,
    needs: 'calibration',
    apply: async (job) => correctBias(job, job.graph, await step.apply(job)),
  };
}
