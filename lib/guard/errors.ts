/** An error of the guards: always with a stable `code`, what was wrong, where, and what to do. */
export class GuardError extends Error {
  readonly code: `NIDO_${string}`;
  constructor(code: `NIDO_${string}`, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GuardError';
    this.code = code;
  }
}

/** A problem in a file, named with its line so that an editor can jump to it. */
export function fileProblem(
  code: `NIDO_${string}`, where: { path: string; line?: number }, message: string,
): GuardError {
  const place = where.line === undefined ? where.path : `${where.path}:${where.line}`;
  return new GuardError(code, `${place}: ${message}`);
}
