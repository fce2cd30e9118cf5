import { type Constant, NO_CLAMP, type ValueId } from '../../graph/ir.js';
import type { UnaryFunction } from '../../plan/problem.js';
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

type Weights = { format: 'dense'; rows: number; cols: number; values: Float32Array };

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

const parts = new WeakMap<Float32Array, Map<number, Weights>>();

/** Some rows of a matrix, the same object each time, so that all times share one packed copy. */
function partOf({ cols, values }: Weights, first: number, past: number): Weights {
  const known = parts.get(values) ?? new Map<number, Weights>();
  parts.set(values, known);
  const part = known.get(first) ?? {
    format: 'dense',
    rows: past - first,
    cols,
    values: values.subarray(first * cols, past * cols),
  };
  known.set(first, part);
  return part;
}

/** Matrix d of a constant [directions, rows, cols]. */
function matrixOf({ dims, data }: Constant, d: number): Weights {
  const [, rows, cols] = dims;
  return { format: 'dense', rows, cols, values: data.slice(d * rows * cols, (d + 1) * rows * cols) };
}

interface Cell {
  gates: number;
  functions: readonly string[];
  step(c: NodeContext): Step;
  /** Gates, of the first, whose biases of state and inputs are added. */
  joined(c: NodeContext): number;
  hasCell: boolean;
}

function readDirections(
  c: NodeContext,
  { gates, functions, joined, hasCell }: Cell,
): { hidden: number; directions: Direction[] } {
  const kind = c.attributes.string('direction', 'forward');
  if (!['forward', 'reverse', 'bidirectional'].includes(kind))
    c.bad('direction', 'forward, reverse or bidirectional', kind);
  const count = kind === 'bidirectional' ? 2 : 1;
  const [w, r] = [c.constant(1, 'W', [3]), c.constant(2, 'R', [3])];
  const hidden = r.dims[2];
  const wanted = [count, gates * hidden];
  if (hidden < 1 || w.data.length === 0 || [w, r].some(({ dims }) => dims[0] !== wanted[0] || dims[1] !== wanted[1])) {
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
  c.claim(w.data.length + r.data.length);
  const directions = Array.from({ length: count }, (_, d): Direction => {
    const bias = biases?.subarray(d * length, (d + 1) * length);
    const rows = gates * hidden;
    const ofState = (row: number) => (row < joined(c) * hidden ? bias![rows + row] : 0);
    return {
      input: matrixOf(w, d),
      state: matrixOf(r, d),
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
    inputs: [3, 8],
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

export const recurrentLayers: Readonly<Record<string, Operator>> = {
  GRU: recurrent({
    gates: 3,
    functions: ['Sigmoid', 'Tanh'],
    step: (c) => gru(c.attributes.int('linear_before_reset', 0) !== 0),
    joined: (c) => (c.attributes.int('linear_before_reset', 0) !== 0 ? 2 : 3),
    hasCell: false,
  }),
  LSTM: recurrent({
    gates: 4,
    functions: ['Sigmoid', 'Tanh', 'Tanh'],
    step: () => lstm,
    joined: () => 4,
    hasCell: true,
  }),
  RNN: recurrent({ gates: 1, functions: ['Tanh'], step: () => rnn, joined: () => 1, hasCell: false }),
};
