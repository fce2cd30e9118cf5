// Selection, pinned: which row each table offers for a problem on a device. A change of a cost model or a new row
// shows here as a changed name; if the new choice was measured to be better, change the table.
import usdotBase64 from 'thinfer:wasm/a-usdot';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmVariants } from '../asm/variants.js';
import { webgpuVariants } from '../kernels/variants.js';
import { ThinferError } from '../src/errors.js';
import type { Weights } from '../src/formats/format.js';
import { formatOf } from '../src/formats/index.js';
import { type Conv2dOptions, conv2dProblem, linearProblem, weightFacts } from '../src/layers/problem.js';
import type { MatmulProblem, Problem, WeightFacts } from '../src/plan/problem.js';
import { type Offer, refusal, rowsFor, select } from '../src/plan/select.js';
import type { Device, VariantBase } from '../src/plan/variant.js';
import { createWasmBackend, probeEngine, type WasmOptions } from '../src/wasm/index.js';
import { requireCapability } from './support/capability.js';

const made = new Map<string, WeightFacts>();

/** A format's options, by the words that stand after its name. */
function optionsOf(format: string, word: string): object {
  if (format === 'codebook' || format === 'csrCodebook') return { entries: Number(word) };
  if (format === 'csrInt8') return { blockCols: Number(word) };
  return format === 'bcsr' ? { block: word.split('x').map(Number) } : {};
}

/**
 * Facts of weights of a format, all one value, or with the given part of non-zeros (of blocks).
 * @param kind a format's name and, after spaces, what sets it apart: `csr 10%`, `codebook 256`, `bcsr 4x1 10%`
 */
function facts(kind: string, rows: number, cols: number): WeightFacts {
  const key = `${kind} ${rows}x${cols}`;
  let found = made.get(key);
  if (!found) {
    const [format, ...words] = kind.split(' ');
    const part = words.find((word) => word.endsWith('%')) ?? (format === 'nm' ? '50%' : '100%');
    const every = 100 / Number.parseFloat(part);
    const options = optionsOf(format, words[0]) as { block?: number[]; blockCols?: number };
    const [blockRows, blockCols] = options.block ?? [1, options.blockCols ?? 1];
    const stride = Math.ceil(cols / blockCols);
    const values = Float32Array.from({ length: rows * cols }, (_, i) => {
      const row = Math.floor(i / cols);
      const block = Math.floor(row / blockRows) * stride + Math.floor((i % cols) / blockCols);
      return block % every === 0 ? 1 : 0;
    });
    found = weightFacts(formatOf({ format } as Weights).pack(values, { rows, cols, ...options }));
    made.set(key, found);
  }
  return found;
}

const arithmeticOf = (kind: string) => (kind.endsWith('halves') ? ({ arithmetic: 'f16' } as const) : {});

function linear(format: string, M: number, N: number, K: number): MatmulProblem {
  return linearProblem(facts(format, N, K), { rows: N, cols: K }, M, arithmeticOf(format));
}

function conv(format: string, size: number, channels: number, outputs: number, options: Conv2dOptions): MatmulProblem {
  const taps = (options.kernel as number) ** 2;
  const shape = { rows: outputs, cols: (taps * channels) / (options.groups ?? 1) };
  return conv2dProblem(facts(format, shape.rows, shape.cols), shape, [1, size, size], {
    padding: 'same',
    ...arithmeticOf(format),
    ...options,
  });
}

const PROBLEMS: Record<string, (format: string) => MatmulProblem> = {
  '1x1024x1024': (format) => linear(format, 1, 1024, 1024),
  '8x1024x1024': (format) => linear(format, 8, 1024, 1024),
  '128x768x3072': (format) => linear(format, 128, 3072, 768),
  '10x10x10': (format) => linear(format, 10, 10, 10),
  'conv 3x3 64c 56x56': (format) => conv(format, 56, 64, 64, { kernel: 3 }),
  'conv 1x1 256>1024 14x14': (format) => conv(format, 14, 256, 1024, { kernel: 1 }),
  'depthwise 3x3 128c 28x28': (format) => conv(format, 28, 128, 128, { kernel: 3, groups: 128 }),
};
const KINDS = ['dense', 'csr 50%', 'csr 10%', 'csr 2%', 'int8', 'codebook 16', 'codebook 256', 'xnor'];
/** Pinned on WASM, and on the GPU, as well. */
const WASM_KINDS = [
  'f16',
  'bcsr 2x1 10%',
  'bcsr 4x1 10%',
  'bcsr 8x1 10%',
  'bcsr 1x4 10%',
  'nm',
  'csrInt8 1 10%',
  'csrInt8 4 10%',
  'csrCodebook 16 10%',
  'csrCodebook 256 10%',
];
const GPU_KINDS = [
  'f16',
  'int4',
  'int2',
  'ternary',
  'binary',
  'bcsr 4x1 10%',
  'nm',
  'csrInt8 1 10%',
  'csrCodebook 16 10%',
];
/** Pinned on a GPU with f16 and subgroup matrices: `halves` allow activations of 16 bits. */
const MATRIX_KINDS = ['f16', 'f16 halves', 'int8', 'ternary'];

function kindsOf(device: string): readonly string[] {
  if (device === 'webgpu, matrices') return MATRIX_KINDS;
  if (device === 'webgpu, f16') return ['f16 halves'];
  return [...KINDS, ...(device === 'webgpu' ? GPU_KINDS : WASM_KINDS)];
}

const FEATURES = ['packed_4x8_integer_dot_product', 'subgroups', 'subgroup_id'];

/** A discrete GPU as WebGPU shows it. */
const gpu = (features: string[]): Device => ({
  backend: 'webgpu',
  label: 'a discrete GPU',
  features: new Set(features),
  macsPerNs: 2000,
  bytesPerNs: 200,
  dispatchMs: 0.008,
  runMs: 1.5,
  limits: { maxStorageBufferBindingSize: 2 ** 27, maxBufferSize: 2 ** 28 },
});

/** The device of a WASM module, as it is on x64 wherever the tests run. */
async function wasm(options: WasmOptions): Promise<Device> {
  const backend = await createWasmBackend({ ...options, threads: 1 });
  const { device } = backend;
  backend.free();
  return { ...device, features: new Set([...device.features, 'x86']) };
}

const bytes = Uint8Array.from(atob(usdotBase64), (char) => char.charCodeAt(0));
const relaxed = requireCapability('relaxed SIMD', probeEngine().relaxedSimd, 'this engine has none');
const offers: Record<string, Offer> = {
  ...(relaxed && {
    'wasm A': { device: await wasm({ module: 'A', bytes, dot: 'usdot' }), variants: wasmVariants },
    'wasm B': { device: await wasm({ module: 'B' }), variants: wasmVariants },
  }),
  'wasm C': { device: await wasm({ module: 'C' }), variants: wasmVariants },
  webgpu: { device: gpu(FEATURES), variants: webgpuVariants },
  'webgpu, f16': { device: gpu([...FEATURES, 'shader-f16']), variants: webgpuVariants },
  'webgpu, matrices': {
    device: {
      ...gpu([...FEATURES, 'shader-f16', 'chromium-experimental-subgroup-matrix']),
      limits: {
        maxStorageBufferBindingSize: 2 ** 27,
        maxBufferSize: 2 ** 28,
        maxComputeWorkgroupStorageSize: 49152,
        maxComputeInvocationsPerWorkgroup: 1024,
      },
      matrices: {
        threads: 32,
        configs: [
          { component: 'f16', result: 'f32', M: 16, N: 16, K: 16 },
          { component: 'i8', result: 'i32', M: 16, N: 16, K: 32 },
        ],
      },
    },
    variants: webgpuVariants,
  },
};

/** By device and kind of weights: the row for each of PROBLEMS, in order. */
const PINNED: Record<string, Record<string, string[]>> = {
  'wasm A': {
    f16: [
      'f16_gemv_1x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_depthwise_4x8',
    ],
    dense: [
      'dense_gemv_1x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_depthwise_4x8',
    ],
    'csr 50%': [
      'csr_gemv_1x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    'csr 10%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    'csr 2%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    int8: [
      'int8_gemv_1x8_k4_dot',
      'int8_gemm_6x8_k4_dot',
      'int8_gemm_6x8_k4_dot',
      'int8_gemv_1x8_k4_dot',
      'int8_gemm_6x8_k4_dot',
      'int8_gemm_6x8_k4_dot',
      'int8_depthwise_1x8_k2',
    ],
    'codebook 16': [
      'codebook16_gemv_1x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_depthwise_4x8',
    ],
    'codebook 256': [
      'codebook256_gemv_1x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_depthwise_4x8',
    ],
    xnor: [
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
    ],
    'bcsr 2x1 10%': [
      'bcsr2x1_gemv_1x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 4x1 10%': [
      'bcsr4x1_gemv_1x4',
      'bcsr4x1_spmm_8x4',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 8x1 10%': [
      'bcsr8x1_gemv_1x8',
      'bcsr8x1_spmm_8x4',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 1x4 10%': [
      'bcsr1x4_gemv_1x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
    ],
    nm: ['nm_gemv_1x8', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1'],
    'csrInt8 1 10%': [
      'csrInt8_gemv_1x1',
      'csrInt8_spmm_32x1_k4_dot',
      'csrInt8_spmm_32x1_k4_dot',
      'csrInt8_spmm_32x1_k4_dot',
      'csrInt8_spmm_32x1_k4_dot',
      'csrInt8_spmm_32x1_k4_dot',
      'csrInt8_spmm_32x1_k4_dot',
    ],
    'csrInt8 4 10%': [
      'csrInt8x4_gemv_1x1',
      'csrInt8x4_spmm_32x1_k4_dot',
      'csrInt8x4_spmm_32x1_k4_dot',
      'csrInt8x4_spmm_32x1_k4_dot',
      'csrInt8x4_spmm_32x1_k4_dot',
      'csrInt8x4_spmm_32x1_k4_dot',
      'csrInt8x4_spmm_32x1_k4_dot',
    ],
    'csrCodebook 16 10%': [
      'csrCodebook16_gemv_1x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_32x1',
    ],
    'csrCodebook 256 10%': [
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_32x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_32x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
    ],
  },
  'wasm B': {
    f16: [
      'f16_gemv_1x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_gemm_6x8',
      'f16_depthwise_4x8',
    ],
    dense: [
      'dense_gemv_1x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_gemm_6x8',
      'dense_depthwise_4x8',
    ],
    'csr 50%': [
      'csr_gemv_1x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    'csr 10%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    'csr 2%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
      'csr_spmm_16x1',
      'csr_spmm_32x1',
    ],
    int8: [
      'int8_gemv_1x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_depthwise_1x8_k2',
    ],
    'codebook 16': [
      'codebook16_gemv_1x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_gemm_6x8',
      'codebook16_depthwise_4x8',
    ],
    'codebook 256': [
      'codebook256_gemv_1x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_gemm_6x8',
      'codebook256_depthwise_4x8',
    ],
    xnor: [
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
    ],
    'bcsr 2x1 10%': [
      'bcsr2x1_gemv_1x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 4x1 10%': [
      'bcsr4x1_gemv_1x4',
      'bcsr4x1_spmm_8x4',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 8x1 10%': [
      'bcsr8x1_gemv_1x8',
      'bcsr8x1_spmm_8x4',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 1x4 10%': [
      'bcsr1x4_gemv_1x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
    ],
    nm: ['nm_gemv_1x8', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1'],
    'csrInt8 1 10%': [
      'csrInt8_gemv_1x1',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
    ],
    'csrInt8 4 10%': [
      'csrInt8x4_gemv_1x1',
      'csrInt8x4_gemv_1x1',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
    ],
    'csrCodebook 16 10%': [
      'csrCodebook16_gemv_1x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_32x1',
      'csrCodebook16_spmm_32x1',
    ],
    'csrCodebook 256 10%': [
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_32x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_32x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
    ],
  },
  'wasm C': {
    f16: [
      'f16_gemv_1x8',
      'f16_gemm_4x8',
      'f16_gemm_4x8',
      'f16_gemm_4x8',
      'f16_gemm_4x8',
      'f16_gemm_4x8',
      'f16_depthwise_4x8',
    ],
    dense: [
      'dense_gemv_1x8',
      'dense_gemm_4x8',
      'dense_gemm_4x8',
      'dense_gemm_4x8',
      'dense_gemm_4x8',
      'dense_gemm_4x8',
      'dense_depthwise_4x8',
    ],
    'csr 50%': [
      'csr_gemv_1x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
    ],
    'csr 10%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
    ],
    'csr 2%': [
      'csr_gemv_1x1',
      'csr_spmm_4x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
      'csr_spmm_16x1',
    ],
    int8: [
      'int8_gemv_1x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_gemm_4x8_k2',
      'int8_depthwise_1x8_k2',
    ],
    'codebook 16': [
      'codebook16_gemv_1x8',
      'codebook16_gemm_4x8',
      'codebook16_gemm_4x8',
      'codebook16_gemm_4x8',
      'codebook16_gemm_4x8',
      'codebook16_gemm_4x8',
      'codebook16_depthwise_4x8',
    ],
    'codebook 256': [
      'codebook256_gemv_1x8',
      'codebook256_gemm_4x8',
      'codebook256_gemm_4x8',
      'codebook256_gemm_4x8',
      'codebook256_gemm_4x8',
      'codebook256_gemm_4x8',
      'codebook256_depthwise_4x8',
    ],
    xnor: [
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
      'xnor_bgemm_4x32_lut',
    ],
    'bcsr 2x1 10%': [
      'bcsr2x1_gemv_1x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr2x1_spmm_16x2',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 4x1 10%': [
      'bcsr4x1_gemv_1x4',
      'bcsr4x1_spmm_8x4',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_16x2',
      'bcsr4x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 8x1 10%': [
      'bcsr8x1_gemv_1x8',
      'bcsr8x1_spmm_8x4',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_16x2',
      'bcsr8x1_spmm_8x4',
      'bcsr1x1_spmm_16x1',
    ],
    'bcsr 1x4 10%': [
      'bcsr1x4_gemv_1x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
      'bcsr1x4_spmm_16x1',
    ],
    nm: ['nm_gemv_1x8', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1', 'nm_spmm_16x1'],
    'csrInt8 1 10%': [
      'csrInt8_gemv_1x1',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
      'csrInt8_spmm_32x1_k2',
    ],
    'csrInt8 4 10%': [
      'csrInt8x4_gemv_1x1',
      'csrInt8x4_gemv_1x1',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
      'csrInt8x4_spmm_32x1_k2',
    ],
    'csrCodebook 16 10%': [
      'csrCodebook16_gemv_1x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_16x1',
      'csrCodebook16_spmm_16x1',
    ],
    'csrCodebook 256 10%': [
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_4x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
      'csrCodebook256_spmm_16x1',
    ],
  },
  webgpu: {
    f16: [
      'f16_gemv_1x4_sg_wgsl',
      'f16_gemv_4x4_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_gemv_1x4_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_direct_1x1_wgsl',
    ],
    dense: [
      'dense_gemv_1x4_sg_wgsl',
      'dense_gemv_4x4_wgsl',
      'dense_gemm_32x32_k32_wgsl',
      'dense_gemv_1x4_wgsl',
      'dense_gemm_32x32_k32_wgsl',
      'dense_gemm_32x32_k32_wgsl',
      'dense_direct_1x1_wgsl',
    ],
    'csr 50%': [
      'csr_gemv_1x4_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_spmm_256x1_wgsl',
    ],
    'csr 10%': [
      'csr_gemv_1x4_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_gemv_1x4_wgsl',
    ],
    'csr 2%': [
      'csr_gemv_1x4_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_gemv_1x4_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_spmm_256x1_wgsl',
      'csr_gemv_1x4_wgsl',
    ],
    int8: [
      'int8_gemv_1x4_sg_dot4',
      'int8_gemv_4x4_dot4',
      'int8_gemm_32x32_k32_dot4',
      'int8_gemv_1x4_dot4',
      'int8_gemm_32x32_k32_dot4',
      'int8_gemm_32x32_k32_dot4',
      'int8_direct_1x1_dot4',
    ],
    'codebook 16': [
      'codebook_gemv_1x4_sg_wgsl',
      'codebook_gemv_4x4_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_gemv_1x4_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_direct_1x1_wgsl',
    ],
    'codebook 256': [
      'codebook_gemv_1x4_sg_wgsl',
      'codebook_gemv_4x4_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_gemv_1x4_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_gemm_32x32_k32_wgsl',
      'codebook_direct_1x1_wgsl',
    ],
    xnor: [
      'xnor_gemv_1x4_popcount',
      'xnor_gemv_4x4_popcount',
      'xnor_gemm_32x32_k32_popcount',
      'xnor_gemv_1x4_popcount',
      'xnor_gemm_32x32_k32_popcount',
      'xnor_gemm_32x32_k32_popcount',
      'xnor_direct_1x1_popcount',
    ],
    int4: [
      'int4_gemv_1x4_dot4',
      'int4_gemv_4x4_dot4',
      'int4_gemm_32x32_k32_dot4',
      'int4_gemv_1x4_dot4',
      'int4_gemm_32x32_k32_dot4',
      'int4_gemm_32x32_k32_dot4',
      'int4_direct_1x1_dot4',
    ],
    int2: [
      'int2_gemv_1x4_dot4',
      'int2_gemv_1x4_dot4',
      'int2_gemm_32x32_k32_dot4',
      'int2_gemv_1x4_dot4',
      'int2_gemm_32x32_k32_dot4',
      'int2_gemm_32x32_k32_dot4',
      'int2_direct_1x1_dot4',
    ],
    ternary: [
      'ternary_gemv_1x4_sg_dot4',
      'ternary_gemv_1x4_sg_dot4',
      'ternary_gemm_32x32_k32_dot4',
      'ternary_gemv_1x4_dot4',
      'ternary_gemm_32x32_k32_dot4',
      'ternary_gemm_32x32_k32_dot4',
      'ternary_direct_1x1_dot4',
    ],
    binary: [
      'binary_gemv_1x4_sg_dot4',
      'binary_gemv_1x4_sg_dot4',
      'binary_gemm_32x32_k32_dot4',
      'binary_gemv_1x4_dot4',
      'binary_gemm_32x32_k32_dot4',
      'binary_gemm_32x32_k32_dot4',
      'binary_direct_1x1_dot4',
    ],
    'bcsr 4x1 10%': [
      'bcsr_gemv_1x4_wgsl',
      'bcsr_spmm_64x1_wgsl',
      'bcsr_spmm_64x1_wgsl',
      'bcsr_gemv_1x4_wgsl',
      'bcsr_spmm_256x1_wgsl',
      'bcsr_spmm_256x1_wgsl',
      'bcsr_gemv_1x4_wgsl',
    ],
    nm: [
      'nm_gemv_1x1_sg_wgsl',
      'nm_gemv_1x1_sg_wgsl',
      'nm_spmm_256x1_wgsl',
      'nm_gemv_1x4_wgsl',
      'nm_spmm_256x1_wgsl',
      'nm_spmm_256x1_wgsl',
      'nm_spmm_256x1_wgsl',
    ],
    'csrInt8 1 10%': [
      'csrInt8_gemv_1x4_dot4',
      'csrInt8_gemv_1x4_dot4',
      'csrInt8_spmm_256x1_dot4',
      'csrInt8_gemv_1x4_dot4',
      'csrInt8_spmm_256x1_dot4',
      'csrInt8_spmm_256x1_dot4',
      'csrInt8_gemv_1x4_dot4',
    ],
    'csrCodebook 16 10%': [
      'csrCodebook_gemv_1x4_wgsl',
      'csrCodebook_gemv_1x4_wgsl',
      'csrCodebook_spmm_256x1_wgsl',
      'csrCodebook_gemv_1x4_wgsl',
      'csrCodebook_spmm_256x1_wgsl',
      'csrCodebook_spmm_256x1_wgsl',
      'csrCodebook_gemv_1x4_wgsl',
    ],
  },
  'webgpu, f16': {
    'f16 halves': [
      'f16_gemv_1x4_sg_f16',
      'f16_gemv_4x4_f16',
      'f16_gemm_32x32_k32_f16',
      'f16_gemv_1x4_f16',
      'f16_gemm_32x32_k32_f16',
      'f16_gemm_32x32_k32_f16',
      'f16_direct_1x1_f16',
    ],
  },
  'webgpu, matrices': {
    f16: [
      'f16_gemv_1x4_sg_wgsl',
      'f16_gemv_4x4_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_gemv_1x4_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_gemm_32x32_k32_wgsl',
      'f16_direct_1x1_wgsl',
    ],
    'f16 halves': [
      'f16_gemv_1x4_sg_f16',
      'f16_gemv_4x4_f16',
      'f16_gemm_64x64_matrix',
      'f16_gemv_1x4_f16',
      'f16_gemm_64x64_matrix',
      'f16_gemm_64x64_matrix',
      'f16_direct_1x1_f16',
    ],
    int8: [
      'int8_gemv_1x4_sg_dot4',
      'int8_gemv_4x4_dot4',
      'int8_gemm_64x64_matrix',
      'int8_gemv_1x4_dot4',
      'int8_gemm_64x64_matrix',
      'int8_gemm_64x64_matrix',
      'int8_direct_1x1_dot4',
    ],
    ternary: [
      'ternary_gemv_1x4_sg_dot4',
      'ternary_gemv_1x4_sg_dot4',
      'ternary_gemm_64x64_matrix',
      'ternary_gemv_1x4_dot4',
      'ternary_gemm_64x64_matrix',
      'ternary_gemm_64x64_matrix',
      'ternary_direct_1x1_dot4',
    ],
  },
};

const test = suite('select');

for (const [device, offer] of Object.entries(offers)) {
  test(`the pinned choices on ${device}`, () => {
    const changed: string[] = [];
    for (const kind of kindsOf(device)) {
      const chosen = Object.values(PROBLEMS).map((make) => select(make(kind), [offer]).variant.name);
      if (String(chosen) !== String(PINNED[device]?.[kind])) {
        changed.push(`'${kind}': ['${chosen.join("', '")}'],`);
      }
    }
    assert.is(changed.length, 0, `${device} now chooses\n      ${changed.join('\n      ')}`);
  });
}

const table = Object.values(offers);

/** A problem for each operator and format that any table has a row for. */
const everyProblem: Problem[] = [
  ...[...KINDS, ...WASM_KINDS].flatMap((kind) => Object.values(PROBLEMS).map((make) => make(kind))),
  { op: 'activation', size: 1000, clamp: [0, 6] },
  { op: 'softmax', rows: 10, cols: 100 },
  { op: 'transpose', dims: [2, 3, 4], perm: [2, 0, 1] },
  { op: 'add', dims: [4, 5], aStrides: [5, 1], bStrides: [0, 1], clamp: [0, Infinity] },
];

const runnable = ({ device, variants }: Offer, p: Problem): VariantBase[] =>
  rowsFor(variants, p).filter((row) => refusal(row, p, device) === undefined);

test('chooses the lowest predicted time among rows that can run, and explains the others', () => {
  for (const p of everyProblem) {
    const { variant, device, candidates } = select(p, table);
    const able = table.flatMap((offer) => runnable(offer, p).map((row) => ({ row, device: offer.device })));
    const times = able.map(({ row, device }) => row.cost(p as never, device) + device.runMs);
    assert.is(variant.cost(p as never, device) + device.runMs, Math.min(...times));
    assert.is(
      candidates.length,
      table.reduce((sum, { variants }) => sum + rowsFor(variants, p).length, 0),
    );
    assert.is(candidates.filter(({ chosen }) => chosen).length, 1);
    assert.ok(candidates.every(({ reason }) => reason !== ''));
    assert.equal(
      candidates.map(({ predictedMs }) => predictedMs),
      candidates.map(({ predictedMs }) => predictedMs).sort((a, b) => a - b),
    );
  }
});

test('gives small work to WASM and large work to a GPU', () => {
  const both = [offers['wasm C'], offers.webgpu];
  assert.is(select(linear('dense', 1, 64, 64), both).device.backend, 'wasm');
  assert.is(select(linear('dense', 512, 4096, 4096), both).device.backend, 'webgpu');
});

test('counts the way of an input that lies on a GPU', () => {
  const both = [offers['wasm C'], offers.webgpu];
  const arrivalMs = ({ backend }: Device) => (backend === 'webgpu' ? 0 : 50);
  const p = linear('dense', 1, 64, 64);
  assert.is(select(p, both, { arrivalMs }).device.backend, 'webgpu');
  const [chosen, other] = select(p, both, { arrivalMs }).candidates.filter(({ reason }) => !/needs/.test(reason));
  assert.ok(other.predictedMs > chosen.predictedMs);
});

test('gives large work the tiles that suit the GPU', () => {
  const { device, variants } = offers.webgpu;
  const p = linear('dense', 2048, 2048, 512);
  const tileOn = (label: string) => select(p, [{ device: { ...device, label }, variants }]).variant.name;
  assert.is(tileOn('nvidia hopper'), 'dense_gemm_128x64_k16_wgsl');
  assert.is(tileOn('intel gen-12lp'), 'dense_gemm_32x64_k16_wgsl');
});

test('takes a row by name, wherever it can run', () => {
  for (const offer of table) {
    for (const p of everyProblem) {
      for (const row of runnable(offer, p)) {
        const { variant, candidates } = select(p, [offer], { force: row.name });
        assert.is(variant, row);
        assert.is(candidates.find(({ chosen }) => chosen)?.reason, 'forced by name');
      }
    }
  }
});

/** The error of a call that must throw one of ours. */
function refused(call: () => unknown): ThinferError {
  try {
    call();
  } catch (error) {
    if (error instanceof ThinferError) return error;
    throw error;
  }
  throw new Error('expected a ThinferError, nothing was thrown');
}

test('says why no row can run', () => {
  const bare: Device = { ...offers['wasm C'].device, features: new Set() };
  const never = wasmVariants.map((row) => ({ ...row, supports: () => `not today, says ${row.name}` }));
  const p = linear('int8', 4, 32, 32);
  const error = refused(() => select(p, [{ device: bare, variants: never }], { place: 'linear' }));
  assert.is(error.code, 'no-kernel');
  assert.is(error.place, 'linear');
  const rows = rowsFor(wasmVariants, p);
  assert.ok(rows.length > 1);
  for (const { name, requires = [] } of rows) {
    const why = requires.length > 0 ? `needs ${requires.join(', ')}` : `not today, says ${name}`;
    assert.ok(error.message.includes(`${name} (${why})`), `${error.message} names ${name} and why`);
  }
  assert.is(refused(() => select(p, [])).code, 'no-kernel');
});

test('refuses a name that is not there', () => {
  const p = linear('dense', 4, 32, 32);
  const error = refused(() => select(p, table, { force: 'dense_gemm_1000x1000' }));
  assert.is(error.code, 'no-kernel');
  assert.match(error.message, 'dense_gemm_1000x1000');
  // A row of another format is no better.
  const foreign = rowsFor(wasmVariants, linear('csr 10%', 4, 32, 32))[0].name;
  assert.is(refused(() => select(p, table, { force: foreign })).code, 'no-kernel');
});

test('is pure', () => {
  for (const p of everyProblem) {
    const before = JSON.stringify(p);
    const first = select(p, table);
    const second = select(p, table);
    assert.is(first.variant, second.variant);
    assert.equal(first.candidates, second.candidates);
    assert.is(JSON.stringify(p), before);
  }
});

test.run();
