// The page in which models of tfjs race: as they are, and accelerated.

import { setThreadsCount, setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import { race, warmUp } from '../../src/bench/race.js';
import { accelerate } from '../../src/tfjs/index.js';
import { createRandom, normals } from '../../test/support/random.js';
import { mobileNet, mobileNetGraph, randomise } from '../../test/support/tfjs.js';
import type { KernelTime, Mode, ModelKind, ModeTiming, Task, TfjsPage } from './types.js';

declare global {
  var tfjsPage: TfjsPage;
}

const OPTIONS = { batchMs: 20, timeoutMs: 60_000 };
const DENSITY = 0.1;
const PROFILED_RUNS = 30;

async function start({ backend, threads }: Task): Promise<void> {
  if (backend === 'wasm') {
    setWasmPaths('/tfjs-wasm/');
    if (threads > 1) setThreadsCount(threads);
    else tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false);
  } else await import('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend(backend))) throw new Error(`tfjs does not start its ${backend} backend`);
}

interface Model {
  predict(x: tf.Tensor): unknown;
  dispose(): unknown;
}

async function build({ size, alpha }: Task, kind: ModelKind, mode: Mode): Promise<Model> {
  const density = mode === 'pruned90' ? DENSITY : 1;
  if (kind === 'graph') return (await loadGraphModel(mobileNetGraph({ size, alpha, density }).handler())) as Model;
  const model = mobileNet({ size, alpha });
  randomise(model, 1, density);
  return model as Model;
}

async function timingOf(kind: ModelKind, mode: Mode, task: Task, notes: string[]): Promise<ModeTiming> {
  const [plain, fast] = [await build(task, kind, mode), await build(task, kind, mode)];
  const x = tf.tensor(normals(createRandom(3), task.size * task.size * 3), [1, task.size, task.size, 3]);
  const { report } = await accelerate(fast, {
    formats: mode === 'int8' ? { '*': 'int8' } : 'auto',
    wasm: task.backend === 'wasm' ? { threads: task.threads } : undefined,
  });
  notes.push(...report.notes.filter((note) => !notes.includes(note)));
  const answer = async (model: Model) => {
    const y = model.predict(x) as tf.Tensor;
    const data = await y.data();
    y.dispose();
    return data;
  };
  const [want, got] = [await answer(plain), await answer(fast)];
  let largest = 0;
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    largest = Math.max(largest, Math.abs(want[i]));
    worst = Math.max(worst, Math.abs(want[i] - got[i]));
  }
  const contestant = (name: string, model: Model) => ({
    name,
    run: () => {
      const y = model.predict(x) as tf.Tensor;
      // On WebGPU work is done when its answer is there.
      if (task.backend === 'webgpu') return y.data().then(() => y.dispose());
      return y.dispose();
    },
  });
  const contestants = [contestant('tfjs', plain), contestant('thinfer', fast)];
  const estimates: number[] = [];
  for (const one of contestants) estimates.push(await warmUp(one, { ...OPTIONS, rounds: task.rounds }, 300));
  const [tfjs, ours] = await race(contestants, estimates, { ...OPTIONS, rounds: task.rounds });
  for (const timing of [tfjs, ours]) if (timing instanceof Error) throw timing;
  const timing = {
    kind,
    mode,
    tfjs,
    ours,
    difference: worst / largest,
  } as ModeTiming;
  if (task.profile) timing.profile = { tfjs: await profileOf(plain, x), ours: await profileOf(fast, x) };
  x.dispose();
  plain.dispose();
  fast.dispose();
  return timing;
}

/** Milliseconds of each kernel of tfjs, ours among them, the least of several runs. */
async function profileOf(model: Model, x: tf.Tensor): Promise<KernelTime[]> {
  const least: KernelTime[] = [];
  for (let run = 0; run < PROFILED_RUNS; run++) {
    const { kernels } = await tf.profile(() => model.predict(x) as tf.Tensor);
    for (const [i, { name, kernelTimeMs, outputShapes }] of kernels.entries()) {
      const ms = (await kernelTimeMs) as number;
      least[i] = { name: `${name} ${outputShapes[0]}`, ms: Math.min(ms, least[i]?.ms ?? Number.POSITIVE_INFINITY) };
    }
  }
  return least;
}

let started: Promise<void> | undefined;

globalThis.tfjsPage = {
  async race(task, kind, mode) {
    started ??= start(task);
    await started;
    const notes: string[] = [];
    return { notes, timing: await timingOf(kind, mode, task, notes) };
  },
};
