// ONNX models whose weights lie in files beside them.

import { create, toBinary } from '@bufbuild/protobuf';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ThinferError } from '../src/index.js';
import {
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
} from '../src/onnx/generated/onnx_pb.js';
import { loadOnnx } from '../src/onnx/index.js';
import { OnnxWriter } from './support/onnx-writer.js';
import { ReferenceBackend } from './support/reference-backend.js';

const test = suite('external data');
const runtime = { backends: [new ReferenceBackend()] };
const weights = Float32Array.from({ length: 6 }, (_, i) => i + 1);
/** Three bytes before the weights, two behind them. */
const file = new Uint8Array(3 + 24 + 2);
file.set(new Uint8Array(weights.buffer), 3);

/** y = x * w, w [2, 3] in another file. */
function model(fields: Record<string, string>): Uint8Array {
  const writer = new OnnxWriter()
    .input('x', [1, 2])
    .floats('w', [2, 3], [])
    .node('MatMul', ['x', 'w'], ['y'])
    .output('y');
  const [w] = writer.graph.initializer;
  w.floatData = [];
  w.rawData = new Uint8Array();
  w.dataLocation = TensorProto_DataLocation.EXTERNAL;
  w.externalData = Object.entries(fields).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }));
  const opsetImport = [{ domain: '', version: 17n }];
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, { irVersion: 8n, graph: writer.graph, opsetImport }));
}

const whole = { location: 'data/w.bin', offset: '3', length: '24' };

async function answer(source: Parameters<typeof loadOnnx>[1], options = {}) {
  const loaded = await loadOnnx(runtime, source, options);
  const { y } = await loaded.run({ x: Float32Array.of(1, 10) });
  loaded.free();
  return [...y.data];
}

test('files that the caller has', async () => {
  assert.equal(await answer(model(whole), { externalData: { 'data/w.bin': file } }), [41, 52, 63]);
  const exact = { externalData: { 'data/w.bin': file.slice(3, 27) } };
  assert.equal(await answer(model({ location: 'data/w.bin' }), exact), [41, 52, 63], 'offset 0, to the end');
});

test('files beside the model, and none outside its folder', async () => {
  if (typeof process === 'undefined') {
    console.log('skipped in browsers: there is no folder to write to');
    return;
  }
  const { mkdtemp, mkdir, rm, symlink, writeFile } = process.getBuiltinModule('node:fs/promises');
  const { join } = process.getBuiltinModule('node:path');
  const { pathToFileURL } = process.getBuiltinModule('node:url');
  const outside = await mkdtemp(join(process.getBuiltinModule('node:os').tmpdir(), 'thinfer-external-'));
  const folder = join(outside, 'model');
  await mkdir(join(folder, 'data'), { recursive: true });
  await writeFile(join(folder, 'data/w.bin'), file);
  await writeFile(join(folder, 'model.onnx'), model(whole));
  assert.equal(await answer(join(folder, 'model.onnx')), [41, 52, 63]);
  assert.equal(await answer(pathToFileURL(join(folder, 'model.onnx'))), [41, 52, 63]);
  await writeFile(join(outside, 'secret.bin'), file);
  await symlink(join(outside, 'secret.bin'), join(folder, 'data/link.bin'));
  await writeFile(join(folder, 'leaves.onnx'), model({ ...whole, location: 'data/link.bin' }));
  for (const source of [join(folder, 'leaves.onnx'), pathToFileURL(join(folder, 'leaves.onnx'))]) {
    const error = await answer(source).catch((thrown) => thrown);
    assert.is(error.code, 'bad-model');
    assert.match(error.message, /a link to .*secret\.bin/);
  }
  const missing = await loadOnnx(runtime, join(folder, 'nowhere.onnx')).catch((thrown) => thrown);
  assert.is(missing.code, 'bad-argument');
  await rm(outside, { recursive: true });
});

test('names that lead elsewhere, ranges that are not there, files that are missing', async () => {
  const locations = ['../w.bin', '/etc/passwd', 'a/../../w', 'C:\\w', 'a\\b', 'http://x/w', '', './w', 'a//b', 'a\0b'];
  for (const location of locations) {
    const error = await answer(model({ ...whole, location }), { externalData: { [location]: file } }).catch((e) => e);
    assert.instance(error, ThinferError, location);
    assert.is(error.code, 'bad-model', location);
    assert.match(error.place, 'tensor "w"');
  }
  for (const range of [
    { offset: '6' },
    { offset: '-1' },
    { length: '1e3' },
    { length: '999' },
    { offset: '30' },
    { length: '20' },
  ]) {
    const error = await answer(model({ ...whole, ...range }), { externalData: { 'data/w.bin': file } }).catch((e) => e);
    assert.is(error.code, 'bad-model', JSON.stringify(range));
  }
  const without = await answer(model(whole)).catch((error) => error);
  assert.is(without.code, 'bad-argument');
  assert.match(without.message, /externalData: \{ "data\/w\.bin": bytes \}/);
  const nameless = await answer(model({ offset: '3' })).catch((error) => error);
  assert.is(nameless.code, 'bad-model');
});

test.run();
