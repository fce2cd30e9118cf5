// The controls that say how a model runs.
import type { BackendName } from '../src/plan/variant.js';
import type { Config, Loaded } from './engine.js';
import { FORMS, type FormName, obstacle, type Pruning } from './forms.js';
import type { Measured } from './records.js';
import { element, ms, say, size } from './views.js';

/** A slider that moves asks for a new packing at most this often. */
const DEBOUNCE_MS = 50;
const MOST_THREADS = 8;

const count = (weights: number): string =>
  weights < 1e4
    ? String(weights)
    : weights < 1e6
      ? `${Math.round(weights / 1e3)} k`
      : `${(weights / 1e6).toFixed(1)} M`;

export class Controls {
  readonly #forms = element('forms');
  readonly #sparsity = element<HTMLInputElement>('sparsity');
  readonly #scope = element<HTMLSelectElement>('scope');
  readonly #threads = element<HTMLSelectElement>('threads');
  readonly #backends = [...document.querySelectorAll<HTMLInputElement>('input[name=backend]')];
  readonly #figures = new Map<FormName, HTMLElement>();
  readonly #radios = new Map<FormName, HTMLInputElement>();
  #loaded: Loaded | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param onChange by the user's hand */
  constructor(onChange: () => void, onThreads: (threads: number) => void) {
    for (const { name, label, hint } of FORMS) this.#addForm(name, label, hint, onChange);
    for (const radio of this.#backends) radio.addEventListener('change', onChange);
    this.#threads.addEventListener('change', () => onThreads(Number(this.#threads.value)));
    const pruned = () => {
      this.#radios.get('sparse')!.checked = true;
      this.#showHints();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(onChange, DEBOUNCE_MS);
    };
    this.#sparsity.addEventListener('input', pruned);
    this.#scope.addEventListener('change', () => {
      this.#sparsity.value = String(Math.floor(100 * this.#zeroShare()));
      pruned();
    });
  }

  #addForm(name: FormName, text: string, hint: string, onChange: () => void): void {
    const label = document.createElement('label');
    label.className = 'form';
    label.title = hint;
    const radio = document.createElement('input');
    radio.type = 'radio';
    radio.name = 'form';
    radio.value = name;
    // Until there is a model.
    radio.disabled = true;
    const title = document.createElement('span');
    title.className = 'label';
    title.textContent = text;
    const figures = document.createElement('span');
    figures.className = 'figures';
    label.append(radio, title, figures);
    this.#forms.append(label);
    this.#radios.set(name, radio);
    this.#figures.set(name, figures);
    radio.addEventListener('change', () => {
      this.#showHints();
      onChange();
    });
  }

  get config(): Config {
    const form = [...this.#radios].find(([, radio]) => radio.checked)?.[0] ?? 'file';
    const backend = (this.#backends.find((radio) => radio.checked)?.value ?? 'wasm') as BackendName;
    return { form, backend, pruning: this.#pruning };
  }

  get #pruning(): Pruning {
    const share = Number(this.#sparsity.value) / 100;
    return this.#scope.value === '' ? { share } : { share, layer: this.#scope.value };
  }

  /** Forms that the model can take. */
  get available(): FormName[] {
    return [...this.#radios].filter(([, radio]) => !radio.disabled).map(([name]) => name);
  }

  /** Fits the controls to a model. */
  showModel(loaded: Loaded): void {
    this.#loaded = loaded;
    const { layers } = loaded;
    for (const [name, radio] of this.#radios) {
      const reason = obstacle(name, layers);
      radio.disabled = reason !== undefined;
      radio.parentElement!.title = reason ?? FORMS.find((form) => form.name === name)!.hint;
    }
    element<HTMLButtonElement>('compare').disabled = false;
    const options = layers.map(({ name, label }) => new Option(label, name));
    this.#scope.replaceChildren(new Option('all layers', ''), ...options);
    this.#scope.disabled = layers.length === 0;
    this.#sparsity.disabled = layers.length === 0;
    this.#sparsity.value = String(Math.floor(100 * this.#zeroShare()));
  }

  /** Shows what is in use, when it was not chosen here. */
  showConfig({ form, backend, pruning }: Config): void {
    this.#radios.get(form)!.checked = true;
    for (const radio of this.#backends) radio.checked = radio.value === backend;
    this.#scope.value = pruning.layer ?? '';
    this.#sparsity.value = String(Math.round(100 * pruning.share));
    this.#showHints();
  }

  /** @param measured what is known of each form */
  showFigures(measured: (form: FormName) => Measured | undefined): void {
    for (const [form, box] of this.#figures) {
      const known = measured(form);
      box.textContent = known ? `${ms(known.ms)} · ${size(known.bytes)}` : '';
    }
  }

  /** @param notes why there are fewer than were wanted */
  showThreads(threads: number, notes: readonly string[]): void {
    const most = crossOriginIsolated ? Math.min(Math.max(navigator.hardwareConcurrency, threads), MOST_THREADS) : 1;
    this.#threads.replaceChildren(...Array.from({ length: most }, (_, i) => new Option(String(i + 1))));
    this.#threads.value = String(threads);
    this.#threads.disabled = most === 1;
    element('threads-text').textContent = crossOriginIsolated
      ? notes.join(' ')
      : 'One thread: this page is not cross-origin isolated, because its host sends no COOP and COEP headers.';
  }

  /** @param reason why there is no WebGPU; undefined: there is */
  showGpu(text: string, usable: boolean): void {
    this.#backends.find(({ value }) => value === 'webgpu')!.disabled = !usable;
    element('gpu-text').textContent = text;
  }

  /** Weights that are zero already, in what the slider is for. */
  #zeroShare(): number {
    const chosen = this.#chosen();
    const sum = (of: (layer: (typeof chosen)[number]) => number) =>
      chosen.reduce((total, layer) => total + of(layer), 0);
    return chosen.length === 0 ? 0 : 1 - sum(({ nonZeros }) => nonZeros) / sum(({ weights }) => weights);
  }

  #chosen() {
    const { value } = this.#scope;
    return (this.#loaded?.layers ?? []).filter(({ name }) => value === '' || name === value);
  }

  #showHints(): void {
    const { form, pruning } = this.config;
    const { layers, packed } = this.#loaded!;
    const { hint } = FORMS.find(({ name }) => name === form)!;
    const kept =
      packed.count > 0
        ? ` ${packed.count} layers that the file has packed (${packed.formats.join(', ')}) run as they are.`
        : '';
    say('form-hint', `${hint[0].toUpperCase()}${hint.slice(1)}.${kept}`);
    const weights = this.#chosen().reduce((sum, layer) => sum + layer.weights, 0);
    const dropped = Math.max(pruning.share, this.#zeroShare());
    const text =
      layers.length === 0
        ? ''
        : `${Math.round(100 * dropped)} % zeros, ${count(Math.round(weights * (1 - dropped)))} of ${count(weights)} left`;
    element('sparsity-text').textContent = text;
  }
}
