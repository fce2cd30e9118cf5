import type { Step } from '../compress/index.js';
import * as methods from '../compress/index.js';
import { describe, ThinferError } from '../errors.js';

type Options = Record<string, unknown>;
type Method = (options: never) => Step;

/** What `--steps` knows, by name; those that take one number or word say which option that is. */
const METHODS: Readonly<Record<string, { method: Method; short?: string }>> = {
  prune: { method: methods.prune, short: 'sparsity' },
  pruneByLayer: { method: methods.pruneByLayer, short: 'maxLoss' },
  obd: { method: methods.obd, short: 'sparsity' },
  obs: { method: methods.obs, short: 'sparsity' },
  pruneFilters: { method: methods.pruneFilters, short: 'share' },
  removeLayers: { method: methods.removeLayers, short: 'count' },
  quantize: { method: methods.quantize, short: 'format' },
  gptq: { method: methods.gptq, short: 'format' },
  adaround: { method: methods.adaround, short: 'format' },
  equalize: { method: methods.equalize },
  binarize: { method: methods.binarize },
  ternarize: { method: methods.ternarize },
  xnorize: { method: methods.xnorize },
  cluster: { method: methods.cluster, short: 'entries' },
  hash: { method: methods.hash, short: 'entries' },
  deepCompression: { method: methods.deepCompression, short: 'sparsity' },
  svd: { method: methods.svd, short: 'rank' },
  tucker2: { method: methods.tucker2, short: 'rank' },
  cp: { method: methods.cp, short: 'rank' },
};

/** Methods of which a layer's result has nothing to do with other layers, with what makes them so. */
const ALONE: Readonly<Record<string, Options>> = {
  prune: { scope: 'layer' },
  obd: { scope: 'layer', sequential: false },
  obs: { scope: 'layer', sequential: false },
  quantize: {},
  gptq: { sequential: false },
  adaround: { sequential: false },
  binarize: {},
  ternarize: {},
  xnorize: {},
  cluster: {},
};

function bad(expected: string, got: string, hint?: string): never {
  throw new ThinferError({ code: 'bad-argument', place: '--steps', expected, got, hint });
}

/**
 * Steps of a text: `obs:0.8+quantize:int8`, or with options `prune:{"sparsity":0.5,"pattern":"4x1"}`.
 * @param only the layers of a shard, which does what needs no others
 */
export function stepsOf(text: string, only?: readonly string[]): Step[] {
  return text.split(/\+(?=[a-zA-Z])/).map((part) => {
    const [, name, argument] = /^\s*(\w+)(?::([\s\S]*))?$/.exec(part) ?? [];
    const known = name !== undefined && Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    if (!known) return bad(`steps out of ${Object.keys(METHODS).join(', ')}, joined by +`, describe(part));
    const options = optionsOf(name, argument, known.short);
    if (!only) return known.method(options as never);
    if (!Object.hasOwn(ALONE, name)) bad(`steps of single layers with --shard: ${Object.keys(ALONE).join(', ')}`, name);
    if (options.activations === 'static')
      bad('dynamic activations with --shard', 'static', 'Add that step after the merge.');
    return known.method({ ...options, ...ALONE[name], only } as never);
  });
}

function optionsOf(name: string, argument: string | undefined, short: string | undefined): Options {
  if (argument === undefined) return {};
  if (argument.startsWith('{')) {
    try {
      return JSON.parse(argument) as Options;
    } catch {
      return bad(`options of ${name} as JSON`, describe(argument));
    }
  }
  if (short === undefined) return bad(`${name} without an argument, or with options as JSON`, describe(argument));
  return { [short]: argument !== '' && Number.isFinite(Number(argument)) ? Number(argument) : argument };
}
