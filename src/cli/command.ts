// What every command has: its exit status, refusal of options that it doesn't know, examples in its help.
import { parseArgs, stripVTControlCharacters } from 'node:util';
import { type ArgsDef, type CommandDef, renderUsage, runCommand } from 'citty';
import pc from 'picocolors';
import { ThinferError } from '../errors.js';
import { EXIT } from './exit.js';

export interface Help {
  /** Lines to copy. */
  examples?: readonly string[];
  /** Takes any number of arguments. */
  variadic?: boolean;
}

type Command = CommandDef<ArgsDef> & Help;

/** A command of citty's with examples. */
export const command = <const T extends ArgsDef>(definition: CommandDef<T> & Help): CommandDef<T> & Help => definition;

/** A mistake in what was typed. */
export function wrongUsage(place: string, expected: string, got: string, hint?: string): ThinferError {
  return new ThinferError({ code: 'bad-argument', place, expected, got, hint });
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/**
 * @returns the arguments, with values behind `=`: citty takes a value that begins with `--no-` for an option
 * @throws ThinferError for an option or argument that the command does not take
 */
function requireKnown(name: string, { args, variadic }: Command, rawArgs: string[]): string[] {
  const known = Object.entries((args ?? {}) as ArgsDef);
  const options = known.filter(([, { type }]) => type !== 'positional');
  const { tokens } = parseArgs({
    args: rawArgs,
    options: Object.fromEntries(
      options.map(([option, { type }]) => [option, { type: type === 'boolean' ? 'boolean' : 'string' }] as const),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind !== 'option') continue;
    const asked = kebab(token.name);
    const found = options.find(([option]) => option === asked || asked === `no-${option}`);
    if (!found) {
      const expected = `one of ${options.map(([option]) => `--${option}`).join(', ')}`;
      throw wrongUsage(`--${token.name}`, expected, 'an option that there is not', `See thinfer ${name} --help.`);
    }
    if (found[1].type !== 'boolean' && token.value === undefined) {
      throw wrongUsage(token.rawName, 'a value', 'none', `See thinfer ${name} --help.`);
    }
  }
  const given = tokens.filter(({ kind }) => kind === 'positional');
  const wanted = known.length - options.length;
  if (!variadic && given.length > wanted) {
    const { value } = given[wanted] as { value: string };
    throw wrongUsage(`thinfer ${name}`, `${wanted} argument${wanted === 1 ? '' : 's'}`, JSON.stringify(value));
  }
  return tokens.map((token) => {
    if (token.kind === 'option') return token.value === undefined ? token.rawName : `${token.rawName}=${token.value}`;
    return token.kind === 'positional' ? token.value : '--';
  });
}

const STATUSES = '0 fine, 1 something failed, 2 wrong usage, 3 a wrong answer or a regression';

async function help(command: Command, parent?: Command): Promise<string> {
  const rendered = await renderUsage(command, parent);
  const usage = pc.isColorSupported ? rendered : stripVTControlCharacters(rendered);
  const { examples = [] } = command;
  const lines = examples.length > 0 ? ['EXAMPLES', '', ...examples.map((line) => `  ${line}`), ''] : [];
  if (!parent) lines.push(`EXIT STATUS ${STATUSES}`, '');
  return `${usage.replace(/ +$/gm, '').trimEnd()}\n\n${lines.join('\n')}`;
}

/** Runs the program; what goes wrong becomes a red line, and the exit status says of which kind it was. */
export async function start(main: CommandDef, rawArgs = process.argv.slice(2)): Promise<void> {
  const subCommands = main.subCommands as Record<string, () => Promise<Command>>;
  const [name = '', ...rest] = rawArgs;
  try {
    if (name === '--version' || name === '-v') {
      console.log((main.meta as { version: string }).version);
      return;
    }
    if (name === '' || name === '--help' || name === '-h') {
      const text = await help(main);
      if (name) console.log(text);
      else console.error(text);
      process.exitCode = name ? EXIT.fine : EXIT.usage;
      return;
    }
    if (!Object.hasOwn(subCommands, name)) {
      throw wrongUsage('thinfer', `a command out of ${Object.keys(subCommands).join(', ')}`, JSON.stringify(name));
    }
    const found = await subCommands[name]();
    if (rest.includes('--help') || rest.includes('-h')) {
      console.log(await help(found, main));
      return;
    }
    await runCommand(found, { rawArgs: requireKnown(name, found, rest) });
  } catch (error) {
    if (error instanceof ThinferError) {
      console.error(pc.red(`thinfer: ${error.message}`));
      process.exitCode = EXIT.usage;
    } else if (error instanceof Error && error.name === 'CLIError') {
      console.error(pc.red(`thinfer ${name}: ${error.message}`));
      console.error(`See thinfer ${name} --help.`);
      process.exitCode = EXIT.usage;
    } else {
      console.error(error);
      process.exitCode = EXIT.failed;
    }
  }
}
