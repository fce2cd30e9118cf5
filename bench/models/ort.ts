import { loadOrt } from '../peers/modules.js';
import { bytesOf, type Elements, type Open } from './runtime.js';

export const open: Open = async ({ url, peers, shape, input, threads }) => {
  const [ort, bytes] = await Promise.all([loadOrt(), bytesOf(url)]);
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = `${peers}onnxruntime-web/dist/`;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], logSeverityLevel: 3 });
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', input as Float32Array, shape) };
  return {
    async run() {
      const outputs = await session.run(feeds);
      return session.outputNames.map((name) => outputs[name].data as Elements);
    },
    free: () => void session.release(),
  };
};
