import type { Weights } from '../formats/format.js';
import { type Emitter, reshape } from './emit.js';
import type { Cut, ImageLayout, LayerNode, ReshapeDim, ValueId } from './ir.js';

/*
 * A transposed convolution, as a convolution whose outputs are all the pixels that an input pixel's neighbourhood makes
 * (strideHeight x strideWidth of them, channels of their own) and a rearrangement of those: no multiplication by zeros
 * but where the stride does not divide the kernel.
 */

type Pair = readonly [height: number, width: number];

/** Weights of a transposed convolution, in any order. */
export interface TransposedKernel {
  kernel: Pair;
  /** Channels of the input, of all groups. */
  inputs: number;
  groups: number;
  /** Channels of the output that a group makes. */
  groupOutputs: number;
  /** Where the weight from channel i to channel o of a group lies. */
  placeOf(group: number, i: number, o: number, ky: number, kx: number): number;
}

/** Those weights as the matrix of the convolution. */
export interface ArrangedKernel {
  rows: number;
  cols: number;
  /** [rows, cols]: places of weights, or -1 for a zero. */
  places: Int32Array;
  /** The channel of the output that a row makes pixels of. */
  outputOf(row: number): number;
}

const tapsOf = ({ kernel }: TransposedKernel, stride: Pair): Pair => [
  Math.ceil(kernel[0] / stride[0]),
  Math.ceil(kernel[1] / stride[1]),
];

/** Elements of the matrix. */
export function arrangedSize(kernel: TransposedKernel, stride: Pair): number {
  const [v, h] = tapsOf(kernel, stride);
  return stride[0] * stride[1] * kernel.groupOutputs * v * h * kernel.inputs;
}

export function arrangeKernel(kernel: TransposedKernel, stride: Pair): ArrangedKernel {
  const { inputs, groups, groupOutputs, placeOf } = kernel;
  const [vTaps, hTaps] = tapsOf(kernel, stride);
  const phases = stride[0] * stride[1];
  const groupInputs = inputs / groups;
  const rows = groups * phases * groupOutputs;
  const cols = vTaps * hTaps * groupInputs;
  const places = new Int32Array(rows * cols);
  let at = 0;
  for (let g = 0; g < groups; g++) {
    for (let phase = 0; phase < phases; phase++) {
      for (let o = 0; o < groupOutputs; o++) {
        for (let tap = 0; tap < vTaps * hTaps; tap++) {
          // The window of block b reads inputs b - taps + 1 .. b, so its last tap is the kernel's first.
          const ky = Math.floor(phase / stride[1]) + (vTaps - 1 - Math.floor(tap / hTaps)) * stride[0];
          const kx = (phase % stride[1]) + (hTaps - 1 - (tap % hTaps)) * stride[1];
          const inside = ky < kernel.kernel[0] && kx < kernel.kernel[1];
          for (let i = 0; i < groupInputs; i++) places[at++] = inside ? placeOf(g, i, o, ky, kx) : -1;
        }
      }
    }
  }
  const outputOf = (row: number) => Math.floor(row / (phases * groupOutputs)) * groupOutputs + (row % groupOutputs);
  return { rows, cols, places, outputOf };
}

/** Codes, scales and zero points (one, or one an output channel) as the int8 weights of the convolution. */
export function arrangeInt8(
  { rows, cols, places, outputOf }: ArrangedKernel,
  codes: ArrayLike<number>,
  scale: ArrayLike<number>,
  zeroPoint: ArrayLike<number>,
): Weights {
  const of = (list: ArrayLike<number>, row: number) => list[list.length === 1 ? 0 : outputOf(row)];
  const perRow = (list: ArrayLike<number>) =>
    Array.from({ length: list.length === 1 ? 1 : rows }, (_, row) => of(list, row));
  const arranged = Int8Array.from(places, (place, i) =>
    place < 0 ? of(zeroPoint, Math.floor(i / cols)) : codes[place],
  );
  const weights: Weights = { format: 'int8', rows, cols, codes: arranged, scale: Float32Array.from(perRow(scale)) };
  const zeros = Int8Array.from(perRow(zeroPoint));
  return zeros.some((zero) => zero !== 0) ? { ...weights, zeroPoint: zeros } : weights;
}

/** Where a result lies along one axis: of n pixels, from `begin` to before n * stride + `end` of what the kernel makes. */
export interface TransposedAxis {
  stride: number;
  dilation: number;
  begin: number;
  end: number;
}

const TO_NHWC = [0, 2, 3, 1];
const TO_NCHW = [0, 3, 1, 2];

/** @param layer the arranged weights, a bias a row, and what else the layer has */
export function transposedConv(
  c: Emitter,
  image: ValueId,
  layout: ImageLayout,
  kernel: TransposedKernel,
  axes: readonly [vertical: TransposedAxis, horizontal: TransposedAxis],
  layer: Pick<LayerNode, 'weights' | 'bias' | 'clamp' | 'inputCodes' | 'result'>,
): ValueId {
  const { groups, groupOutputs } = kernel;
  const [v, h] = axes;
  const taps = tapsOf(kernel, [v.stride, h.stride]);
  const blocks = axes.map(({ stride, dilation, end }, side) => {
    // Blocks of `stride` pixels that the convolution makes beyond those of the n.
    const before = (taps[side] - 1) * dilation;
    const after = Math.max(before, Math.ceil(end / stride));
    return { before, after, past: end - after * stride };
  });
  let result = c.emit({
    op: 'conv2d',
    inputs: [image],
    layout,
    window: {
      kernel: [taps[0], taps[1]],
      dilation: [v.dilation, h.dilation],
      padding: [blocks[0].before, blocks[1].before, blocks[0].after, blocks[1].after],
    },
    groups,
    ...layer,
  });
  if (v.stride * h.stride > 1) {
    const axis = (i: number): ReshapeDim => ({ axes: [i] });
    // Where channels come last, as convolutions have it: passes cancel the transposes against theirs.
    const nhwc = layout === 'NHWC' ? result : c.emit({ op: 'transpose', inputs: [result], perm: TO_NHWC });
    const split = reshape(c, nhwc, [axis(0), axis(1), axis(2), groups, v.stride, h.stride, groupOutputs]);
    const moved = c.emit({ op: 'transpose', inputs: [split], perm: [0, 1, 4, 2, 5, 3, 6] });
    result = reshape(c, moved, [axis(0), { axes: [1, 2] }, { axes: [3, 4] }, groups * groupOutputs]);
    if (layout === 'NCHW') result = c.emit({ op: 'transpose', inputs: [result], perm: TO_NCHW });
  }
  const first = layout === 'NHWC' ? 1 : 2;
  const cuts = blocks.map(({ past }, side): Cut => {
    const end = past === 0 ? Number.MAX_SAFE_INTEGER : past;
    return { axis: first + side, start: axes[side].begin, end, step: 1 };
  });
  return c.emit({ op: 'slice', inputs: [result], cuts });
}
