import { escape as escapeHtml } from 'html-escaper';
import { toSvg } from './plot.js';
import type { Section } from './sections.js';

/** A drawing between the tables. */
export interface Figure {
  title: string;
  facts?: readonly string[];
  /** Of the colours in it. */
  legend?: readonly { label: string; color: string }[];
  /** Its colours are names of STYLE's variables, or currentColor. */
  svg: string;
}

export type Block = Section | Figure;

/** Colours of drawings on light and on dark ground, each 3:1 against it. */
export const PALETTE: readonly (readonly [light: string, dark: string])[] = [
  ['#1f66d0', '#5b9bff'],
  ['#c25a00', '#ff9a3d'],
  ['#1a7f37', '#4ac26b'],
  ['#8250df', '#b98cff'],
  ['#a8327e', '#f778ba'],
  ['#6a737d', '#a3acb7'],
  ['#0a7d8c', '#39c5cf'],
];

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --dim: light-dark(#555, #aaa); --bar: light-dark(#2f6fd635, #4a8df050);
  --ground: light-dark(#fff, #14171c); --text: light-dark(#1b1f24, #e2e6eb); --plot-background: var(--ground);
  ${PALETTE.map(([light, dark], i) => `--c${i}: light-dark(${light}, ${dark});`).join(' ')} }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  background: var(--ground); color: var(--text); }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; margin-right: 6rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; color: var(--dim); }
#theme { position: absolute; top: 2rem; right: max(1rem, 50vw - 37rem); font: inherit; color: inherit; background: none;
  border: 1px solid var(--line); border-radius: .4rem; padding: .2rem .6rem; cursor: pointer; }
.wide { overflow-x: auto; }
figure { margin: .5rem 0; } figure svg { width: 100%; min-width: 40rem; max-width: 68rem; height: auto; color: var(--text); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .4rem 0; }
.legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: .15rem; vertical-align: -.1rem; }
table { border-collapse: collapse; margin-top: .5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { font-weight: 600; } .right { text-align: right; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 24rem; }
td:last-child:not(.right) { white-space: normal; } td:only-child { max-width: none; }
.strong td { font-weight: 600; } .weak td { opacity: .65; }
.bar { background: linear-gradient(var(--bar) 0 0) right / var(--share) 100% no-repeat; }
svg.plot { max-width: 100%; height: auto; font-size: 11px; } .plot text { fill: var(--dim); } .plot line { stroke: var(--line); }
.plot circle { fill: #4a7dd0; }
summary { cursor: pointer; margin: .4rem 0; }
@media print {
  :root { color-scheme: light !important; } body { margin: 0; max-width: none; font-size: 10px; } #theme { display: none; }
  h2 { break-after: avoid; } tr, figure, .legend { break-inside: avoid; } .wide { overflow: visible; }
  figure svg { min-width: 0; width: 100%; } td, th { white-space: normal; padding: .15rem .4rem; } td.right { white-space: nowrap; }
  .bar, .legend i { print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
`;

const SCRIPT = `
const root = document.documentElement, button = document.getElementById('theme');
const themes = ['light dark', 'light', 'dark'], names = ['Theme: system', 'Theme: light', 'Theme: dark'];
let now = 0;
button.hidden = false;
button.onclick = () => { now = (now + 1) % 3; root.style.colorScheme = themes[now]; button.textContent = names[now]; };
`;

export function toPage(title: string, blocks: readonly Block[], facts: readonly string[] = []): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<button id="theme" type="button" hidden>Theme: system</button>
<h1>${escapeHtml(title)}</h1>
${facts.map((fact) => `<p>${escapeHtml(fact)}</p>`).join('\n')}
${blocks.map((block) => ('svg' in block ? toFigure(block) : toSection(block))).join('\n')}
<script>${SCRIPT}</script>
</body>
</html>
`;
}

const factsOf = (facts: readonly string[] = []) => facts.map((fact) => `<p>${escapeHtml(fact)}</p>`).join('\n');

function toFigure({ title, facts, legend = [], svg }: Figure): string {
  const items = legend.map(
    ({ label, color }) => `<span><i style="background:${color}"></i>${escapeHtml(label)}</span>`,
  );
  return `<section>
<h2>${escapeHtml(title)}</h2>
${factsOf(facts)}
${items.length > 0 ? `<div class="legend">${items.join('')}</div>` : ''}
<figure class="wide">${svg}</figure>
</section>`;
}

function toSection({ title, facts, plot, columns, rows, folded }: Section): string {
  const classOf = (i: number) => (columns[i].align ? ' class="right"' : '');
  const head = columns.map((column, i) => `<th scope="col"${classOf(i)}>${escapeHtml(column.title)}</th>`).join('');
  const body = rows.map(({ cells, strong, weak }) => {
    const kind = strong ? ' class="strong"' : weak ? ' class="weak"' : '';
    const data = cells.map((cell, i) => {
      if (typeof cell === 'string') return `<td${classOf(i)}>${escapeHtml(cell)}</td>`;
      const share = `${(100 * Math.min(Math.max(cell.bar ?? 0, 0), 1)).toFixed(1)}%`;
      return `<td class="right bar" style="--share:${share}">${escapeHtml(cell.text)}</td>`;
    });
    return `<tr${kind}>${data.join('')}</tr>`;
  });
  const table = `<div class="wide"><table>
<thead><tr>${head}</tr></thead>
<tbody>
${body.join('\n')}
</tbody>
</table></div>`;
  if (folded) return `<details><summary>${escapeHtml(title)}</summary>\n${factsOf(facts)}\n${table}\n</details>`;
  return `<section>
<h2>${escapeHtml(title)}</h2>
${factsOf(facts)}
${plot ? toSvg(plot) : ''}
${table}
</section>`;
}
