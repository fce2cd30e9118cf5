import type { Model, ModelOptions, ModelReport, NodeReport, RuntimeLike } from '../../graph/model.js';
import { createRuntime } from '../../runtime.js';
import type { Elements } from '../answers.js';
import type { LayerRow } from '../results.js';
import { middleMean } from '../statistics.js';
import { bytesOf } from './bytes.js';
import type { Open, WarmResult } from './types.js';

type Load = (runtime: RuntimeLike, bytes: Uint8Array<ArrayBuffer>, options?: ModelOptions) => Promise<Model>;

const ELEMENT_BYTES = { float32: 4, int32: 4, uint8: 1, int8: 1, bits: 1 / 8 };

/** What a layer does and moves at least. */
function workOf({ problem, weightBytes = 0 }: NodeReport): Pick<LayerRow, 'macs' | 'denseMacs' | 'bytes'> {
  if (!problem) return {};
  const { M, N, K, groups, window: w, channels, input, output, weights } = problem;
  const inputBytes = w.batch * w.inHeight * w.inWidth * channels * ELEMENT_BYTES[input.dtype];
  const outputBytes = M * N * groups * ELEMENT_BYTES[output.dtype];
  return {
    macs: M * weights.nnz,
    denseMacs: M * N * K * groups,
    bytes: inputBytes + (weightBytes || weights.bytes) + outputBytes,
  };
}

function layersOf({ nodes }: ModelReport, ms: readonly number[]): LayerRow[] {
  return nodes.map((node, i) => {
    const { name, op, shape, backend, variant, format, predictedMs, candidates } = node;
    return { name, op, shape, backend, variant, format, predictedMs, candidates, ms: ms[i], ...workOf(node) };
  });
}

/** Our runtime with one of the loaders: a page loads the one that it uses. */
export const opensWith =
  (load: Load): Open =>
  async ({ model: url, backend, threads, inputs, outputs }, done) => {
    const bytes = await bytesOf(url);
    done('model');
    const wasm = backend === 'wasm' ? { threads } : undefined;
    const runtime = await createRuntime({ backends: [backend], wasm, tune: 'off', cache: false });
    done('start');
    const model = await load(runtime, bytes);
    done('load');
    const given = Object.fromEntries(inputs.map(({ name, shape, data }) => [name, { shape, data }]));
    const [{ device }] = runtime.backends;
    return {
      device: device.label,
      tune: () => model.tune({ effort: 'quick' }),
      async run() {
        const answers = await model.run(given);
        return outputs.map((name) => answers[name].data as Elements);
      },
      async profile(runs): Promise<Pick<WarmResult, 'layers' | 'plan' | 'rates'>> {
        const samples = model.explain().map((): number[] => []);
        // A node may be several steps.
        const onNode = (node: number, took: number) => {
          const mine = samples[node];
          mine[mine.length - 1] += took;
        };
        for (let i = 0; i < runs; i++) {
          for (const mine of samples) mine.push(0);
          await model.run(given, { onNode });
        }
        const ms = samples.map(middleMean);
        const report = model.report()!;
        const { placements, transfers, totals } = report;
        const { weightBytes, denseBytes, activationBytes } = totals;
        const { macsPerNs, bytesPerNs } = device;
        return {
          layers: layersOf(report, ms),
          plan: { placements, transfers, weightBytes, denseBytes, activationBytes },
          rates: backend === 'webgpu' ? { macsPerNs, bytesPerNs } : undefined,
        };
      },
      free() {
        model.free();
        runtime.free();
      },
    };
  };
