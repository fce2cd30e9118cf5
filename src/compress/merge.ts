import { ThinferError } from '../errors.js';
import { type Graph, isLayer, type LayerNode } from '../graph/ir.js';
import { optimize } from '../graph/passes/index.js';
import { mapLayers, valuesOf } from './layers.js';

function wrong(layer: string, expected: string, got: string): never {
  throw new ThinferError({ code: 'bad-argument', place: `merge: layer "${layer}"`, expected, got });
}

/**
 * Puts together what several machines made of one model, each of its own layers: of every layer the weights and bias of the
 * part in which they are not those of the model.
 * @throws ThinferError `bad-argument` for layers that two parts changed, or that have another shape or codes in one
 */
export function merge(source: Graph, parts: readonly Graph[]): Graph {
  const base = optimize(source);
  const layers = parts.map(({ nodes }) => new Map(nodes.filter(isLayer).map((layer) => [layer.name, layer])));
  return mapLayers(base, (layer) => {
    const changed = layers.flatMap((part, i) => {
      const now = part.get(layer.name);
      if (!now) return wrong(layer.name, 'a layer of every part', `none in part ${i + 1}`);
      return differs(layer, now) ? [now] : [];
    });
    if (changed.length > 1) wrong(layer.name, 'one part that changed it', String(changed.length));
    const [now] = changed;
    if (!now) return layer;
    if (
      now.weights.rows !== layer.weights.rows ||
      now.weights.cols !== layer.weights.cols ||
      now.inputCodes ||
      now.result
    ) {
      wrong(layer.name, 'other weights of the same shape, with f32 in and out', 'more than that');
    }
    const padding = now.op === 'conv2d' && now.binaryPadding ? { binaryPadding: now.binaryPadding } : {};
    return { ...layer, weights: now.weights, bias: now.bias, ...padding } as LayerNode;
  });
}

function differs(a: LayerNode, b: LayerNode): boolean {
  if (a.weights.format !== b.weights.format || a.weights.cols !== b.weights.cols) return true;
  const different = (x: ArrayLike<number>, y: ArrayLike<number>) =>
    x.length !== y.length || Array.prototype.some.call(x, (v, i) => v !== y[i]);
  return different(valuesOf(a.weights), valuesOf(b.weights)) || different(a.bias ?? [], b.bias ?? []);
}
