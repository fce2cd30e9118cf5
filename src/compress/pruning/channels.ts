// Which channels of which values belong together: the dependency graph of structured pruning.

import { type Dim, type Graph, isBinary, isLayer, type LayerNode, type Node, type ValueId } from '../../graph/ir.js';
import { countOf } from '../../graph/shapes.js';
import { moves } from '../../graph/types.js';

/** The last dimension of a value: for each of its indices the class that it is in. */
type Channels = readonly number[];

/** Classes of channels that can only go together. */
export interface ChannelClasses {
  /** By value; absent where the last dimension has no known size. */
  of(id: ValueId): Channels | undefined;
  /** Those that have to stay: of inputs and outputs of the model, and where what reads them mixes channels. */
  fixed(channel: number): boolean;
}

/** Sets of numbers that are united (Galler and Fischer 1964). */
class Sets {
  readonly #parent: number[] = [];

  add(): number {
    this.#parent.push(this.#parent.length);
    return this.#parent.length - 1;
  }

  find(x: number): number {
    let root = x;
    while (this.#parent[root] !== root) root = this.#parent[root];
    for (let at = x; at !== root; ) [this.#parent[at], at] = [root, this.#parent[at]];
    return root;
  }

  union(a: number, b: number): void {
    const [x, y] = [this.find(a), this.find(b)];
    // The smallest stands for all: 0 for what is fixed.
    this.#parent[Math.max(x, y)] = Math.min(x, y);
  }
}

const FIXED = 0;

/** The channels of the input that a layer's weights in a row of one group are multiplied by. */
export function inputChannels(layer: LayerNode, group: number, channels: number): (col: number) => number {
  if (layer.op === 'linear' || layer.groups === 1) return (col) => col % channels;
  const groupChannels = channels / layer.groups;
  return (col) => group * groupChannels + (col % groupChannels);
}

/** True for a convolution with one channel a group. */
export function isDepthwise(layer: LayerNode): boolean {
  if (layer.op !== 'conv2d' || layer.groups === 1) return false;
  const { kernel } = layer.window;
  const taps = typeof kernel === 'number' ? kernel * kernel : kernel[0] * kernel[1];
  return layer.weights.cols === taps;
}

/**
 * Finds the classes by walking the graph: layers begin new channels, all else passes on those it reads (Fang et al. 2023,
 * DepGraph: Towards Any Structural Pruning). Channels that are added to each other are one class, and so are the rows and
 * columns of a depthwise convolution.
 */
export function channelClasses(graph: Graph): ChannelClasses {
  const sets = new Sets();
  sets.add();
  const known = new Map<ValueId, Channels>();
  const sizeOf = (id: ValueId): Dim | undefined => graph.values.get(id)!.shape.at(-1);
  const fix = (id: ValueId) => {
    for (const channel of known.get(id) ?? []) sets.union(channel, FIXED);
  };
  const fresh = (id: ValueId, fixed = false) => {
    const size = sizeOf(id);
    if (typeof size === 'number')
      known.set(
        id,
        Array.from({ length: size }, () => (fixed ? FIXED : sets.add())),
      );
  };
  for (const { value } of graph.inputs) fresh(value, true);
  for (const node of graph.nodes) {
    const passed = passes(graph, node, known, sets);
    if (passed) known.set(node.output, passed);
    else {
      // Of dense and depthwise layers the rows are free; whatever else mixes channels keeps them all.
      const free = isLayer(node) && !node.inputCodes && (node.op === 'linear' || node.groups === 1);
      if (!free) for (const id of node.inputs) fix(id);
      fresh(node.output, !free);
    }
  }
  for (const { value } of graph.outputs) fix(value);
  return {
    of: (id) => known.get(id)?.map((channel) => sets.find(channel)),
    fixed: (channel) => sets.find(channel) === FIXED,
  };
}

/** The channels that a node passes on, or undefined where it mixes them or begins new ones. */
function passes(graph: Graph, node: Node, known: ReadonlyMap<ValueId, Channels>, sets: Sets): Channels | undefined {
  const shapeOf = (id: ValueId) => graph.values.get(id)!.shape;
  const [input] = node.inputs;
  const channels = known.get(input);
  const last = shapeOf(input).length - 1;
  if (isLayer(node)) {
    if (!channels || !isDepthwise(node) || node.inputCodes) return undefined;
    const multiplier = node.weights.rows / channels.length;
    return Array.from({ length: node.weights.rows }, (_, r) => channels[Math.floor(r / multiplier)]);
  }
  if (isBinary(node)) {
    const size = shapeOf(node.output).at(-1);
    const operands = node.inputs.filter((id) => !graph.constants.has(id));
    const parts = operands.map((id) => known.get(id));
    const whole = parts.find((part) => part?.length === size);
    if (!whole || parts.some((part) => !part)) return undefined;
    for (const part of parts) {
      // One channel that meets them all has to stay.
      if (part!.length !== size) for (const channel of part!) sets.union(channel, FIXED);
      else for (const [i, channel] of part!.entries()) sets.union(channel, whole[i]);
    }
    return whole;
  }
  switch (node.op) {
    case 'maxPool2d':
    case 'averagePool2d':
    case 'activation':
    case 'clamp':
      return channels;
    case 'reduce':
      return node.axes.includes(last) ? undefined : channels;
    case 'transpose':
      return node.perm.at(-1) === last ? channels : undefined;
    case 'resample':
      return node.axis === last ? undefined : channels;
    case 'pad':
      return node.before[last] === 0 && node.after[last] === 0 && node.mode === 'constant' ? channels : undefined;
    case 'concat':
      return concat(
        node.inputs.map((id) => known.get(id)),
        node.axis === last,
        sets,
      );
    case 'reshape':
      return channels && flattened(graph, node, channels);
    default:
      return moves(node) && node.op === 'slice' && node.cuts.every(({ axis }) => axis !== last) ? channels : undefined;
  }
}

function concat(parts: readonly (Channels | undefined)[], alongChannels: boolean, sets: Sets): Channels | undefined {
  if (parts.some((part) => !part)) return undefined;
  const all = parts as readonly Channels[];
  if (alongChannels) return all.flat();
  for (const part of all) for (const [i, channel] of part.entries()) sets.union(channel, all[0][i]);
  return all[0];
}

/** A reshape that only changes what is before the channels, or makes one dimension of them and of those before. */
function flattened(graph: Graph, node: Node, channels: Channels): Channels | undefined {
  const from = graph.values.get(node.inputs[0])!.shape;
  const to = graph.values.get(node.output)!.shape;
  const size = to.at(-1);
  if (size === channels.length) return channels;
  for (let tail = 2; tail <= from.length; tail++) {
    const count = countOf(from.slice(from.length - tail));
    if (count !== undefined && count === size)
      return Array.from({ length: size }, (_, i) => channels[i % channels.length]);
  }
  return undefined;
}
