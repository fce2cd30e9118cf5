import { elementCount, MAX_ELEMENTS, ThinferError } from '../errors.js';
import { type WindowOptions, windowGeometry } from '../layers/geometry.js';
import type { WindowGeometry } from '../plan/problem.js';
import { type Dim, type Graph, type ImageLayout, isBinary, type Node, type ReshapeDim, type ValueId } from './ir.js';

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

/** An unknown dimension, named after where it appears so that the name is the same every time. */
function unknown(node: Node, axis: number): string {
  return `#${node.output}.${axis}`;
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
    return [unknown(node, axes.height), unknown(node, axes.width)];
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
    return unknown(node, i);
  });
}

/** Elements of a shape, or undefined while a dimension is open. */
export function countOf(shape: Shape): number | undefined {
  return isConcrete(shape) ? shape.reduce((a, b) => a * b, 1) : undefined;
}

function resolve(node: Node, dim: Exclude<ReshapeDim, 'infer'>, input: Shape, axis: number): Dim {
  if (typeof dim === 'number') return dim;
  if (dim.axes.some((from) => from >= input.length)) {
    fail(node, `an input of more than ${Math.max(...dim.axes)} dimensions`, formatShape(input));
  }
  if (dim.axes.length === 1) return input[dim.axes[0]];
  return countOf(dim.axes.map((from) => input[from])) ?? unknown(node, axis);
}

function reshape(node: Node, target: readonly ReshapeDim[], input: Shape): Dim[] {
  const dims = target.map((dim, i) => (dim === 'infer' ? 1 : resolve(node, dim, input, i)));
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
      dims[inferred] = names.length === 1 && numbers === known ? names[0] : unknown(node, inferred);
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
  if (isBinary(node)) return broadcast(node, inputs[0], inputs[1]);
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

/**
 * The shapes of all values for inputs of concrete shapes.
 * @param inputs a shape for each graph input, by value id
 * @throws ThinferError `bad-shape` naming the input or node that does not fit
 */
export function inferShapes(
  graph: Graph,
  inputs: ReadonlyMap<ValueId, readonly number[]>,
): Map<ValueId, readonly number[]> {
  const shapes = new Map<ValueId, readonly number[]>();
  for (const [id, { dims }] of graph.constants) shapes.set(id, dims);
  for (const { name, value } of graph.inputs) {
    const shape = inputs.get(value);
    if (!shape) throw new TypeError(`no shape for input ${name}`);
    elementCount(shape, `input "${name}"`);
    shapes.set(value, shape);
  }
  for (const node of graph.nodes) {
    const shape: Shape = inferNode(
      node,
      node.inputs.map((id) => shapes.get(id)!),
    );
    if (!isConcrete(shape)) throw new TypeError(`node ${node.name} has an open shape ${formatShape(shape)}`);
    if (!(countOf(shape)! <= MAX_ELEMENTS))
      fail(node, `an output of at most ${MAX_ELEMENTS} elements`, formatShape(shape));
    shapes.set(node.output, shape);
  }
  return shapes;
}
