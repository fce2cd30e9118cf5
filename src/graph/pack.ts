import { describe, ThinferError } from '../errors.js';
import {
  binary,
  codebook,
  csr,
  dense,
  f16,
  int2,
  int4,
  int8,
  int8Grouped,
  ternary,
  validate,
  type Weights,
  xnor,
} from '../formats/index.js';
import { areF16 } from '../half.js';
import { requireDtypes } from '../layers/dtypes.js';
import { denseValues, type Graph, isClamped, isDense, isLayer, type LayerNode, type Node } from './ir.js';
import { layerOptions } from './steps.js';

/** How the weights of one layer are packed. */
export type WeightSpec =
  | { format: 'dense' }
  /** Rounded to 16 bits; those out of their range are refused. */
  | { format: 'f16' }
  /** Weights with |w| <= threshold are dropped. Default 0. */
  | { format: 'csr'; threshold?: number }
  | { format: 'int8'; perChannel?: boolean; symmetric?: boolean }
  /** `groupSize` consecutive columns share a scale: a power of two in 16..256, default 32. */
  | { format: 'int8Grouped' | 'int4' | 'int2'; groupSize?: number; symmetric?: boolean }
  | { format: 'codebook'; entries?: 16 | 256; centroids?: 'f32' | 'int8' }
  | { format: 'ternary' | 'binary' }
  /** Binarises the weights and the layer's input too. */
  | { format: 'xnor'; binaryPadding?: 'zero' | 'one' };

/**
 * `auto`: nothing is changed by rounding; zeros are left out where that pays (see SPARSE_DENSITY), and weights that are
 * halves, as files of 16-bit floats have them, stay such.
 * A record: a specification a layer name; `*` stands for every layer that is not named, `auto` where there is none.
 */
export type WeightsSpec = 'auto' | Readonly<Record<string, WeightSpec>>;

/**
 * `auto` stores a layer as csr from this share of non-zeros downwards. Measured on WASM with the convolutions of
 * fashion_pruned90: at 0.43, csr takes 0.7 of dense's time in module B and 0.65 in module C.
 */
export const SPARSE_DENSITY = 0.5;
/** `auto` leaves layers with shorter rows dense: the loop over a row must be worth its start. */
export const SPARSE_MIN_COLS = 64;

/** What `auto` stores weights of rows of `cols` as. */
export function automatic(values: Float32Array, cols: number): WeightSpec {
  const most = cols < SPARSE_MIN_COLS ? -1 : SPARSE_DENSITY * values.length;
  let nnz = 0;
  for (let i = 0; i < values.length && nnz <= most; i++) if (values[i] !== 0) nnz++;
  if (nnz <= most) return { format: 'csr' };
  return { format: areF16(values) ? 'f16' : 'dense' };
}

/** Packs the weights [rows, cols]. */
export function packValues(
  values: Float32Array,
  { rows, cols }: { rows: number; cols: number },
  spec: WeightSpec,
): Weights {
  switch (spec.format) {
    case 'dense':
      return dense.pack(values, { rows, cols });
    case 'f16':
      return f16.pack(values, { rows, cols });
    case 'csr':
      return csr.pack(values, { rows, cols, threshold: spec.threshold });
    case 'int8':
      return int8.pack(values, { rows, cols, perChannel: spec.perChannel, symmetric: spec.symmetric });
    case 'int8Grouped':
    case 'int4':
    case 'int2': {
      const { groupSize, symmetric } = spec;
      return { int8Grouped, int4, int2 }[spec.format].pack(values, { rows, cols, groupSize, symmetric });
    }
    case 'codebook':
      return codebook.pack(values, { rows, cols, entries: spec.entries, centroids: spec.centroids });
    case 'ternary':
      return ternary.pack(values, { rows, cols });
    case 'binary':
      return binary.pack(values, { rows, cols });
    case 'xnor':
      return xnor.pack(values, { rows, cols });
    default:
      throw new ThinferError({
        code: 'bad-argument',
        place: 'weights.format',
        expected: 'dense, f16, csr, int8, int8Grouped, int4, int2, codebook, ternary, binary or xnor',
        got: describe((spec as { format: unknown }).format),
      });
  }
}

/** Packed weights by what they were packed from, and how: layers that share weights share them packed alike. */
type Packed = Map<Weights, Map<string, Weights>>;

function packNode(node: Node, spec: WeightsSpec, packed: Packed): Node {
  if (!isLayer(node)) return node;
  if (!isDense(node)) return checkPacked(node, spec);
  const named = spec === 'auto' ? undefined : Object.hasOwn(spec, node.name) ? spec[node.name] : spec['*'];
  // What the model has sparse stays so.
  const stored: WeightSpec | undefined = node.sparse ? { format: 'csr' } : undefined;
  const chosen = () => named ?? stored ?? automatic(denseValues(node), node.weights.cols);
  const wrong = node.bias?.findIndex((x) => !Number.isFinite(x)) ?? -1;
  if (wrong >= 0) {
    const place = `layer "${node.name}": bias[${wrong}]`;
    throw new ThinferError({
      code: 'bad-weights',
      place,
      expected: 'a finite number',
      got: String(node.bias?.[wrong]),
    });
  }
  try {
    const alike = packed.get(node.weights) ?? new Map<string, Weights>();
    packed.set(node.weights, alike);
    const how = JSON.stringify([named, node.sparse]);
    const weights = alike.get(how) ?? packValues(denseValues(node), node.weights, chosen());
    alike.set(how, weights);
    if (node.op !== 'conv2d' || named?.format !== 'xnor') return { ...node, weights };
    return { ...node, weights, binaryPadding: named.binaryPadding ?? 'zero' };
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    const { code, expected, got, hint } = error;
    throw new ThinferError({ code, place: `layer "${node.name}": ${error.place}`, expected, got, hint, cause: error });
  }
}

/** A layer that came packed stays as it is: its weights, dtypes and bias are checked. */
function checkPacked(node: LayerNode, spec: WeightsSpec): Node {
  const place = `layer "${node.name}"`;
  if (spec !== 'auto' && Object.hasOwn(spec, node.name)) {
    throw new ThinferError({
      code: 'bad-argument',
      place: 'weights',
      expected: 'layers that the model has dense',
      got: `${JSON.stringify(node.name)}, which it has as ${node.weights.format}`,
    });
  }
  try {
    validate(node.weights, `${place}: weights`);
    const [min, max] = node.clamp;
    const relu = min === 0 && max === Number.POSITIVE_INFINITY;
    const activation = relu ? 'relu' : isClamped(node.clamp) ? { min, max } : 'none';
    requireDtypes(node.weights, { ...layerOptions(node), activation }, place);
    return node;
  } catch (error) {
    if (!(error instanceof ThinferError)) throw error;
    const { expected, got, hint } = error;
    throw new ThinferError({ code: 'bad-weights', place: error.place, expected, got, hint, cause: error });
  }
}

/**
 * Packs the weights of every layer that has them dense. Pure.
 * @throws ThinferError `bad-argument` for names that are no layer's and options out of range, `bad-weights` when a
 * layer's weights are not finite
 */
export function packGraph(graph: Graph, spec: WeightsSpec = 'auto'): Graph {
  const known = graph.nodes.filter(isLayer).map((node) => node.name);
  if (spec !== 'auto') {
    const unknown = Object.keys(spec).filter((name) => name !== '*' && !known.includes(name));
    if (unknown.length > 0) {
      throw new ThinferError({
        code: 'bad-argument',
        place: 'weights',
        expected: `layer names out of ${known.map((name) => JSON.stringify(name)).join(', ') || '(the model has none)'}`,
        got: unknown.map((name) => JSON.stringify(name)).join(', '),
        hint: "'*' stands for all layers that are not named.",
      });
    }
  }
  const packed: Packed = new Map();
  return { ...graph, nodes: graph.nodes.map((node) => packNode(node, spec, packed)) };
}
