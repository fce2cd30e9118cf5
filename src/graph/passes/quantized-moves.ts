import { quantizeLinear } from '../../formats/activations.js';
import type { Quantization } from '../../plan/problem.js';
import type { DequantizeNode, Graph, Node, ValueId } from '../ir.js';
import { sameCodes } from '../lookup.js';
import { moves } from '../types.js';
import { Rewriter } from './rewrite.js';

/** A value that 8-bit codes stand for. */
export interface Dequantized {
  codes: ValueId;
  quantization: Quantization;
}

/** What a value was dequantised from. */
export function dequantizedFrom(id: ValueId, rewriter: Rewriter): Dequantized | undefined {
  const node = rewriter.producer(id);
  if (node?.op !== 'dequantize') return undefined;
  const codes = rewriter.current(node.inputs[0]);
  const dtype = rewriter.type(codes);
  if (dtype !== 'uint8' && dtype !== 'int8') return undefined;
  return { codes, quantization: { dtype, scale: node.scale, zeroPoint: node.zeroPoint } };
}

/**
 * Elements are moved as codes: `dequantize` goes behind what moves them and behind the largest of a window, `quantize`
 * before reshapes and transposes, and before a slice of such.
 */
export function moveCodes(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) if (!sink(node, rewriter) && !raise(node, rewriter)) rewriter.emit(node);
  return rewriter.finish();
}

function sink(node: Node, rewriter: Rewriter): boolean {
  if (!moves(node) && node.op !== 'maxPool2d') return false;
  const from = node.inputs.map((id) => dequantizedFrom(id, rewriter));
  const [first] = from;
  if (!first) return false;
  const inputs = node.inputs.map((id, i) => {
    if (i === 0 || node.op === 'concat') {
      return from[i] && sameCodes(from[i].quantization, first.quantization) ? from[i].codes : undefined;
    }
    return node.op === 'pad' ? asCode(id, first.quantization, rewriter) : id;
  });
  if (!inputs.every((id) => id !== undefined)) return false;
  const moved = rewriter.value(`${rewriter.name(node.output)}.codes`);
  rewriter.emit({ ...node, inputs, output: moved });
  const { scale, zeroPoint } = first.quantization;
  const behind: DequantizeNode = {
    op: 'dequantize',
    name: `${node.name}.dequantize`,
    inputs: [moved],
    output: node.output,
    scale,
    zeroPoint,
  };
  rewriter.emit(behind);
  return true;
}

/** A constant number as a code that stands for just that. */
function asCode(id: ValueId, quantization: Quantization, rewriter: Rewriter): ValueId | undefined {
  const constant = rewriter.constantOf(id);
  if (constant?.data.length !== 1) return undefined;
  const code = quantizeLinear(constant.data[0], quantization);
  const exact = Math.fround((code - quantization.zeroPoint) * Math.fround(quantization.scale)) === constant.data[0];
  if (!exact) return undefined;
  return rewriter.constant(
    `${rewriter.name(id)}.code`,
    { dims: constant.dims, data: Float32Array.of(code) },
    quantization.dtype,
  );
}

/** Moves its elements and leaves none behind, but for the border that a transposed convolution makes too many. */
function keepsAll(node: Node, rewriter: Rewriter): boolean {
  if (node.op === 'reshape' || node.op === 'transpose') return true;
  if (node.op !== 'slice' || rewriter.uses(node.inputs[0]) !== 1) return false;
  const before = rewriter.producer(node.inputs[0])?.op;
  return before === 'transpose' || before === 'reshape';
}

function raise(node: Node, rewriter: Rewriter): boolean {
  if (node.op !== 'quantize' || rewriter.uses(node.inputs[0]) !== 1) return false;
  const from = rewriter.producer(node.inputs[0]);
  if (!from || !keepsAll(from, rewriter)) return false;
  const codes = rewriter.value(`${rewriter.name(from.inputs[0])}.codes`);
  const before: Node = { ...node, inputs: from.inputs, output: codes };
  if (!raise(before, rewriter)) rewriter.emit(before);
  rewriter.emit({ ...from, inputs: [codes], output: node.output });
  return true;
}
