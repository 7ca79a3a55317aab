/** The keys of a guard configuration: a wrong one is refused with its path and the allowed ones. */
import { GuardError } from './errors.js';

interface Shape {
  readonly required: readonly string[];
  readonly optional: readonly string[];
}

const AUTHENTICATION_SHAPES = new Map<string, Shape>([
  ['password-file', { required: ['path'], optional: [] }],
  ['users', { required: ['users'], optional: [] }],
  ['jwt', {
    required: ['keys', 'algorithms'],
    optional: ['issuer', 'audience', 'clockToleranceSeconds', 'usernameClaim', 'rolesClaim',
      'clientIdClaim', 'connectUsername', 'withoutExpiry', 'isRevoked', 'logger', 'now'],
  }],
  ['http', { required: ['url'], optional: ['headers', 'limits', 'logger', 'now'] }],
  ['certificate', {
    required: [], optional: ['usernameFrom', 'accept', 'connectUsername', 'roles'],
  }],
  ['scram', { required: [], optional: ['path', 'users'] }],
  ['anonymous', { required: [], optional: ['roles'] }],
]);
const AUTHORIZATION_SHAPE: Shape = {
  required: [], optional: ['claims', 'rules', 'rulesFile', 'aclFile', 'widerSubscriptions'],
};

/** Throws a GuardError unless `authentication[at]` is of a known kind and has its keys. */
export function checkAuthenticationShape(part: object, at: number): void {
  const where = `authentication[${at}]`;
  const { kind } = part as { kind?: unknown };
  const shape = AUTHENTICATION_SHAPES.get(String(kind));
  if (shape === undefined) {
    throw new GuardError('NIDO_AUTHENTICATION_KIND',
      `${where}.kind: there is no kind ${JSON.stringify(kind)}; use one of `
      + [...AUTHENTICATION_SHAPES.keys()].join(', '));
  }
  checkKeys(part, shape, `${where} (${String(kind)})`, ['kind', 'listeners']);
}

/** Throws a GuardError for a key that `authorization` does not have. */
export function checkAuthorizationShape(config: object): void {
  checkKeys(config, AUTHORIZATION_SHAPE, 'authorization', []);
}

function checkKeys(
  given: object, { required, optional }: Shape, where: string, always: readonly string[],
): void {
  const known = [...always, ...required, ...optional];
  const unknown = Object.keys(given).find((key) => !known.includes(key));
  if (unknown !== undefined) {
    throw new GuardError('NIDO_GUARD_OPTION',
      `${where}: there is no option ${JSON.stringify(unknown)}; it has ${known.join(', ')}`);
  }
  const missing = required.find((key) => (given as Record<string, unknown>)[key] === undefined);
  if (missing !== undefined) {
    throw new GuardError('NIDO_GUARD_OPTION', `${where}: ${JSON.stringify(missing)} is missing`);
  }
}
