// The page: what the user does becomes wishes of the session, what the session tells becomes visible.
import { type Remote, wrap } from 'comlink';
import type { ModelInputs } from '../src/graph/model.js';
import { AnswerView } from './answer-view.js';
import { Controls } from './controls.js';
import type { Agreement, Answer, Config, Engine, Gpu, Loaded, Report } from './engine.js';
import { type FormName, labelOf } from './forms.js';
import { SCALINGS, type Scaling } from './image.js';
import { SHIPPED, type Shipped } from './models.js';
import { TimePlot } from './plot.js';
import { Records } from './records.js';
import { type Machine, type ModelFile, type Place, Session, type View } from './session.js';
import { Inputs } from './source.js';
import { Stage } from './stage.js';
import { loadTestImages, Strip } from './strip.js';
import { element, ms, percent, say, showNodes, size } from './views.js';

/** By the names of getUserMedia's errors, whose messages differ from browser to browser. */
const CAMERA_ERRORS: Readonly<Record<string, string>> = {
  NotAllowedError: 'this page may not use it. Allow it in the address bar, then press Camera again.',
  NotFoundError: 'this device has none.',
  NotReadableError: 'something else is using it.',
};

const fileOf = ({ id, file }: Shipped): ModelFile => ({
  name: id,
  source: new URL(`models/${file}`, document.baseURI).href,
});

class Page implements View {
  readonly #files = SHIPPED.map(fileOf);
  readonly #session: Session;
  readonly #engine: Remote<Engine>;
  readonly #controls = new Controls(
    () => this.#change({ config: this.#controls.config }),
    (threads) => this.#change({ threads }),
  );
  readonly #plot = new TimePlot(element('plot'));
  readonly #records = new Records();
  readonly #answer = new AnswerView();
  readonly #stage = new Stage(
    element<HTMLCanvasElement>('stage'),
    () => this.#pictureChanged(),
    () => element('camera').setAttribute('aria-pressed', 'false'),
  );
  readonly #strip = new Strip(element('strip'), (picture) => this.#stage.show(picture));
  readonly #model = element<HTMLSelectElement>('model');
  #shipped: Shipped | undefined;
  #inputs = new Inputs([]);
  #threads = 1;
  #report: Report | undefined;
  #lostWhy: string | undefined;
  #comparing = false;
  #frames: number[] = [];

  constructor() {
    const worker = new Worker(new URL('worker.js', document.baseURI), { type: 'module' });
    worker.addEventListener('error', (event) =>
      say('file-error', `The worker of this page does not start: ${event.message || 'it is missing'}.`),
    );
    this.#engine = wrap<Engine>(worker);
    this.#session = new Session(this.#engine, this, this.#files[0]);
    this.#model.replaceChildren(...SHIPPED.map(({ id, label }) => new Option(label, id)));
    element('scaling').replaceChildren(...SCALINGS.map(({ name, label }) => new Option(label, name)));
    this.#listen();
  }

  async start(): Promise<void> {
    this.#stage.clear();
    try {
      const images = await loadTestImages(new URL('images.bin', document.baseURI).href);
      await this.#engine.setImages(images);
      this.#strip.show(images);
    } catch (error) {
      say('input-error', `No test images: ${(error as Error).message}`);
    }
    this.#showTestImages();
  }

  /** They are for networks of their kind. */
  #showTestImages(): void {
    const fit = this.#shipped?.fashion === true && this.#strip.count > 0;
    element('strip').hidden = !fit;
    this.#session.change({ testImages: fit });
  }

  // What the user does.

  #listen(): void {
    const on = (id: string, event: string, listener: () => void) => element(id).addEventListener(event, listener);
    on('model', 'change', () => {
      const file = this.#files.find(({ name }) => name === this.#model.value);
      if (file) this.#open(file);
    });
    const files = (id: string) => element<HTMLInputElement>(id);
    for (const id of ['model-file', 'image-file']) {
      on(id, 'change', () => {
        const [file] = files(id).files ?? [];
        // The same file may be chosen again.
        files(id).value = '';
        if (file) void (id === 'model-file' ? this.#openFile(file) : this.#openPicture(file));
      });
    }
    on('clear', 'click', () => this.#stage.clear());
    on('noise', 'click', () => {
      this.#inputs.reseed();
      this.#stage.showNoise();
    });
    on('camera', 'click', () => void this.#toggleCamera());
    on('invert', 'change', () => this.#session.changeInput());
    on('scaling', 'change', () => this.#session.changeInput());
    on('live', 'change', () => this.#session.change({ live: files('live').checked }));
    on('compare', 'click', () => void this.#compare());
    this.#listenForDrops();
  }

  #listenForDrops(): void {
    const drop = element('drop');
    document.addEventListener('dragover', (event) => {
      event.preventDefault();
      drop.hidden = false;
    });
    document.addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) drop.hidden = true;
    });
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.hidden = true;
      const [file] = event.dataTransfer?.files ?? [];
      if (file) void (file.type.startsWith('image/') ? this.#openPicture(file) : this.#openFile(file));
    });
  }

  /** A wish by the user's hand: what was wrong before is no longer of interest. */
  #change(wish: Parameters<Session['change']>[0]): void {
    this.#comparing = false;
    for (const id of ['file-error', 'form-error', 'threads-error', 'input-error']) say(id, undefined);
    this.#session.change(wish);
  }

  #open(file: ModelFile): void {
    this.#change({ file, testImages: false });
  }

  async #openFile(file: File): Promise<void> {
    const { name } = file;
    const source = await file
      .arrayBuffer()
      .catch((error) => say('file-error', `${name} can't be read: ${error.message}`));
    if (!source) return;
    const model = { name, source };
    const known = this.#files.findIndex((other) => other.name === name);
    if (known >= SHIPPED.length) this.#files[known] = model;
    else {
      this.#files.push(model);
      this.#model.append(new Option(name, name));
    }
    this.#model.value = name;
    this.#open(model);
  }

  async #openPicture(file: File): Promise<void> {
    say('input-error', undefined);
    try {
      this.#stage.show(await createImageBitmap(file));
    } catch {
      say('input-error', `${file.name} is no picture that this browser can read.`);
    }
  }

  async #toggleCamera(): Promise<void> {
    say('input-error', undefined);
    if (this.#stage.hasCamera) return this.#stage.stopCamera();
    try {
      await this.#stage.startCamera();
      element('camera').setAttribute('aria-pressed', 'true');
      say('status', 'The camera is on.');
    } catch (error) {
      const { name, message } = error as Error;
      say('input-error', `No camera: ${CAMERA_ERRORS[name] ?? message.replace(/\.?$/, '.')}`);
    }
  }

  #pictureChanged(): void {
    this.#strip.changed();
    this.#session.changeInput();
  }

  /** Measures the model in each form, one after the other, and comes back to the one before. */
  async #compare(): Promise<void> {
    const button = element('compare');
    if (this.#comparing) {
      this.#comparing = false;
      return;
    }
    const before = this.#controls.config;
    const live = element<HTMLInputElement>('live');
    live.checked = false;
    this.#stage.stopCamera();
    this.#change({ live: false });
    this.#comparing = true;
    button.setAttribute('aria-pressed', 'true');
    for (const form of [...this.#controls.available, before.form]) {
      if (!this.#comparing) break;
      const config = { ...before, form };
      this.#controls.showConfig(config);
      this.#session.change({ config });
      await this.#session.settled();
    }
    this.#comparing = false;
    button.setAttribute('aria-pressed', 'false');
  }

  // What the session tells.

  opened({ threads, notes }: Machine): void {
    this.#threads = threads;
    this.#controls.showThreads(threads, notes);
  }

  foundGpu(gpu: Gpu): void {
    if ('label' in gpu) {
      const slow = gpu.isSoftware ? ': software, which gives right answers slowly' : '';
      this.#controls.showGpu(`WebGPU: ${gpu.label}${slow}.`, true);
    } else this.#controls.showGpu(`No WebGPU: ${gpu.reason.replace(/^No WebGPU: /, '')}`, false);
  }

  lostGpu(why: string): void {
    this.#lostWhy = why.replace(/\.?$/, '');
    say('gpu-notice', `The GPU was lost (${this.#lostWhy}).`);
  }

  loading(file: ModelFile, bytes: number, total: number | undefined): void {
    const bar = element<HTMLProgressElement>('progress-bar');
    element('progress').hidden = bytes === total;
    element('progress-text').textContent = `${size(bytes)}${total ? ` of ${size(total)}` : ''} of ${file.name}`;
    if (total) {
      bar.max = total;
      bar.value = bytes;
    } else {
      bar.removeAttribute('value');
    }
  }

  loaded(file: ModelFile, facts: Loaded): Config {
    element('progress').hidden = true;
    const shipped = SHIPPED.find(({ id }) => id === file.name);
    this.#shipped = shipped;
    this.#inputs = new Inputs(facts.inputs);
    this.#answer.forget();
    element('about').textContent =
      shipped?.about ?? `${size(facts.fileBytes)}, ${facts.layers.length + facts.packed.count} layers with weights.`;
    const { image } = this.#inputs;
    element('invert-field').hidden = image?.channels !== 1;
    element('scaling-field').hidden = shipped !== undefined || image?.dtype !== 'float32';
    element<HTMLSelectElement>('scaling').value = shipped?.scaling ?? 'unit';
    this.#showSizes();
    this.#controls.showModel(facts);
    const { backend, pruning } = this.#controls.config;
    const form = shipped?.form ?? 'file';
    const config = { form: this.#controls.available.includes(form) ? form : 'file', backend, pruning } as const;
    this.#controls.showConfig(config);
    this.#showTestImages();
    return config;
  }

  /** Fields for the sizes that a model leaves open. */
  #showSizes(): void {
    const fields = this.#inputs.open.map((name) => {
      const label = document.createElement('label');
      label.className = 'field inline';
      const input = document.createElement('input');
      input.type = 'number';
      input.min = '1';
      input.max = '4096';
      input.value = String(this.#inputs.sizes.get(name));
      input.addEventListener('change', () => {
        if (!input.reportValidity()) return;
        this.#inputs.sizes.set(name, input.valueAsNumber);
        say('input-error', undefined);
        this.#session.changeInput();
      });
      label.append(`${name} `, input);
      return label;
    });
    element('sizes').replaceChildren(...fields);
    element('sizes').hidden = fields.length === 0;
  }

  doing(what: string | undefined): void {
    element('doing').textContent = what ?? '';
    // Screen readers are told what there is when nothing moves any more.
    const { current } = this.#records;
    if (what || !current || this.#stage.hasCamera) return;
    const { form } = this.#controls.config;
    say('status', `${this.#answer.text}. ${labelOf(form)}: ${ms(current.ms)}, ${size(current.bytes)}.`);
  }

  inputs(): ModelInputs {
    const { image } = this.#inputs;
    element('preview-text').textContent = image
      ? `What the network sees: ${image.width} × ${image.height}${image.channels === 1 ? ', grey' : ''}`
      : 'No input fits a picture: it gets random numbers';
    const preview = element<HTMLCanvasElement>('preview');
    const scaling = element<HTMLSelectElement>('scaling').value as Scaling;
    const { checked } = element<HTMLInputElement>('invert');
    return this.#inputs.tensors(this.#stage, scaling, checked, (pixels) => {
      preview.width = pixels.width;
      preview.height = pixels.height;
      const context = preview.getContext('2d')!;
      context.putImageData(pixels, 0, 0);
    });
  }

  answered(answer: Answer, config: Config, isFirst: boolean): void {
    if (isFirst) {
      this.#answer.forget();
      element('ms').textContent = ms(answer.ms);
      element('ms-note').textContent = 'the first run';
      element('fps').textContent = '–';
      this.#records.begin(this.#model.value, this.#threads, config);
      this.#plot.mark(`${labelOf(config.form)}${config.backend === 'wasm' ? '' : ', WebGPU'}`);
    }
    if (isFirst || !this.#stage.hasCamera) this.#showReport(answer.report);
    this.#answer.show(answer, config, this.#shipped);
    if (this.#stage.hasCamera) this.measured([answer.ms]);
    if (this.#lostWhy === undefined || config.backend !== 'webgpu') return;
    say('gpu-notice', `The GPU was lost (${this.#lostWhy}). It was opened again, and the weights were uploaded anew.`);
    this.#lostWhy = undefined;
  }

  tuned(report: Report): void {
    this.#records.restart();
    this.#showReport(report);
  }

  #showReport(report: Report): void {
    this.#report = report;
    showNodes(element('nodes'), report.nodes);
    element('device').textContent = `On ${report.device}.`;
    const { weightBytes, denseBytes } = report;
    element('bytes').textContent = size(weightBytes);
    element('bytes-note').textContent = `${percent(weightBytes / denseBytes)} of ${size(denseBytes)} dense`;
  }

  agreed(agreement: Agreement): void {
    this.#answer.agreed(agreement);
  }

  measured(times: readonly number[]): void {
    if (times.length === 0 || !this.#report) return;
    this.#records.add(times, this.#report.weightBytes);
    this.#plot.add(times);
    const { ms: middle } = this.#records.current!;
    element('ms').textContent = ms(middle);
    element('fps').textContent = (1000 / middle).toFixed(middle > 100 ? 1 : 0);
    this.#showFrames();
    const { config } = this.#controls;
    const of = (form: FormName) => this.#records.of(this.#model.value, this.#threads, { ...config, form });
    this.#controls.showFigures(of);
    const dense = of('dense');
    const against = dense && config.form !== 'dense' ? `, ${(dense.ms / middle).toFixed(2)} × the speed of dense` : '';
    element('ms-note').textContent = `median of the last runs${against}`;
    this.#plot.describe(`Times of the last runs; ${labelOf(config.form)} takes ${ms(middle)} in the median.`);
  }

  /** Frames of the camera that were answered in the last second. */
  #showFrames(): void {
    const now = performance.now();
    this.#frames = [...this.#frames, now].filter((time) => now - time < 1000);
    element('fps-note').textContent = this.#stage.hasCamera
      ? `camera: ${this.#frames.length} frames a second`
      : 'one after the other';
  }

  failed(place: Place, message: string): void {
    const name = place === 'file' ? `${this.#session.wanted.file.name}: ` : '';
    say(`${place}-error`, `${name}${message}`);
    element('progress').hidden = true;
  }

  wentBack(file: ModelFile, config: Config): void {
    this.#model.value = file.name;
    this.#controls.showConfig(config);
    if (this.#lostWhy === undefined || config.backend === 'webgpu') return;
    say('gpu-notice', `The GPU was lost (${this.#lostWhy}) and did not come back: WASM goes on.`);
    this.#controls.showGpu('No WebGPU: the GPU was lost.', false);
    this.#lostWhy = undefined;
  }
}

await new Page().start();
