// Matrices and tensors as products of smaller ones.

import { EigenvalueDecomposition, Matrix, QrDecomposition, solve } from 'ml-matrix';
import { mix } from '../../formats/hashed.js';

/** Orthonormal columns that capture most of a matrix' rows' space, those that capture most first. */
export interface Basis {
  /** [size, size]: columns are the left singular vectors. */
  vectors: Matrix;
  /** Squares of the singular values, descending. */
  energies: Float64Array;
}

/**
 * Left singular vectors and squared singular values of `matrix`: the eigenvectors of its product with its own transpose,
 * which is as large as the smaller side asks.
 */
export function leftBasis(matrix: Matrix): Basis {
  const { vectors, values } = eigen(matrix.mmul(matrix.transpose()));
  return { vectors, energies: values };
}

function eigen(symmetric: Matrix): { vectors: Matrix; values: Float64Array } {
  const { eigenvectorMatrix, realEigenvalues } = new EigenvalueDecomposition(symmetric, { assumeSymmetric: true });
  const order = Array.from(realEigenvalues.keys()).sort((a, b) => realEigenvalues[b] - realEigenvalues[a]);
  const values = Float64Array.from(order, (i) => Math.max(realEigenvalues[i], 0));
  return { vectors: eigenvectorMatrix.subMatrixColumn(order), values };
}

export interface Product {
  /** [rows, rank] */
  left: Matrix;
  /** [rank, cols] */
  right: Matrix;
}

/** A matrix as products of rank 1, 2, ..., each the nearest of its rank (Eckart and Young 1936). */
export interface Decomposition {
  /** Squared singular values, descending. */
  energies: Float64Array;
  /** Both factors share the singular values evenly, so that neither is of large numbers. */
  at(rank: number): Product;
}

export function decompose(matrix: Matrix): Decomposition {
  const wide = matrix.rows <= matrix.columns;
  const { vectors, energies } = leftBasis(wide ? matrix : matrix.transpose());
  const at = (rank: number): Product => {
    const basis = vectors.subMatrix(0, vectors.rows - 1, 0, rank - 1);
    // The other factor is the matrix in this basis: rows as long as their singular values.
    const rest = basis.transpose().mmul(wide ? matrix : matrix.transpose());
    for (let k = 0; k < rank; k++) {
      const root = Math.sqrt(Math.sqrt(energies[k]));
      if (root === 0) continue;
      basis.mulColumn(k, root);
      rest.mulRow(k, 1 / root);
    }
    return wide ? { left: basis, right: rest } : { left: rest.transpose(), right: basis.transpose() };
  };
  return { energies, at };
}

/** A tensor [outputs, taps, inputs], row-major. */
export interface Kernel {
  outputs: number;
  taps: number;
  inputs: number;
  values: ArrayLike<number>;
}

/** Rows are outputs. */
export function byOutput({ outputs, taps, inputs, values }: Kernel): Matrix {
  return Matrix.from1DArray(outputs, taps * inputs, values as number[]);
}

/** Rows are inputs, columns output and tap. */
export function byInput({ outputs, taps, inputs, values }: Kernel): Matrix {
  const matrix = Matrix.zeros(inputs, outputs * taps);
  for (let at = 0; at < outputs * taps * inputs; at++) matrix.set(at % inputs, Math.floor(at / inputs), values[at]);
  return matrix;
}

/** Rows are taps, columns output and input. */
function byTap({ outputs, taps, inputs, values }: Kernel): Matrix {
  const matrix = Matrix.zeros(taps, outputs * inputs);
  for (let o = 0; o < outputs; o++) {
    for (let t = 0; t < taps; t++) {
      for (let i = 0; i < inputs; i++) matrix.set(t, o * inputs + i, values[(o * taps + t) * inputs + i]);
    }
  }
  return matrix;
}

export interface Tucker {
  /** [outputs, outputRank], orthonormal columns. */
  out: Matrix;
  /** A kernel of outputRank outputs and inputRank inputs. */
  core: Kernel;
  /** [inputs, inputRank], orthonormal columns. */
  in: Matrix;
}

/** Rounds in which each of the two bases is improved for the other. */
const ROUNDS = 4;

/** The kernel in two bases: of outputs and of inputs. */
function inBases(kernel: Kernel, out: Matrix, input: Matrix): Kernel {
  const { taps } = kernel;
  const values = timesInputs({ ...kernel, outputs: out.columns, values: timesOutputs(kernel, out) }, input);
  return { outputs: out.columns, taps, inputs: input.columns, values };
}

/** The kernel with its outputs in another basis. */
function timesOutputs(kernel: Kernel, basis: Matrix): number[] {
  return basis.transpose().mmul(byOutput(kernel)).to1DArray();
}

/** The same of its inputs. */
function timesInputs({ outputs, taps, inputs, values }: Kernel, basis: Matrix): number[] {
  return Matrix.from1DArray(outputs * taps, inputs, values as number[])
    .mmul(basis)
    .to1DArray();
}

const leading = (matrix: Matrix, columns: number): Matrix => matrix.subMatrix(0, matrix.rows - 1, 0, columns - 1);

/** The basis turned towards the largest singular vectors of a matrix: a step of orthogonal iteration. */
function turned(matrix: Matrix, basis: Matrix): Matrix {
  return leading(new QrDecomposition(matrix.mmul(matrix.transpose().mmul(basis))).orthogonalMatrix, basis.columns);
}

/** A kernel's singular vectors, from which it is brought to any ranks. */
export interface TuckerBases {
  /** The share of the squares of all weights that ranks keep at least. */
  energy(outputRank: number, inputRank: number): number;
  at(outputRank: number, inputRank: number): Tucker;
}

/**
 * Tucker-2: a kernel as a smaller one between two bases, begun with the singular vectors of both unfoldings and then
 * improved in turns (De Lathauwer, De Moor and Vandewalle 2000, the higher-order orthogonal iteration).
 */
export function tucker(kernel: Kernel): TuckerBases {
  const { outputs, taps, inputs } = kernel;
  const out = leftBasis(byOutput(kernel)).vectors;
  const input = leftBasis(byInput(kernel)).vectors;
  /** The whole kernel in both bases: what ranks keep is a corner of it. */
  const whole = inBases(kernel, out, input).values;
  const total = squares(whole);
  return {
    energy(outputRank, inputRank) {
      let sum = 0;
      for (let row = 0; row < outputRank * taps; row++) {
        for (let i = row * inputs; i < row * inputs + inputRank; i++) sum += whole[i] ** 2;
      }
      return total > 0 ? sum / total : 1;
    },
    at(outputRank, inputRank) {
      let [u, v] = [leading(out, outputRank), leading(input, inputRank)];
      const rounds = outputRank < outputs || inputRank < inputs ? ROUNDS : 0;
      for (let round = 0; round < rounds; round++) {
        u = turned(byOutput({ ...kernel, inputs: inputRank, values: timesInputs(kernel, v) }), u);
        v = turned(byInput({ ...kernel, outputs: outputRank, values: timesOutputs(kernel, u) }), v);
      }
      return { out: u, core: inBases(kernel, u, v), in: v };
    },
  };
}

export const squares = (list: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < list.length; i++) sum += list[i] * list[i];
  return sum;
};

export interface Canonical {
  /** [outputs, rank] */
  out: Matrix;
  /** [taps, rank] */
  taps: Matrix;
  /** [inputs, rank] */
  in: Matrix;
  /** 1 - ||kernel - product||^2 / ||kernel||^2 */
  energy: number;
}

/** Sweeps after which terms are judged, and those after which they are taken. */
const QUICK_SWEEPS = 8;
const MOST_SWEEPS = 40;
/** Sweeps end where the captured energy grows by less. */
const SETTLED = 1e-4;
/** Added to the diagonal of the products of factors, as a share of its mean: neighbouring terms would cancel each other. */
const DAMPING = 1e-6;

/** A kernel as a sum of products of three vectors, of any number of terms. */
export interface CanonicalTerms {
  /** After a few sweeps: what is kept at least. */
  quick(rank: number): Canonical;
  at(rank: number): Canonical;
}

/**
 * CP: a kernel as a sum of products of an output, a tap and an input vector, by alternating least squares (Lebedev et al.
 * 2015, Speeding-up Convolutional Neural Networks Using Fine-tuned CP-Decomposition). Begins with the singular vectors of
 * the unfoldings, where there are more terms than those with pseudo-random numbers.
 */
export function canonical(kernel: Kernel, seed = 1): CanonicalTerms {
  const unfolded = [byOutput(kernel), byTap(kernel), byInput(kernel)];
  const bases = unfolded.map((matrix) => leftBasis(matrix).vectors);
  const total = squares(kernel.values);
  const start = (rank: number) => bases.map((basis, which) => startingFactor(basis, rank, seed + which));
  const known = new Map<number, Canonical>();
  const quick = (rank: number): Canonical => {
    const made = known.get(rank) ?? sweep(unfolded, start(rank), total, QUICK_SWEEPS);
    known.set(rank, made);
    return made;
  };
  return {
    quick,
    at(rank) {
      const { out, taps, in: input } = quick(rank);
      return sweep(unfolded, [out.clone(), taps.clone(), input.clone()], total, MOST_SWEEPS - QUICK_SWEEPS);
    },
  };
}

/** Improves one factor for the two others, in turns. Factors are overwritten. */
function sweep(unfolded: readonly Matrix[], factors: Matrix[], total: number, sweeps: number): Canonical {
  const rank = factors[0].columns;
  let energy = 0;
  for (let i = 0; i < sweeps && total > 0; i++) {
    let left = total;
    for (let which = 0; which < 3; which++) {
      const others = factors.filter((_, at) => at !== which);
      const gram = others[0].transpose().mmul(others[0]).mul(others[1].transpose().mmul(others[1]));
      const damped = gram.clone();
      const damping = (DAMPING * gram.trace()) / rank;
      for (let k = 0; k < rank; k++) damped.set(k, k, damped.get(k, k) + damping);
      // Columns of an unfolding count the first of the others slowest.
      const moments = unfolded[which].mmul(khatriRao(others[0], others[1]));
      const factor = solve(damped, moments.transpose()).transpose();
      factors[which] = factor;
      // ||kernel - product||^2 by inner products, of which all are there.
      left = total - 2 * Matrix.mul(moments, factor).sum() + Matrix.mul(gram, factor.transpose().mmul(factor)).sum();
    }
    balance(factors);
    const grown = 1 - left / total - energy;
    energy += grown;
    if (i > 2 && grown < SETTLED) break;
  }
  const [out, taps, input] = factors;
  return total > 0 ? { out, taps, in: input, energy } : { out: out.mul(0), taps, in: input, energy: 1 };
}

function startingFactor(basis: Matrix, rank: number, seed: number): Matrix {
  const factor = Matrix.zeros(basis.rows, rank);
  for (let r = 0; r < basis.rows; r++) {
    for (let k = 0; k < rank; k++) {
      const random = mix(seed * 7919 + r * rank + k) / 2 ** 31 - 1;
      factor.set(r, k, k < basis.columns ? basis.get(r, k) : random);
    }
  }
  return factor;
}

/** Row (i, j) is the elementwise product of row i and row j. */
function khatriRao(a: Matrix, b: Matrix): Matrix {
  const product = Matrix.zeros(a.rows * b.rows, a.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < b.rows; j++) {
      for (let k = 0; k < a.columns; k++) product.set(i * b.rows + j, k, a.get(i, k) * b.get(j, k));
    }
  }
  return product;
}

/** Makes the three vectors of each term equally long. */
function balance(factors: readonly Matrix[]): void {
  for (let k = 0; k < factors[0].columns; k++) {
    const lengths = factors.map((factor) => Math.sqrt(factor.getColumn(k).reduce((sum, x) => sum + x * x, 0)));
    const product = lengths[0] * lengths[1] * lengths[2];
    if (!(product > 0)) continue;
    for (const [i, factor] of factors.entries()) factor.mulColumn(k, Math.cbrt(product) / lengths[i]);
  }
}
