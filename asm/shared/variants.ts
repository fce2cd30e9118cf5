import type { FormatName } from '../../src/formats/format.js';
import type { MatmulProblem } from '../../src/plan/problem.js';
import {
  matmulParams,
  predictMs,
  roundUp,
  row,
  rowBlockOf,
  tapsOf,
  type WasmLayout,
  type WasmVariant,
} from '../../src/wasm/variant.js';

/** What a format adds to the kernels of asm/shared/gemm_f32.ts: where its f32 panels of 8 channels come from. */
export interface PanelFormat {
  format: FormatName;
  /** Rows are `<name>_gemm_6x8`, `<name>_gemm_4x8`, `<name>_gemv_1x8`; exports `<name>_gemm` and `<name>_gemv`. */
  name: string;
  layout: WasmLayout<never>;
  supports?: (p: MatmulProblem) => true | string;
  /** Multiply-adds that decoding one weight costs as much as; absent: the panels are read as they are. */
  decode?: number;
}

/** The rows of a format whose weights become f32 panels. */
export function panelRows({ format, name, layout, supports, decode = 0 }: PanelFormat): WasmVariant[] {
  const common = { ops: ['linear', 'conv2d'], format, layout, supports, clamp: (p: MatmulProblem) => p.clamp } as const;
  const decodes = (p: MatmulProblem) => p.N * p.K * p.groups * decode;

  const gemm = (MR: 6 | 4, requires: string) => {
    const rowBlock = (p: MatmulProblem) => rowBlockOf(p, MR, p.K * 4);
    const tiles = (p: MatmulProblem) => p.groups * Math.ceil(p.M / rowBlock(p));
    return row<MatmulProblem>({
      ...common,
      name: `${name}_gemm_${MR}x8`,
      requires: [requires],
      stages: [{ export: `${name}_gemm`, tiles }],
      params: (p) => matmulParams(p, { panel: 8, rowBlock: rowBlock(p) }),
      scratchBytes: (p) => tapsOf(p) * MR * 4 + 64 + rowBlock(p) * p.K * 4 + p.K * 32 + 128,
      cost(p, device) {
        const macs = roundUp(p.M, MR) * roundUp(p.N, 8) * p.K * p.groups;
        return predictMs(device, macs + (decodes(p) * tiles(p)) / p.groups, 0.9, p.weights.bytes);
      },
    });
  };

  return [
    gemm(6, 'relaxed-simd'),
    gemm(4, 'plain-simd'),
    row<MatmulProblem>({
      ...common,
      name: `${name}_gemv_1x8`,
      stages: [{ export: `${name}_gemv`, tiles: (p) => p.groups * Math.ceil(p.N / 8) }],
      params: (p) => matmulParams(p, { panel: 8 }),
      scratchBytes: (p) => tapsOf(p) * 4 + 64 + p.K * 4 + 64 + p.K * 32 + 128,
      cost(p, device) {
        const macs = p.M * roundUp(p.N, 8) * p.K * p.groups;
        return predictMs(device, macs + decodes(p) * p.M, 0.6, p.M * p.weights.bytes);
      },
    }),
  ];
}
