// @tensorflow/tfjs-backend-wasm: f32 only. Tensors stay in its WASM memory.

import { weightShape } from '../shapes.js';
import { loadTfjs, type TfTensor } from './modules.js';
import { isDepthwise, isPlainConv, type Peer, type PeerInputs, transposed } from './peer.js';

export async function tfjs(folder: string, threads: number): Promise<Peer> {
  const { tf, wasm } = await loadTfjs();
  wasm.setWasmPaths(`${folder}@tensorflow/tfjs-backend-wasm/dist/`);
  if (threads > 1) wasm.setThreadsCount(threads);
  else tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend did not start');
  await tf.ready();

  const contestant = (name: string, operands: TfTensor[], product: () => TfTensor) => ({
    name: `tfjs ${name}`,
    run: () => product().dispose(),
    async read() {
      const y = product();
      const data = await y.data();
      y.dispose();
      return data;
    },
    free() {
      for (const tensor of operands) tensor.dispose();
    },
  });

  const matMul = ({ shape, problem, x, f32 }: PeerInputs) => {
    const { rows, cols } = weightShape(shape);
    const a = tf.tensor(x, [problem.M, cols]);
    const b = tf.tensor(transposed(f32(), rows, cols), [cols, rows]);
    return contestant('matMul', [a, b], () => tf.matMul(a, b));
  };

  const conv2d = ({ shape, x, f32 }: PeerInputs) => {
    if (shape.op !== 'conv2d') throw new Error('not a convolution');
    const { height, width, channels, outputs, kernel, stride } = shape;
    const { rows, cols } = weightShape(shape);
    // OHWI to HWIO; depthwise, where I = 1, to HWO and a multiplier of 1.
    const filter = transposed(f32(), rows, cols);
    const a = tf.tensor(x, [1, height, width, channels]);
    if (isDepthwise(shape)) {
      const w = tf.tensor(filter, [kernel, kernel, channels, 1]);
      return contestant('depthwiseConv2d', [a, w], () => tf.depthwiseConv2d(a, w, stride, 'same'));
    }
    const w = tf.tensor(filter, [kernel, kernel, channels, outputs]);
    return contestant('conv2d', [a, w], () => tf.conv2d(a, w, stride, 'same'));
  };

  const weightless: Peer['weightless'] = (name, operator, inputs) => {
    const { tfjs, inputs: shapes, indicesBelow } = operator;
    if (!tfjs) return undefined;
    const [a, b] = inputs.map((values, i) =>
      i === 1 && indicesBelow
        ? tf.tensor(Int32Array.from(values), shapes[i], 'int32')
        : tf.tensor(values, shapes[i], 'float32'),
    );
    return Promise.resolve(contestant(name, b ? [a, b] : [a], () => tfjs(tf, a, b)));
  };

  return {
    name: 'tfjs',
    weightless,
    operators: [
      { kind: 'f32', what: 'matMul', supports: ({ op }) => op === 'linear', make: async (inputs) => matMul(inputs) },
      { kind: 'f32', what: 'conv2d', supports: isPlainConv, make: async (inputs) => conv2d(inputs) },
      { kind: 'f32', what: 'depthwiseConv2d', supports: isDepthwise, make: async (inputs) => conv2d(inputs) },
    ],
  };
}
