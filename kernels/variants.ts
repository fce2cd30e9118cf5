import type { WebgpuVariant } from '../src/webgpu/variant.js';
import { activation } from './activation/variants.js';
import { codebook } from './codebook/variants.js';
import { csr } from './csr/variants.js';
import { dense } from './dense/variants.js';
import { elementwise } from './elementwise/variants.js';
import { int8 } from './int8/variants.js';
import { lowbit } from './lowbit/variants.js';
import { pooling } from './pool/variants.js';
import { softmax } from './softmax/variants.js';
import { transpose } from './transpose/variants.js';
import { xnor } from './xnor/variants.js';

/** The WebGPU table. Selection, tests and benches read it; nothing lists the kernels a second time. */
export const webgpuVariants = [
  ...dense,
  ...csr,
  ...int8,
  ...lowbit,
  ...codebook,
  ...xnor,
  ...pooling,
  ...activation,
  ...elementwise,
  ...softmax,
  ...transpose,
] as readonly unknown[] as readonly WebgpuVariant[];
