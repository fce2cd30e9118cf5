// LiteRT.js, from the package of the user. Its inputs and outputs are in the order of the file, as ours are.
import { toCodes, toNumbers } from '../../../bench/codes.js';
import type { Elements } from '../answers.js';
import { bytesOf } from './bytes.js';
import type { Open } from './types.js';

interface LiteRtTensor {
  toTypedArray(): Elements;
  delete(): void;
}

interface LiteRt {
  loadLiteRt(wasm: string, options: { threads: boolean }): Promise<unknown>;
  loadAndCompile(
    bytes: Uint8Array,
    options: object,
  ): Promise<{
    run(inputs: LiteRtTensor | LiteRtTensor[]): Promise<LiteRtTensor[]>;
    delete(): void;
  }>;
  Tensor: new (data: Elements, shape: readonly number[]) => LiteRtTensor;
}

export const open: Open = async ({ model: url, entry, backend, threads, inputs, codes }, done) => {
  const litert = (await import(entry)) as LiteRt;
  const bytes = await bytesOf(url);
  done('model');
  await litert.loadLiteRt(new URL('../wasm/', entry).href, { threads: threads > 1 });
  done('start');
  const options = { accelerator: backend, cpuOptions: { numThreads: threads } };
  const model = await litert.loadAndCompile(bytes, options);
  done('load');
  const tensors = inputs.map(({ data, shape }, i) => {
    const meaning = codes?.inputs[i];
    return new litert.Tensor(meaning ? toNumbers(data, meaning) : data, shape);
  });
  return {
    async run() {
      const outputs = await model.run(tensors);
      return outputs.map((output, i) => {
        const data = output.toTypedArray();
        output.delete();
        const meaning = codes?.outputs[i];
        return meaning ? toCodes(data as Float32Array, meaning) : data;
      });
    },
    free() {
      for (const tensor of tensors) tensor.delete();
      model.delete();
    },
  };
};
