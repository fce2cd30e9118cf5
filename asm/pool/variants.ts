import type { ElementType } from '../../src/dtype.js';
import type { PoolProblem, Quantization } from '../../src/plan/problem.js';
import { floatBits, predictMs, row } from '../../src/wasm/variant.js';

const CODES = ['uint8', 'int8'] as const;

const meaning = ({ dtype, zeroPoint, scale }: Quantization): number[] => [
  ...[dtype === 'int8' ? 1 : 0, zeroPoint, floatBits(scale)],
];

const pool = (name: string, op: PoolProblem['op'], dtypes: readonly ElementType[]) =>
  row<PoolProblem>({
    name,
    ops: [op],
    inputs: dtypes,
    outputs: dtypes,
    stages: [{ export: name, tiles: ({ window: w }) => w.batch * w.outHeight * w.outWidth }],
    params({ window: w, channels, countIncludePad, codes }) {
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
        ...(codes ? [...meaning(codes.input), ...meaning(codes.output)] : []),
      ];
    },
    scratchBytes: ({ window: w }) => w.kernelHeight * w.kernelWidth * 4,
    cost({ window: w, channels }, device) {
      const taps = w.batch * w.outHeight * w.outWidth * channels * w.kernelHeight * w.kernelWidth;
      return predictMs(device, dtypes === CODES ? taps / 2 : taps * 2, 0.5, taps);
    },
  });

export const pooling = [
  pool('max_pool2d', 'maxPool2d', ['float32']),
  pool('average_pool2d', 'averagePool2d', ['float32']),
  pool('max_pool2d_codes', 'maxPool2d', CODES),
  pool('average_pool2d_codes', 'averagePool2d', CODES),
];
