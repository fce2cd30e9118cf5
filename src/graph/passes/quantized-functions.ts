import { BINARY_FUNCTIONS, UNARY_FUNCTIONS } from '../../plan/functions.js';
import type { Quantization } from '../../plan/problem.js';
import { type Clamp, type Graph, isBinary, type Node, type QuantizeNode, type ValueId } from '../ir.js';
import { sameCodes, tableOf } from '../lookup.js';
import { type Dequantized, dequantizedFrom } from './quantized-moves.js';
import { Rewriter } from './rewrite.js';

/**
 * What stands between `dequantize` and `quantize`, on codes: functions of one number become tables, sums and products of
 * two `qAdd` and `qMul`; averages of windows and concatenations work on codes. Codes that change only what they mean are
 * looked up, and those that do not are left alone.
 */
export function fuseQuantizedFunctions(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) if (node.op !== 'quantize' || !fuse(node, rewriter)) rewriter.emit(node);
  return rewriter.finish();
}

/** Constants that nothing reads as codes any more become f32. */
export function foldDequantize(graph: Graph): Graph {
  const rewriter = new Rewriter(graph);
  for (const node of graph.nodes) {
    const codes = node.op === 'dequantize' ? rewriter.constantOf(node.inputs[0]) : undefined;
    if (node.op !== 'dequantize' || !codes) rewriter.emit(node);
    else {
      const { scale, zeroPoint } = node;
      rewriter.setConstant(node.output, {
        dims: codes.dims,
        data: codes.data.map((x) => (x - zeroPoint) * Math.fround(scale)),
      });
    }
  }
  return rewriter.finish();
}

function fuse(node: QuantizeNode, rewriter: Rewriter): boolean {
  const { output, name, quantization } = node;
  const chain = functionOf(node.inputs[0], rewriter);
  if (chain) {
    const same = chain.f === undefined && sameCodes(chain.from.quantization, quantization);
    if (same) rewriter.replace(output, chain.from.codes);
    else emitLookup(rewriter, name, chain.from, quantization, output, chain.f);
    return true;
  }
  const from = rewriter.uses(node.inputs[0]) === 1 ? rewriter.producer(node.inputs[0]) : undefined;
  const sources = from?.inputs.map((id) => dequantizedFrom(id, rewriter)) ?? [];
  if (!from || !sources.every((source) => source !== undefined)) return false;
  const inputs = sources.map(({ codes }) => codes);
  const [a, b] = sources.map((source) => source.quantization);
  switch (from.op) {
    case 'add':
    case 'mul': {
      const op = from.op === 'add' ? 'qAdd' : 'qMul';
      rewriter.emit({ op, name: from.name, inputs, output, a, b, quantization, clamp: from.clamp });
      return true;
    }
    case 'averagePool2d':
      if (from.codes) return false;
      rewriter.emit({ ...from, inputs, output, codes: { input: a, output: quantization } });
      return true;
    case 'concat': {
      const same = sources.map((source) => {
        if (sameCodes(source.quantization, quantization)) return source.codes;
        const requantized = rewriter.value(`${rewriter.name(source.codes)}.requantized`);
        emitLookup(rewriter, `${from.name}.requantize`, source, quantization, requantized);
        return requantized;
      });
      rewriter.emit({ ...from, inputs: same, output });
      return true;
    }
    default:
      return false;
  }
}

function emitLookup(
  rewriter: Rewriter,
  name: string,
  { codes, quantization: from }: Dequantized,
  to: Quantization,
  output: ValueId,
  f?: (x: number) => number,
): void {
  const table = tableOf(from, to, f);
  rewriter.emit({ op: 'lookup', name, inputs: [codes], output, from: from.dtype, to: to.dtype, table });
}

interface FunctionOfCodes {
  from: Dequantized;
  /** Absent: the number itself. */
  f?: (x: number) => number;
}

/** A value as a function of one number that codes stand for. */
function functionOf(id: ValueId, rewriter: Rewriter): FunctionOfCodes | undefined {
  const from = dequantizedFrom(id, rewriter);
  if (from) return { from };
  const node = rewriter.producer(id);
  const step = node && rewriter.uses(id) === 1 ? stepOf(node, rewriter) : undefined;
  const before = step && functionOf(step.input, rewriter);
  if (!before) return undefined;
  const { f } = before;
  return { from: before.from, f: f ? (x) => step.f(f(x)) : step.f };
}

/** One node as a function of one input, rounded to f32. */
function stepOf(node: Node, rewriter: Rewriter): { input: ValueId; f: (x: number) => number } | undefined {
  const limited =
    (f: (x: number) => number, [min, max]: Clamp) =>
    (x: number) =>
      Math.min(Math.max(Math.fround(f(x)), min), max);
  if (node.op === 'clamp') return { input: node.inputs[0], f: limited((x) => x, node.clamp) };
  if (node.op === 'activation') {
    return { input: node.inputs[0], f: limited(UNARY_FUNCTIONS[node.nonlinearity], node.clamp) };
  }
  if (!isBinary(node)) return undefined;
  const operator = BINARY_FUNCTIONS[node.op];
  for (const side of [1, 0]) {
    const constant = rewriter.constantOf(node.inputs[side]);
    const input = node.inputs[1 - side];
    const scalar = constant?.data.length === 1 && constant.dims.length <= rewriter.shape(input).length;
    if (!constant || !scalar) continue;
    const [y] = constant.data;
    return { input, f: limited((x) => (side === 1 ? operator(x, y) : operator(y, x)), node.clamp) };
  }
  return undefined;
}
