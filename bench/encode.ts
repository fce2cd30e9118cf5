// What a run of many small layers costs the CPU before the GPU has any of it: encoding, and handing it to the queue.

import { median } from '../src/median.js';
import { select } from '../src/plan/select.js';
import { WebgpuBackend } from '../src/webgpu/backend.js';
import { openDevice } from '../src/webgpu/device.js';
import { problemOf } from './problems.js';
import { packed, uniform } from './recipes.js';
import { parseShape, weightShape } from './shapes.js';

const LAYERS = 20;
const SHAPE = '2x2x4x4x3';
/** Until engines have compiled what they run often. */
const WARM_ROUNDS = 50;

export interface EncodeRow {
  recipe: string;
  layers: number;
  /** Median milliseconds of the host for one run, until the call that submits it. */
  encodeMs: number;
  /** Median milliseconds of `queue.submit`: Dawn and the driver, on the caller's thread in Node. */
  submitMs: number;
}

/** A network of convolutions that hand each other two buffers, each layer with weights of its own. */
export async function measureEncoding(recipe: string, rounds: number): Promise<EncodeRow> {
  const opened = await openDevice({});
  if (typeof opened === 'string') throw new Error(opened);
  const { queue } = opened.gpu;
  const submit = queue.submit.bind(queue);
  let submitMs = 0;
  queue.submit = (commands) => {
    const start = performance.now();
    submit(commands);
    submitMs = performance.now() - start;
  };
  const backend = new WebgpuBackend(opened, async () => 'not opened again');
  const shape = parseShape(SHAPE);
  const size = weightShape(shape);
  const kernels = await Promise.all(
    Array.from({ length: LAYERS }, (_, i) => {
      const weights = packed(recipe, uniform(size.rows * size.cols, i), size);
      const problem = problemOf(shape, weights);
      const { variant } = select(problem, [backend]);
      return backend.prepare(variant, problem, backend.pack(variant, problem, weights, undefined));
    }),
  );
  const buffers = ['a', 'b'].map((name) => backend.createBuffer(2 * 2 * 4 * 4, `bench encode ${name}`));
  const encodings: number[] = [];
  const submissions: number[] = [];
  for (let round = 0; round < WARM_ROUNDS + rounds; round++) {
    const start = performance.now();
    const pass = backend.beginPass();
    for (const [i, kernel] of kernels.entries()) pass.run(kernel, [buffers[i % 2]], buffers[(i + 1) % 2]);
    const submitted = pass.submit();
    if (round >= WARM_ROUNDS) {
      encodings.push(performance.now() - start - submitMs);
      submissions.push(submitMs);
    }
    await submitted;
  }
  backend.free();
  return { recipe, layers: LAYERS, encodeMs: median(encodings), submitMs: median(submissions) };
}
