// What `explain`, `report` and `advise` give, for people: as a table in a terminal, or as a page.

import type { Advice } from '../advise/index.js';
import type { CompressionReport } from '../compress/compress.js';
import type { ModelReport } from '../graph/model.js';
import type { Candidate } from '../plan/variant.js';
import { compressionSections } from './compression.js';
import { toPage } from './html.js';
import { adviceSection, candidateSection, modelSections, type Section } from './sections.js';
import { toText } from './text.js';

/** What can be shown: candidates of a layer, the report of a model, advice, what a compression did. */
export type Reportable = readonly Candidate[] | ModelReport | readonly Advice[] | CompressionReport;

/**
 * Tables for a terminal, aligned.
 * @param options `candidates`: everything that was considered for each layer too. Default false.
 */
export function toTable(report: Reportable, { candidates = false } = {}): string {
  return sectionsOf(report, candidates).map(toText).join('\n\n');
}

/** One self-contained HTML page, for light and dark and for paper. */
export function toHtml(report: Reportable, title = 'thinfer'): string {
  return toPage(title, sectionsOf(report, true));
}

function sectionsOf(report: Reportable, candidates: boolean): Section[] {
  if ('steps' in report) return compressionSections(report, candidates);
  if ('nodes' in report) return modelSections(report, candidates);
  const isAdvice = (item: Candidate | Advice): item is Advice => 'options' in item;
  const items: readonly (Candidate | Advice)[] = report;
  if (items.every(isAdvice)) return items.map(adviceSection);
  return [candidateSection('Candidates', items as readonly Candidate[])];
}
