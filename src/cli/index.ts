import { defineCommand, runMain } from 'citty';
import { version } from '../../package.json';

const main = defineCommand({
  meta: { name: 'thinfer', version, description: 'Runs compressed neural networks without unpacking their weights.' },
  subCommands: {
    demo: () => import('./demo.js').then(({ demo }) => demo),
    tune: () => import('./tune.js').then(({ tune }) => tune),
    compress: () => import('./compress.js').then(({ compress }) => compress),
    advise: () => import('./advise.js').then(({ advise }) => advise),
  },
});

await runMain(main);
