import { binary, ternary, type Weights, xnor } from '../formats/index.js';
import { atLayer, mapLayers, relativeError, unitsOf, valuesOf } from './layers.js';
import type { LayerChoice, Step } from './step.js';

/**
 * One bit a weight: its sign, times the mean |w| of the row, which is the scale of least squared error (Rastegari et al.
 * 2016, XNOR-Net, where these are binary-weight networks).
 */
export function binarize(options: LayerChoice = {}): Step {
  return packed('binary weights', options, (values, shape) => binary.pack(values, shape));
}

/**
 * One bit a weight and one an activation (XNOR-Net): what a layer reads is binarised when it runs. One shot, that is for
 * few layers: networks are trained for it.
 */
export function xnorize(options: LayerChoice & { binaryPadding?: 'zero' | 'one' } = {}): Step {
  const { binaryPadding = 'zero' } = options;
  return packed('binary weights and activations', options, (values, shape) => xnor.pack(values, shape), binaryPadding);
}

/** -1, 0 or 1 times a scale a row: 0 below 0.7 mean |w| (Li and Liu 2016, Ternary Weight Networks). */
export function ternarize(options: LayerChoice = {}): Step {
  return packed('ternary weights', options, (values, shape) => ternary.pack(values, shape));
}

function packed(
  name: string,
  options: LayerChoice,
  pack: (values: Float32Array, shape: { rows: number; cols: number }) => Weights,
  binaryPadding?: 'zero' | 'one',
): Step {
  return {
    name,
    apply(job) {
      const replaced = new Map<Weights, Weights>();
      for (const { name: layer, layers, weights } of unitsOf(job.graph, options, name)) {
        const { rows, cols } = weights;
        const values = valuesOf(weights);
        const made = atLayer(layer, () => pack(values, { rows, cols }));
        replaced.set(weights, made);
        const error = relativeError(valuesOf(made), values);
        for (const { name: each } of layers) job.note({ layer: each, did: `${name}, error ${error.toPrecision(2)}` });
      }
      return mapLayers(job.graph, (layer) => {
        const weights = replaced.get(layer.weights);
        if (!weights) return layer;
        return layer.op === 'conv2d' && binaryPadding ? { ...layer, weights, binaryPadding } : { ...layer, weights };
      });
    },
  };
}
