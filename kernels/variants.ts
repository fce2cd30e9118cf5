import type { WebgpuVariant } from '../src/webgpu/variant.js';
import { activation } from './activation/variants.js';
import { batchMatmul } from './batch_matmul/variants.js';
import { codebook } from './codebook/variants.js';
import { codes } from './codes/variants.js';
import { copy } from './copy/variants.js';
import { csr } from './csr/variants.js';
import { dense } from './dense/variants.js';
import { elementwise } from './elementwise/variants.js';
import { f16 } from './f16/variants.js';
import { gather } from './gather/variants.js';
import { int8 } from './int8/variants.js';
import { lowbit } from './lowbit/variants.js';
import { normalize } from './normalize/variants.js';
import { pooling } from './pool/variants.js';
import { reduce } from './reduce/variants.js';
import { resample } from './resample/variants.js';
import { softmax } from './softmax/variants.js';
import { xnor } from './xnor/variants.js';

/** The WebGPU table. Selection, tests and benches read it; nothing lists the kernels a second time. */
export const webgpuVariants = [
  ...dense,
  ...f16,
  ...csr,
  ...int8,
  ...lowbit,
  ...codebook,
  ...xnor,
  ...pooling,
  ...activation,
  ...elementwise,
  ...softmax,
  ...copy,
  ...codes,
  ...gather,
  ...resample,
  ...reduce,
  ...normalize,
  ...batchMatmul,
] as readonly unknown[] as readonly WebgpuVariant[];
