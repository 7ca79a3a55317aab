/** What a command tells a person who asked for something that cannot be done, and how it ends. */

export type CliErrorCode =
  | 'NIDO_CLI_CONFIG_FORMAT'
  | 'NIDO_CLI_CONFIG_UNREADABLE'
  | 'NIDO_CLI_CONTROL'
  | 'NIDO_CLI_FLAG_INVALID'
  | 'NIDO_CLI_PASSWORD'
  | 'NIDO_CLI_RELOAD_REFUSED'
  | 'NIDO_CLI_SET_INVALID'
  | 'NIDO_CLI_YAML_MISSING'
  | 'NIDO_LISTENER_OPEN';

export class CliError extends Error {
  override readonly name = 'CliError';
  constructor(readonly code: CliErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

export const EXIT_OK = 0;
/** It was asked rightly and did not work: a port is taken, a disk is full. */
export const EXIT_FAILED = 1;
/** It was asked wrongly: an option that does not exist, a file that is not what it should be. */
export const EXIT_USAGE = 2;
/** What a shell reports of a process that SIGINT ended. */
export const EXIT_INTERRUPTED = 130;

/** A command that has said everything and ends with another status than 0. */
export class CommandEnded extends Error {
  constructor(readonly status: number) {
    super(`ended with status ${status}`);
  }
}

const USAGE_CODES =
  /^NIDO_(CLI_(?!CONTROL)|OPTION|HOOK|CLIENT_OPTION|LISTENER_OPTION|LISTENER_OPEN|GUARD)/;

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function exitStatusOf(error: unknown): number {
  return USAGE_CODES.test(codeOf(error) ?? '') ? EXIT_USAGE : EXIT_FAILED;
}

/** For stderr. An error without a code is our own bug, and then its stack is wanted. */
export function describeError(error: unknown): string {
  const code = codeOf(error);
  if (!(error instanceof Error)) return String(error);
  if (code === undefined) return error.stack ?? error.message;
  const [first, ...cures] = error.message.split('\n');
  return [`${first} [${code}]`, ...cures].join('\n');
}
