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
      demo: () => import('./demo.js').then(({ demo }) => demo),
      serve: () => import('./serve.js').then(({ serve }) => serve),
      tune: () => import('./tune.js').then(({ tune }) => tune),
      advise: () => import('./advise.js').then(({ advise }) => advise),
    },
  }),
);
