// onnxruntime-web, from the package of the user.
import type { Elements } from '../answers.js';
import { bytesOf } from './bytes.js';
import type { Open } from './types.js';

type OrtData = Elements | BigInt64Array;

interface OrtTensor {
  readonly data: OrtData;
  dispose?(): void;
}

interface OrtSession {
  readonly inputNames: readonly string[];
  readonly inputMetadata?: readonly { name: string; type?: string }[];
  run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
}

interface Ort {
  env: { wasm: { numThreads?: number; wasmPaths?: string }; logLevel?: string };
  Tensor: new (type: string, data: OrtData, shape: readonly number[]) => OrtTensor;
  InferenceSession: {
    create(bytes: Uint8Array, options: Record<string, unknown>): Promise<OrtSession>;
  };
}

/** Ours takes integers that are no codes as f32. */
function asType(type: string, data: Elements): OrtData {
  if (type === 'int64') return BigInt64Array.from(data, (x) => BigInt(Math.round(x)));
  if (type === 'int32') return Int32Array.from(data);
  if (type === 'bool') return Uint8Array.from(data, (x) => Number(x !== 0));
  return data;
}

const asOurs = (data: OrtData): Elements => (data instanceof BigInt64Array ? Float32Array.from(data, Number) : data);

export const open: Open = async ({ model, entry, backend, threads, inputs, outputs }, done) => {
  const loaded = (await import(entry)) as Ort & { default?: Ort };
  const ort = loaded.InferenceSession ? loaded : loaded.default!;
  const bytes = await bytesOf(model);
  done('model');
  ort.env.wasm.numThreads = threads;
  // In Node it finds its files itself.
  if (entry.startsWith('http')) ort.env.wasm.wasmPaths = entry.slice(0, entry.lastIndexOf('/') + 1);
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(bytes, { executionProviders: [backend], logSeverityLevel: 3 });
  done('load');
  const types = new Map(session.inputMetadata?.map(({ name, type }) => [name, type]));
  const feeds = Object.fromEntries(
    inputs.map(({ name, shape, data }) => {
      const type = types.get(name) ?? 'float32';
      return [name, new ort.Tensor(type, asType(type, data), shape)];
    }),
  );
  return {
    async run() {
      const answers = await session.run(feeds);
      return outputs.map((name) => asOurs(answers[name].data));
    },
    free: () => void session.release(),
  };
};
