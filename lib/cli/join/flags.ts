/**
 * Flags as mosquitto_pub and mosquitto_sub take them: one or several letters, a fixed number of
 * values each, values that begin with a dash. (commander has no flag with three values.)
 */
import { CliError } from '../cli-error.js';

export interface Flag {
  /** `-t`, `--topic`: any of them. */
  readonly names: readonly string[];
  /** What it takes, for the help; as many words as there are names here. */
  readonly values: readonly string[];
  readonly help: string;
  /** How many words follow, when that depends on them. */
  readonly count?: (words: readonly string[]) => number;
}

/** What a timer can wait, and a little less. */
const SECONDS_MAX = 2_000_000;

/** What was said: for each flag, by its first name, the values of every time. */
export class FlagValues {
  readonly #said = new Map<string, string[][]>();

  add(name: string, values: string[]): void {
    const list = this.#said.get(name);
    if (list === undefined) this.#said.set(name, [values]);
    else list.push(values);
  }
  has(name: string): boolean {
    return this.#said.has(name);
  }
  /** The last value that was said: a script's own flags come before those that it was given. */
  text(name: string): string | undefined {
    return this.#said.get(name)?.at(-1)?.[0];
  }
  all(name: string): readonly (readonly string[])[] {
    return this.#said.get(name) ?? [];
  }
  texts(name: string): readonly string[] {
    return this.all(name).map(([value]) => value);
  }
  /** A whole number within bounds. */
  number(name: string, min: number, max: number): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^-?\d+$/.test(text) && value >= min && value <= max) return value;
    throw invalid(`${name} ${text}: must be a whole number from ${min} to ${max}`);
  }
  /** Seconds within bounds, which may have a fraction. */
  seconds(name: string, min: number): number | undefined {
    return this.#decimal(name, min, SECONDS_MAX, 'seconds');
  }
  /** Of a hundred; more than all of them is all of them. */
  percent(name: string, min: number): number | undefined {
    return this.#decimal(name, min, Infinity, 'percent');
  }
  #decimal(name: string, min: number, max: number, unit: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (/^\d+(\.\d+)?$/.test(text) && value >= min && value <= max) return value;
    const most = max === Infinity ? 'or more' : `to ${max}`;
    throw invalid(`${name} ${text}: must be ${unit}, ${min} ${most}`);
  }
  /** Of these flags at most one may be said; the one that was. */
  oneOf(names: readonly string[]): string | undefined {
    const said = names.filter((name) => this.has(name));
    if (said.length > 1) throw invalid(`${said.join(' and ')} cannot be used together`);
    return said[0];
  }
}

export function invalid(message: string): CliError {
  return new CliError('NIDO_CLI_FLAG_INVALID', message);
}

/** `foreign`: flags that other tools have, and what to do instead. */
export function parseFlags(
  words: readonly string[], flags: readonly Flag[], foreign: ReadonlyMap<string, string> = NONE,
): FlagValues {
  const byName = new Map(flags.flatMap((flag) => flag.names.map((name) => [name, flag] as const)));
  const said = new FlagValues();
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at];
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const name = equals < 0 ? word : word.slice(0, equals);
    const flag = byName.get(name);
    if (flag === undefined) {
      const instead = foreign.get(name);
      throw invalid(instead === undefined ? `${word}: there is no such flag; see --help`
        : `${name} of mosquitto is not there: ${instead}`);
    }
    const [first] = flag.names;
    const given = equals < 0 ? [] : [word.slice(equals + 1)];
    const wanted = flag.count?.(words.slice(at + 1)) ?? flag.values.length;
    const missing = wanted - given.length;
    if (missing < 0) throw invalid(`${name} takes no value`);
    given.push(...words.slice(at + 1, at + 1 + missing));
    if (given.length < wanted) {
      throw invalid(`${name} needs ${flag.values.map((value) => `<${value}>`).join(' ')}`);
    }
    at += missing;
    said.add(first, given);
  }
  return said;
}

const NONE: ReadonlyMap<string, string> = new Map();
const COLUMN = 34;

export function helpOf(usage: string, about: string, groups: readonly (readonly Flag[])[]): string {
  const lines = groups.map((flags) => flags.map(({ names, values, help }) => {
    const left = `  ${names.join(', ')}${values.map((value) => ` <${value}>`).join('')}`;
    if (left.length < COLUMN) return left.padEnd(COLUMN) + help;
    return `${left}\n${' '.repeat(COLUMN)}${help}`;
  }).join('\n'));
  return [`Usage: ${usage}`, about, ...lines].join('\n\n');
}
