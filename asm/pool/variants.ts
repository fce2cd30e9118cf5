import type { PoolProblem } from '../../src/plan/problem.js';
import { predictMs, row } from '../../src/wasm/variant.js';

const pool = (name: string, op: PoolProblem['op']) =>
  row<PoolProblem>({
    name,
    ops: [op],
    stages: [{ export: name, tiles: ({ window: w }) => w.batch * w.outHeight * w.outWidth }],
    params({ window: w, channels, countIncludePad }) {
      return [
        channels,
        w.inHeight,
        w.inWidth,
        w.kernelHeight,
        w.kernelWidth,
        w.strideHeight,
        w.strideWidth,
        w.dilationHeight,
        w.dilationWidth,
        w.padTop,
        w.padLeft,
        w.padBottom,
        w.padRight,
        w.outHeight,
        w.outWidth,
        countIncludePad ? 1 : 0,
      ];
    },
    scratchBytes: ({ window: w }) => w.kernelHeight * w.kernelWidth * 4,
    cost({ window: w, channels }, device) {
      const taps = w.batch * w.outHeight * w.outWidth * channels * w.kernelHeight * w.kernelWidth;
      return predictMs(device, taps * 2, 0.5, taps);
    },
  });

export const pooling = [pool('max_pool2d', 'maxPool2d'), pool('average_pool2d', 'averagePool2d')];
