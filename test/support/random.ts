import type { Random } from '../../src/random.js';

export { createRandom, type Random } from '../../src/random.js';

/** Normal values, [length]. */
export function normals(random: Random, length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, () => scale * random.normal());
}

/** Uniform values in [min, max), [length]. */
export function uniforms(random: Random, length: number, min = -1, max = 1): Float32Array {
  return Float32Array.from({ length }, () => min + (max - min) * random.next());
}

/** A dense matrix of normal values, row-major [rows, cols]. */
export function denseMatrix(random: Random, rows: number, cols: number): Float32Array {
  return normals(random, rows * cols);
}

/**
 * A pruned matrix, row-major [rows, cols]: each weight is kept with probability `density`, and about one row in eight
 * has none, as happens in pruned networks.
 */
export function sparseMatrix(random: Random, rows: number, cols: number, density: number): Float32Array {
  const matrix = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++) {
    if (random.next() < 0.125) continue;
    for (let c = 0; c < cols; c++) if (random.next() < density) matrix[r * cols + c] = random.normal();
  }
  return matrix;
}
