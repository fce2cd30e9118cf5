import type { Backend, Operands } from '../backend.js';
import type { Bias } from '../formats/format.js';
import type { Form } from '../formats/forms.js';
import type { MatmulProblem } from '../plan/problem.js';
import { select } from '../plan/select.js';
import { openBench, openTrial, type Trial } from '../plan/trial.js';

/** A layer that is ready to be timed. */
export interface Prepared {
  trial: Trial;
  variant: string;
  /** Of the weights in the form that was chosen. */
  bytes: number;
}

/**
 * The row that is predicted to be the fastest for a problem with weights in one of some forms, or the one that is named.
 * @param open gets what is to be freed, in this order
 */
export async function prepare(
  backend: Backend,
  asked: MatmulProblem,
  forms: readonly Form[],
  open: { free(): void }[],
  force = '',
  bias?: Bias,
): Promise<Prepared> {
  const selection = select(asked, [backend], { force, forms });
  const problem = selection.problem as MatmulProblem;
  const { variant } = selection;
  const form = forms.find(({ facts }) => facts === problem.weights)!;
  const bench = openBench(backend, problem);
  open.push(bench);
  const operands: Operands = backend.pack(variant, problem, form.make(), bias);
  open.push(operands);
  const trial = await openTrial(bench, variant, problem, operands);
  open.push(trial);
  return { trial, variant: variant.name, bytes: problem.weights.bytes };
}
