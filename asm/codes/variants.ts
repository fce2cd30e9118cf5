import { fixedFactor, fixedSum } from '../../src/formats/fixed.js';
import {
  CODE_BINARY,
  type CodeBinaryProblem,
  type DequantizeProblem,
  type LookupProblem,
  type Quantization,
  type QuantizeProblem,
} from '../../src/plan/problem.js';
import { mergeDims, product } from '../../src/plan/strides.js';
import { floatBits, predictMs, row, rowsOf } from '../../src/wasm/variant.js';

/** Elements of a tile. */
const BLOCK = 4096;
/** Outer dimensions that the job has room for. */
const OUTER = 5;

const CODES = ['uint8', 'int8'] as const;

const tiles = (p: { size: number }) => Math.ceil(p.size / BLOCK);
const signed = ({ dtype }: Pick<Quantization, 'dtype'>): number => (dtype === 'int8' ? 1 : 0);
const meaning = (q: Quantization): number[] => [floatBits(q.scale), q.zeroPoint, signed(q)];

const merged = (p: CodeBinaryProblem) => rowsOf(mergeDims({ dims: p.dims, strides: [p.aStrides, p.bStrides] }));

/** What the job says of the operands and the result, see CodeBinaryJob. */
function kindOf({ op, a, b, output }: CodeBinaryProblem): { kind: number; a: number; b: number; output: number } {
  if (op === 'fixedAdd' || op === 'fixedSub') {
    const { shift, ...factors } = fixedSum(a, b, output, op === 'fixedSub' ? -1 : 1)!;
    return { kind: 2, ...factors, output: shift };
  }
  const [aScale, bScale] = [floatBits(a.scale), floatBits(b.scale)];
  if (op === 'fixedMul') return { kind: 3, a: aScale, b: bScale, output: floatBits(fixedFactor(a, b, output)!) };
  return { kind: op === 'qMul' ? 1 : 0, a: aScale, b: bScale, output: floatBits(output.scale) };
}

const binary = (op: CodeBinaryProblem['op']) =>
  row<CodeBinaryProblem>({
    name: `${op}_codes`,
    ops: [op],
    inputs: CODES,
    outputs: CODES,
    supports: (p) => merged(p).dims.length <= OUTER + 1 || `over ${OUTER + 1} dimensions after merging`,
    stages: [
      {
        export: 'code_binary',
        tiles(p) {
          const { dims } = merged(p);
          return product(dims.slice(0, -1)) * Math.ceil(dims.at(-1)! / BLOCK);
        },
      },
    ],
    params(p) {
      const {
        dims,
        strides: [a, b],
      } = merged(p);
      const how = kindOf(p);
      const params = [
        ...[how.kind, dims.at(-1)!, a.at(-1)!, b.at(-1)!],
        ...[how.a, p.a.zeroPoint, signed(p.a), how.b, p.b.zeroPoint, signed(p.b)],
        ...[how.output, p.output.zeroPoint, signed(p.output), ...p.clamp],
      ];
      for (let i = 0; i < OUTER; i++) {
        const d = dims.length - 1 - OUTER + i;
        params.push(...(d < 0 ? [1, 0, 0] : [dims[d], a[d], b[d]]));
      }
      return params;
    },
    cost: (p, device) => predictMs(device, product(p.dims) * 6, 0.5, product(p.dims) * 3),
  });

export const codes = [
  row<QuantizeProblem>({
    name: 'quantize_f32',
    ops: ['quantize'],
    outputs: CODES,
    stages: [{ export: 'quantize', tiles }],
    params: ({ size, output }) => [size, ...meaning(output)],
    cost: (p, device) => predictMs(device, p.size * 4, 0.5, p.size * 5),
  }),
  row<DequantizeProblem>({
    name: 'dequantize_f32',
    ops: ['dequantize'],
    inputs: [...CODES, 'int32'],
    stages: [{ export: 'dequantize', tiles }],
    params: ({ size, scale, zeroPoint, dtype }) => [
      ...[size, floatBits(scale), zeroPoint],
      ['uint8', 'int8', 'int32'].indexOf(dtype),
    ],
    cost: (p, device) => predictMs(device, p.size * 2, 0.5, p.size * 5),
  }),
  row<LookupProblem>({
    name: 'lookup_codes',
    ops: ['lookup'],
    inputs: CODES,
    outputs: CODES,
    stages: [{ export: 'lookup', tiles }],
    params: ({ size, table }) => [size, ...new Uint32Array(Uint8Array.from(table).buffer)],
    cost: (p, device) => predictMs(device, p.size * 8, 0.5, p.size * 2),
  }),
  ...CODE_BINARY.map(binary),
];
