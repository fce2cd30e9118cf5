// The commands, as they are installed.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { createRuntime } from '../src/index.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { writeSafetensors } from './support/safetensors-writer.js';

const root = process.cwd();
const test = suite('command line');
const folder = mkdtempSync(join(tmpdir(), 'thinfer-cli-'));

function thinfer(...args: string[]) {
  const env = { ...process.env, XDG_CACHE_HOME: folder, NO_COLOR: '1' };
  return spawnSync(process.execPath, [join(root, 'dist/cli.js'), ...args], { env, encoding: 'utf8', cwd: folder });
}

const student = join(root, 'models/fashion_student.onnx');

test('tune times a model, shows it, and exports choices that a runtime takes', async () => {
  const args = [
    '--backend',
    'wasm',
    '--threads',
    '1',
    '--effort',
    'quick',
    '--export',
    'choices.json',
    '--html',
    'r.html',
  ];
  const { status, stdout, stderr } = thinfer('tune', student, ...args);
  assert.is(status, 0, stderr);
  assert.match(stdout, /\/c\/c\.1\/Gemm +\| linear/);
  assert.match(readFileSync(join(folder, 'r.html'), 'utf8'), '<!doctype html>');
  const runtime = await createRuntime({ backends: ['wasm'], cache: false, tune: 'off' });
  assert.ok(runtime.importChoices(JSON.parse(readFileSync(join(folder, 'choices.json'), 'utf8'))) > 0);
  runtime.free();
});

test('advise prints JSON alone when asked for it', () => {
  const { status, stdout, stderr } = thinfer('advise', student, '--backend', 'wasm', '--only', 'int8', '--json');
  assert.is(status, 0, stderr);
  for (const { options } of JSON.parse(stdout)) assert.is(options[0].compression, 'int8');
});

test('inspect shows what a model is made of', () => {
  const { status, stdout, stderr } = thinfer('inspect', join(root, 'models/fashion_pruned90.onnx'), '--json');
  assert.is(status, 0, stderr);
  const { inputs, nodes, backends } = JSON.parse(stdout);
  assert.equal(inputs, [{ name: 'image', shape: ['N', 1, 28, 28], dtype: 'float32' }]);
  const gemm = nodes.find(({ name }: { name: string }) => name === '/c/c.1/Gemm');
  assert.is(gemm.macs, 1152 * 256);
  assert.is(gemm.weights.count, 1152 * 256);
  assert.is(gemm.weights.format, 'csr');
  assert.ok(gemm.weights.zeros > 0.9 && gemm.weights.zeros < 1);
  assert.match(gemm.kernels.wasm, /^(csr|dense)/);
  assert.is(backends.length, 2);
});

test('inspect says what would not run', () => {
  const writer = new OnnxWriter().input('x', ['N', 4]).output('y');
  writer.node('Spectrogram', ['x'], ['y']);
  writeFileSync(join(folder, 'odd.onnx'), writer.bytes());
  const { status, stdout } = thinfer('inspect', 'odd.onnx');
  assert.is(status, 1);
  assert.match(stdout, /would not run: it has\n {2}node "y" \(Spectrogram\)/);
});

test('run takes inputs of every kind of file to the same answer', () => {
  const pixels = Float32Array.from({ length: 784 }, (_, i) => ((i * 7) % 256) / 255);
  writeFileSync(join(folder, 'image.bin'), new Uint8Array(pixels.buffer));
  writeFileSync(join(folder, 'image.json'), JSON.stringify({ image: [Array.from(pixels)] }));
  writeFileSync(
    join(folder, 'image.safetensors'),
    writeSafetensors({ image: { type: 'F32', shape: [1, 1, 28, 28], data: pixels } }),
  );
  const answers = ['image.bin', 'image.json', 'image.safetensors'].map((input) => {
    const { status, stderr } = thinfer('run', student, '--backend', 'wasm', '--input', input, '--output', 'out.json');
    assert.is(status, 0, stderr);
    const { logits } = JSON.parse(readFileSync(join(folder, 'out.json'), 'utf8'));
    assert.equal(logits.shape, [1, 10]);
    return logits.data;
  });
  assert.equal(answers[1], answers[0]);
  assert.equal(answers[2], answers[0]);
  const other = thinfer('run', student, '--backend', 'wasm', '--json');
  assert.not.equal(JSON.parse(other.stdout).outputs[0].max, Math.max(...answers[0]));
});

test('what is wrong is said in one line, and by the exit status', () => {
  for (const [args, said, wanted = 2] of [
    [['tune', 'nowhere.onnx'], /a file that can be read, got nowhere\.onnx \(ENOENT/, 1],
    [['tune', join(root, 'package.json')], /thinfer: /, 1],
    [['tune', student, '--shape', 'pictures=1x1'], /NAME one of image/],
    [['tune', student, '--threads', 'many'], /--threads: expected an integer/],
    [['advise', student, '--backend', 'wasm', '--only', 'magic'], /names out of prune 70 %/, 1],
    [['tune', student, '--thread', '2'], /--thread: expected one of --backend/],
    [['tune', student, '--backend', 'cuda'], /Expected one of: wasm, webgpu/],
    [['tune'], /Missing required positional argument: MODEL/],
    [['tune', student, 'another.onnx'], /expected 1 argument, got "another\.onnx"/],
    [['inspekt', student], /expected a command out of inspect/],
    [['run', student, '--input', 'picture.png'], /--input: expected random, a \.json/],
    [['run', student, '--input', 'nowhere.json'], /nowhere\.json: expected a file that can be read/, 1],
  ] as [string[], RegExp, number?][]) {
    const { status, stderr, stdout } = thinfer(...args);
    assert.is(status, wanted, args.join(' '));
    assert.match(stderr, said);
    assert.is(stdout.includes('    at '), false);
  }
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
