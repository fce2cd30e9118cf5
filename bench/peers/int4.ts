/** Four-bit weights in groups along K, as com.microsoft.MatMulNBits stores them. */
export interface GroupedInt4 {
  /** [N, K / groupSize, groupSize / 2], the even column in the low nibble; real = scale * (code - 8). */
  codes: Uint8Array;
  /** [N, K / groupSize] */
  scales: Float32Array;
  /** What the codes mean, [N, K]. */
  values: Float32Array;
}

/** Columns that share a scale. */
export const GROUP_SIZE = 32;

/** Rounds [N, K] to codes 1 .. 15. K must be a multiple of the group size. */
export function quantizeInt4(weights: Float32Array): GroupedInt4 {
  const scales = new Float32Array(weights.length / GROUP_SIZE);
  const codes = new Uint8Array(weights.length / 2);
  const values = new Float32Array(weights.length);
  for (let g = 0; g < scales.length; g++) {
    const first = g * GROUP_SIZE;
    let largest = 0;
    for (let i = first; i < first + GROUP_SIZE; i++) largest = Math.max(largest, Math.abs(weights[i]));
    const scale = Math.fround(largest / 7) || 1;
    scales[g] = scale;
    for (let i = first; i < first + GROUP_SIZE; i++) {
      const code = Math.round(weights[i] / scale);
      codes[i >> 1] |= (code + 8) << (i & 1 ? 4 : 0);
      values[i] = code * scale;
    }
  }
  return { codes, scales, values };
}
