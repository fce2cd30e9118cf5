// The command that compresses, as it is installed.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CompressionReport } from '../src/compress/index.js';
import { valuesOf } from '../src/compress/layers.js';
import { type Graph, isLayer } from '../src/graph/ir.js';
import { optimize } from '../src/graph/passes/index.js';
import { readOnnx } from '../src/onnx/index.js';
import { readFashion } from './support/fixtures.js';
import { writeSafetensors } from './support/safetensors-writer.js';

const root = process.cwd();
const test = suite('command line: compress');
const folder = mkdtempSync(join(tmpdir(), 'thinfer-compress-'));
const student = join(root, 'models/fashion_student.onnx');

function thinfer(...args: string[]) {
  const env = { ...process.env, XDG_CACHE_HOME: folder, NO_COLOR: '1' };
  return spawnSync(process.execPath, [join(root, 'dist/cli.js'), 'compress', ...args], {
    env,
    encoding: 'utf8',
    cwd: folder,
  });
}

const written = (file: string): Graph => optimize(readOnnx(new Uint8Array(readFileSync(join(folder, file)))));
const layers = (graph: Graph) => graph.nodes.filter(isLayer);

const { images, labels } = await readFashion(32);
mkdirSync(join(folder, 'calib'));
for (const i of [0, 1]) {
  const [from, to] = [16 * i, 16 * (i + 1)];
  const tensors = {
    image: { type: 'F32', shape: [16, 1, 28, 28], data: images.slice(784 * from, 784 * to) },
    labels: { type: 'U8', shape: [16], data: labels.slice(from, to) },
  } as const;
  writeFileSync(join(folder, `calib/${i}.safetensors`), writeSafetensors(tensors));
}

test('steps: the file has the forms, the report what was done', () => {
  const steps = 'obs:{"sparsity":0.9,"only":["/c/c.1/Gemm"]}+quantize:int8';
  const { status, stdout, stderr } = thinfer(
    student,
    'out.onnx',
    '--data',
    'calib',
    '--steps',
    steps,
    '--report',
    'r.json',
  );
  assert.is(status, 0, stderr);
  assert.match(stdout, /accuracy \d+\.\d\d %, now /);
  const report = JSON.parse(readFileSync(join(folder, 'r.json'), 'utf8')) as CompressionReport;
  assert.equal(report.steps, ['prune 90 % by OBS', 'quantize int8']);
  const formats = layers(written('out.onnx')).map(({ weights }) => weights.format);
  assert.equal(
    formats,
    report.layers.map(({ format }) => format.after),
  );
  assert.ok(formats.includes('csrInt8') && formats.includes('int8'), formats.join());
});

test('shards, merged, are what one machine makes', () => {
  const steps = ['--steps', 'quantize:int4'];
  for (const args of [['whole.onnx'], ['0.onnx', '--shard', '0/2'], ['1.onnx', '--shard', '1/2']]) {
    const { status, stderr } = thinfer(student, ...args, ...steps);
    assert.is(status, 0, stderr);
  }
  assert.ok(layers(written('0.onnx')).some(({ weights }) => weights.format === 'dense'));
  const { status, stderr } = thinfer('merge', student, 'merged.onnx', '0.onnx', '1.onnx');
  assert.is(status, 0, stderr);
  const [merged, whole] = ['merged.onnx', 'whole.onnx'].map((file) => layers(written(file)));
  for (const [i, { weights, name }] of whole.entries()) {
    assert.is(merged[i].weights.format, 'int4', name);
    assert.equal(valuesOf(merged[i].weights), valuesOf(weights), name);
  }
  const twice = thinfer('merge', student, 'no.onnx', '0.onnx', '0.onnx');
  assert.is(twice.status, 1);
  assert.match(twice.stderr, /expected one part that changed it, got 2/);
});

test('what is wrong is one line', () => {
  for (const [args, message] of [
    [[student, 'x.onnx'], /expected either --steps or --auto, got neither/],
    [[student, 'x.onnx', '--steps', 'magic:1'], /--steps: expected steps out of prune/],
    [[student, 'x.onnx', '--steps', 'obs:0.5'], /expected calibration data, got none/],
    [[student, 'x.onnx', '--steps', 'obs:0.5', '--data', 'nowhere'], /--data: expected a folder of \.safetensors/],
    [[student, 'x.onnx', '--steps', 'equalize', '--shard', '0/2'], /steps of single layers with --shard/],
    [['none.onnx', 'x.onnx', '--steps', 'prune:0.5'], /expected a model, got "none\.onnx"/],
  ] as const) {
    const { status, stderr } = thinfer(...args);
    // What is wrong with an option is a mistake in the command line.
    assert.is(status, /^thinfer: --/.test(stderr) ? 2 : 1, stderr);
    assert.match(stderr, message);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  }
});

test.after(() => rmSync(folder, { recursive: true, force: true }));

test.run();
