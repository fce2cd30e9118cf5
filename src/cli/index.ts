import { defineCommand } from 'citty';
import { version } from '../../package.json';
import { start } from './command.js';

await start(
  defineCommand({
    meta: { name: 'thinfer', version, description: 'Runs compressed neural networks without unpacking their weights.' },
    subCommands: {
      inspect: () => import('./inspect.js').then(({ inspect }) => inspect),
      run: () => import('./run.js').then(({ run }) => run),
      bench: () => import('./bench.js').then(({ bench }) => bench),
      compare: () => import('./compare.js').then(({ compare }) => compare),
      merge: () => import('./merge.js').then(({ merge }) => merge),
      report: () => import('./html.js').then(({ report }) => report),
      demo: () => import('./demo.js').then(({ demo }) => demo),
      serve: () => import('./serve.js').then(({ serve }) => serve),
      tune: () => import('./tune.js').then(({ tune }) => tune),
      compress: () => import('./compress.js').then(({ compress }) => compress),
      advise: () => import('./advise.js').then(({ advise }) => advise),
    },
  }),
);
