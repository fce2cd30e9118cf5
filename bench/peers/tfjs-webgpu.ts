// @tensorflow/tfjs-backend-webgpu in Node, on a Dawn of the same version as ours: f32 only. Tensors stay on the GPU.

import { inputSize, type Shape, weightShape } from '../shapes.js';
import { loadTfjsWebgpu, type TfTensor } from './modules.js';
import { isDepthwise, transposed } from './peer.js';

/** A turn is as many products as take about this long, so that submitting them does not matter. */
const TURN_MS = 50;
const MOST_RUNS = 500;

export interface TfjsWebgpu {
  /** The operator, milliseconds of one product (the fastest turn), and its answer. */
  measure(
    shape: Shape,
    w: Float32Array,
    x: Float32Array,
    rounds: number,
  ): Promise<{ what: string; ms: number; y: Float32Array }>;
}

/** @throws Error when it does not start */
export async function tfjsWebgpu(): Promise<TfjsWebgpu> {
  const { create, globals } = (await import('webgpu')) as {
    create(options: string[]): GPU;
    globals: object;
  };
  Object.assign(globalThis, globals);
  // Its kernels rely on workgroup memory that begins as zeros.
  const gpu = create([]);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu, userAgent: 'node' }, configurable: true });
  const tf = await loadTfjsWebgpu();
  if (!(await tf.setBackend('webgpu'))) throw new Error('the webgpu backend did not start');
  await tf.ready();
  const backend = tf.backend() as { device: GPUDevice; endComputePassEncoder(): void; submitQueue(): void };

  const productOf = (shape: Shape, w: Float32Array, x: Float32Array): [what: string, product: () => TfTensor] => {
    const { rows, cols } = weightShape(shape);
    const filter = transposed(w, rows, cols);
    if (shape.op === 'linear') {
      const a = tf.tensor(x, [shape.M, cols]);
      const b = tf.tensor(filter, [cols, rows]);
      return ['matMul', () => tf.matMul(a, b)];
    }
    const { height, width, channels, outputs, kernel, stride } = shape;
    const a = tf.tensor(x, [1, height, width, channels]);
    if (isDepthwise(shape)) {
      const b = tf.tensor(filter, [kernel, kernel, channels, 1]);
      return ['depthwiseConv2d', () => tf.depthwiseConv2d(a, b, stride, 'same')];
    }
    const b = tf.tensor(filter, [kernel, kernel, channels, outputs]);
    return ['conv2d', () => tf.conv2d(a, b, stride, 'same')];
  };

  return {
    async measure(shape, w, x, rounds) {
      if (x.length !== inputSize(shape)) throw new Error('wrong input');
      const [what, product] = productOf(shape, w, x);
      const first = product();
      const y = Float32Array.from(await first.data());
      first.dispose();
      const turn = async (runs: number) => {
        const start = performance.now();
        for (let i = 0; i < runs; i++) product().dispose();
        // Products are gathered into one command buffer.
        backend.endComputePassEncoder();
        backend.submitQueue();
        await backend.device.queue.onSubmittedWorkDone();
        return (performance.now() - start) / runs;
      };
      const ms = Math.min(await turn(1), await turn(1));
      const runs = Math.min(Math.max(Math.ceil(TURN_MS / ms), 1), MOST_RUNS);
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < rounds; round++) best = Math.min(best, await turn(runs));
      return { what, ms: best, y };
    },
  };
}
