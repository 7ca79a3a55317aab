/** Checks the option `engine` of a client: the broker's, without what only a broker has. */
import { NidoClientError } from './errors.js';
import type { ClientEngineOption, ClientFileEngine } from './options.js';

const FORMS = "'memory' or { file: { path, durability, onLoss } }";
const CHOICES = new Map<string, readonly string[]>([
  ['path', []], ['durability', ['disk', 'os']], ['onLoss', ['refuse', 'report']],
]);

/** Undefined = in memory. Throws NIDO_CLIENT_OPTION_INVALID. */
export function engineOf(
  given: ClientEngineOption | undefined,
): { readonly file: ClientFileEngine } | undefined {
  if (given === undefined || given === 'memory') return undefined;
  const keys = typeof given === 'object' && given !== null ? Object.keys(given) : [];
  if (keys.length !== 1 || keys[0] !== 'file' || typeof given.file !== 'object') {
    throw invalid('engine', `${JSON.stringify(given)} is not ${FORMS}`);
  }
  for (const [key, value] of Object.entries(given.file)) {
    const choices = CHOICES.get(key);
    const path = `engine.file.${key}`;
    if (choices === undefined) {
      throw invalid(path, `there is no such option; there are ${[...CHOICES.keys()].join(', ')}`);
    }
    if (value === undefined || choices.length === 0 || choices.includes(value as string)) continue;
    throw invalid(path, `${JSON.stringify(value)} is none of ${choices.join(', ')}`);
  }
  if (typeof given.file.path !== 'string' || given.file.path === '') {
    throw invalid('engine.file.path', 'the name of a directory is needed');
  }
  return given;
}

function invalid(path: string, why: string): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_OPTION_INVALID', `${path}: ${why}`);
}
