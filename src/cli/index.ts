import { defineCommand, runMain } from 'citty';
import { version } from '../../package.json';

const main = defineCommand({
  meta: { name: 'thinfer', version, description: 'Runs compressed neural networks without unpacking their weights.' },
  subCommands: {
    demo: () => import('./demo.js').then(({ demo }) => demo),
    serve: () => import('./serve.js').then(({ serve }) => serve),
    tune: () => import('./tune.js').then(({ tune }) => tune),
    advise: () => import('./advise.js').then(({ advise }) => advise),
  },
});

await runMain(main);
