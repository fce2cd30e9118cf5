// Runs tfjs-core's own tests of operators (jasmine, compiled in the package), with and without our kernels.

import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util.js';
import jasmineRequire from 'jasmine-core/lib/jasmine-core/jasmine.js';
import { interceptKernels } from '../../src/tfjs/index.js';
import type { BackendName } from './tfjs.js';

/** Those that multiply by what may be weights. */
const FILES = [
  () => import('@tensorflow/tfjs-core/dist/ops/mat_mul_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/conv1d_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/conv2d_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/conv2d_separable_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/depthwise_conv2d_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/fused/fused_mat_mul_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/fused/fused_conv2d_test.js'),
  () => import('@tensorflow/tfjs-core/dist/ops/fused/fused_depthwise_conv2d_test.js'),
];

export interface OpsResult {
  /** Specs by name, without what jasmine_util adds: what failed, or undefined. */
  plain: Map<string, string | undefined>;
  ours: Map<string, string | undefined>;
  /** Specs in which a product ran on our kernels, and the products. */
  reached: Set<string>;
  products: number;
  /** Calls that tfjs's kernels did, by the reason. */
  left: Map<string, number>;
}

interface Spec {
  fullName: string;
  status: string;
  failedExpectations: { message: string }[];
}

const PLAIN = 'plain';
const OURS = 'thinfer';

/** One run of all specs: on each backend on tfjs's kernels, then on ours. */
export async function runOperatorTests(backends: readonly BackendName[]): Promise<Map<BackendName, OpsResult>> {
  const results = new Map<BackendName, OpsResult>();
  for (const backend of backends) {
    results.set(backend, { plain: new Map(), ours: new Map(), reached: new Set(), products: 0, left: new Map() });
  }
  const jasmine = jasmineRequire.core(jasmineRequire);
  const env = jasmine.getEnv({ suppressLoadErrors: true });
  env.configure({ random: false, failSpecWithNoExpectations: false });
  Object.assign(globalThis, jasmineRequire.interface(jasmine, env));
  /** `conv2d x=[1,4,4] wasm_thinfer {} does this`, in parts. */
  const partsOf = (fullName: string) => {
    const [all, backend, kernels] = / (cpu|wasm|webgpu)_(plain|thinfer) \{.*?\}/.exec(fullName)!;
    return { name: fullName.replace(all, ''), kernels, result: results.get(backend as BackendName)! };
  };
  let running = { name: '', kernels: '', result: results.get(backends[0])! };
  let restore: (() => void) | undefined;
  // Each suite of tfjs starts its backend anew, and resets it at its end.
  env.beforeEach(async () => {
    const { name, kernels, result } = running;
    if (kernels !== OURS) return;
    restore = await interceptKernels({
      format: 'dense',
      accepts: () => true,
      wasm: { threads: 1 },
      onCall: (_, why) => {
        if (why !== undefined) result.left.set(why, (result.left.get(why) ?? 0) + 1);
        else {
          result.products++;
          result.reached.add(name);
        }
      },
    });
  });
  env.afterEach(() => {
    restore?.();
    restore = undefined;
  });
  env.addReporter({
    specStarted: ({ fullName }: Spec) => {
      running = partsOf(fullName);
    },
    specDone: ({ fullName, status, failedExpectations }: Spec) => {
      if (status === 'excluded' || status === 'pending') return;
      const { name, kernels, result } = partsOf(fullName);
      const failed = status === 'failed' ? failedExpectations.map(({ message }) => message).join('; ') : undefined;
      (kernels === OURS ? result.ours : result.plain).set(name, failed);
    },
  });
  const environments = backends.flatMap((backend) =>
    [PLAIN, OURS].map((kernels) => ({
      name: `${backend}_${kernels}`,
      backendName: backend,
      isDataSync: backend !== 'webgpu',
      flags: (backend === 'wasm' ? { WASM_HAS_MULTITHREAD_SUPPORT: false } : {}) as Record<string, boolean>,
    })),
  );
  setTestEnvs(environments);
  for (const load of FILES) await load();
  await env.execute();
  return results;
}
