import { elementCount, MAX_ELEMENTS, ThinferError } from '../errors.js';
import { type WindowOptions, windowGeometry } from '../layers/geometry.js';
import type { WindowGeometry } from '../plan/problem.js';
import {
  type Cut,
  type Dim,
  type Graph,
  type ImageLayout,
  isBinary,
  isCodeBinary,
  type Node,
  type PadNode,
  type ResampleNode,
  type ReshapeDim,
  type ValueId,
} from './ir.js';

export type Shape = readonly Dim[];

/** Where in an NCHW or NHWC shape the image's dimensions are. */
export function imageAxes(layout: ImageLayout): { height: number; width: number; channel: number } {
  return layout === 'NCHW' ? { channel: 1, height: 2, width: 3 } : { height: 1, width: 2, channel: 3 };
}

export function isConcrete(shape: Shape): shape is readonly number[] {
  return shape.every((dim) => typeof dim === 'number');
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

function fail(node: Node, expected: string, got: string, hint = ''): never {
  throw new ThinferError({ code: 'bad-shape', place: `node "${node.name}" (${node.op})`, expected, got, hint });
}

/** A resampled axis has a table of this many positions at most. */
const MAX_RESAMPLED = 1 << 16;

/** Names over this are replaced by a hash. */
const LONGEST_NAME = 60;

/**
 * The name of an open dimension that follows from others: what is computed alike has one name, in whichever node, so that
 * passes may put other nodes in its place.
 */
function derived(how: string, ...parts: readonly unknown[]): string {
  const name = `${how}(${parts.join(',')})`;
  if (name.length <= LONGEST_NAME) return name;
  // FNV-1a, twice.
  const hashes = [0x811c9dc5, 0x1b873593].map((seed) => {
    let hash = seed;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    return (hash >>> 0).toString(36);
  });
  return `${how}(#${hashes.join('')})`;
}

function equal(a: Dim, b: Dim): boolean {
  return a === b;
}

/** False only when the two are known to differ. */
function compatible(a: Dim, b: Dim): boolean {
  return typeof a !== 'number' || typeof b !== 'number' || a === b;
}

/**
 * The window of a spatial node over an image of known size.
 * @throws ThinferError `bad-shape` naming the node
 */
export function nodeWindow(
  node: Node,
  options: WindowOptions | 'global',
  image: readonly [batch: number, height: number, width: number],
): WindowGeometry {
  const [, height, width] = image;
  if (options === 'global') return windowGeometry({ kernel: [height, width] }, image, `node "${node.name}"`);
  const window = windowGeometry(options, image, `node "${node.name}"`);
  if (node.op !== 'conv2d') {
    const extentHeight = (window.kernelHeight - 1) * window.dilationHeight + 1;
    const extentWidth = (window.kernelWidth - 1) * window.dilationWidth + 1;
    const tall = Math.max(window.padTop, window.padBottom) >= extentHeight;
    if (tall || Math.max(window.padLeft, window.padRight) >= extentWidth) {
      fail(
        node,
        `padding smaller than the window of ${extentHeight} x ${extentWidth}, so that every window holds a pixel`,
        formatShape([window.padTop, window.padLeft, window.padBottom, window.padRight]),
      );
    }
  }
  return window;
}

/** The window's output size where the image's size is known, else unknown dimensions. */
function slide(node: Node, layout: ImageLayout, options: WindowOptions | 'global', input: Shape): [Dim, Dim] {
  if (options === 'global') return [1, 1];
  const axes = imageAxes(layout);
  const height = input[axes.height];
  const width = input[axes.width];
  if (typeof height !== 'number' || typeof width !== 'number') {
    const side = (dim: Dim, i: 0 | 1): Dim => {
      const of = (pair: WindowOptions['kernel'] | undefined) => (typeof pair === 'object' ? pair[i] : (pair ?? 1));
      const { kernel, stride, dilation, padding, ceilMode } = options;
      const pads = typeof padding === 'object' ? [padding[i], padding[i + 2]] : [padding ?? 'valid'];
      return derived('window', dim, of(kernel), of(stride), of(dilation), ...pads, ceilMode ? 'ceil' : '');
    };
    return [side(height, 0), side(width, 1)];
  }
  const window = nodeWindow(node, options, [typeof input[0] === 'number' ? input[0] : 1, height, width]);
  return [window.outHeight, window.outWidth];
}

function image(layout: ImageLayout, batch: Dim, [height, width]: [Dim, Dim], channels: Dim): Dim[] {
  return layout === 'NCHW' ? [batch, channels, height, width] : [batch, height, width, channels];
}

function requireRank(node: Node, shape: Shape, rank: number): void {
  if (shape.length !== rank) fail(node, `an input of ${rank} dimensions`, formatShape(shape));
}

/** NumPy broadcasting. A named dimension against a number other than 1 is taken to be that number. */
function broadcast(node: Node, a: Shape, b: Shape): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (equal(x, y) || y === 1) return x;
    if (x === 1) return y;
    if (typeof x === 'number' && typeof y === 'number') {
      fail(node, 'operands whose dimensions are equal or 1', `${formatShape(a)} and ${formatShape(b)}`);
    }
    if (typeof x === 'number') return x;
    if (typeof y === 'number') return y;
    return derived('broadcast', ...[x, y].sort());
  });
}

/** What stands between the factors of an open dimension that is a product. */
const TIMES = '·';

/** The product of dimensions: a number, or a name of it. */
export function multiplyDims(dims: readonly Dim[]): Dim {
  let number = 1;
  const names: string[] = [];
  for (const factor of dims.flatMap(factorsOf)) {
    if (typeof factor === 'number') number *= factor;
    else names.push(factor);
  }
  if (names.length === 0 || number === 0) return number;
  return [...(number === 1 ? [] : [String(number)]), ...names.sort()].join(TIMES);
}

/** The factors of a dimension. */
export function factorsOf(dim: Dim): Dim[] {
  if (typeof dim === 'number') return [dim];
  const parts: string[] = [''];
  let depth = 0;
  for (const char of dim) {
    if (char === '(') depth++;
    else if (char === ')') depth--;
    if (char === TIMES && depth === 0) parts.push('');
    else parts[parts.length - 1] += char;
  }
  return parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part));
}

/** Elements of a shape, or undefined while a dimension is open. */
export function countOf(shape: Shape): number | undefined {
  return isConcrete(shape) ? shape.reduce((a, b) => a * b, 1) : undefined;
}

function resolve(node: Node, dim: Exclude<ReshapeDim, 'infer'>, input: Shape): Dim {
  if (typeof dim === 'number') return dim;
  if ('name' in dim) return dim.name;
  if (dim.axes.some((from) => from >= input.length)) {
    fail(node, `an input of more than ${Math.max(...dim.axes)} dimensions`, formatShape(input));
  }
  const { axes, times = 1 } = dim;
  return multiplyDims([times, ...axes.map((from) => input[from])]);
}

function reshape(node: Node, target: readonly ReshapeDim[], input: Shape): Dim[] {
  const dims = target.map((dim) => (dim === 'infer' ? 1 : resolve(node, dim, input)));
  const inferred = target.indexOf('infer');
  // Named dimensions that both sides share count on neither; a wrong size among the rest shows when they are numbers.
  const rest = [...dims];
  const from = input.filter((dim) => {
    const match = typeof dim === 'string' ? rest.indexOf(dim) : -1;
    if (match >= 0) rest.splice(match, 1);
    return match < 0;
  });
  const total = countOf(from);
  const known = countOf(rest);
  if (total === undefined || known === undefined) {
    if (inferred >= 0) {
      const names = from.filter((dim) => typeof dim === 'string');
      const numbers = countOf(from.filter((dim) => typeof dim === 'number'));
      dims[inferred] = names.length === 1 && numbers === known ? names[0] : derived('rest', ...from, '/', ...rest);
    }
    return dims;
  }
  const left = inferred >= 0 ? total / known : 1;
  if (inferred >= 0 && known === 0)
    fail(node, 'a target without zeros beside the inferred dimension', formatShape(dims));
  if (!Number.isInteger(left) || known * left !== total) {
    const shown = target.map((dim, i) => (dim === 'infer' ? '-1' : dims[i]));
    fail(node, `a shape of ${total} elements like the input ${formatShape(input)}`, formatShape(shown));
  }
  if (inferred >= 0) dims[inferred] = left;
  return dims;
}

/**
 * The shape of a node's output.
 * @throws ThinferError `bad-shape` naming the node when its inputs do not fit it
 */
export function inferNode(node: Node, inputs: readonly Shape[]): Dim[] {
  const [input] = inputs;
  if (isBinary(node) || isCodeBinary(node)) return broadcast(node, inputs[0], inputs[1]);
  switch (node.op) {
    case 'conv2d': {
      requireRank(node, input, 4);
      const [kernelHeight, kernelWidth] =
        typeof node.window.kernel === 'number' ? [node.window.kernel, node.window.kernel] : node.window.kernel;
      const channels = (node.weights.cols / (kernelHeight * kernelWidth)) * node.groups;
      const given = input[imageAxes(node.layout).channel];
      if (!compatible(given, channels)) {
        fail(node, `an image of ${channels} channels (${node.layout})`, formatShape(input));
      }
      return image(node.layout, input[0], slide(node, node.layout, node.window, input), node.weights.rows);
    }
    case 'linear': {
      const last = input.at(-1);
      if (last === undefined || !compatible(last, node.weights.cols)) {
        fail(node, `an input whose last dimension is ${node.weights.cols}`, formatShape(input));
      }
      return [...input.slice(0, -1), node.weights.rows];
    }
    case 'maxPool2d':
    case 'averagePool2d': {
      requireRank(node, input, 4);
      const size = slide(node, node.layout, node.window, input);
      return image(node.layout, input[0], size, input[imageAxes(node.layout).channel]);
    }
    case 'softmax':
      if (node.tail > input.length) fail(node, `an input of at least ${node.tail} dimensions`, formatShape(input));
      return [...input];
    case 'transpose':
      requireRank(node, input, node.perm.length);
      return node.perm.map((axis) => input[axis]);
    case 'concat':
      return concat(node, node.axis, inputs);
    case 'slice':
      return input.map((dim, axis) => {
        const cut = node.cuts.find((candidate) => candidate.axis === axis);
        return cut ? cutSize(cut, dim) : dim;
      });
    case 'expand':
      return broadcast(node, input, node.target);
    case 'tile':
      requireRank(node, input, node.repeats.length);
      return input.map((dim, axis) => multiplyDims([dim, node.repeats[axis]]));
    case 'pad':
      return pad(node, input);
    case 'gather':
      if (input.length <= node.axis) fail(node, `an input of over ${node.axis} dimensions`, formatShape(input));
      return [...input.slice(0, node.axis), ...inputs[1], ...input.slice(node.axis + 1)];
    case 'resample':
      if (input.length <= node.axis) fail(node, `an input of over ${node.axis} dimensions`, formatShape(input));
      return input.map((dim, axis) => {
        const size = axis === node.axis ? resampledSize(node, dim) : dim;
        if (axis === node.axis && typeof size === 'number' && (size < 1 || size > MAX_RESAMPLED)) {
          fail(node, `a size in 1..${MAX_RESAMPLED}`, String(size));
        }
        return size;
      });
    case 'reduce':
      if (Math.max(...node.axes) >= input.length) {
        fail(node, `an input of over ${Math.max(...node.axes)} dimensions`, formatShape(input));
      }
      return input.map((dim, axis) => (node.axes.includes(axis) ? 1 : dim));
    case 'normalize': {
      const count = countOf(input.slice(input.length - node.tail));
      const affine = inputs[1];
      if (node.tail > input.length) fail(node, `an input of at least ${node.tail} dimensions`, formatShape(input));
      if (affine && count !== undefined && !(affine[0] === 2 && compatible(affine[1], count))) {
        fail(node, `a scale and bias of ${count} elements`, formatShape(affine));
      }
      return [...input];
    }
    case 'batchMatmul': {
      const [a, b] = inputs.map((shape, i) => {
        const perm = node.perms[i];
        if (shape.length < 2) fail(node, 'operands of at least 2 dimensions', formatShape(shape));
        if (perm) requireRank(node, shape, perm.length);
        return perm ? perm.map((axis) => shape[axis]) : shape;
      });
      if (!compatible(a.at(-1)!, b.at(-2)!)) {
        fail(node, 'as many columns on the left as rows on the right', `${formatShape(a)} and ${formatShape(b)}`);
      }
      return [...broadcast(node, a.slice(0, -2), b.slice(0, -2)), a.at(-2)!, b.at(-1)!];
    }
    case 'reshape':
      return reshape(node, node.target, input);
    case 'batchNorm':
      if (input.length < 2 || !compatible(input[1], node.scale.length)) {
        fail(node, `an input of ${node.scale.length} channels in dimension 1`, formatShape(input));
      }
      return [...input];
    default:
      return [...input];
  }
}

function concat(node: Node, axis: number, inputs: readonly Shape[]): Dim[] {
  const [first, ...others] = inputs;
  if (first.length <= axis) fail(node, `inputs of over ${axis} dimensions`, formatShape(first));
  let size: Dim = first[axis];
  const dims = [...first];
  for (const shape of others) {
    requireRank(node, shape, first.length);
    for (const [d, dim] of shape.entries()) {
      if (d === axis) continue;
      if (!compatible(dim, dims[d])) fail(node, `dimension ${d} of ${dims[d]}`, formatShape(shape));
      if (typeof dim === 'number') dims[d] = dim;
    }
    const more = shape[axis];
    if (more === 0) continue;
    if (size === 0) size = more;
    else size = typeof size === 'number' && typeof more === 'number' ? size + more : derived('sum', size, more);
  }
  dims[axis] = size;
  return dims;
}

/** Where a cut begins in an axis of known size, and how many indices it has. */
export function cutRange({ start, end, step }: Cut, size: number): { first: number; count: number } {
  const limit = (at: Dim, low: number, high: number) => {
    const from = Number(at) < 0 ? Number(at) + size : Number(at);
    return Math.min(Math.max(from, low), high);
  };
  const first = step > 0 ? limit(start, 0, size) : limit(start, -1, size - 1);
  const past = step > 0 ? limit(end, 0, size) : limit(end, -1, size - 1);
  return { first, count: Math.max(Math.ceil((past - first) / step), 0) };
}

/** The largest index that exporters write for "to the end" is far over this. */
const TO_THE_END = 2 ** 31 - 2;

/** The size of an axis of which a part is cut. */
function cutSize(cut: Cut, size: Dim): Dim {
  const { start, end, step } = cut;
  if (typeof size === 'number' && typeof start === 'number' && typeof end === 'number') {
    return cutRange(cut, size).count;
  }
  const other = derived('cut', size, start, end, step);
  if (step !== 1) return other;
  const whole = end === size || (typeof end === 'number' && end >= TO_THE_END);
  if (start === 0 && end !== 1) return whole ? size : typeof end === 'string' ? end : other;
  // One row of an open axis, the first or last: an axis without any would be no batch.
  if (typeof start === 'number' && start < 0 && whole) return start === -1 ? 1 : other;
  if (typeof start === 'number' && typeof end === 'number' && start >= 0 && end - start === 1) return 1;
  return other;
}

function pad(node: PadNode, input: Shape): Dim[] {
  requireRank(node, input, node.before.length);
  return input.map((dim, axis) => {
    const [before, after] = [node.before[axis], node.after[axis]];
    if (before === 0 && after === 0) return dim;
    if (typeof dim !== 'number') return derived('pad', dim, before, after);
    const limits = { constant: Number.POSITIVE_INFINITY, edge: dim === 0 ? 0 : Number.POSITIVE_INFINITY };
    const most = { ...limits, reflect: dim - 1, symmetric: dim }[node.mode];
    if (Math.max(before, after) > most || dim + before + after < 0 || before < -dim || after < -dim) {
      fail(node, `a border of at most ${most} around ${dim}`, `${before} and ${after}`);
    }
    return dim + before + after;
  });
}

function resampledSize(node: ResampleNode, size: Dim): Dim {
  if (typeof node.size !== 'object') return node.size;
  const { scale } = node.size;
  if (typeof size !== 'number')
    return Number.isInteger(scale) ? multiplyDims([size, scale]) : derived('scale', size, scale);
  // A scale is often a quotient in f32: what is a whole number but for its rounding stays one.
  const exact = size * scale;
  const rounded = Math.round(exact);
  return Math.abs(exact - rounded) < 1e-5 * rounded ? rounded : Math.floor(exact);
}

/** The node with every open dimension it names replaced by its size. */
function settle(node: Node, sizeOf: (dim: Dim) => Dim): Node {
  switch (node.op) {
    case 'reshape':
      return {
        ...node,
        target: node.target.map((dim) =>
          typeof dim === 'object' && 'name' in dim ? (sizeOf(dim.name) as number) : dim,
        ),
      };
    case 'slice':
      return {
        ...node,
        cuts: node.cuts.map((cut) => ({ ...cut, start: sizeOf(cut.start), end: sizeOf(cut.end) })),
      };
    case 'expand':
      return { ...node, target: node.target.map(sizeOf) };
    case 'resample':
      return typeof node.size === 'object' ? node : { ...node, size: sizeOf(node.size) };
    default:
      return node;
  }
}

/** Nodes that make elements without any of an input. */
const READS_NOTHING: ReadonlySet<Node['op']> = new Set(['concat', 'pad']);

/** A graph for inputs of concrete shapes: the shapes of all values, and nodes without open dimensions. */
export interface ConcreteGraph {
  shapes: Map<ValueId, readonly number[]>;
  nodes: Node[];
}

/**
 * @param inputs a shape for each graph input, by value id
 * @throws ThinferError `bad-shape` naming the input or node that does not fit
 */
export function concretize(graph: Graph, inputs: ReadonlyMap<ValueId, readonly number[]>): ConcreteGraph {
  const shapes = new Map<ValueId, readonly number[]>();
  const sizes = new Map<string, number>();
  const set = (id: ValueId, shape: readonly number[]) => {
    shapes.set(id, shape);
    for (const [axis, dim] of graph.values.get(id)!.shape.entries()) {
      if (typeof dim === 'string' && !sizes.has(dim)) sizes.set(dim, shape[axis]);
    }
  };
  const sizeOf = (dim: Dim): Dim => {
    if (typeof dim === 'number') return dim;
    const known = sizes.get(dim);
    if (known !== undefined) return known;
    return factorsOf(dim).reduce<number>((product, factor) => {
      const size = typeof factor === 'number' ? factor : sizes.get(factor);
      if (size === undefined) {
        throw new ThinferError({
          code: 'unsupported',
          place: 'model',
          expected: 'open dimensions that a value of the graph has',
          got: dim,
        });
      }
      return product * size;
    }, 1);
  };
  for (const [id, { dims }] of graph.constants) set(id, dims);
  for (const { name, value } of graph.inputs) {
    const shape = inputs.get(value);
    if (!shape) throw new TypeError(`no shape for input ${name}`);
    elementCount(shape, `input "${name}"`);
    set(value, shape);
  }
  const nodes = graph.nodes.map((given) => {
    const node = settle(given, sizeOf);
    const shape: Shape = inferNode(
      node,
      node.inputs.map((id) => shapes.get(id)!),
    );
    if (!isConcrete(shape)) throw new TypeError(`node ${node.name} has an open shape ${formatShape(shape)}`);
    if (!(countOf(shape)! <= MAX_ELEMENTS))
      fail(node, `an output of at most ${MAX_ELEMENTS} elements`, formatShape(shape));
    const empty = READS_NOTHING.has(node.op) ? undefined : node.inputs.find((id) => countOf(shapes.get(id)!) === 0);
    if (empty !== undefined && countOf(shape)! > 0) {
      fail(node, 'inputs with elements to compute the output from', formatShape(shapes.get(empty)!));
    }
    set(node.output, shape);
    return node;
  });
  return { shapes, nodes };
}
