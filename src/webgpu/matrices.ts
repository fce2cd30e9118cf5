import type { SubgroupMatrices } from '../plan/variant.js';

/** The feature that subgroup matrices need: experimental in Dawn, which alone has it. */
export const MATRICES = 'chromium-experimental-subgroup-matrix';

/** Loads as the rows with matrices load: the syntax has changed before, and may again. */
const SYNTAX = `enable ${MATRICES.replaceAll('-', '_')};
alias Left = subgroup_matrix_left<i8, 8, 8>;
var<workgroup> tile: array<i32, 64>;
@compute @workgroup_size(64) fn main() {
  let left = subgroupMatrixLoad<Left, row_major>(&tile, 0, 4);
}`;

/** As Dawn shows it: no part of the declarations of WebGPU. */
interface MatrixInfo extends GPUAdapterInfo {
  subgroupMatrixConfigs?: readonly {
    componentType: string;
    resultComponentType: string;
    M: number;
    N: number;
    K: number;
  }[];
}

/**
 * What subgroups of a device multiply; undefined where this Dawn wants it written otherwise.
 * @param info of the adapter: that of a device has no list
 */
export async function matricesOf(device: GPUDevice, info: MatrixInfo): Promise<SubgroupMatrices | undefined> {
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: SYNTAX, label: 'subgroup matrices' });
  const [{ messages }, error] = await Promise.all([module.getCompilationInfo(), device.popErrorScope()]);
  if (error || messages.some(({ type }) => type === 'error')) return undefined;
  const { subgroupMatrixConfigs = [], subgroupMaxSize = 128 } = info;
  const configs = subgroupMatrixConfigs.map(({ componentType, resultComponentType, M, N, K }) => ({
    component: componentType,
    result: resultComponentType,
    M,
    N,
    K,
  }));
  return { threads: subgroupMaxSize, configs };
}
