import type { WasmVariant } from '../src/wasm/variant.js';
import { activation } from './activation/variants.js';
import { batchMatmul } from './batch_matmul/variants.js';
import { bcsr } from './bcsr/variants.js';
import { binary } from './binary/variants.js';
import { codebook } from './codebook/variants.js';
import { codes } from './codes/variants.js';
import { copy } from './copy/variants.js';
import { csr } from './csr/variants.js';
import { csrCodebook } from './csr-codebook/variants.js';
import { csrInt8 } from './csr-int8/variants.js';
import { dense } from './dense/variants.js';
import { elementwise } from './elementwise/variants.js';
import { f16 } from './f16/variants.js';
import { gather } from './gather/variants.js';
import { grouped } from './grouped/variants.js';
import { int8 } from './int8/variants.js';
import { nm } from './nm/variants.js';
import { normalize } from './normalize/variants.js';
import { pooling } from './pool/variants.js';
import { reduce } from './reduce/variants.js';
import { resample } from './resample/variants.js';
import { softmax } from './softmax/variants.js';
import { ternary } from './ternary/variants.js';
import { xnor } from './xnor/variants.js';

/** The WASM table. Selection, tests and benches read it; nothing lists the kernels a second time. */
export const wasmVariants: readonly WasmVariant[] = [
  ...dense,
  ...f16,
  ...csr,
  ...bcsr,
  ...nm,
  ...csrInt8,
  ...csrCodebook,
  ...int8,
  ...grouped,
  ...ternary,
  ...binary,
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
];
