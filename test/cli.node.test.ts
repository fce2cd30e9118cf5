// The commands, as they are installed.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { createRuntime } from '../src/index.js';

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

test('what is wrong is said in one line, with exit status 1', () => {
  for (const [args, said] of [
    [['tune', 'nowhere.onnx'], /a file that can be read, got nowhere\.onnx \(ENOENT/],
    [['tune', join(root, 'package.json')], /thinfer: /],
    [['tune', student, '--shape', 'pictures=1x1'], /NAME one of image/],
    [['tune', student, '--threads', 'many'], /--threads: expected an integer/],
    [['advise', student, '--backend', 'wasm', '--only', 'magic'], /names out of prune 70 %/],
  ] as const) {
    const { status, stderr, stdout } = thinfer(...args);
    assert.is(status, 1, args.join(' '));
    assert.match(stderr, said);
    assert.is(stdout.includes('    at '), false);
  }
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
