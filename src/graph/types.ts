import type { DataByDType, ElementType } from '../dtype.js';
import { ThinferError } from '../errors.js';
import { givesFloats, isBinary, isCodeBinary, isLayer, type Node, type Value } from './ir.js';

/** What the elements of a value are. */
export const elementType = ({ dtype = 'float32' }: Value): ElementType => dtype;

/** Integers that are kept as f32 (see Constant) as what they are. */
export function asElements(dtype: ElementType, data: Float32Array): DataByDType[ElementType] {
  switch (dtype) {
    case 'uint8':
      return Uint8Array.from(data);
    case 'int8':
      return Int8Array.from(data);
    case 'int32':
      return Int32Array.from(data);
    default:
      return data;
  }
}

const CODES: readonly ElementType[] = ['uint8', 'int8'];
const FLOATS: readonly ElementType[] = ['float32'];

/** Nodes that move elements: what goes in comes out. */
const MOVES: ReadonlySet<Node['op']> = new Set([
  ...(['transpose', 'reshape', 'concat', 'slice', 'expand', 'tile', 'pad', 'gather'] as const),
]);

/** True for nodes that move elements without looking at them. */
export function moves(node: Node): boolean {
  return MOVES.has(node.op) || (node.op === 'resample' && node.mode === 'nearest');
}

/** True for nodes that work on codes or sums: others want what those stand for, in f32. */
export function takesCodes(node: Node): boolean {
  if (isLayer(node)) return node.inputCodes !== undefined;
  const { op } = node;
  if (op === 'averagePool2d') return node.codes !== undefined;
  return op === 'maxPool2d' || op === 'dequantize' || op === 'lookup' || isCodeBinary(node) || moves(node);
}

function require(node: Node, allowed: readonly ElementType[], given: ElementType | undefined): void {
  if (given === undefined || allowed.includes(given)) return;
  throw new ThinferError({
    code: 'bad-shape',
    place: `node "${node.name}" (${node.op})`,
    expected: `elements of ${allowed.join(' or ')}`,
    got: given,
  });
}

/**
 * What a node's output holds.
 * @throws ThinferError `bad-shape` naming the node when it can't work on what its inputs hold
 */
export function inferType(node: Node, inputs: readonly ElementType[]): ElementType {
  const [first] = inputs;
  if (moves(node)) {
    // The second input of a gather has indices, all others are moved with the first.
    for (const [i, given] of inputs.entries()) require(node, node.op === 'gather' && i === 1 ? FLOATS : [first], given);
    return first;
  }
  if (isLayer(node)) {
    require(node, node.inputCodes ? ['float32', node.inputCodes.dtype] : FLOATS, first);
    return givesFloats(node) ? 'float32' : (node.result!.dtype as ElementType);
  }
  if (isCodeBinary(node)) {
    require(node, [node.a.dtype], first);
    require(node, [node.b.dtype], inputs[1]);
    return node.quantization.dtype;
  }
  if (isBinary(node)) {
    for (const given of inputs) require(node, FLOATS, given);
    return 'float32';
  }
  switch (node.op) {
    case 'maxPool2d':
      require(node, ['float32', ...CODES], first);
      return first;
    case 'averagePool2d':
      require(node, [node.codes?.input.dtype ?? 'float32'], first);
      return node.codes?.output.dtype ?? 'float32';
    case 'quantize':
      require(node, FLOATS, first);
      return node.quantization.dtype;
    case 'dequantize':
      require(node, [...CODES, 'int32'], first);
      return 'float32';
    case 'lookup':
      require(node, [node.from], first);
      return node.to;
    default:
      for (const given of inputs) require(node, FLOATS, given);
      return 'float32';
  }
}
