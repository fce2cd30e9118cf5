import { outputSize, type ResampleProblem } from '../../src/plan/problem.js';
import type { WebgpuVariant } from '../../src/webgpu/variant.js';
import { fits, predictMs } from '../shared/cost.js';
import shader from './resample.wgsl';

/** Two pairs of index and weight each. */
const vectors = (p: ResampleProblem): number => Math.ceil(p.index.length / 2);

/** What every device lets a uniform buffer have, in vectors, without the first. */
const MOST_VECTORS = 65536 / 16 - 1;

export const resample: WebgpuVariant<ResampleProblem>[] = [
  {
    name: 'resample_1x1_wgsl',
    ops: ['resample'],
    supports: (p, device) =>
      vectors(p) > MOST_VECTORS
        ? `${p.index.length} taps are more than a uniform buffer holds`
        : fits(device, { input: 4 * p.outer * p.inSize * p.inner, output: 4 * outputSize(p) }),
    stages(p) {
      const weights = new Uint32Array(Float32Array.from(p.weight).buffer);
      const table = p.index.flatMap((index, t) => [index, weights[t]]);
      const padding = new Array<number>(4 * vectors(p) - table.length).fill(0);
      return [
        {
          label: 'resample/resample.wgsl',
          source: shader,
          consts: { IN_SIZE: p.inSize, OUT_SIZE: p.outSize, INNER: p.inner, TAPS: p.taps, VECTORS: vectors(p) },
          params: [outputSize(p), 0, 0, 0, ...table, ...padding],
          workgroups: Math.ceil(outputSize(p) / 64),
        },
      ];
    },
    cost(p, device) {
      const size = outputSize(p);
      const bytes = 4 * size * (1 + p.taps);
      return predictMs(device, { macs: size * p.taps, efficiency: 0.05, threads: size, bytes, dispatches: 1 });
    },
  },
];
