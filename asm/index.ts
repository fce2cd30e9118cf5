// The kernels of one module. Each is (job, begin, end, scratch): see shared/job.ts.
export { dense_gemm, dense_gemv } from './dense/dense';
export { dense_depthwise } from './dense/depthwise';
export { f16_gemm, f16_gemv, f16_depthwise } from './f16/f16';
export * from './csr/csr';
export * from './csr-codebook/csr-codebook';
export * from './bcsr/bcsr';
export * from './nm/nm';
export * from './csr-int8/csr-int8';
export { codes_depthwise, codebook_depthwise } from './shared/depthwise';
export { int8_quantize, int8_ranges } from './int8/quantize';
export { int8_gemm, int8_gemv } from './int8/int8';
export { int8_depthwise } from './int8/depthwise';
export { int8_gemm_pairs } from './shared/bytes/pairs';
export { pad_image, widen_image } from './shared/image';
export { int4_gemm, int4_gemv, int2_gemm, int2_gemv } from './grouped/grouped';
export { binary_gemm, binary_gemv } from './binary/binary';
export * from './codebook/codebook';
export { xnor_binarize, xnor_bgemm_4x32_lut } from './xnor/xnor';
export { max_pool2d, average_pool2d } from './pool/pool';
export { max_pool2d_codes, average_pool2d_codes } from './pool/codes';
export { quantize, dequantize, lookup, code_binary } from './codes/codes';
export { activation, activate_output } from './activation/activation';
export { binary } from './elementwise/elementwise';
export { softmax } from './softmax/softmax';
export { copy, copy_bytes } from './copy/copy';
export { gather } from './gather/gather';
export { resample, resample_codes } from './resample/resample';
export { reduce } from './reduce/reduce';
export { normalize } from './normalize/normalize';
export { batch_matmul } from './batch_matmul/batch_matmul';

/** First byte that the host may use. */
export function heap_base(): usize {
  return __heap_base;
}
