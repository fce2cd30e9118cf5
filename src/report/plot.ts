import { escape as escapeHtml } from 'html-escaper';

/** Points over two axes. */
export interface Plot {
  /** What the axes are. */
  x: string;
  y: string;
  points: readonly { x: number; y: number; label: string; strong?: boolean; weak?: boolean }[];
}

const [WIDTH, HEIGHT, MARGIN] = [640, 300, 48];

/** The range of some numbers, with 0 and a little room. */
function rangeOf(values: readonly number[]): [low: number, high: number] {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const room = 0.05 * (high - low || 1);
  return [low < 0 ? low - room : 0, high + room];
}

/** An SVG in the colours of the page; what each point is shows when it is pointed at. */
export function toSvg({ x, y, points }: Plot): string {
  const shown = points.filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y));
  const [left, right] = rangeOf(shown.map((point) => point.x));
  const [low, high] = rangeOf(shown.map((point) => point.y));
  const across = (value: number) => MARGIN + ((value - left) / (right - left)) * (WIDTH - 2 * MARGIN);
  const up = (value: number) => HEIGHT - MARGIN - ((value - low) / (high - low)) * (HEIGHT - 2 * MARGIN);
  const text = (at: number, to: number, anchor: string, content: string) =>
    `<text x="${at.toFixed(1)}" y="${to.toFixed(1)}" text-anchor="${anchor}">${escapeHtml(content)}</text>`;
  const line = (x1: number, y1: number, x2: number, y2: number) =>
    `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}"/>`;
  const dots = shown.map((point) => {
    const [radius, opacity] = [point.strong ? 7 : 4.5, point.weak && !point.strong ? 0.4 : 1];
    const what = `${point.label}: ${point.x.toPrecision(4)} ${x}, ${point.y.toPrecision(3)} ${y}`;
    const place = `cx="${across(point.x).toFixed(1)}" cy="${up(point.y).toFixed(1)}"`;
    return `<circle ${place} r="${radius}" opacity="${opacity}"><title>${escapeHtml(what)}</title></circle>`;
  });
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const [atX, atY] = [left + share * (right - left), low + share * (high - low)];
    return [
      text(across(atX), HEIGHT - MARGIN + 16, 'middle', atX.toPrecision(3)),
      text(MARGIN - 6, up(atY) + 4, 'end', atY.toPrecision(2)),
      line(MARGIN, up(atY), WIDTH - MARGIN, up(atY)),
    ];
  });
  const titles = text(WIDTH / 2, HEIGHT - 8, 'middle', x) + text(8, MARGIN - 16, 'start', y);
  const box = `viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}"`;
  return `<svg class="plot" role="img" ${box}>${ticks.join('')}${line(MARGIN, up(0), WIDTH - MARGIN, up(0))}${titles}${dots.join('')}</svg>`;
}
