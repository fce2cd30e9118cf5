import type { Backend, DeviceBuffer, Operands } from '../backend.js';
import { byteLength, storedLength, type TensorData } from '../dtype.js';
import type { Contender } from './contest.js';
import type { MatmulProblem } from './problem.js';
import type { VariantBase } from './variant.js';

/** Buffers that rows for one problem share while they are tried. */
export interface Bench {
  backend: Backend;
  problem: MatmulProblem;
  input: DeviceBuffer;
  output: DeviceBuffer;
  /** Stored elements of the output. */
  length: number;
  free(): void;
}

/** A row made ready to be timed on a problem. */
export interface Trial extends Contender {
  /** What it gave when it ran last. */
  read(): Promise<TensorData>;
  free(): void;
}

/** Buffers for a problem, its input filled with numbers of either sign. */
export function openBench(backend: Backend, problem: MatmulProblem): Bench {
  const data = inputFor(problem);
  const { dtype } = problem.output;
  const length = storedLength(dtype, [problem.M, problem.N * problem.groups]);
  const input = backend.createBuffer(data.byteLength, 'trial input');
  try {
    backend.write(input, data);
    const output = backend.createBuffer(byteLength(dtype, length), 'trial output');
    const free = () => {
      backend.freeBuffer(input);
      backend.freeBuffer(output);
    };
    return { backend, problem, input, output, length, free };
  } catch (error) {
    backend.freeBuffer(input);
    throw error;
  }
}

/** @param problem the bench's, with the weights in the form that the row takes */
export async function openTrial(
  { backend, input, output, length }: Bench,
  variant: VariantBase,
  problem: MatmulProblem,
  operands: Operands,
): Promise<Trial> {
  const kernel = await backend.prepare(variant, problem, operands);
  return {
    async run(times) {
      const pass = backend.beginPass({ timed: true });
      for (let i = 0; i < times; i++) pass.run(kernel, [input], output);
      const start = performance.now();
      await pass.submit();
      return (pass.elapsedMs ?? performance.now() - start) / times;
    },
    read: () => backend.read(output, length, problem.output.dtype),
    free: () => kernel.free(),
  };
}

function inputFor({ input: { dtype }, window: w, channels }: MatmulProblem): TensorData {
  const length = storedLength(dtype, [w.batch * w.inHeight * w.inWidth, channels]);
  // Multiplicative hashing (Knuth, The Art of Computer Programming, 6.4): scattered, and the same every time.
  const byte = (i: number) => (Math.imul(i + 1, 0x9e3779b1) >>> 8) & 0xff;
  if (dtype === 'float32') return Float32Array.from({ length }, (_, i) => byte(i) / 128 - 1);
  const bytes = Uint8Array.from({ length: byteLength(dtype, length) }, (_, i) => byte(i));
  if (dtype === 'bits') return new Uint32Array(bytes.buffer);
  return dtype === 'int8' ? new Int8Array(bytes.buffer) : bytes;
}
