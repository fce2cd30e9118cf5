import type { Backend, DeviceBuffer, Kernel, Operands, Pass } from '../../src/backend.js';
import { asData, type DataByDType, type DType, type TensorData } from '../../src/dtype.js';
import { ThinferError } from '../../src/errors.js';
import type { Bias, FormatName, Weights } from '../../src/formats/format.js';
import { formatOf, formats } from '../../src/formats/index.js';
import { compute } from '../../src/graph/compute.js';
import { BINARY, CODE_BINARY, elementTypes, type Problem } from '../../src/plan/problem.js';
import type { BackendName, Device, VariantBase } from '../../src/plan/variant.js';

interface ReferenceBuffer extends DeviceBuffer {
  readonly label: string;
  bytesOf: ArrayBuffer | undefined;
}

interface ReferenceOperands extends Operands {
  readonly weights: Weights;
  readonly bias: Bias | undefined;
}

interface ReferenceKernel extends Kernel {
  readonly operands: ReferenceOperands | undefined;
}

const WEIGHTLESS: Problem['op'][] = [
  'maxPool2d',
  'averagePool2d',
  ...BINARY,
  'activation',
  'softmax',
  'transpose',
  'copy',
  'gather',
  'resample',
  'reduce',
  'normalize',
  'batchMatmul',
  'quantize',
  'dequantize',
  'lookup',
  ...CODE_BINARY,
];

const DTYPES: readonly DType[] = ['float32', 'uint8', 'int8', 'int32'];

export interface ReferenceOptions {
  /** What it says it is. Default `wasm`. */
  name?: BackendName;
  /** Predicted milliseconds of every kernel. Default 1. */
  costMs?: number;
  /** Operators and formats that it has no row for. */
  without?: readonly string[];
  /** Rows for matmuls, instead of one a format. */
  rows?: readonly SimulatedRow[];
}

/** A row that says how long it takes. */
export interface SimulatedRow {
  name: string;
  format: FormatName;
  predictedMs: number;
  /** What a pass that is timed is told for one run. */
  takesMs(): number;
  /** Gives wrong answers. */
  wrong?: boolean;
}

/**
 * A backend that computes with the oracles: slow and right, so that graph tests do not depend on kernels. It counts
 * what is alive and refuses freed memory, wrong sizes and an output that is an input too.
 */
export class ReferenceBackend implements Backend {
  readonly device: Device;
  readonly variants: readonly VariantBase[];
  readonly memory = { bytes: 0, peakBytes: 0 };
  /** Kernels that are prepared and not freed. */
  kernels = 0;
  /** Matrices packed so far. */
  packs = 0;
  /** Names of the rows that ran, in order. */
  ran: string[] = [];
  /** When set, every submit fails as on a device that is gone. */
  lost = false;
  /** What brings it back. */
  recover?: () => Promise<boolean>;
  /** When set, buffers may not take more than this. */
  limitBytes = Number.POSITIVE_INFINITY;

  readonly #simulated: ReadonlyMap<string, SimulatedRow>;

  constructor({ name = 'wasm', costMs = 1, without = [], rows: simulated }: ReferenceOptions = {}) {
    this.#simulated = new Map(simulated?.map((row) => [row.name, row]));
    this.device = {
      backend: name,
      label: `reference ${name}`,
      features: new Set(),
      macsPerNs: 1,
      bytesPerNs: 1,
      dispatchMs: 0,
      runMs: 0.5,
    };
    const cost = () => costMs;
    const matmuls =
      simulated?.map(({ name, format, predictedMs }) => ({ name, format, cost: () => predictedMs })) ??
      Object.values(formats).map((format) => ({
        name: `${format.name}_matmul_reference`,
        format: format.name,
        inputs: DTYPES,
        outputs: DTYPES,
        cost,
      }));
    const rows: VariantBase[] = [
      ...matmuls.map((row) => ({ ...row, ops: ['linear', 'conv2d'] as const })),
      ...WEIGHTLESS.map((op) => ({ name: `${op}_reference`, ops: [op], inputs: DTYPES, outputs: DTYPES, cost })),
    ];
    this.variants = rows.filter(({ format, ops }) => !without.some((word) => word === format || word === ops[0]));
  }

  createBuffer(bytes: number, label: string): ReferenceBuffer {
    if (this.memory.bytes + bytes > this.limitBytes) {
      throw new ThinferError({
        code: 'out-of-memory',
        place: label,
        expected: `at most ${this.limitBytes} bytes`,
        got: String(this.memory.bytes + bytes),
      });
    }
    this.#count(bytes);
    // Garbage, not zeros: nobody may count on fresh memory.
    const words = new Float32Array(Math.ceil(bytes / 4)).fill(Number.NaN);
    return { bytes, label, bytesOf: words.buffer };
  }

  freeBuffer(buffer: DeviceBuffer): void {
    const owned = buffer as ReferenceBuffer;
    alive(owned);
    owned.bytesOf = undefined;
    this.#count(-owned.bytes);
  }

  write(buffer: DeviceBuffer, data: TensorData): void {
    const to = alive(buffer as ReferenceBuffer);
    new Uint8Array(to).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  async read<D extends DType = 'float32'>(
    buffer: DeviceBuffer,
    length: number,
    dtype = 'float32' as D,
  ): Promise<DataByDType[D]> {
    return asData(dtype, alive(buffer as ReferenceBuffer)).slice(0, length) as DataByDType[D];
  }

  layoutOf(variant: VariantBase): string {
    return `${variant.format}_reference`;
  }

  pack(variant: VariantBase, _problem: Problem, weights: Weights, bias: Bias | undefined): Operands {
    const bytes = formatOf(weights).bytes(weights) + (bias?.byteLength ?? 0);
    this.#count(bytes);
    this.packs++;
    const operands: ReferenceOperands = {
      layout: this.layoutOf(variant),
      bytes,
      weights,
      bias,
      free: () => this.#count(-bytes),
    };
    return operands;
  }

  async prepare(variant: VariantBase, problem: Problem, operands?: Operands): Promise<Kernel> {
    this.kernels++;
    const kernel: ReferenceKernel = {
      variant: variant.name,
      problem,
      operands: operands as ReferenceOperands | undefined,
      free: () => {
        this.kernels--;
      },
    };
    return kernel;
  }

  beginPass(): Pass {
    let elapsedMs: number | undefined;
    return {
      get elapsedMs() {
        return elapsedMs;
      },
      run: (kernel, inputs, output) => {
        if (inputs.includes(output)) throw new Error(`${kernel.variant}: the output is an input too`);
        const { problem, operands } = kernel as ReferenceKernel;
        const types = elementTypes(problem);
        const arrays = inputs.map((input, i) => asData(types.inputs[i], alive(input as ReferenceBuffer)));
        compute(problem, arrays, asData(types.output, alive(output as ReferenceBuffer)), operands);
        this.ran.push(kernel.variant);
        const row = this.#simulated.get(kernel.variant);
        if (!row) return;
        if (row.wrong) new Float32Array(alive(output as ReferenceBuffer))[0] += 1;
        elapsedMs = (elapsedMs ?? 0) + row.takesMs();
      },
      submit: async () => {
        if (!this.lost) return;
        const { label } = this.device;
        throw new ThinferError({ code: 'device-lost', place: 'submit', expected: label, got: 'a lost device' });
      },
    };
  }

  free(): void {}

  #count(bytes: number): void {
    this.memory.bytes += bytes;
    this.memory.peakBytes = Math.max(this.memory.peakBytes, this.memory.bytes);
  }
}

function alive(buffer: ReferenceBuffer): ArrayBuffer {
  if (!buffer?.bytesOf) throw new Error(`buffer "${buffer?.label}" is not there or was freed`);
  return buffer.bytesOf;
}
