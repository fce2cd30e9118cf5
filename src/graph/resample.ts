import type { ResampleNode } from './ir.js';

/** Where position i of the output lies in the input. */
function position({ coordinates, size }: ResampleNode, i: number, inSize: number, outSize: number): number {
  const scale = typeof size === 'object' ? size.scale : outSize / inSize;
  switch (coordinates) {
    case 'half_pixel':
      return (i + 0.5) / scale - 0.5;
    case 'pytorch_half_pixel':
      return outSize > 1 ? (i + 0.5) / scale - 0.5 : 0;
    case 'align_corners':
      return outSize > 1 ? (i * (inSize - 1)) / (outSize - 1) : 0;
    case 'asymmetric':
      return i / scale;
    case 'tf_half_pixel_for_nn':
      return (i + 0.5) / scale;
  }
}

/** Positions are quotients: what is this close to a whole or half number is meant to be one. */
function settle(x: number): number {
  const near = Math.round(2 * x) / 2;
  return Math.abs(x - near) < 1e-6 ? near : x;
}

const ROUNDINGS: Record<ResampleNode['rounding'], (x: number) => number> = {
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** The kernel of Keys 1981, Cubic convolution interpolation, at a distance below 2. */
function cubic(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? a * (((x - 5) * x + 8) * x - 4) : 0;
}

/** For each position of the output, the indices in the input that it mixes, and by what weights. */
export function resampleTable(
  node: ResampleNode,
  inSize: number,
  outSize: number,
): { taps: number; index: number[]; weight: number[] } {
  const taps = { nearest: 1, linear: 2, cubic: 4 }[node.mode];
  const index: number[] = [];
  const weight: number[] = [];
  for (let i = 0; i < outSize; i++) {
    const x = settle(position(node, i, inSize, outSize));
    const base = node.mode === 'nearest' ? ROUNDINGS[node.rounding](x) : Math.floor(x);
    for (let t = 0; t < taps; t++) {
      // What lies outside is the edge.
      const at = base + t - (node.mode === 'cubic' ? 1 : 0);
      index.push(Math.min(Math.max(at, 0), inSize - 1));
      if (node.mode === 'nearest') weight.push(1);
      else weight.push(node.mode === 'linear' ? 1 - Math.abs(x - at) : cubic(x - at, node.cubic));
    }
  }
  return { taps, index, weight };
}
