// The answer, and what compression has changed of it.
import { areShares, argmax, largest, probabilities } from './answers.js';
import type { Agreement, Answer, Config } from './engine.js';
import type { Shipped } from './models.js';
import { element, percent, say, showAnswers } from './views.js';

/** Answers that are shown. */
const TOP = 5;

type Numbers = ArrayLike<number>;

/** What is known of the dense form's answer to the same picture. */
function compare(values: Numbers, dense: Numbers | undefined, areParts: boolean, { form, backend }: Config) {
  if (!dense) {
    const isDense = form === 'dense' && backend === 'wasm';
    return isDense
      ? { short: 'yes', long: 'this is the dense form' }
      : { short: '–', long: 'there is no dense form beside it' };
  }
  const best = (of: Numbers) => argmax({ shape: [of.length], data: of })[0];
  let furthest = 0;
  for (let i = 0; i < values.length; i++) furthest = Math.max(furthest, Math.abs(values[i] - dense[i]));
  const same = best(values) === best(dense);
  const apart = areParts ? percent(Math.max(furthest, 0.001)) : furthest.toPrecision(3);
  const long = `this picture: ${same ? `same, within ${apart}` : `another, ${apart} apart`}`;
  return { short: same ? 'yes' : 'no', long };
}

export class AnswerView {
  /** The best answer in words. */
  text = '';
  #last: { answer: Answer; config: Config; shipped: Shipped | undefined } | undefined;
  #agreement: Agreement | undefined;

  /** What was found of test images does not hold any more. */
  forget(): void {
    this.#agreement = undefined;
  }

  show(answer: Answer, config: Config, shipped: Shipped | undefined): void {
    this.#last = { answer, config, shipped };
    const { data, dtype, shape, dense } = answer;
    const sharesOf = (values: Answer['data']): Numbers | undefined => {
      if (shipped) return probabilities(values, dtype, shipped.fashion);
      return areShares(values) ? values : undefined;
    };
    const shares = sharesOf(data);
    const values = shares ?? data;
    const top = largest(values, TOP);
    const most = shares ? 1 : Math.max(...top.map((i) => Math.abs(values[i])), 1e-9);
    const bars = top.map((i) => ({
      label: shipped?.classes[i] ?? `# ${i}`,
      value: shares ? percent(values[i]) : values[i].toPrecision(4),
      share: Math.abs(values[i]) / most,
    }));
    showAnswers(element('answers'), bars);
    this.text = bars.length > 0 ? `${bars[0].label}, ${bars[0].value}` : 'An empty output';
    const own = `The largest of the output's ${values.length} numbers, [${shape.join(', ')}].`;
    say('answer-note', shipped ? undefined : own);
    const compared = compare(values, dense && (sharesOf(dense) ?? dense), shares !== undefined, config);
    const { images, same, correct } = this.#agreement ?? { images: 0, same: 0, correct: 0 };
    element('same').textContent = images ? `${same} of ${images}` : compared.short;
    element('same-note').textContent = images ? `test images, ${correct} right; ${compared.long}` : compared.long;
  }

  agreed(agreement: Agreement): void {
    this.#agreement = agreement;
    const { answer, config, shipped } = this.#last!;
    this.show(answer, config, shipped);
  }
}
