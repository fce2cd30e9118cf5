import { loadLiteRtModule } from '../peers/modules.js';
import { bytesOf, type Elements, type Open } from './runtime.js';

export const open: Open = async ({ url, peers, shape, input, threads }) => {
  const [litert, bytes] = await Promise.all([loadLiteRtModule(), bytesOf(url)]);
  await litert.loadLiteRt(`${peers}@litertjs/core/wasm/`, { threads: threads > 1 });
  const model = await litert.loadAndCompile(bytes, { accelerator: 'wasm', cpuOptions: { numThreads: threads } });
  const tensor = new litert.Tensor(input as Float32Array, shape);
  return {
    async run() {
      const outputs = await model.run(tensor);
      return outputs.map((output) => {
        const data = output.toTypedArray() as Elements;
        output.delete();
        return data;
      });
    },
    free() {
      tensor.delete();
      model.delete();
    },
  };
};
