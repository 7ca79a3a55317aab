/**
 * The guards' part of `nidomq check-config`: builds every part on its own and says what is wrong
 * with each.
 */
import { GuardError } from '../errors.js';
import { guardLimits } from '../guard-limits.js';
import { buildAuthorizer, buildGuard } from '../guard.js';
import type { GuardConfig, GuardNeeds } from '../guard.js';
import { readableByOthers } from '../watched-file.js';

export interface ConfigProblem {
  readonly severity: 'error' | 'warning';
  /** Where in the configuration: `authentication[1]`. */
  readonly path: string;
  readonly code: string;
  readonly message: string;
}

const knownKeys = new Set(['authentication', 'authorization', 'limits', 'bans']);

/** All problems, not only the first. An empty list means that a broker would start with it. */
export function checkGuardConfig(config: GuardConfig, needs: GuardNeeds): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const attempt = (path: string, build: () => { close?(): void } | void): void => {
    try {
      build()?.close?.();
    } catch (error) {
      const code = error instanceof GuardError ? error.code : 'NIDO_GUARD_CONFIG';
      problems.push({ severity: 'error', path, code, message: (error as Error).message });
    }
  };
  const warn = (path: string, code: string, message: string): void => {
    problems.push({ severity: 'warning', path, code, message });
  };
  for (const key of Object.keys(config)) {
    if (knownKeys.has(key)) continue;
    const message = `there is no ${JSON.stringify(key)} here`;
    problems.push({ severity: 'error', path: key, code: 'NIDO_GUARD_CONFIG', message });
  }
  for (const [at, part] of (config.authentication ?? []).entries()) {
    const path = `authentication[${at}]`;
    attempt(path, () => buildGuard({ authentication: [part] }, needs));
    if (part.kind === 'password-file') warnReadable(path, part.path, warn);
    if (part.kind === 'http' && String(part.url).startsWith('http://')) {
      warn(path, 'NIDO_HTTP_AUTH_PLAIN', 'passwords go to the service in the clear; use https');
    }
    const isLast = at === (config.authentication?.length ?? 0) - 1;
    if (part.kind === 'anonymous' && !isLast) {
      warn(path, 'NIDO_ANONYMOUS_ORDER', 'anonymous decides before what follows it; put it last');
    }
  }
  const { authorization } = config;
  if (authorization) attempt('authorization', () => buildAuthorizer(authorization, needs));
  attempt('limits', () => void guardLimits(config.limits));
  attempt('bans', () => buildGuard({ bans: config.bans }, needs));
  if (!authorization && (config.authentication ?? []).length > 0) {
    const message = 'whoever is let in may publish and subscribe to everything';
    warn('authorization', 'NIDO_NO_AUTHORIZATION', message);
  }
  return problems;
}

function warnReadable(
  path: string, file: string, warn: (path: string, code: string, message: string) => void,
): void {
  try {
    const message = readableByOthers(file);
    if (message) warn(path, 'NIDO_FILE_READABLE', message);
  } catch {
    // That it cannot be read at all is already an error of its own.
  }
}
