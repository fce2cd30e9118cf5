// Writes int8 versions of a shipped model, QDQ and QOperator, calibrated on test images:
//   npx tsx scripts/quantize-fashion.ts FOLDER [NAME, default fashion_float]
// test/quantized.node.test.ts runs what this writes beside onnxruntime-web.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { root } from './paths.js';
import { standalone } from './plugins.js';

const [folder, name = 'fashion_float'] = process.argv.slice(2);
if (!folder) throw new Error('usage: npx tsx scripts/quantize-fashion.ts FOLDER [NAME]');

const outfile = join(root, 'build/quantize-fashion.mjs');
await build({ ...standalone, entryPoints: ['test/support/quantize-fashion.ts'], outfile });
const { quantizeFashion } = (await import(
  pathToFileURL(outfile).href
)) as typeof import('../test/support/quantize-fashion.js');
await quantizeFashion(root, name, folder);
