// The milliseconds of the last runs, as they come.
import uPlot from 'uplot';

/** Runs that are shown. */
const SHOWN = 800;
const MIN_HEIGHT = 190;
/** Two rows of labels lie above the curve. */
const ROW = 14;
const LABELS = 2 * ROW + 4;

const sizeOf = ({ clientWidth, clientHeight }: HTMLElement) => ({
  width: Math.max(clientWidth, 200),
  height: Math.max(clientHeight, MIN_HEIGHT),
});

interface Mark {
  at: number;
  label: string;
}

export class TimePlot {
  readonly #box: HTMLElement;
  readonly #plot: uPlot;
  readonly #runs: number[] = [];
  readonly #times: number[] = [];
  #marks: Mark[] = [];
  #count = 0;
  #drawing = false;

  constructor(box: HTMLElement) {
    this.#box = box;
    const colour = (name: string) => () => getComputedStyle(box).getPropertyValue(name);
    const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
    this.#plot = new uPlot(
      {
        ...sizeOf(box),
        padding: [LABELS, 16, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false }, y: { range: (_plot, _low, high) => [0, this.#top(high)] } },
        axes: [
          { ...axis, size: 26, values: (_plot, ticks) => ticks.map((tick) => String(tick)) },
          { ...axis, size: 46 },
        ],
        series: [{}, { stroke: colour('--accent'), width: 1, points: { show: false } }],
        hooks: { draw: [() => this.#drawMarks()] },
      },
      [[], []],
      box,
    );
    new ResizeObserver(() => this.#plot.setSize(sizeOf(box))).observe(box);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#plot.redraw());
  }

  /** From here on runs are of something else. */
  mark(label: string): void {
    if (this.#marks.at(-1)?.label === label) return;
    if (this.#marks.at(-1)?.at === this.#count) this.#marks.pop();
    this.#marks.push({ at: this.#count, label });
  }

  add(times: readonly number[]): void {
    for (const ms of times) {
      this.#runs.push(this.#count++);
      this.#times.push(ms);
    }
    const extra = Math.max(this.#runs.length - SHOWN, 0);
    this.#runs.splice(0, extra);
    this.#times.splice(0, extra);
    const [first] = this.#runs;
    const before = this.#marks.findLastIndex(({ at }) => at <= first);
    this.#marks = this.#marks.slice(Math.max(before, 0));
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#plot.setData([this.#runs, this.#times]);
    });
  }

  /** Says in words what is seen. */
  describe(text: string): void {
    this.#box.setAttribute('aria-label', text);
  }

  /** First runs of a kernel take several times as long: they may leave the picture. What runs now may not. */
  #top(high: number): number {
    const quantile = (times: readonly number[], share: number) =>
      [...times].sort((a, b) => a - b)[Math.floor(share * times.length)] ?? 0;
    const now = this.#runs.findIndex((run) => run >= (this.#marks.at(-1)?.at ?? 0));
    const usual = Math.max(quantile(this.#times, 0.85), quantile(this.#times.slice(Math.max(now, 0)), 0.5));
    return Math.max(Math.min(high ?? 1, 1.6 * usual) * 1.1, 0.1);
  }

  #drawMarks(): void {
    const { ctx, bbox } = this.#plot;
    const style = getComputedStyle(this.#box);
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px ${style.fontFamily}`;
    ctx.textAlign = 'left';
    ctx.textBaseline = 'top';
    ctx.fillStyle = style.getPropertyValue('--text');
    ctx.strokeStyle = style.getPropertyValue('--muted');
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    const free = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
    const pad = 4 * devicePixelRatio;
    for (const { at, label } of this.#marks) {
      const x = Math.max(this.#plot.valToPos(at, 'x', true), bbox.left);
      const { width } = ctx.measureText(label);
      // Labels that would lie on one another are left out.
      const row = x + pad + width > bbox.left + bbox.width ? -1 : free.findIndex((from) => x >= from);
      const top = bbox.top - (row < 0 ? 0 : (LABELS - row * ROW) * devicePixelRatio);
      if (x > bbox.left) {
        ctx.beginPath();
        ctx.moveTo(x, top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
      if (row < 0) continue;
      ctx.fillText(label, x + pad, top);
      free[row] = x + pad + width + pad;
    }
    ctx.restore();
  }
}
