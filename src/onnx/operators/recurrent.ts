import type { Weights } from '../../formats/format.js';
import { formatOf } from '../../formats/index.js';
import { NO_CLAMP, type ValueId } from '../../graph/ir.js';
import type { UnaryFunction } from '../../plan/problem.js';
import { packMatrix, type QuantizedTensor, transposed } from '../quantized.js';
import { Unsupported } from '../tensor.js';
import { type NodeContext, type Operator, sizeOf, squeeze, unsqueeze } from './context.js';
import { binary, unary } from './elementwise.js';

/*
 * Recurrent layers, unrolled: one linear layer for the inputs of all times, then for each time a linear layer of the
 * state, whose weights all times share.
 */

/** Times that are unrolled at most. */
const MOST_TIMES = 1 << 10;

const FUNCTIONS: Readonly<Record<string, UnaryFunction | 'relu'>> = {
  sigmoid: 'sigmoid',
  tanh: 'tanh',
  relu: 'relu',
  softplus: 'softplus',
};

/** What one direction of a layer has. `gates` rows of `hidden` in each matrix. */
interface Direction {
  input: Weights;
  state: Weights;
  /** With the state's bias where they are added anyway. */
  bias: Float32Array | undefined;
  /** GRU: the state's bias of the gate that is reset after its product, [hidden]. */
  resetBias: Float32Array | undefined;
  /** LSTM: peepholes [3][hidden]. */
  peepholes: Float32Array | undefined;
  functions: string[];
  reverse: boolean;
}

interface Layer {
  c: NodeContext;
  hidden: number;
  clip: number;
}

/** The state after one time: what the layer gives, and for an LSTM its cell. */
interface State {
  h: ValueId | undefined;
  cell: ValueId | undefined;
}

/** From the inputs' part of the gates [batch, gates * hidden] and the state before to the state after. */
type Step = (layer: Layer, direction: Direction, gates: ValueId, state: State) => State;

function apply({ c }: Layer, name: string, x: ValueId): ValueId {
  const f = FUNCTIONS[name.toLowerCase()];
  if (!f) throw new Unsupported(`the activation ${name.slice(0, 40)}`);
  if (f === 'relu') return c.emit({ op: 'clamp', inputs: [x], clamp: [0, Number.POSITIVE_INFINITY] });
  return unary(c, f, x);
}

/** Gates `first` to before `past` of [batch, gates * hidden]. */
function gatesOf({ c, hidden }: Layer, gates: ValueId, first: number, past = first + 1): ValueId {
  const cuts = [{ axis: 1, start: first * hidden, end: past * hidden, step: 1 }];
  return c.emit({ op: 'slice', inputs: [gates], cuts });
}

function clipped({ c, clip }: Layer, x: ValueId): ValueId {
  return clip > 0 ? c.emit({ op: 'clamp', inputs: [x], clamp: [-clip, clip] }) : x;
}

function linear(c: NodeContext, input: ValueId, weights: Weights, bias?: Float32Array): ValueId {
  return c.emit({ op: 'linear', inputs: [input], weights, bias, clamp: NO_CLAMP });
}

/** gates + h R^T */
function withState({ c }: Layer, { state }: Direction, gates: ValueId, h: ValueId | undefined): ValueId {
  return h === undefined ? gates : binary(c, 'add', gates, linear(c, h, state));
}

const rnn: Step = (layer, direction, gates, { h }) => {
  const sum = clipped(layer, withState(layer, direction, gates, h));
  return { h: apply(layer, direction.functions[0], sum), cell: undefined };
};

/** Gates in ONNX's order: input, output, forget, cell. */
const lstm: Step = (layer, direction, inputGates, { h, cell }) => {
  const { c, hidden } = layer;
  const [f, g, last] = direction.functions;
  const gates = withState(layer, direction, inputGates, h);
  const gate = (index: number, peephole: number, state: ValueId | undefined): ValueId => {
    let x = gatesOf(layer, gates, index);
    if (direction.peepholes && state !== undefined) {
      const data = direction.peepholes.subarray(peephole * hidden, (peephole + 1) * hidden);
      x = binary(c, 'add', x, binary(c, 'mul', state, c.addConstant({ dims: [hidden], data })));
    }
    return apply(layer, f, clipped(layer, x));
  };
  const fresh = apply(layer, g, clipped(layer, gatesOf(layer, gates, 3)));
  let next = binary(c, 'mul', gate(0, 0, cell), fresh);
  if (cell !== undefined) next = binary(c, 'add', binary(c, 'mul', gate(2, 2, cell), cell), next);
  return { h: binary(c, 'mul', gate(1, 1, next), apply(layer, last, next)), cell: next };
};

/** Gates in ONNX's order: update, reset, hidden. */
const gru =
  (resetAfter: boolean): Step =>
  (layer, direction, gates, { h }) => {
    const { c, hidden } = layer;
    const [f, g] = direction.functions;
    const { state, resetBias } = direction;
    let both = gatesOf(layer, gates, 0, 2);
    if (h !== undefined) both = binary(c, 'add', both, linear(c, h, partOf(state, 0, 2 * hidden)));
    both = apply(layer, f, clipped(layer, both));
    const [update, reset] = [gatesOf(layer, both, 0), gatesOf(layer, both, 1)];
    let fresh = gatesOf(layer, gates, 2);
    const last = partOf(state, 2 * hidden, 3 * hidden);
    let recalled: ValueId | undefined;
    if (h !== undefined && resetAfter) recalled = binary(c, 'mul', reset, linear(c, h, last, resetBias));
    else if (h !== undefined) recalled = linear(c, binary(c, 'mul', reset, h), last);
    else if (resetBias) recalled = binary(c, 'mul', reset, c.addConstant({ dims: [hidden], data: resetBias }));
    if (recalled !== undefined) fresh = binary(c, 'add', fresh, recalled);
    fresh = apply(layer, g, clipped(layer, fresh));
    // (1 - z) fresh + z h
    const kept = binary(c, 'mul', binary(c, 'sub', { number: 1 }, update), fresh);
    return { h: h === undefined ? kept : binary(c, 'add', kept, binary(c, 'mul', update, h)), cell: undefined };
  };

const parts = new WeakMap<Weights, Map<number, Weights>>();

/** Some rows of a matrix, the same object each time, so that all times share one packed copy. */
function partOf(matrix: Weights, first: number, past: number): Weights {
  const known = parts.get(matrix) ?? new Map<number, Weights>();
  parts.set(matrix, known);
  const part = known.get(first) ?? rowsOf(matrix, first, past);
  known.set(first, part);
  return part;
}

function rowsOf(matrix: Weights, first: number, past: number): Weights {
  const { cols } = matrix;
  const size = { rows: past - first, cols };
  if (matrix.format !== 'int8') {
    const values = matrix.format === 'dense' ? matrix.values : formatOf(matrix).unpack(matrix);
    return { format: 'dense', ...size, values: values.subarray(first * cols, past * cols) };
  }
  const { codes, scale, zeroPoint } = matrix;
  const of = <T extends Float32Array | Int8Array>(list: T): T =>
    (list.length === 1 ? list : list.subarray(first, past)) as T;
  const part = { format: 'int8' as const, ...size, codes: codes.subarray(first * cols, past * cols), scale: of(scale) };
  return zeroPoint ? { ...part, zeroPoint: of(zeroPoint) } : part;
}

/** Matrices of a constant input [directions, rows, cols], packed where the model has them as codes. */
function matricesOf(c: NodeContext, input: number, name: string): { dims: readonly number[]; matrices: Weights[] } {
  const quantized = c.quantized(input);
  const packed = quantized?.codes.dims.length === 3 ? packEach(quantized) : undefined;
  if (packed) {
    c.claim(quantized!.codes.data.length);
    return { dims: quantized!.codes.dims, matrices: packed };
  }
  const { dims, data } = c.constant(input, name, [3]);
  const [count, rows, cols] = dims;
  c.claim(data.length);
  const matrices = Array.from({ length: count }, (_, d): Weights => {
    return { format: 'dense', rows, cols, values: data.slice(d * rows * cols, (d + 1) * rows * cols) };
  });
  return { dims, matrices };
}

/** Each matrix of a tensor of three dimensions packed, or undefined where no format has scales that lie like its. */
function packEach({ codes, blocks, scale, zeroPoint }: QuantizedTensor): Weights[] | undefined {
  const [count, rows, cols] = codes.dims;
  const perMatrix = Math.ceil(rows / blocks[1]) * Math.ceil(cols / blocks[2]);
  const matrices: Weights[] = [];
  for (let d = 0; d < count; d++) {
    const from = Math.floor(d / blocks[0]) * perMatrix;
    const weights = packMatrix({
      kind: 'quantized',
      codes: { ...codes, dims: [rows, cols], data: codes.data.slice(d * rows * cols, (d + 1) * rows * cols) },
      blocks: blocks.slice(1),
      scale: scale.slice(from, from + perMatrix),
      zeroPoint: zeroPoint && Float32Array.from({ length: perMatrix }, (_, i) => zeroPoint[from + i]),
    });
    if (!weights) return undefined;
    matrices.push(weights);
  }
  return matrices;
}

interface Cell {
  gates: number;
  functions: readonly string[];
  step(c: NodeContext): Step;
  /** Gates, of the first, whose biases of state and inputs are added. */
  joined(c: NodeContext): number;
  hasCell: boolean;
  /** Where the weights come from; default: inputs of [directions, rows, cols]. */
  matrices?: typeof matricesOf;
}

function readDirections(
  c: NodeContext,
  { gates, functions, joined, hasCell, matrices = matricesOf }: Cell,
): { hidden: number; directions: Direction[] } {
  const kind = c.attributes.string('direction', 'forward');
  if (!['forward', 'reverse', 'bidirectional'].includes(kind))
    c.bad('direction', 'forward, reverse or bidirectional', kind);
  const count = kind === 'bidirectional' ? 2 : 1;
  const [w, r] = [matrices(c, 1, 'W'), matrices(c, 2, 'R')];
  const hidden = r.dims[2];
  const wanted = [count, gates * hidden];
  if (hidden < 1 || w.dims[2] === 0 || [w, r].some(({ dims }) => dims[0] !== wanted[0] || dims[1] !== wanted[1])) {
    c.bad('W and R', `[${wanted.join(', ')}, ...]`, `[${w.dims.join(', ')}] and [${r.dims.join(', ')}]`);
  }
  if (c.attributes.int('hidden_size', hidden) !== hidden) c.bad('hidden_size', String(hidden), 'another number');
  const biases = c.has(3) ? c.constant(3, 'B', [2]).data : undefined;
  const peepholes = hasCell && c.has(7) ? c.constant(7, 'P', [2]).data : undefined;
  const length = 2 * gates * hidden;
  if (biases && biases.length !== count * length) c.bad('B', `${count * length} elements`, String(biases.length));
  if (peepholes && peepholes.length !== count * 3 * hidden)
    c.bad('P', `${count * 3 * hidden} elements`, String(peepholes.length));
  const names = c.attributes.strings('activations') ?? Array.from({ length: count }, () => functions).flat();
  if (names.length !== count * functions.length)
    c.bad('activations', `${count * functions.length} names`, String(names.length));
  if (c.attributes.has('activation_alpha') || c.attributes.has('activation_beta'))
    throw new Unsupported('activation_alpha');
  const directions = Array.from({ length: count }, (_, d): Direction => {
    const bias = biases?.subarray(d * length, (d + 1) * length);
    const rows = gates * hidden;
    const ofState = (row: number) => (row < joined(c) * hidden ? bias![rows + row] : 0);
    return {
      input: w.matrices[d],
      state: r.matrices[d],
      bias: bias?.slice(0, rows).map((x, row) => x + ofState(row)),
      resetBias: joined(c) < gates ? bias?.slice(rows + joined(c) * hidden) : undefined,
      peepholes: peepholes?.subarray(d * 3 * hidden, (d + 1) * 3 * hidden),
      functions: names.slice(d * functions.length, (d + 1) * functions.length),
      reverse: kind === 'reverse' || d === 1,
    };
  });
  return { hidden, directions };
}

function recurrent(cell: Cell): Operator {
  return {
    attributes: [
      'activation_alpha',
      'activation_beta',
      'activations',
      'clip',
      'direction',
      'hidden_size',
      'input_forget',
      'layout',
      'linear_before_reset',
    ],
    inputs: [3, cell.matrices ? 12 : 8],
    read(c) {
      const batchFirst = c.attributes.int('layout', 0, 0, 1) === 1;
      if (c.attributes.int('input_forget', 0) !== 0) throw new Unsupported('input_forget 1');
      const swap = (value: ValueId, perm: number[]) =>
        batchFirst ? c.emit({ op: 'transpose', inputs: [value], perm }) : value;
      const given = c.value(0);
      if (c.shape(given).length !== 3) c.bad('X', '3 dimensions', String(c.shape(given).length));
      const times = sizeOf(c, given, batchFirst ? 1 : 0);
      if (times < 1 || times > MOST_TIMES) throw new Unsupported(`${times} times (only 1 to ${MOST_TIMES})`);
      if (c.has(4) && c.integers(4, 'sequence_lens').some((length) => length !== times)) {
        throw new Unsupported('sequences of unequal length');
      }
      const input = swap(given, [1, 0, 2]);
      const { hidden, directions } = readDirections(c, cell);
      const layer: Layer = { c, hidden, clip: c.attributes.float('clip', 0) };
      const step = cell.step(c);
      const initial = (from: number, d: number): ValueId | undefined => {
        if (!c.has(from)) return undefined;
        const state = swap(c.value(from), [1, 0, 2]);
        return squeeze(
          c,
          c.emit({ op: 'slice', inputs: [state], cuts: [{ axis: 0, start: d, end: d + 1, step: 1 }] }),
          [0],
        );
      };
      const all: ValueId[] = [];
      const last: State[] = [];
      for (const [d, direction] of directions.entries()) {
        const gates = linear(c, input, direction.input, direction.bias);
        let state: State = { h: initial(5, d), cell: cell.hasCell ? initial(6, d) : undefined };
        const outputs = new Array<ValueId>(times);
        for (let i = 0; i < times; i++) {
          const t = direction.reverse ? times - 1 - i : i;
          const now = c.emit({ op: 'slice', inputs: [gates], cuts: [{ axis: 0, start: t, end: t + 1, step: 1 }] });
          state = step(layer, direction, squeeze(c, now, [0]), state);
          outputs[t] = unsqueeze(c, state.h!, [0, 1]);
        }
        all.push(c.emit({ op: 'concat', inputs: outputs, axis: 0 }));
        last.push(state);
      }
      const join = (values: ValueId[], axis: number) =>
        values.length === 1 ? values[0] : c.emit({ op: 'concat', inputs: values, axis });
      const lastOf = (pick: (state: State) => ValueId) =>
        swap(
          join(
            last.map((state) => unsqueeze(c, pick(state), [0])),
            0,
          ),
          [1, 0, 2],
        );
      const y = swap(join(all, 1), [2, 0, 1, 3]);
      const made = [y, lastOf((state) => state.h!)];
      return cell.hasCell ? [...made, lastOf((state) => state.cell!)] : made;
    },
  };
}

const LSTM: Cell = {
  gates: 4,
  functions: ['Sigmoid', 'Tanh', 'Tanh'],
  step: () => lstm,
  joined: () => 4,
  hasCell: true,
};

/** Codes [directions, cols, rows] with scales and zero points a direction, or a direction and row. */
function dynamicMatrices(c: NodeContext, input: number, name: string): ReturnType<typeof matricesOf> {
  const codes = c.codes(input);
  if (codes?.dims.length !== 3) throw new Unsupported(`${name} that is no constant of codes`);
  const [count, , rows] = codes.dims;
  const at = input === 1 ? 8 : 10;
  const { dims, data: scale } = c.constant(at, `${name}_scale`, [1, 2]);
  const perRow = dims.length === 2;
  if (dims[0] !== count || (perRow && dims[1] !== rows)) {
    c.bad(`${name}_scale`, `[${count}] or [${count}, ${rows}]`, `[${dims.join(', ')}]`);
  }
  const zeroPoint = c.has(at + 1) ? c.constant(at + 1, `${name}_zero_point`).data : undefined;
  if (zeroPoint && zeroPoint.length !== scale.length) {
    c.bad(`${name}_zero_point`, `${scale.length} elements`, String(zeroPoint.length));
  }
  c.claim(codes.data.length);
  const blocks = [1, Math.max(codes.dims[1], 1), perRow ? 1 : Math.max(rows, 1)];
  const quantized = transposed({ kind: 'quantized', codes, blocks, scale, zeroPoint }, [0, 2, 1]);
  const matrices = packEach(quantized);
  if (!matrices) throw new Unsupported(`${name} with scales that are not above 0`);
  return { dims: quantized.codes.dims, matrices };
}

export const recurrentLayers: Readonly<Record<string, Operator>> = {
  GRU: recurrent({
    gates: 3,
    functions: ['Sigmoid', 'Tanh'],
    step: (c) => gru(c.attributes.int('linear_before_reset', 0) !== 0),
    joined: (c) => (c.attributes.int('linear_before_reset', 0) !== 0 ? 2 : 3),
    hasCell: false,
  }),
  LSTM: recurrent(LSTM),
  RNN: recurrent({ gates: 1, functions: ['Tanh'], step: () => rnn, joined: () => 1, hasCell: false }),
  'com.microsoft.DynamicQuantizeLSTM': recurrent({ ...LSTM, matrices: dynamicMatrices }),
};
