import { ThinferError } from '../errors.js';
import type { Graph } from './ir.js';
import { Model, type ModelOptions, type RuntimeLike } from './model.js';

/** The model of a graph that was read from a file: shapes that contradict each other are the file's fault. */
export async function modelOfFile(runtime: RuntimeLike, graph: Graph, options: ModelOptions): Promise<Model> {
  try {
    return await Model.create(runtime, graph, options);
  } catch (error) {
    if (!(error instanceof ThinferError) || error.code !== 'bad-shape') throw error;
    const { place, expected, got, hint } = error;
    throw new ThinferError({ code: 'bad-model', place, expected, got, hint, cause: error });
  }
}
