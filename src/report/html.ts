import { escape as escapeHtml } from 'html-escaper';
import { toSvg } from './plot.js';
import type { Section } from './sections.js';

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --bar: #4a7dd055; --dim: #8889; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; color: var(--dim); color: color-mix(in srgb, currentColor 70%, transparent); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: .5rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { font-weight: 600; } .right { text-align: right; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 24rem; }
.strong td { font-weight: 600; } .weak td { opacity: .6; }
.bar { background: linear-gradient(var(--bar) 0 0) right / var(--share) 100% no-repeat; }
svg.plot { max-width: 100%; height: auto; font-size: 11px; } .plot text { fill: var(--dim); } .plot line { stroke: var(--line); }
.plot circle { fill: #4a7dd0; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
`;

export function toPage(title: string, sections: readonly Section[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
${sections.map(toSection).join('\n')}
</body>
</html>
`;
}

function toSection({ title, facts = [], plot, columns, rows }: Section): string {
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
  return `<section>
<h2>${escapeHtml(title)}</h2>
${facts.map((fact) => `<p>${escapeHtml(fact)}</p>`).join('\n')}
${plot ? toSvg(plot) : ''}
<div class="wide"><table>
<thead><tr>${head}</tr></thead>
<tbody>
${body.join('\n')}
</tbody>
</table></div>
</section>`;
}
