// @litertjs/core: f32, and 8-bit weights with activations that it quantises at run time.

import { type Shape, weightShape } from '../shapes.js';
import { loadLiteRtModule } from './modules.js';
import {
  isDepthwise,
  isPlainConv,
  type Peer,
  type PeerContestant,
  type PeerInputs,
  type PeerOperator,
  transposed,
} from './peer.js';
import { tfliteModel, type WeightTensor } from './tflite.js';

export async function litert(folder: string, threads: number): Promise<Peer> {
  const litert = await loadLiteRtModule();
  await litert.loadLiteRt(`${folder}@litertjs/core/wasm/`, { threads: threads > 1 });

  const contestant = async (inputs: PeerInputs, weights: WeightTensor, name: string): Promise<PeerContestant> => {
    const { shape, problem, x } = inputs;
    const input = shape.op === 'linear' ? [problem.M, shape.K] : [1, shape.height, shape.width, shape.channels];
    const output =
      shape.op === 'linear'
        ? [problem.M, shape.N]
        : [1, problem.window.outHeight, problem.window.outWidth, shape.outputs];
    const bytes = tfliteModel(shape, input, output, weights);
    const model = await litert.loadAndCompile(bytes, { accelerator: 'wasm', cpuOptions: { numThreads: threads } });
    const tensor = new litert.Tensor(x, input);
    return {
      name: `litert ${name}`,
      async run() {
        for (const y of await model.run(tensor)) y.delete();
      },
      async read() {
        const [y] = await model.run(tensor);
        const data = Float32Array.from(y.toTypedArray());
        y.delete();
        return data;
      },
      free() {
        tensor.delete();
        model.delete();
      },
    };
  };

  const f32 = (kernel: string): PeerOperator['make'] => {
    return (inputs) => {
      const { rows, cols } = weightShape(inputs.shape);
      const values = inputs.f32();
      // Depthwise filters are [1, H, W, C].
      const filter = isDepthwise(inputs.shape) ? transposed(values, rows, cols) : values;
      return contestant(inputs, { values: filter }, kernel);
    };
  };
  const int8 = (kernel: string): PeerOperator['make'] => {
    return (inputs) => {
      const { codes, scale } = inputs.int8();
      return contestant(inputs, { values: codes, scale }, kernel);
    };
  };
  const operators = (['FULLY_CONNECTED', 'CONV_2D', 'DEPTHWISE_CONV_2D'] as const).flatMap((kernel): PeerOperator[] => {
    const supports = {
      FULLY_CONNECTED: ({ op }: Shape) => op === 'linear',
      CONV_2D: isPlainConv,
      DEPTHWISE_CONV_2D: isDepthwise,
    }[kernel];
    const dynamic = `dynamic int8 ${kernel}`;
    return [
      { kind: 'f32', what: kernel, supports, make: f32(kernel) },
      // Depthwise has no kernel that quantises activations at run time.
      ...(kernel === 'DEPTHWISE_CONV_2D'
        ? []
        : [{ kind: 'int8' as const, what: dynamic, supports, make: int8(dynamic) }]),
    ];
  });
  return { name: 'litert', operators };
}
